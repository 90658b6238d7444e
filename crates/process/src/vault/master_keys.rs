//! The master keys of this process, and their source.

use super::VaultError;
use goconductor_secrets::{KeyId, KeyRing};
use goconductor_service_kit::config::MasterKeySource;
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

/// Maximum size of a text with keys.
const MAX_BYTES: u64 = 64 * 1024;
/// The directory with the credentials of a systemd unit.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The master keys of this process.
#[derive(Debug)]
pub(super) struct MasterKeys {
    source: MasterKeySource,
    command_timeout: Duration,
    ring: RwLock<Arc<KeyRing>>,
}

impl MasterKeys {
    pub(super) async fn read(source: MasterKeySource, command_timeout: Duration) -> Result<Self, VaultError> {
        let ring = read(&source, command_timeout).await?;
        Ok(Self { source, command_timeout, ring: RwLock::new(Arc::new(ring)) })
    }

    /// Returns the keys that were read last.
    pub(super) fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read())
    }

    /// Reads the keys again. If that fails, the earlier ones are kept.
    pub(super) async fn reload(&self) -> Result<Arc<KeyRing>, VaultError> {
        let ring = Arc::new(read(&self.source, self.command_timeout).await?);
        *self.ring.write() = Arc::clone(&ring);
        Ok(ring)
    }

    /// Returns the error for a key that is not among the keys.
    pub(super) fn wrong(&self, key_id: String) -> VaultError {
        let found: Vec<String> = self.ring().ids().map(|id: KeyId| id.to_string()).collect();
        VaultError::WrongKey { key_id, origin: self.source.to_string(), found: found.join(", ") }
    }
}

async fn read(source: &MasterKeySource, timeout: Duration) -> Result<KeyRing, VaultError> {
    let text = match source {
        MasterKeySource::File(path) => file(path).await,
        MasterKeySource::Env(name) => variable(name),
        MasterKeySource::Systemd(name) => match std::env::var_os(CREDENTIALS_DIRECTORY) {
            Some(directory) => file(&PathBuf::from(directory).join(name)).await,
            None => Err(format!(
                "{CREDENTIALS_DIRECTORY} is not set: load the credential with LoadCredential={name}:PATH or \
                 LoadCredentialEncrypted= in the unit"
            )),
        },
        MasterKeySource::Command(command) => output(command, timeout).await,
    };
    let failed = |reason: String| VaultError::Source { origin: source.to_string(), reason };
    KeyRing::parse(&text.map_err(failed)?).map_err(|error| failed(error.to_string()))
}

fn variable(name: &str) -> Result<Zeroizing<String>, String> {
    std::env::var(name).map(Zeroizing::new).map_err(|error| match error {
        std::env::VarError::NotPresent => "the variable is not set".to_owned(),
        std::env::VarError::NotUnicode(_) => "the variable is not UTF-8".to_owned(),
    })
}

async fn file(path: &Path) -> Result<Zeroizing<String>, String> {
    let file = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
    let metadata = file.metadata().await.map_err(|error| error.to_string())?;
    if is_readable_by_all(&metadata) {
        tracing::warn!(path = %path.display(), "file with master keys is readable by all users");
    }
    limited(file).await
}

#[cfg(unix)]
fn is_readable_by_all(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn is_readable_by_all(_: &std::fs::Metadata) -> bool {
    false
}

/// Runs a command and returns its standard output. Its standard error is that of this process.
async fn output(command: &[String], timeout: Duration) -> Result<Zeroizing<String>, String> {
    let [program, arguments @ ..] = command else { return Err("the command is empty".to_owned()) };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let stdout = child.stdout.take().ok_or("the command has no standard output")?;
    let run = async {
        let text = limited(stdout).await?;
        let status = child.wait().await.map_err(|error| error.to_string())?;
        if status.success() { Ok(text) } else { Err(format!("the command failed: {status}")) }
    };
    match tokio::time::timeout(timeout, run).await {
        Ok(text) => text,
        Err(_) => Err(format!("the command did not end within {timeout:?}; see secrets.command_timeout")),
    }
}

async fn limited(read: impl tokio::io::AsyncRead + Unpin) -> Result<Zeroizing<String>, String> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut read = read.take(MAX_BYTES + 1);
    read.read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    Ok(Zeroizing::new(text.to_owned()))
}
