//! Schema migrations. A database of a newer release is refused.

use super::unavailable;
use crate::Error;
use sqlx::{Connection, PgConnection};

/// The migrations in order. The statements of a released migration must not change.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../../migrations/postgres/0001_first.sql"),
    include_str!("../../../../migrations/postgres/0002_processes.sql"),
    include_str!("../../../../migrations/postgres/0003_steady.sql"),
    include_str!("../../../../migrations/postgres/0004_lists.sql"),
    include_str!("../../../../migrations/postgres/0005_locks.sql"),
    include_str!("../../../../migrations/postgres/0006_leases.sql"),
    include_str!("../../../../migrations/postgres/0007_agreements.sql"),
    include_str!("../../../../migrations/postgres/0008_steps.sql"),
    include_str!("../../../../migrations/postgres/0009_in_place.sql"),
    include_str!("../../../../migrations/postgres/0010_archive.sql"),
];
/// The advisory lock for migrations. The number is arbitrary.
const LOCK: i64 = 0x676f_636f_6e64_7563;

pub(super) async fn run(connection: &mut PgConnection) -> Result<(), Error> {
    check_encoding(connection).await?;
    let mut transaction = connection.begin().await.map_err(unavailable)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let have = version(&mut transaction).await?;
    for (number, migration) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > have) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await.map_err(unavailable)?;
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
            .bind(number)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        tracing::info!(version = number, "migration was applied");
    }
    transaction.commit().await.map_err(unavailable)?;
    check(connection).await
}

pub(super) async fn check(connection: &mut PgConnection) -> Result<(), Error> {
    let (have, want) = (version(connection).await?, i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX));
    if have == want {
        return Ok(());
    }
    let action = if have > want {
        "start the release that wrote it, or a newer one"
    } else if have == 0 {
        // A server would make it an empty store, although the store may be lost or in another database.
        "it is empty; name the right database, or restore the store from a backup"
    } else {
        "make a backup, then start a server of this release on it, which applies the pending migrations"
    };
    Err(Error::Schema { reason: format!("it has version {have}, this release has {want}: {action}") })
}

/// Checks that the database can store every character, because users may submit any text.
async fn check_encoding(connection: &mut PgConnection) -> Result<(), Error> {
    let encoding: String =
        sqlx::query_scalar("SHOW server_encoding").fetch_one(connection).await.map_err(unavailable)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let reason = format!(
        "its encoding {encoding} cannot represent every character: create one with \
         CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    );
    Err(Error::configuration(reason))
}

async fn version(connection: &mut PgConnection) -> Result<i64, Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('schema_version') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    if !exists {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_version")
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}
