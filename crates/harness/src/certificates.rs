//! A set of certificates, made by `goconductor certs`.

use crate::goconductor;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The certificates of a cluster: an authority, and a certificate for each role.
#[derive(Debug, Clone)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Creates a set in a new folder.
    ///
    /// # Errors
    /// Returns an error if the command fails.
    pub async fn create(folder: PathBuf) -> anyhow::Result<Self> {
        let this = Self { folder };
        this.call(&["create"]).await?;
        Ok(this)
    }

    /// Creates a set whose certificates are valid for this number of days.
    ///
    /// # Errors
    /// Returns an error if the command fails.
    pub async fn create_for_days(folder: PathBuf, days: u16) -> anyhow::Result<Self> {
        let this = Self { folder };
        this.call(&["create", "--days", &days.to_string()]).await?;
        Ok(this)
    }

    /// Renews the certificates, or adds or drops an authority.
    ///
    /// # Errors
    /// Returns an error if the command fails.
    pub async fn renew(&self, authority: Option<&str>) -> anyhow::Result<()> {
        let change = authority.map(|change| vec!["--authority", change]).unwrap_or_default();
        self.call(&[&["renew"][..], &change].concat()).await
    }

    async fn call(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = goconductor()?;
        command.arg("certs").args(arguments).arg("--dir").arg(&self.folder).stdin(Stdio::null());
        let output = command.output().await.context("failed to run goconductor certs")?;
        if !output.status.success() {
            bail!("goconductor certs {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Copies the present set to another folder.
    ///
    /// # Errors
    /// Returns an error if a file cannot be copied.
    pub fn copy_to(&self, folder: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            std::fs::copy(&path, folder.join(path.file_name().context("a file has a name")?))?;
        }
        Ok(Self { folder })
    }

    /// The path of a file, such as `ca.crt` or `state-store.key`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The arguments that give a process the certificate of a role.
    #[must_use]
    pub fn arguments(&self, role: &str) -> Vec<String> {
        let files = [
            ("ca_file", "ca.crt".to_owned()),
            ("certificate_file", format!("{role}.crt")),
            ("key_file", format!("{role}.key")),
        ];
        let set = |(setting, file): &(&str, String)| {
            ["--set".to_owned(), format!("tls.{setting}={}", self.file(file).display())]
        };
        files.iter().flat_map(set).collect()
    }

    /// An HTTP client that trusts the present authorities and presents the certificate of a role.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read.
    pub fn http_client(&self, role: &str) -> anyhow::Result<reqwest::Client> {
        let read =
            |name: &str| std::fs::read(self.file(name)).with_context(|| format!("failed to read {name}"));
        let mut identity = read(&format!("{role}.key"))?;
        identity.extend(read(&format!("{role}.crt"))?);
        let authorities = reqwest::Certificate::from_pem_bundle(&read("ca.crt")?)?;
        Ok(reqwest::Client::builder()
            .tls_certs_only(authorities)
            .identity(reqwest::Identity::from_pem(&identity)?)
            .build()?)
    }
}
