//! Brings a database to this release's tables, and refuses one that is of a newer release.

use super::unavailable;
use crate::Error;
use sqlx::{Connection, PgConnection};

/// In order; never changed once released.
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
];
/// Any number, the same in every process: one at a time brings the tables up to date.
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
        tracing::info!(number, "the database has new tables");
    }
    transaction.commit().await.map_err(unavailable)?;
    check(connection).await
}

pub(super) async fn check(connection: &mut PgConnection) -> Result<(), Error> {
    let (have, want) = (version(connection).await?, i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX));
    if have == want {
        return Ok(());
    }
    let what_to_do = if have > want {
        "start the release that wrote it, or a newer one"
    } else {
        "start a server over it once, which brings it up to date"
    };
    Err(Error::Schema { reason: format!("it has version {have}, this release has {want}: {what_to_do}") })
}

/// Any text may come from users, so a database that holds only some characters is of no use.
async fn check_encoding(connection: &mut PgConnection) -> Result<(), Error> {
    let encoding: String =
        sqlx::query_scalar("SHOW server_encoding").fetch_one(connection).await.map_err(unavailable)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let reason = format!(
        "its encoding is {encoding}, which does not hold every character: make one with \
         CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    );
    Err(Error::configuration(reason))
}

async fn version(connection: &mut PgConnection) -> Result<i64, Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('schema_version') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    if !there {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_version")
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}
