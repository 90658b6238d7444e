//! The configured database.

use goconductor_service_kit::config::{Config, SchemaMigration, StateStoreBackend};
use goconductor_store::{DatabaseLocation, SchemaPolicy, Store};
use std::path::Path;
use std::sync::Arc;

/// Name of the SQLite file in the data directory.
const DATABASE_FILE: &str = "goconductor.db";

/// Opens the configured database.
///
/// # Errors
/// Returns the error of the adapter. `is_retryable` returns whether a later attempt may succeed.
pub async fn open_database(config: &Config) -> Result<Arc<dyn Store>, goconductor_store::Error> {
    goconductor_store::open_with(database_location(config), schema_policy(config)).await
}

/// Returns what the configuration allows to do with a database whose schema is older.
#[must_use]
pub fn schema_policy(config: &Config) -> SchemaPolicy {
    match config.state_store.migrate {
        SchemaMigration::Auto => SchemaPolicy::Migrate,
        SchemaMigration::Verify => SchemaPolicy::Verify,
    }
}

/// Returns the location of the configured database.
#[must_use]
pub fn database_location(config: &Config) -> DatabaseLocation<'_> {
    match (config.state_store.backend, &config.state_store.url) {
        (StateStoreBackend::Postgres, Some(url)) => DatabaseLocation::Postgres {
            url: url.expose(),
            max_connections: config.state_store.max_connections,
        },
        (StateStoreBackend::Sqlite, Some(url)) => {
            DatabaseLocation::Sqlite(Path::new(url.expose().trim_start_matches("sqlite://")).into())
        }
        // A process that connects to state stores needs no URL. Without one, PostgreSQL is refused and SQLite is not used.
        (StateStoreBackend::Postgres, None) => DatabaseLocation::Postgres { url: "", max_connections: 1 },
        (StateStoreBackend::Sqlite, None) => {
            DatabaseLocation::Sqlite(config.data_dir.join(DATABASE_FILE).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_service_kit::config::{Flag, Sources};

    #[tokio::test]
    async fn postgres_without_url_is_refused_also_next_to_other_state_stores() {
        let flag = |(path, value): (&str, &str)| Flag {
            path: path.to_owned(),
            value: value.to_owned(),
            name: "--set".to_owned(),
        };
        let settings =
            [("state_store.backend", "postgres"), ("state_store.endpoints", "http://127.0.0.1:8471")];
        let flags = settings.map(flag).to_vec();
        let config = Config::load(&Sources { flags, ..Sources::default() }).expect("a client needs no URL");
        let refused = open_database(&config).await.expect_err("the URL is missing");
        assert!(!refused.is_retryable(), "{refused}");
        let has_driver = cfg!(feature = "postgres");
        assert_eq!(refused.to_string().contains("state_store.url is missing"), has_driver, "{refused}");
    }
}
