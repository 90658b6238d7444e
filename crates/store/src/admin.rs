//! Administration of a database without a server: its schema, its integrity, and its copies.

use crate::{AppliedMigration, DatabaseLocation, Error, Migration, SchemaStatus, Store};
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "sqlite")]
pub use crate::sqlite::StoreCopy;

/// A database that was opened read-only, with any schema.
#[derive(Debug)]
pub struct OpenedDatabase {
    /// The database: `sqlite` or `postgres`.
    pub backend: &'static str,
    /// Its schema, compared with that of this release.
    pub schema: SchemaStatus,
    /// The migrations that it has recorded.
    pub applied: Vec<AppliedMigration>,
    /// The store. `None` if the database does not exist.
    pub store: Option<Arc<dyn Store>>,
    /// The damage of the database itself.
    pub integrity: Vec<String>,
}

/// Parts of [`inspect`] that cost time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Whether to check the integrity. It reads the whole SQLite file.
    pub integrity: bool,
}

/// Opens a database read-only. Changes nothing. A SQLite file that does not exist is an empty database.
///
/// # Errors
/// Returns the errors of the adapter.
pub async fn inspect(
    location: &DatabaseLocation<'_>,
    inspection: Inspection,
) -> Result<OpenedDatabase, Error> {
    match location {
        DatabaseLocation::Postgres { url, .. } | DatabaseLocation::PostgresReadOnly { url, .. } => {
            inspect_postgres(url, inspection).await
        }
        DatabaseLocation::Sqlite(path) | DatabaseLocation::SqliteReadOnly(path) => {
            inspect_sqlite(path, inspection).await
        }
        DatabaseLocation::SqliteEphemeral => Err(no_file()),
    }
}

/// Applies the pending migrations up to version `to`, or all, and returns them. With `finish`, also ends the support of
/// earlier releases.
///
/// # Errors
/// Returns the errors of the adapter.
#[cfg_attr(
    not(feature = "postgres"),
    allow(clippy::unused_async, reason = "the signature does not depend on the drivers")
)]
pub async fn migrate(
    location: &DatabaseLocation<'_>,
    to: Option<i64>,
    finish: bool,
) -> Result<Vec<Migration>, Error> {
    match location {
        #[cfg(feature = "postgres")]
        DatabaseLocation::Postgres { url, .. } | DatabaseLocation::PostgresReadOnly { url, .. } => {
            crate::postgres::PostgresStore::migrate(url, to, finish).await
        }
        #[cfg(not(feature = "postgres"))]
        DatabaseLocation::Postgres { .. } | DatabaseLocation::PostgresReadOnly { .. } => {
            Err(crate::open::missing_driver("postgres"))
        }
        #[cfg(feature = "sqlite")]
        DatabaseLocation::Sqlite(path) | DatabaseLocation::SqliteReadOnly(path) => {
            crate::sqlite::SqliteStore::migrate(path, to, finish)
        }
        #[cfg(not(feature = "sqlite"))]
        DatabaseLocation::Sqlite(_) | DatabaseLocation::SqliteReadOnly(_) => {
            Err(crate::open::missing_driver("sqlite"))
        }
        DatabaseLocation::SqliteEphemeral => Err(no_file()),
    }
}

#[cfg(feature = "postgres")]
async fn inspect_postgres(url: &str, inspection: Inspection) -> Result<OpenedDatabase, Error> {
    // Checks read sequentially, so they need few connections.
    let (store, schema, applied) = crate::postgres::PostgresStore::connect_any(url, 2).await?;
    let integrity = if inspection.integrity { store.integrity().await? } else { Vec::new() };
    let store: Option<Arc<dyn Store>> = Some(Arc::new(store));
    Ok(OpenedDatabase { backend: "postgres", schema, applied, store, integrity })
}

#[cfg(not(feature = "postgres"))]
async fn inspect_postgres(_: &str, _: Inspection) -> Result<OpenedDatabase, Error> {
    Err(crate::open::missing_driver("postgres"))
}

#[cfg(feature = "sqlite")]
async fn inspect_sqlite(path: &Path, inspection: Inspection) -> Result<OpenedDatabase, Error> {
    if !path.exists() && crate::remains(path).is_none() {
        let schema = SchemaStatus::of(crate::schema::RecordedVersion::default(), crate::sqlite::MIGRATIONS);
        let (applied, integrity) = (Vec::new(), Vec::new());
        return Ok(OpenedDatabase { backend: "sqlite", schema, applied, store: None, integrity });
    }
    let (store, schema, applied) = crate::sqlite::SqliteStore::open_any(path)?;
    let integrity = if inspection.integrity { store.integrity().await? } else { Vec::new() };
    let store: Option<Arc<dyn Store>> = Some(Arc::new(store));
    Ok(OpenedDatabase { backend: "sqlite", schema, applied, store, integrity })
}

#[cfg(not(feature = "sqlite"))]
async fn inspect_sqlite(_: &Path, _: Inspection) -> Result<OpenedDatabase, Error> {
    Err(crate::open::missing_driver("sqlite"))
}

fn no_file() -> Error {
    Error::configuration("a store in memory has no schema of its own: name a file or a database")
}
