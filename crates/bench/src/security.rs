//! TLS and access control of a measured deployment.
//!
//! Each process has a certificate of its own role. The participants authenticate by certificate, and the load generator by
//! an access key, which the gateway checks with each request.

use crate::child_process::{ChildCommand, goconductor_binary};
use crate::meter::Role;
use anyhow::Context;
use goconductor::TlsFiles;
use goconductor_client::{Client, NewAccessKey};
use goconductor_tls::{ClientTls, PeerRole};
use std::path::{Path, PathBuf};

/// The configuration of access control, in lines of YAML.
const ACCESS: &str = "\
access:
  enabled: true
  bindings:
    administrators: { subjects: [\"cert:spiffe://goconductor/operator\"], roles: [admin], namespaces: [\"*\"] }
    workers: { subjects: [\"cert:spiffe://goconductor/worker\"], roles: [worker], namespaces: [\"*\"] }
";

/// The certificates of a deployment.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Creates the certificates in the directory of a measurement.
    pub(crate) async fn create(folder: &Path) -> anyhow::Result<Self> {
        let this = Self { folder: folder.join("certificates") };
        let directory = this.folder.display().to_string();
        let arguments = ["certs", "create", "--dir", &directory].map(str::to_owned).to_vec();
        let (name, role, binary) = ("certs", Role::Client, goconductor_binary()?);
        ChildCommand { name, role, binary, arguments, folder }.run().await?;
        Ok(this)
    }

    /// Returns the configuration of access control that fits the certificates.
    pub(crate) fn access() -> &'static str {
        ACCESS
    }

    /// Returns the files of a role, such as `state-store`.
    pub(crate) fn files(&self, role: &str) -> TlsFiles {
        files(&self.folder, role)
    }

    /// Returns the arguments that give a server the certificate of its role.
    pub(crate) fn server_arguments(&self, role: &str) -> Vec<String> {
        let TlsFiles { ca_file, certificate_file, key_file } = self.files(role);
        let settings = [("ca_file", ca_file), ("certificate_file", certificate_file), ("key_file", key_file)];
        let present = settings.into_iter().filter_map(|(setting, file)| Some((setting, file?)));
        present
            .flat_map(|(setting, file)| ["--set".to_owned(), format!("tls.{setting}={}", file.display())])
            .collect()
    }

    /// Returns the arguments that give the participants the certificate of workers.
    pub(crate) fn participant_arguments(&self) -> Vec<String> {
        vec!["--certificates".to_owned(), self.folder.display().to_string()]
    }

    /// Returns TLS with the certificate of an operator, for a server of any role.
    pub(crate) fn operator(&self) -> anyhow::Result<ClientTls> {
        Ok(ClientTls::load(self.files("operator"), "tls", PeerRole::ApiGateway)?.of_any_role())
    }

    /// Returns TLS of a client without a certificate.
    pub(crate) fn nameless(&self) -> anyhow::Result<ClientTls> {
        let files = TlsFiles { certificate_file: None, key_file: None, ..self.files("operator") };
        Ok(ClientTls::load(files, "tls", PeerRole::ApiGateway)?)
    }
}

/// Returns the files of a role in a directory that `goconductor certs create` wrote.
pub(crate) fn files(folder: &Path, role: &str) -> TlsFiles {
    TlsFiles {
        ca_file: Some(folder.join("ca.crt")),
        certificate_file: Some(folder.join(format!("{role}.crt"))),
        key_file: Some(folder.join(format!("{role}.key"))),
    }
}

/// Creates an access key that may start and read workflows, and returns its token.
pub(crate) async fn create_key(client: &Client) -> anyhow::Result<String> {
    let key = NewAccessKey {
        name: "bench".to_owned(),
        roles: vec!["developer".to_owned()],
        ..NewAccessKey::default()
    };
    let created = client.create_access_key(&key).await.context("failed to create an access key")?;
    Ok(created.value.token)
}
