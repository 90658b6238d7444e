//! The databases of a measurement: each is empty at first, and gone at the end.

use crate::figures::{rounded, to_f64, to_u64};
use crate::meter::{Role, Target};
use crate::{postgres, proc};
use anyhow::Context;
use goconductor_store::grouped::Limits;
use goconductor_store::postgres::PostgresStore;
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{KEEP, Store, UpkeepRequest};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file that holds everything, as `goconductor dev` names it.
const FILE: &str = "goconductor.db";
/// Connections of a state store.
const CONNECTIONS: u32 = 10;

/// A database.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// One of a server.
    Postgres {
        /// Its address.
        url: String,
        /// Its name.
        name: String,
    },
}

/// The server whose databases are measured, and those that were made there.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    made: Mutex<Vec<String>>,
}

/// How large something of a database is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Size {
    /// A table with its indexes, or a file.
    pub name: String,
    /// On the disk.
    pub mib: f64,
}

/// Where `goconductor dev` keeps its data, within a folder of a measurement.
pub(crate) fn folder(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// What the topics of a database's own begin with.
pub(crate) fn prefix(name: &str) -> String {
    name.replace('_', "-")
}

impl Database {
    /// A file within a folder of a measurement.
    pub(crate) fn sqlite(within: &Path) -> anyhow::Result<Self> {
        let folder = folder(within);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("the folder {} can't be made", folder.display()))?;
        Ok(Self::Sqlite(folder.join(FILE)))
    }

    /// Its name in reports.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres { .. } => "postgres",
        }
    }

    /// As its state store opens it, with room for what is to come.
    pub(crate) async fn open(&self) -> anyhow::Result<Arc<dyn Store>> {
        let store: Arc<dyn Store> = match self {
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path)?),
            Self::Postgres { url, .. } => Arc::new(PostgresStore::connect(url, CONNECTIONS).await?),
        };
        let request = UpkeepRequest { now: store.now().await?, keep: Some(KEEP) };
        while store.upkeep(&request).await?.more {}
        Ok(store)
    }

    /// Groups that are written to it at once: as many as its state store does.
    pub(crate) fn lanes(&self) -> usize {
        match self {
            Self::Sqlite(_) => Limits::default().lanes,
            Self::Postgres { .. } => Limits::POSTGRES.lanes,
        }
    }

    /// Whether what it has acknowledged is on a disk.
    pub(crate) async fn is_durable(&self) -> anyhow::Result<bool> {
        match self {
            Self::Sqlite(path) => Ok(!proc::is_in_memory(path)),
            Self::Postgres { url, .. } => postgres::is_durable(url).await,
        }
    }

    /// How large its parts are.
    pub(crate) async fn sizes(&self) -> anyhow::Result<Vec<Size>> {
        let parts = match self {
            Self::Sqlite(path) => [path.clone(), path.with_extension("db-wal")]
                .into_iter()
                .map(|file| {
                    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    (name, std::fs::metadata(&file).map_or(0, |about| about.len()))
                })
                .collect(),
            Self::Postgres { url, .. } => postgres::sizes(url).await?,
        };
        let size = |(name, bytes)| Size { name, mib: rounded(to_f64(bytes) / 1024.0 / 1024.0, 2) };
        Ok(parts.into_iter().map(size).collect())
    }

    /// Clears away what a large load of rows has left behind, so that nothing of it falls into a measurement.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        match self {
            // Its log is folded in when it is closed.
            Self::Sqlite(_) => Ok(()),
            Self::Postgres { url, .. } => postgres::vacuum(url).await,
        }
    }
}

impl Server {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), made: Mutex::default() }
    }

    /// An empty database of the measurement's own.
    pub(crate) async fn make(&self) -> anyhow::Result<Database> {
        let name = self.empty().await?;
        Ok(Database::Postgres { url: named(&self.url, &name), name })
    }

    /// Makes an empty database; its name.
    async fn empty(&self) -> anyhow::Result<String> {
        let name = {
            let mut made = self.made();
            let name = format!("goconductor_bench_{}_{}", std::process::id(), to_u64(made.len()) + 1);
            made.push(name.clone());
            name
        };
        postgres::make(&self.url, &name).await?;
        Ok(name)
    }

    /// Has the server write down all that it holds back, so that none of it falls into what is measured next: it does
    /// so before a database is removed, and needs no other right for that.
    pub(crate) async fn write_down(&self) -> anyhow::Result<()> {
        let name = self.empty().await?;
        postgres::remove(&self.url, &name).await?;
        // It is gone, and had no topics: nothing is left to clear.
        self.made().retain(|made| *made != name);
        Ok(())
    }

    /// Removes every database that was made; their names.
    pub(crate) async fn clear(&self) -> anyhow::Result<Vec<String>> {
        let made = std::mem::take(&mut *self.made());
        for name in &made {
            postgres::remove(&self.url, name).await?;
        }
        Ok(made)
    }

    fn made(&self) -> MutexGuard<'_, Vec<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's processes, where they are on this machine and can be seen.
    pub(crate) fn target(&self) -> Option<Target> {
        let (host, port) = address(&self.url)?;
        local("postgres", Role::Database, host, port)
    }
}

/// The processes behind an address, where that is this machine's.
pub(crate) fn local(name: &str, role: Role, host: &str, port: u16) -> Option<Target> {
    let is_local = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    let pid = proc::listens_on(port).filter(|_| is_local)?;
    Some(Target { name: name.to_owned(), role, pid, family: true })
}

/// The parts of a URL: before its path, its path, and what follows that.
fn parts(url: &str) -> (&str, &str, &str) {
    let begin = url.find("://").map_or(0, |place| place + 3);
    let path =
        url.get(begin..).and_then(|rest| rest.find(['/', '?'])).map_or(url.len(), |place| begin + place);
    let query = url.get(path..).and_then(|rest| rest.find('?')).map_or(url.len(), |place| path + place);
    let part = |from: usize, to: usize| url.get(from..to).unwrap_or_default();
    (part(0, path), part(path, query), part(query, url.len()))
}

/// The same server's database of another name.
fn named(url: &str, name: &str) -> String {
    let (server, _, query) = parts(url);
    format!("{server}/{name}{query}")
}

/// Host and port of a server.
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
    fn a_url_names_another_database() {
        for (url, expected) in [
            ("postgres://me:pw@127.0.0.1:5433/shop", "postgres://me:pw@127.0.0.1:5433/bench"),
            ("postgres://127.0.0.1", "postgres://127.0.0.1/bench"),
            ("postgres://h/shop?sslmode=require", "postgres://h/bench?sslmode=require"),
            ("postgres://h?sslmode=require", "postgres://h/bench?sslmode=require"),
        ] {
            assert_eq!(named(url, "bench"), expected, "{url}");
        }
    }

    #[test]
    fn a_url_has_a_host_and_a_port() {
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
