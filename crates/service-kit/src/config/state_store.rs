//! The section `state_store`: the database of durable state.

use super::listen_address::ListenAddress;
use super::reader::SettingReader;
use super::secret_url::SecretUrl;
use super::{database_tls, tls, value};
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
    /// Time that a workflow is kept after it ended. Zero keeps it indefinitely.
    pub retention: Duration,
    /// Listening address of a state-store process.
    pub listen: ListenAddress,
    /// URLs of the state-store processes that the other services connect to. If it is empty, each service opens the
    /// database itself.
    pub endpoints: Vec<String>,
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
    let day = Duration::from_secs(24 * 3600);
    let retention =
        reader.get("state_store.retention", &value::duration(Duration::ZERO, 36_500 * day), 30 * day);
    let listen = ListenAddress::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 8471)));
    let listen = reader.get("state_store.listen", &value::address(), listen);
    StateStoreConfig { backend, url, max_connections, migrate, retention, listen, endpoints }
}
