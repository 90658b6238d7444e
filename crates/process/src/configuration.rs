//! The configuration of a process, with the values of its references to secrets.

use crate::database::{database_location, open_database};
use crate::error_text::chain;
use crate::process::{RETRY_DELAYS, read_tls};
use crate::vault::{Vault, VaultError};
use anyhow::Context;
use backon::{BackoffBuilder, ExponentialBuilder};
use goconductor_remote::{Endpoints, RemoteStore};
use goconductor_service_kit::config::{
    Config, DynamicSettings, Invalid, Origin, Problem, ResolvedSecrets, Sources, StateStoreBackend,
};
use goconductor_service_kit::log;
use goconductor_store::{DatabaseLocation, Error, Store};
use goconductor_tls::PeerRole;
use std::sync::Arc;

/// How a process reaches the store before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreAccess {
    /// By the state-store processes.
    Remote,
    /// By these or, if none are configured, by the database.
    Direct,
}

/// Reads the configuration, and the secrets that it refers to. Without references, it reads no store. Otherwise it waits
/// until the store is reachable, and prints why it waits. Must be called within a Tokio runtime.
///
/// # Errors
/// Returns [`Invalid`](goconductor_service_kit::config::Invalid) with all problems, or an error if the secrets cannot be read.
pub async fn load_config(sources: &Sources, access: StoreAccess) -> anyhow::Result<Config> {
    let config = Config::load(sources)?;
    if config.secret_references().is_empty() {
        return Ok(config);
    }
    if let Some(reason) = missing_key(&config) {
        anyhow::bail!(reason);
    }
    let secrets = resolve(&config, access).await?;
    Ok(config.with_secrets(secrets)?)
}

/// An error of settings of the API.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The settings are invalid together with the layers of the process, or their secrets cannot be opened.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store cannot be reached.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Reads the layers of a configuration again with these settings of the API, and the secrets that they refer to. Reads no
/// store if they refer to none.
///
/// # Errors
/// Returns [`SettingsError`].
pub async fn with_settings(
    base: &Config,
    settings: DynamicSettings,
    store: &Arc<dyn Store>,
) -> Result<Config, SettingsError> {
    let origin = Origin::Api { version: settings.version };
    let config = base.with_dynamic(Some(settings))?;
    if config.secret_references().is_empty() {
        return Ok(config);
    }
    let refused = |message: String| {
        let path = String::new();
        Invalid { problems: vec![Problem { path, origin: origin.clone(), message }] }
    };
    if let Some(reason) = missing_key(&config) {
        return Err(refused(reason).into());
    }
    match read_secrets(&config, Arc::clone(store)).await {
        Ok(secrets) => Ok(config.with_secrets(secrets)?),
        Err(VaultError::Store(error)) => Err(error.into()),
        Err(error) => Err(refused(error.to_string()).into()),
    }
}

/// Returns why the references to secrets cannot be resolved, if the process has no master key.
fn missing_key(config: &Config) -> Option<String> {
    let reference = config.secret_references().first().filter(|_| config.secrets.master_key.is_none())?;
    Some(format!(
        "the configuration refers to {reference}, and secrets.master_key is not set: set it to the source of the master key"
    ))
}

async fn resolve(config: &Config, access: StoreAccess) -> anyhow::Result<ResolvedSecrets> {
    let [first, longest] = RETRY_DELAYS;
    let delays =
        ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest).without_max_times();
    let mut printed = String::new();
    for delay in delays.build() {
        match read(config, access).await {
            Ok(secrets) => return Ok(secrets),
            Err(error) if is_retryable(&error) => {
                let text = chain(&error);
                if text != printed {
                    log::print(&format!("waiting for the secrets of the configuration: {text}"));
                    printed = text;
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(delay).await;
    }
    anyhow::bail!("the secrets of the configuration were not read")
}

fn is_retryable(error: &anyhow::Error) -> bool {
    let of_store = error.downcast_ref::<goconductor_store::Error>();
    let of_vault = error.downcast_ref::<VaultError>();
    of_store.is_some_and(goconductor_store::Error::is_retryable)
        || of_vault.is_some_and(VaultError::is_retryable)
}

async fn read(config: &Config, access: StoreAccess) -> anyhow::Result<ResolvedSecrets> {
    let store = open(config, access).await?;
    read_secrets(config, store).await.map_err(|error| match error.code() {
        Some(code) => anyhow::Error::new(error).context(format!("failed to read the secrets ({code})")),
        None => error.into(),
    })
}

/// Reads the secrets that a configuration refers to and does not have.
async fn read_secrets(config: &Config, store: Arc<dyn Store>) -> Result<ResolvedSecrets, VaultError> {
    let vault = Vault::open(&config.secrets, store).await?;
    let mut secrets = ResolvedSecrets::default();
    for reference in config.secret_references() {
        let found = match &vault {
            Some(vault) => vault.get(&config.secrets.namespace, &reference.name, reference.version).await?,
            None => None,
        };
        // A secret that does not exist is reported with the position of its setting.
        secrets.insert(reference.clone(), found.map(|(_, value)| value));
    }
    Ok(secrets)
}

async fn open(config: &Config, access: StoreAccess) -> anyhow::Result<Arc<dyn Store>> {
    let endpoints = &config.state_store.endpoints;
    if !endpoints.is_empty() {
        let client = read_tls(config)?.map(|tls| tls.client(PeerRole::StateStore));
        let endpoints = Endpoints::with_tls(endpoints, client.as_ref()).context("state_store.endpoints")?;
        return Ok(Arc::new(RemoteStore::new(endpoints)));
    }
    if access == StoreAccess::Remote {
        anyhow::bail!(
            "the configuration refers to secrets, and state_store.endpoints is not set: set the URLs of the state-store \
             processes, such as [http://127.0.0.1:8471]"
        );
    }
    if config.state_store.backend == StateStoreBackend::Sqlite
        && let DatabaseLocation::Sqlite(file) = database_location(config)
        && let Some(folder) = file.parent()
    {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to create the directory {}", folder.display()))?;
    }
    Ok(open_database(config).await?)
}
