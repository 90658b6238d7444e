//! The store that a command works on without a server.

use crate::args::StoreArgs;
use crate::command::config::warn_about_ignored_variables;
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use goconductor_process::database_location;
use goconductor_service_kit::config::{Config, StateStoreBackend};
use goconductor_store::{DatabaseLocation, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A command reads sequentially, so it needs few connections.
const CONNECTIONS: u32 = 2;

/// The location of a store.
#[derive(Debug, Clone)]
pub(crate) enum StoreLocation {
    /// URL of a PostgreSQL database.
    Postgres(String),
    /// Path of a SQLite file.
    Sqlite(PathBuf),
}

impl StoreLocation {
    /// Returns the store of the arguments, or the store that a server with this configuration would use.
    pub(crate) fn of(args: &StoreArgs, out: &Output) -> Result<Self> {
        if let Some(url) = &args.state_store_url {
            return Self::by_url(url);
        }
        let config = Config::load(&args.settings.sources())?;
        warn_about_ignored_variables(&config, out);
        // Without the URL, a process would use the state stores at `state_store.endpoints`.
        if config.state_store.backend == StateStoreBackend::Postgres && config.state_store.url.is_none() {
            return Err(CliError::new(
                Exit::Invalid,
                "state_store.url is missing: the command connects to the database itself",
            )
            .hint("use the configuration of the state stores, or --state-store-url")
            .code("GC3010"));
        }
        match database_location(&config) {
            DatabaseLocation::Postgres { url, .. } | DatabaseLocation::PostgresReadOnly { url, .. } => {
                Ok(Self::Postgres(url.to_owned()))
            }
            DatabaseLocation::Sqlite(path) | DatabaseLocation::SqliteReadOnly(path) => {
                Ok(Self::Sqlite(path.into_owned()))
            }
            DatabaseLocation::SqliteEphemeral => {
                Err(CliError::new(Exit::Usage, "a store in memory cannot be named").code("GC3010"))
            }
        }
    }

    pub(crate) fn by_url(url: &str) -> Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            return Ok(Self::Sqlite(path.into()));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        Err(CliError::new(Exit::Usage, "the URL of the store is neither sqlite:// nor postgres://")
            .hint("use a URL such as sqlite:///var/lib/goconductor/goconductor.db or postgres://user@127.0.0.1/goconductor")
            .code("GC3010"))
    }

    /// Returns the location as the store takes it.
    pub(crate) fn as_database(&self) -> DatabaseLocation<'_> {
        match self {
            Self::Postgres(url) => DatabaseLocation::Postgres { url, max_connections: CONNECTIONS },
            Self::Sqlite(path) => DatabaseLocation::Sqlite(path.into()),
        }
    }

    /// Opens the store read-only.
    pub(crate) async fn open_reading(&self) -> Result<Arc<dyn Store>> {
        let location = match self {
            Self::Postgres(url) => DatabaseLocation::PostgresReadOnly { url, max_connections: CONNECTIONS },
            Self::Sqlite(path) => {
                check_presence(path)?;
                DatabaseLocation::SqliteReadOnly(path.into())
            }
        };
        Ok(goconductor_store::open(location).await?)
    }

    /// Returns the location for a person, without a password.
    pub(crate) fn display(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(url) => without_password(url),
        }
    }
}

/// Checks that a file exists. Nothing is created or recovered: opening a database that was lost would delete what is left
/// of it.
pub(crate) fn check_presence(path: &Path) -> Result<()> {
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
    Ok(())
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "postgres".to_owned() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // A query can contain a password as well.
    let database = path.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}/{database}")
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn shown_location_contains_no_password() {
        let cases = [
            ("postgres://me:secret@db:5432/orders", "postgres://db:5432/orders"),
            ("postgresql://db/orders?password=secret", "postgresql://db/orders"),
            ("postgres://db", "postgres://db/"),
        ];
        for (url, shown) in cases {
            assert_eq!(without_password(url), shown);
        }
    }
}
