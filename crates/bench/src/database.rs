//! The databases of a measurement. Each is created empty and dropped at the end.

use crate::figures::{rounded, to_f64, to_u64};
use crate::meter::{MeteredProcess, Role};
use crate::{postgres, proc};
use anyhow::Context;
use goconductor_store::batching::Limits;
use goconductor_store::postgres::PostgresStore;
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{DEFAULT_RETENTION, MaintenanceRequest, Store};
use parking_lot::Mutex;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the SQLite file of `goconductor dev`.
const SQLITE_FILE: &str = "goconductor.db";
/// The number of connections of a state store.
const CONNECTIONS: u32 = 10;

/// A database.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A database of a PostgreSQL server.
    Postgres {
        /// The URL.
        url: String,
        /// The name.
        name: String,
    },
}

/// A PostgreSQL server, with the databases that were created on it.
#[derive(Debug)]
pub(crate) struct PostgresServer {
    url: String,
    created: Mutex<Vec<String>>,
}

/// The size of a table or a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatabaseSize {
    /// The name of the table or the file.
    pub name: String,
    /// The size on disk, including indexes.
    pub mib: f64,
}

/// Returns the data directory of `goconductor dev` in the directory of a measurement.
pub(crate) fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Returns the prefix of the topics that belong to a database.
pub(crate) fn topic_prefix(name: &str) -> String {
    name.replace('_', "-")
}

impl Database {
    /// Creates a SQLite database in the directory of a measurement.
    pub(crate) fn sqlite(within: &Path) -> anyhow::Result<Self> {
        let folder = data_dir(within);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("failed to create the directory {}", folder.display()))?;
        Ok(Self::Sqlite(folder.join(SQLITE_FILE)))
    }

    /// Returns the name in reports.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres { .. } => "postgres",
        }
    }

    /// Opens the database as its state store does, and runs its maintenance, which creates partitions.
    pub(crate) async fn open(&self) -> anyhow::Result<Arc<dyn Store>> {
        let store: Arc<dyn Store> = match self {
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path)?),
            Self::Postgres { url, .. } => Arc::new(PostgresStore::connect(url, CONNECTIONS).await?),
        };
        let request =
            MaintenanceRequest { now: store.now().await?, retention: Some(DEFAULT_RETENTION).into() };
        while store.maintain(&request).await?.more {}
        Ok(store)
    }

    /// Returns the number of concurrent batches of its state store.
    pub(crate) fn max_concurrent_batches(&self) -> usize {
        match self {
            Self::Sqlite(_) => Limits::default().max_concurrent_batches,
            Self::Postgres { .. } => Limits::POSTGRES.max_concurrent_batches,
        }
    }

    /// Whether acknowledged writes are on a disk.
    pub(crate) async fn is_durable(&self) -> anyhow::Result<bool> {
        match self {
            Self::Sqlite(path) => Ok(!proc::is_in_memory(path)),
            Self::Postgres { url, .. } => postgres::is_durable(url).await,
        }
    }

    /// Returns the sizes of its tables or files.
    pub(crate) async fn sizes(&self) -> anyhow::Result<Vec<DatabaseSize>> {
        let parts = match self {
            Self::Sqlite(path) => [path.clone(), path.with_extension("db-wal")]
                .into_iter()
                .map(|file| {
                    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    (name, std::fs::metadata(&file).map_or(0, |metadata| metadata.len()))
                })
                .collect(),
            Self::Postgres { url, .. } => postgres::sizes(url).await?,
        };
        let size = |(name, bytes)| DatabaseSize { name, mib: rounded(to_f64(bytes) / 1024.0 / 1024.0, 2) };
        Ok(parts.into_iter().map(size).collect())
    }

    /// Vacuums after a bulk load, so that no vacuum falls into a measurement.
    pub(crate) async fn vacuum(&self) -> anyhow::Result<()> {
        match self {
            // Closing SQLite has already run a checkpoint.
            Self::Sqlite(_) => Ok(()),
            Self::Postgres { url, .. } => postgres::vacuum(url).await,
        }
    }
}

impl PostgresServer {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), created: Mutex::default() }
    }

    /// Creates an empty database for a measurement.
    pub(crate) async fn create(&self) -> anyhow::Result<Database> {
        let name = self.create_empty().await?;
        Ok(Database::Postgres { url: with_database(&self.url, &name), name })
    }

    /// Creates an empty database and returns its name.
    async fn create_empty(&self) -> anyhow::Result<String> {
        let name = {
            let mut created = self.created.lock();
            let name = format!("goconductor_bench_{}_{}", std::process::id(), to_u64(created.len()) + 1);
            created.push(name.clone());
            name
        };
        postgres::create(&self.url, &name).await?;
        Ok(name)
    }

    /// Makes the server flush its buffers, so that no flush falls into the next measurement. PostgreSQL runs a checkpoint
    /// before it drops a database, and unlike CHECKPOINT this needs no further privilege.
    pub(crate) async fn checkpoint(&self) -> anyhow::Result<()> {
        let name = self.create_empty().await?;
        postgres::drop_database(&self.url, &name).await?;
        // The database is dropped and has no topics, so the cleanup can skip it.
        self.created.lock().retain(|created| *created != name);
        Ok(())
    }

    /// Drops the databases that were created and returns their names.
    pub(crate) async fn clear(&self) -> anyhow::Result<Vec<String>> {
        let created = std::mem::take(&mut *self.created.lock());
        for name in &created {
            postgres::drop_database(&self.url, name).await?;
        }
        Ok(created)
    }

    /// Returns the processes of the server if they run on this machine and are visible.
    pub(crate) fn target(&self) -> Option<MeteredProcess> {
        let (host, port) = address(&self.url)?;
        local("postgres", Role::Database, host, port)
    }
}

/// Returns the process that listens on an address of this machine, with its children.
pub(crate) fn local(name: &str, role: Role, host: &str, port: u16) -> Option<MeteredProcess> {
    let is_local = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    let pid = proc::listens_on(port).filter(|_| is_local)?;
    Some(MeteredProcess { name: name.to_owned(), role, pid, family: true })
}

/// Splits a URL into the part before the path, the path, and the query.
fn parts(url: &str) -> (&str, &str, &str) {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let path = url.get(begin..).and_then(|rest| rest.find(['/', '?'])).map_or(url.len(), |at| begin + at);
    let query = url.get(path..).and_then(|rest| rest.find('?')).map_or(url.len(), |at| path + at);
    let part = |from: usize, to: usize| url.get(from..to).unwrap_or_default();
    (part(0, path), part(path, query), part(query, url.len()))
}

/// Returns the URL of another database on the same server.
fn with_database(url: &str, name: &str) -> String {
    let (server, _, query) = parts(url);
    format!("{server}/{name}{query}")
}

/// Returns the host and the port of a server.
fn address(url: &str) -> Option<(&str, u16)> {
    let (server, ..) = parts(url);
    let (_, server) = server.split_once("://")?;
    let server = server.rsplit_once('@').map_or(server, |(_, server)| server);
    match server.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => Some((host, port.parse().ok()?)),
        Some(_) | None => Some((server, 5432)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_of_another_database_keeps_the_server() {
        for (url, expected) in [
            ("postgres://me:pw@127.0.0.1:5433/shop", "postgres://me:pw@127.0.0.1:5433/bench"),
            ("postgres://127.0.0.1", "postgres://127.0.0.1/bench"),
            ("postgres://h/shop?sslmode=require", "postgres://h/bench?sslmode=require"),
            ("postgres://h?sslmode=require", "postgres://h/bench?sslmode=require"),
        ] {
            assert_eq!(with_database(url, "bench"), expected, "{url}");
        }
    }

    #[test]
    fn url_is_split_into_host_and_port() {
        for (url, expected) in [
            ("postgres://me:pw@127.0.0.1:5433/shop", Some(("127.0.0.1", 5433))),
            ("postgres://localhost/shop?x=:1", Some(("localhost", 5432))),
            ("postgres://me@[::1]:7/shop", Some(("[::1]", 7))),
            ("postgres://[::1]/shop", Some(("[::1]", 5432))),
            ("nothing", None),
        ] {
            assert_eq!(address(url), expected, "{url}");
        }
    }
}
