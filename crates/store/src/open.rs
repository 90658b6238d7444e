//! Opening of a database, whichever it is.

use crate::{Error, SchemaPolicy, Store};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// The location of a database, and how it is used.
#[derive(Debug, Clone)]
pub enum DatabaseLocation<'a> {
    /// A PostgreSQL database.
    Postgres {
        /// URL of the database.
        url: &'a str,
        /// Maximum number of connections.
        max_connections: u32,
    },
    /// A PostgreSQL database that is only read. Its schema is not migrated.
    PostgresReadOnly {
        /// URL of the database.
        url: &'a str,
        /// Maximum number of connections.
        max_connections: u32,
    },
    /// A SQLite file.
    Sqlite(Cow<'a, Path>),
    /// A SQLite file that another process may write.
    SqliteReadOnly(Cow<'a, Path>),
    /// A SQLite file in a temporary directory, which is removed when the store is dropped.
    SqliteEphemeral,
}

/// Opens a database, and applies pending migrations unless it is only read.
///
/// # Errors
/// Returns `Error::Configuration` if this build does not contain the driver, and the errors of the adapter.
pub async fn open(location: DatabaseLocation<'_>) -> Result<Arc<dyn Store>, Error> {
    open_with(location, SchemaPolicy::Migrate).await
}

/// Like [`open`], with a policy for a database whose schema is older.
///
/// # Errors
/// Returns the errors of [`open`], and `Error::Unavailable` if the policy does not allow a migration that is pending.
#[cfg_attr(
    not(feature = "postgres"),
    allow(clippy::unused_async, reason = "the signature does not depend on the drivers")
)]
pub async fn open_with(
    location: DatabaseLocation<'_>,
    policy: SchemaPolicy,
) -> Result<Arc<dyn Store>, Error> {
    Ok(match location {
        #[cfg(feature = "postgres")]
        DatabaseLocation::Postgres { url: "", .. } | DatabaseLocation::PostgresReadOnly { url: "", .. } => {
            return Err(Error::configuration(
                "state_store.url is missing: set it to the address of PostgreSQL, such as \
                 postgres://user@127.0.0.1/goconductor",
            ));
        }
        #[cfg(feature = "postgres")]
        DatabaseLocation::Postgres { url, max_connections } => {
            Arc::new(crate::postgres::PostgresStore::connect_with(url, max_connections, policy).await?)
        }
        #[cfg(feature = "postgres")]
        DatabaseLocation::PostgresReadOnly { url, max_connections } => {
            Arc::new(crate::postgres::PostgresStore::connect_reading(url, max_connections).await?)
        }
        #[cfg(not(feature = "postgres"))]
        DatabaseLocation::Postgres { .. } | DatabaseLocation::PostgresReadOnly { .. } => {
            return Err(missing_driver("postgres"));
        }
        #[cfg(feature = "sqlite")]
        DatabaseLocation::Sqlite(path) => Arc::new(crate::sqlite::SqliteStore::open_with(&path, policy)?),
        #[cfg(feature = "sqlite")]
        DatabaseLocation::SqliteReadOnly(path) => Arc::new(crate::sqlite::SqliteStore::open_reading(&path)?),
        #[cfg(feature = "sqlite")]
        DatabaseLocation::SqliteEphemeral => Arc::new(crate::sqlite::SqliteStore::ephemeral()?),
        #[cfg(not(feature = "sqlite"))]
        DatabaseLocation::Sqlite(_)
        | DatabaseLocation::SqliteReadOnly(_)
        | DatabaseLocation::SqliteEphemeral => return Err(missing_driver("sqlite")),
    })
}

/// Describes what is left of a SQLite store whose file is missing or empty, and how to restore it. Returns `None` if the
/// file has content, or if nothing shows that a store was there.
#[must_use]
pub fn remains(path: &Path) -> Option<String> {
    #[cfg(feature = "sqlite")]
    let found = crate::sqlite::SqliteStore::remains(path);
    #[cfg(not(feature = "sqlite"))]
    let found = {
        let _ = path;
        None
    };
    found
}

#[cfg(not(all(feature = "postgres", feature = "sqlite")))]
pub(crate) fn missing_driver(feature: &str) -> Error {
    Error::configuration(format!(
        "this build has no driver for {feature}: build with `--features {feature}`, or build all services with all \
         drivers with `cargo build --workspace --release`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// In every build, neither location can be opened, and the reason depends on the drivers. Builds without some of them
    /// are tested with `--no-default-features`.
    #[tokio::test]
    async fn database_without_driver_is_refused_with_the_feature_to_build() {
        let missing = Path::new("/nowhere/goconductor.db");
        let cases = [
            (DatabaseLocation::SqliteReadOnly(missing.into()), "sqlite", cfg!(feature = "sqlite")),
            (
                DatabaseLocation::Postgres { url: "", max_connections: 1 },
                "postgres",
                cfg!(feature = "postgres"),
            ),
        ];
        for (location, feature, is_built) in cases {
            let refused = open(location).await.expect_err("the location does not exist");
            assert!(matches!(refused, Error::Configuration { .. }), "{refused}");
            let reason = format!("this build has no driver for {feature}: build with `--features {feature}`");
            assert_eq!(refused.to_string().contains(&reason), !is_built, "{refused}");
        }
    }
}
