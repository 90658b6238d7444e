//! Opening of the store to check.

use crate::args::DoctorArgs;
use crate::command::config::warn_about_ignored_variables;
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use goconductor_process::database_location;
use goconductor_service_kit::config::Config;
use goconductor_store::{DatabaseLocation, Store};
use std::path::Path;
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
    match database_location(&config) {
        DatabaseLocation::Postgres { url, .. } | DatabaseLocation::PostgresReadOnly { url, .. } => {
            postgres(url).await
        }
        DatabaseLocation::Sqlite(path) | DatabaseLocation::SqliteReadOnly(path) => sqlite(&path).await,
        ephemeral @ DatabaseLocation::SqliteEphemeral => Ok(goconductor_store::open(ephemeral).await?),
    }
}

async fn by_url(url: &str) -> Result<Arc<dyn Store>> {
    if let Some(path) = url.strip_prefix("sqlite://") {
        return sqlite(Path::new(path)).await;
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return postgres(url).await;
    }
    Err(CliError::new(Exit::Usage, "the URL of the store is neither sqlite:// nor postgres://")
        .hint("use a URL such as sqlite:///var/lib/goconductor/goconductor.db or postgres://user@127.0.0.1/goconductor")
        .code("GC3010"))
}

async fn postgres(url: &str) -> Result<Arc<dyn Store>> {
    let location = DatabaseLocation::PostgresReadOnly { url, max_connections: CONNECTIONS };
    Ok(goconductor_store::open(location).await?)
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
