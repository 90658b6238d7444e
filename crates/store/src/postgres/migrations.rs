//! Schema migrations. A database that a newer release changed in an incompatible way is refused.

use super::{NOW, unavailable};
use crate::Error;
use crate::schema::{
    AppliedMigration, Migration, RELEASE, RecordedVersion, START_RULES, SchemaFit, SchemaStatus,
    current_start_rules, ends_exact_version, first_start_rules,
};
use goconductor_saga::Timestamp;
use sqlx::{Connection, PgConnection};

/// Defines the migrations in order: the version, the name of the file and the oldest schema version that is compatible with it.
macro_rules! migrations {
    ($($version:literal $number:literal $name:literal from $compatible_from:literal;)*) => {
        &[$(Migration {
            version: $version,
            name: $name,
            compatible_from: $compatible_from,
            sql: include_str!(concat!("../../../../migrations/postgres/", $number, "_", $name, ".sql")),
        }),*]
    };
}

/// The migrations in order. The statements of a released migration must not change.
pub(super) const MIGRATIONS: &[Migration] = migrations! {
    1 "0001" "first" from 1;
    2 "0002" "processes" from 2;
    3 "0003" "steady" from 3;
    4 "0004" "lists" from 4;
    5 "0005" "locks" from 5;
    6 "0006" "leases" from 6;
    7 "0007" "agreements" from 7;
    8 "0008" "steps" from 8;
    9 "0009" "in_place" from 9;
    10 "0010" "archive" from 9;
    11 "0011" "access_keys" from 9;
    12 "0012" "audit" from 9;
    13 "0013" "secrets" from 9;
    14 "0014" "schedules" from 9;
    15 "0015" "batches" from 9;
    16 "0016" "lock_claims" from 9;
    17 "0017" "payloads" from 9;
    18 "0018" "audit_intents" from 9;
    19 "0019" "kept_children" from 9;
};
/// The version of the last release that compares exact versions, in `schema_version`.
pub(super) const LAST_EXACT: i64 = 10;
/// The advisory lock for migrations. The number is arbitrary.
const LOCK: i64 = 0x676f_636f_6e64_7563;
/// Both tables of versions. The newer one is not a migration, because earlier releases would refuse it.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL);
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version         BIGINT NOT NULL PRIMARY KEY,
        name            TEXT   NOT NULL,
        compatible_from BIGINT NOT NULL,
        release         TEXT   NOT NULL,
        applied_at      BIGINT NOT NULL
    )";

/// Applies the pending migrations up to `to`, or all. Returns those that were applied.
pub(super) async fn run(connection: &mut PgConnection, to: Option<i64>) -> Result<Vec<Migration>, Error> {
    check_encoding(connection).await?;
    let mut transaction = connection.begin().await.map_err(unavailable)?;
    lock(&mut transaction).await?;
    let found = recorded(&mut transaction).await?;
    let status = SchemaStatus::of(found, MIGRATIONS);
    if status.fit() == SchemaFit::TooNew {
        status.check()?;
    }
    sqlx::raw_sql(TABLES).execute(&mut *transaction).await.map_err(unavailable)?;
    let (is_new, mut exact) = (found.exact == 0, found.exact);
    if found.migrations.is_none()
        && let Some(baseline) = MIGRATIONS.iter().find(|migration| migration.version == exact)
    {
        // The release that applied it recorded no more than the version.
        record(&mut transaction, &Migration { compatible_from: exact, ..*baseline }, "").await?;
    }
    let pending = status.pending.into_iter().filter(|migration| to.is_none_or(|to| migration.version <= to));
    let mut applied = Vec::new();
    for migration in pending {
        sqlx::raw_sql(migration.sql).execute(&mut *transaction).await.map_err(unavailable)?;
        if ends_exact_version(&migration, exact, is_new, LAST_EXACT) {
            exact = migration.version;
            record_exact(&mut transaction, exact).await?;
        }
        record(&mut transaction, &migration, RELEASE).await?;
        tracing::info!(version = migration.version, name = migration.name, "migration was applied");
        applied.push(migration);
    }
    let rules = first_start_rules(exact, is_new, LAST_EXACT);
    set_start_rules(&mut transaction, &rules, "DO NOTHING").await?;
    transaction.commit().await.map_err(unavailable)?;
    Ok(applied)
}

/// Ends the support of earlier releases: they refuse the database, and new workflows follow the rules of this release.
pub(super) async fn finish(connection: &mut PgConnection) -> Result<(), Error> {
    let mut transaction = connection.begin().await.map_err(unavailable)?;
    lock(&mut transaction).await?;
    let found = recorded(&mut transaction).await?;
    let status = SchemaStatus::of(found, MIGRATIONS);
    status.check()?;
    if found.exact < status.release {
        record_exact(&mut transaction, status.release).await?;
    }
    sqlx::query("UPDATE schema_migrations SET compatible_from = version WHERE version = $1")
        .bind(status.release)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let update =
        "DO UPDATE SET value = excluded.value, revision = agreements.revision + 1, since = excluded.since";
    set_start_rules(&mut transaction, &current_start_rules(), update).await?;
    transaction.commit().await.map_err(unavailable)
}

/// Compares the database with this release.
pub(super) async fn status(connection: &mut PgConnection) -> Result<SchemaStatus, Error> {
    Ok(SchemaStatus::of(recorded(connection).await?, MIGRATIONS))
}

pub(super) async fn check(connection: &mut PgConnection) -> Result<(), Error> {
    status(connection).await?.check()
}

/// Returns the recorded migrations in order.
pub(super) async fn applied(connection: &mut PgConnection) -> Result<Vec<AppliedMigration>, Error> {
    if !has_table(connection, "schema_migrations").await? {
        return Ok(Vec::new());
    }
    let rows: Vec<(i64, String, i64, String, i64)> = sqlx::query_as(
        "SELECT version, name, compatible_from, release, applied_at FROM schema_migrations ORDER BY version",
    )
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    let migration = |(version, name, compatible_from, release, at)| AppliedMigration {
        version,
        name,
        compatible_from,
        release,
        applied_at: Timestamp(at),
    };
    Ok(rows.into_iter().map(migration).collect())
}

async fn lock(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(connection)
        .await
        .map_err(unavailable)?;
    Ok(())
}

async fn record(connection: &mut PgConnection, migration: &Migration, release: &str) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO schema_migrations (version, name, compatible_from, release, applied_at)
         VALUES ($1, $2, $3, $4, {NOW})"
    );
    // Safe: the text contains only constants.
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(migration.version)
        .bind(migration.name)
        .bind(migration.compatible_from)
        .bind(release)
        .execute(connection)
        .await
        .map_err(unavailable)?;
    Ok(())
}

async fn record_exact(connection: &mut PgConnection, version: i64) -> Result<(), Error> {
    sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
        .bind(version)
        .execute(connection)
        .await
        .map_err(unavailable)?;
    Ok(())
}

/// Sets the rules of new workflows. `on_conflict` is the action if they are set.
async fn set_start_rules(
    connection: &mut PgConnection,
    value: &str,
    on_conflict: &'static str,
) -> Result<(), Error> {
    if !has_table(connection, "agreements").await? {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO agreements (name, revision, value, since) VALUES ($1, 1, $2, {NOW})
         ON CONFLICT (name) {on_conflict}"
    );
    // Safe: the text contains only constants.
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(START_RULES)
        .bind(value)
        .execute(connection)
        .await
        .map_err(unavailable)?;
    Ok(())
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

async fn has_table(connection: &mut PgConnection, name: &str) -> Result<bool, Error> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(name)
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}

async fn recorded(connection: &mut PgConnection) -> Result<RecordedVersion, Error> {
    let mut found = RecordedVersion::default();
    if has_table(connection, "schema_version").await? {
        found.exact = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_version")
            .fetch_one(&mut *connection)
            .await
            .map_err(unavailable)?;
    }
    if has_table(connection, "schema_migrations").await? {
        let row: (Option<i64>, Option<i64>) =
            sqlx::query_as("SELECT max(version), max(compatible_from) FROM schema_migrations")
                .fetch_one(connection)
                .await
                .map_err(unavailable)?;
        found.migrations = row.0.zip(row.1);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{LAST_EXACT, MIGRATIONS};

    #[test]
    fn release_before_a_migration_survives_it() {
        for (number, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!(migration.version, number, "{}", migration.name);
            let survives = migration.compatible_from < migration.version;
            assert!(survives || migration.version <= LAST_EXACT, "{} ends side by side", migration.name);
        }
    }
}
