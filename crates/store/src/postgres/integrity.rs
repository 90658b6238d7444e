//! Damage of a database that PostgreSQL itself has recorded.

use super::{PostgresStore, unavailable};
use crate::Error;

/// Invalid indexes and constraints of the tables on the search path.
const OBJECTS: &str = "
    SELECT 'index ' || index.indexrelid::regclass || ' is invalid; recreate it with REINDEX'
    FROM pg_index AS index JOIN pg_class AS class ON class.oid = index.indexrelid
    WHERE NOT (index.indisvalid AND index.indisready) AND class.relnamespace = ANY (
        SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))
    UNION ALL
    SELECT 'constraint ' || conname || ' of ' || conrelid::regclass || ' was not validated'
    FROM pg_constraint WHERE NOT convalidated AND connamespace = ANY (
        SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))";
/// Pages whose checksums were wrong when they were read. NULL if the server has no checksums.
const CHECKSUMS: &str = "
    SELECT checksum_failures || ' pages had wrong checksums, last at ' || checksum_last_failure
        || '; restore the database from a backup'
    FROM pg_stat_database WHERE datname = current_database() AND checksum_failures > 0";
/// A collation whose sort order has changed since the indexes were built. The columns exist in PostgreSQL 15 and later.
const COLLATION: &str = "
    SELECT 'the collation changed from version ' || datcollversion || ' to '
        || pg_database_collation_actual_version(oid) || '; rebuild the indexes with REINDEX DATABASE, then run ALTER '
        || 'DATABASE … REFRESH COLLATION VERSION'
    FROM pg_database WHERE datname = current_database()
        AND datcollversion <> pg_database_collation_actual_version(oid)";
/// The first version of the server with [`COLLATION`]'s columns.
const WITH_COLLATION_VERSION: i32 = 150_000;

impl PostgresStore {
    /// Returns the damage that the server has recorded: invalid indexes, constraints that were not validated, wrong
    /// checksums and a changed collation.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    pub async fn integrity(&self) -> Result<Vec<String>, Error> {
        let mut connection = self.connection().await?;
        let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
            .fetch_one(&mut *connection)
            .await
            .map_err(unavailable)?;
        let collation = (version >= WITH_COLLATION_VERSION).then_some(COLLATION);
        let mut problems = Vec::new();
        for sql in [OBJECTS, CHECKSUMS].into_iter().chain(collation) {
            let found: Vec<String> =
                sqlx::query_scalar(sql).fetch_all(&mut *connection).await.map_err(unavailable)?;
            problems.extend(found);
        }
        Ok(problems)
    }
}
