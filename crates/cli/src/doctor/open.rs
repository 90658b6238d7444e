//! Opening of the store to check.

use crate::args::DoctorArgs;
use crate::command::config::warn_about_ignored_variables;
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use goconductor_service_kit::config::{Config, StateStoreBackend};
use goconductor_store::{DatabaseLocation, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A check reads sequentially, so it needs few connections.
const CONNECTIONS: u32 = 2;

/// Opens the store of the arguments, or the store that a server with this configuration would use.
pub(super) async fn store(args: &DoctorArgs, out: &Output) -> Result<Arc<dyn Store>> {
    if let Some(url) = &args.state_store_url {
        return by_url(url).await;
    }
    let config = Config::load(&args.settings.sources())?;
    warn_about_ignored_variables(&config, out);
    match (config.state_store.backend, &config.state_store.url) {
        (_, Some(url)) => by_url(url.expose()).await,
        (StateStoreBackend::Sqlite | StateStoreBackend::Postgres, None) => {
            sqlite(&config.data_dir.join(goconductor_process::DATABASE_FILE)).await
        }
    }
}

async fn by_url(url: &str) -> Result<Arc<dyn Store>> {
    if let Some(path) = url.strip_prefix("sqlite://") {
        return sqlite(&PathBuf::from(path)).await;
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let location = DatabaseLocation::PostgresReadOnly { url, max_connections: CONNECTIONS };
        return Ok(goconductor_store::open(location).await?);
    }
    Err(CliError::new(Exit::Usage, "the URL of the store is neither sqlite:// nor postgres://")
        .hint("use a URL such as sqlite:///var/lib/goconductor/goconductor.db or postgres://user@127.0.0.1/goconductor")
        .code("GC3010"))
}

async fn sqlite(path: &Path) -> Result<Arc<dyn Store>> {
    // Nothing is created or recovered here: opening a database that was lost would delete what is left of it.
    if let Some(remains) = goconductor_store::remains(path) {
        return Err(CliError::new(Exit::Other, remains)
            .hint("do not start a server on it; see \"Restore\" in the documentation of backups")
            .code("GC3010"));
    }
    if !path.exists() {
        return Err(CliError::new(Exit::NotFound, format!("no store exists at {}", path.display()))
            .hint("set its location with --data-dir, --config or --state-store-url")
            .code("GC3010"));
    }
    Ok(goconductor_store::open(DatabaseLocation::SqliteReadOnly(path.into())).await?)
}
