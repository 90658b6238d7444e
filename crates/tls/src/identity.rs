//! The certificate of a process and the authorities that it trusts, as in the files of now.

use crate::error::Error;
use crate::files::TlsFiles;
use crate::loaded::LoadedFiles;
use crate::metrics;
use crate::provider::provider;
use parking_lot::{Mutex, RwLock};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Interval at which the files are read. They are compared by content, because the time of a change is not reliable on
/// the volumes of Kubernetes.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The certificate of a process and the authorities that it trusts. Clones are cheap and share the state.
#[derive(Debug, Clone)]
pub struct TlsIdentity {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    files: TlsFiles,
    /// The path of the settings, for error messages.
    section: String,
    trust_domain: Option<String>,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<LoadedFiles>>,
    /// The generation of `current`, which costs no lock.
    generation: AtomicU64,
    /// The error of the last poll.
    failure: Mutex<ReloadFailure>,
}

/// A change of the files that was not loaded.
#[derive(Debug, Default)]
struct ReloadFailure {
    last: Option<String>,
    is_reported: bool,
}

impl TlsIdentity {
    /// Loads the files. `section` is the path of the settings, for error messages. Roles are read from URIs of
    /// `trust_domain`; `None` accepts every domain.
    ///
    /// # Errors
    /// Returns [`Error`] if a file cannot be read or used, or if this build contains no cryptography.
    pub fn load(files: TlsFiles, section: &str, trust_domain: Option<String>) -> Result<Self, Error> {
        goconductor_telemetry::describe(metrics::ALL);
        let provider = provider()?;
        let contents = files.read(section)?;
        let snapshot = LoadedFiles::build(&files, &contents, section, &provider, UnixTime::now())?;
        record(&snapshot);
        let shared = Shared {
            files,
            section: section.to_owned(),
            trust_domain,
            provider,
            current: RwLock::new(Arc::new(snapshot)),
            generation: AtomicU64::new(0),
            failure: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Follows the files until the future is dropped. Changed files are used for new handshakes. Files that cannot be used
    /// are reported and have no other effect.
    pub async fn follow(self) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let identity = self.clone();
            // The files may be on a slow volume.
            drop(tokio::task::spawn_blocking(move || identity.reload()).await);
        }
    }

    /// Reads the files once, and loads them if they changed. Returns whether they were loaded.
    pub fn reload(&self) -> bool {
        let Shared { files, section, provider, .. } = &*self.shared;
        let read = files.read(section);
        if read.as_ref().is_ok_and(|contents| contents.digest() == self.snapshot().digest) {
            *self.shared.failure.lock() = ReloadFailure::default();
            return false;
        }
        let built = read
            .and_then(|contents| LoadedFiles::build(files, &contents, section, provider, UnixTime::now()));
        match built {
            Ok(snapshot) => {
                self.replace(snapshot);
                true
            }
            Err(error) => {
                self.report(&error);
                false
            }
        }
    }

    /// Returns whether the process has a certificate, so that it can listen.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        self.snapshot().server.is_some()
    }

    pub(crate) fn trust_domain(&self) -> Option<&str> {
        self.shared.trust_domain.as_deref()
    }

    pub(crate) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.shared.provider
    }

    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    pub(crate) fn snapshot(&self) -> Arc<LoadedFiles> {
        Arc::clone(&self.shared.current.read())
    }

    fn replace(&self, mut snapshot: LoadedFiles) {
        record(&snapshot);
        let mut current = self.shared.current.write();
        snapshot.generation = current.generation + 1;
        let generation = snapshot.generation;
        *current = Arc::new(snapshot);
        self.shared.generation.store(generation, Ordering::Release);
        drop(current);
        *self.shared.failure.lock() = ReloadFailure::default();
        metrics::CERTIFICATE_RELOADS.with(["loaded".into()]).increment(1);
        tracing::info!(section = self.shared.section, generation, "certificate files were loaded");
    }

    /// Reports files that cannot be used, once and only at the second poll with the same error: the certificate and the key
    /// are two files, which a program may replace one after the other.
    fn report(&self, error: &Error) {
        let text = error.to_string();
        let mut failure = self.shared.failure.lock();
        if failure.last.as_deref() != Some(&text) {
            *failure = ReloadFailure { last: Some(text), is_reported: false };
            return;
        }
        if !failure.is_reported {
            failure.is_reported = true;
            metrics::CERTIFICATE_RELOADS.with(["refused".into()]).increment(1);
            tracing::error!(%error, "certificate files were not loaded, and the previous ones are still in use (GC3033)");
        }
    }
}

fn record(snapshot: &LoadedFiles) {
    let usages = [("certificate", snapshot.certificate_expiry), ("authority", snapshot.authority_expiry)];
    for (usage, expiry) in usages {
        if let Some(expiry) = expiry {
            #[allow(clippy::cast_precision_loss, reason = "a time in seconds is exact in a double")]
            metrics::CERTIFICATE_EXPIRY.with([usage.into()]).set(expiry as f64);
        }
    }
}
