//! The section `state_store`: the database of durable state.

use super::listen_address::ListenAddress;
use super::reader::SettingReader;
use super::secret_url::SecretUrl;
use super::{database_tls, tls, value};
use goconductor_definition::duration;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Settings of the state store.
#[derive(Debug, Clone)]
pub struct StateStoreConfig {
    /// The database.
    pub backend: StateStoreBackend,
    /// URL of the database. `None` means a SQLite file in the data directory.
    pub url: Option<SecretUrl>,
    /// Maximum number of open database connections.
    pub max_connections: u32,
    /// Treatment of a database whose schema is older than that of the process.
    pub migrate: SchemaMigration,
    /// Times that workflows are kept after they ended.
    pub retention: RetentionConfig,
    /// Listening address of a state-store process.
    pub listen: ListenAddress,
    /// URLs of the state-store processes that the other services connect to. If it is empty, each service opens the
    /// database itself.
    pub endpoints: Vec<String>,
}

/// Times that workflows are kept after they ended, by final status. `None` keeps them indefinitely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Time for completed workflows.
    pub completed: Option<Duration>,
    /// Time for workflows that were rolled back.
    pub rolled_back: Option<Duration>,
    /// Time for workflows that an operator terminated.
    pub terminated: Option<Duration>,
}

/// Database of durable state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateStoreBackend {
    /// SQLite: a file.
    Sqlite,
    /// PostgreSQL: a server.
    Postgres,
}

/// Treatment of a database whose schema is older than that of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaMigration {
    /// Migrates it.
    Auto,
    /// Waits until another process has migrated it, and is not ready.
    Verify,
}

const MIGRATIONS: &[(&str, SchemaMigration)] =
    &[("auto", SchemaMigration::Auto), ("verify", SchemaMigration::Verify)];

const BACKENDS: &[(&str, StateStoreBackend)] =
    &[("sqlite", StateStoreBackend::Sqlite), ("postgres", StateStoreBackend::Postgres)];

pub(super) fn read(reader: &mut SettingReader<'_>) -> StateStoreConfig {
    let endpoints = reader.get(
        "state_store.endpoints",
        &value::endpoints("http://127.0.0.1:8471, http://127.0.0.1:8481"),
        Vec::new(),
    );
    // The URL alone says which database it is.
    let is_postgres = |url: String| url.starts_with("postgres://") || url.starts_with("postgresql://");
    let backend = match reader.peek("state_store.url").is_some_and(is_postgres) {
        true => StateStoreBackend::Postgres,
        false => StateStoreBackend::Sqlite,
    };
    let backend = reader.get("state_store.backend", &value::choice(BACKENDS), backend);
    let postgres = value::url(&["postgres", "postgresql"], "postgres://user@127.0.0.1/goconductor");
    let url = match backend {
        StateStoreBackend::Sqlite => reader
            .optional("state_store.url", &value::url(&["sqlite"], "sqlite:///var/lib/goconductor/state.db")),
        // A process that connects to state-store processes does not need the URL of their database.
        StateStoreBackend::Postgres => {
            reader.required_if(endpoints.is_empty(), "state_store.url", &postgres, "state_store.backend")
        }
    };
    let files = tls::files(reader, "state_store.tls");
    let url = database_tls::with_tls(reader, "state_store", url, files);
    let max_connections = reader.get("state_store.max_connections", &value::integer(1, 1_000), 10);
    let migrate = reader.get("state_store.migrate", &value::choice(MIGRATIONS), SchemaMigration::Auto);
    let retention = retention(reader);
    let listen = ListenAddress::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 8471)));
    let listen = reader.get("state_store.listen", &value::address(), listen);
    StateStoreConfig { backend, url, max_connections, migrate, retention, listen, endpoints }
}

/// Shortest and longest time for which clients repeat starts, and the default: as long as a schedule catches up by default.
const DEDUPLICATION: (Duration, Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(365 * 86_400), Duration::from_secs(3600));

/// Reads the times that ended workflows are kept, and refuses those that are too short for the idempotency keys of starts.
fn retention(reader: &mut SettingReader<'_>) -> RetentionConfig {
    let day = Duration::from_secs(86_400);
    let kind = || value::duration(Duration::ZERO, 36_500 * day);
    let (min, max, default) = DEDUPLICATION;
    let needed = reader.get("state_store.deduplication", &value::duration(min, max), default);
    let base = reader.get("state_store.retention", &kind(), 30 * day);
    check_retention(reader, "state_store.retention", base, needed);
    let mut of_status = |path: &str| {
        let keep = match reader.optional(path, &kind()) {
            Some(keep) => {
                check_retention(reader, path, keep, needed);
                keep
            }
            None => base,
        };
        (!keep.is_zero()).then_some(keep)
    };
    RetentionConfig {
        completed: of_status("state_store.retention_completed"),
        rolled_back: of_status("state_store.retention_rolled_back"),
        terminated: of_status("state_store.retention_terminated"),
    }
}

fn check_retention(reader: &mut SettingReader<'_>, path: &str, keep: Duration, needed: Duration) {
    if keep.is_zero() || keep >= needed {
        return;
    }
    let (keep, needed) = (duration::format(keep), duration::format(needed));
    let message = format!(
        "is {keep}, but clients repeat starts for {needed} (state_store.deduplication), and a repeat after the retention is a \
         second workflow: set it to at least {needed}, or shorten state_store.deduplication (GC3034)"
    );
    reader.problem(path, reader.origin(path), message);
}
