//! The common parts of every service process.

use crate::vault::{Vault, VaultError, VaultPayloadKeys};
use anyhow::Context;
use backon::{BackoffBuilder, ExponentialBuilder};
use goconductor_remote::{Endpoints, InvalidEndpoint, RemoteStore};
use goconductor_service_kit::config::{Config, TlsConfig};
use goconductor_service_kit::drain::Drain;
use goconductor_service_kit::health::Readiness;
use goconductor_service_kit::telemetry::{self, Identity, Metrics};
use goconductor_store::Store;
use goconductor_tls::{PeerRole, TlsIdentity};
use goconductor_transition::Engine;
use std::sync::Arc;
use std::time::Duration;

/// First and longest delay between attempts to open a backend. The delay doubles in between.
pub(crate) const RETRY_DELAYS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// An error that may be temporary.
pub trait RetryableError: std::error::Error + Send + Sync + 'static {
    /// Returns whether the same call may succeed later.
    fn is_retryable(&self) -> bool;

    /// Returns the code of the error, which has a page.
    fn code(&self) -> Option<&'static str> {
        None
    }
}

impl RetryableError for goconductor_store::Error {
    fn is_retryable(&self) -> bool {
        self.is_retryable()
    }
}

impl RetryableError for VaultError {
    fn is_retryable(&self) -> bool {
        self.is_retryable()
    }

    fn code(&self) -> Option<&'static str> {
        self.code()
    }
}

/// A process of a service.
#[derive(Debug)]
pub struct Process {
    /// The name of the service.
    pub name: &'static str,
    /// The identity of the process. It is random at each start, so that no two processes share one.
    pub instance: String,
    /// The configuration.
    pub config: Config,
    /// The metrics.
    pub metrics: Metrics,
    /// The readiness checks.
    pub readiness: Readiness,
    /// The graceful shutdown.
    pub drain: Drain,
    /// The certificate of the process. `None` means that connections between processes are not encrypted.
    pub tls: Option<TlsIdentity>,
}

impl Process {
    /// Starts a process: its log, its metrics and its signal handlers. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the log filter is not valid, if a certificate cannot be used, or if the signal handlers cannot
    /// be installed.
    pub fn start(name: &'static str, config: Config) -> anyhow::Result<Self> {
        let instance = format!("{name}-{}", uuid::Uuid::now_v7().simple());
        let metrics = telemetry::init(&config.telemetry, Identity { service: name, instance: &instance })?;
        config.warn_about_ignored_variables();
        goconductor_telemetry::describe(crate::metrics::ALL);
        let drain = Drain::new();
        drain.on_signals(config.shutdown_limit()).context("failed to install signal handlers")?;
        let readiness = Readiness::new();
        drop(goconductor_supervisor::spawn("readiness", readiness.clone().record_loop()));
        let tls = load_tls(&config)?;
        Ok(Self { name, instance, config, metrics, readiness, drain, tls })
    }

    /// Returns the endpoints of processes with a role.
    ///
    /// # Errors
    /// Returns an error if an address is not valid.
    pub(crate) fn endpoints(&self, urls: &[String], role: PeerRole) -> Result<Endpoints, InvalidEndpoint> {
        Endpoints::with_tls(urls, self.tls.as_ref().map(|tls| tls.client(role)).as_ref())
    }

    /// Returns a client of the configured state-store processes. Returns `None` if none are configured. Must be called
    /// within a Tokio runtime.
    ///
    /// # Errors
    /// Returns an error if an address is not valid.
    pub fn state_stores(&self) -> anyhow::Result<Option<RemoteStore>> {
        let endpoints = &self.config.state_store.endpoints;
        if endpoints.is_empty() {
            return Ok(None);
        }
        let endpoints = self.endpoints(endpoints, PeerRole::StateStore).context("state_store.endpoints")?;
        Ok(Some(RemoteStore::new(endpoints)))
    }

    /// Opens a backend, and retries until it is reachable. In the meantime, readiness reports the error.
    ///
    /// # Errors
    /// Returns an error if the backend cannot work, or if the process drains.
    pub async fn open_with_retry<T, E>(
        &self,
        name: &'static str,
        open: impl AsyncFn() -> Result<T, E>,
    ) -> anyhow::Result<T>
    where
        E: RetryableError,
    {
        let [first, longest] = RETRY_DELAYS;
        let delays = ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(longest)
            .with_factor(2.0)
            .without_max_times();
        for delay in delays.build() {
            // Cancel-safe: dropping the future closes what it has opened.
            let opened = tokio::select! {
                () = self.drain.draining() => break,
                opened = open() => opened,
            };
            match opened {
                Ok(opened) => return Ok(opened),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, backend = name, "attempt to open a backend failed");
                    let detail = error.to_string();
                    self.readiness.add(name, move || {
                        let detail = detail.clone();
                        async move { Err(detail) }
                    });
                }
                Err(error) => {
                    let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
                    return Err(error).with_context(|| format!("failed to open {name}{code}"));
                }
            }
            tokio::time::sleep(delay).await;
        }
        anyhow::bail!("the process ended before {name} was reachable")
    }

    /// Opens the secrets, and starts to wrap data keys of earlier master keys again. Returns `None` if the process has no
    /// master key and the store no secrets.
    ///
    /// # Errors
    /// Returns an error if the master keys cannot be read, or if the key that the store expects is not among them.
    async fn vault(&self, store: &Arc<dyn Store>) -> anyhow::Result<Option<Arc<Vault>>> {
        let open = async || Vault::open(&self.config.secrets, Arc::clone(store)).await;
        let vault = self.open_with_retry("secrets", open).await?;
        self.readiness.remove("secrets");
        if let Some(vault) = &vault {
            let run = Arc::clone(vault).run(self.drain.token().cancelled_owned());
            drop(goconductor_supervisor::spawn("secrets", run));
        }
        Ok(vault)
    }

    /// Opens the secrets like [`vault`](Self::vault), and lets an engine encrypt and decrypt payloads with them.
    ///
    /// # Errors
    /// Returns the errors of [`vault`](Self::vault).
    pub async fn vault_of(&self, engine: &Engine) -> anyhow::Result<Option<Arc<Vault>>> {
        let vault = self.vault(engine.store()).await?;
        if let Some(vault) = &vault {
            engine.set_payload_keys(VaultPayloadKeys::new(Arc::clone(vault), self.config.encryption.clone()));
        }
        Ok(vault)
    }

    /// Adds a readiness check of `target`.
    pub fn add_check<T, F>(
        &self,
        name: &'static str,
        target: &Arc<T>,
        check: impl Fn(Arc<T>) -> F + Send + Sync + 'static,
    ) where
        T: ?Sized + Send + Sync + 'static,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let target = Arc::clone(target);
        self.readiness.add(name, move || check(Arc::clone(&target)));
    }
}

/// Loads the configured certificate and authorities, and follows their files. Returns `None` without the section `tls`. Must
/// be called within a Tokio runtime.
///
/// # Errors
/// Returns an error if a file cannot be used.
pub fn load_tls(config: &Config) -> Result<Option<TlsIdentity>, goconductor_tls::Error> {
    let tls = read_tls(config)?;
    if let Some(tls) = &tls {
        drop(goconductor_supervisor::spawn("certificates", tls.clone().follow()));
    }
    Ok(tls)
}

/// Loads the configured certificate of the process as it is now.
pub(crate) fn read_tls(config: &Config) -> Result<Option<TlsIdentity>, goconductor_tls::Error> {
    let Some(TlsConfig { files, trust_domain }) = &config.tls else { return Ok(None) };
    TlsIdentity::load(files.clone(), "tls", Some(trust_domain.clone())).map(Some)
}
