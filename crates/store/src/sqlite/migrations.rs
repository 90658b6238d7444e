//! Schema migrations. A file that a newer release changed in an incompatible way is refused.

use super::clock;
use crate::Error;
use crate::schema::{
    AppliedMigration, Migration, RELEASE, RecordedVersion, START_RULES, SchemaFit, SchemaStatus,
    current_start_rules, ends_exact_version, first_start_rules,
};
use goconductor_saga::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};
use std::path::Path;

/// Defines the migrations in order: the version, the name of the file and the oldest schema version that is compatible with it.
macro_rules! migrations {
    ($($version:literal $number:literal $name:literal from $compatible_from:literal;)*) => {
        &[$(Migration {
            version: $version,
            name: $name,
            compatible_from: $compatible_from,
            sql: include_str!(concat!("../../../../migrations/sqlite/", $number, "_", $name, ".sql")),
        }),*]
    };
}

/// The migrations in order. The statements of a released migration must not change.
pub(super) const MIGRATIONS: &[Migration] = migrations! {
    1 "0001" "first" from 1;
    2 "0002" "processes" from 2;
    3 "0003" "steady" from 3;
    4 "0004" "locks" from 4;
    5 "0005" "leases" from 5;
    6 "0006" "agreements" from 6;
    7 "0007" "archive" from 7;
    8 "0008" "access_keys" from 7;
    9 "0009" "audit" from 7;
    10 "0010" "secrets" from 7;
    11 "0011" "schedules" from 7;
    12 "0012" "batches" from 7;
    13 "0013" "lock_claims" from 7;
    14 "0014" "payloads" from 7;
    15 "0015" "audit_intents" from 7;
    16 "0016" "kept_children" from 7;
    17 "0017" "labels" from 7;
};
/// The version of the last release that compares exact versions, in `user_version`.
pub(super) const LAST_EXACT: i64 = 7;
/// The table of versions. It is not a migration, because earlier releases would refuse it.
const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version         INTEGER NOT NULL PRIMARY KEY,
        name            TEXT    NOT NULL,
        compatible_from INTEGER NOT NULL,
        release         TEXT    NOT NULL,
        applied_at      INTEGER NOT NULL
    )";

/// Replaces the stored rules by later ones.
const RAISE: &str = "DO UPDATE SET value = excluded.value, revision = revision + 1, since = excluded.since
    WHERE json_extract(agreements.value, '$.version') < json_extract(excluded.value, '$.version')";

/// Applies the pending migrations up to `to`, or all. Returns those that were applied.
pub(super) fn run(connection: &mut Connection, to: Option<i64>) -> Result<Vec<Migration>, Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = recorded(&transaction)?;
    let status = SchemaStatus::of(found, MIGRATIONS);
    if status.fit() == SchemaFit::TooNew {
        status.check()?;
    }
    let (is_new, mut exact) = (found.exact == 0, found.exact);
    transaction.execute_batch(TABLE)?;
    if found.migrations.is_none()
        && let Some(baseline) = MIGRATIONS.iter().find(|migration| migration.version == exact)
    {
        // The release that applied it recorded no more than the version.
        record(&transaction, &Migration { compatible_from: exact, ..*baseline }, "")?;
    }
    let pending = status.pending.into_iter().filter(|migration| to.is_none_or(|to| migration.version <= to));
    let mut applied = Vec::new();
    for migration in pending {
        transaction.execute_batch(migration.sql)?;
        if ends_exact_version(&migration, exact, is_new, LAST_EXACT) {
            exact = migration.version;
            transaction.pragma_update(None, "user_version", exact)?;
        }
        record(&transaction, &migration, RELEASE)?;
        tracing::info!(version = migration.version, name = migration.name, "migration was applied");
        applied.push(migration);
    }
    if is_new || exact >= LAST_EXACT {
        // One process uses the file, so no earlier release runs beside this one.
        set_start_rules(&transaction, &current_start_rules(), RAISE)?;
    } else {
        set_start_rules(&transaction, &first_start_rules(exact, is_new, LAST_EXACT), "DO NOTHING")?;
    }
    transaction.commit()?;
    Ok(applied)
}

/// Ends the support of earlier releases: they refuse the file, and new workflows follow the rules of this release.
pub(super) fn finish(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = recorded(&transaction)?;
    let status = SchemaStatus::of(found, MIGRATIONS);
    status.check()?;
    if found.exact < status.release {
        transaction.pragma_update(None, "user_version", status.release)?;
    }
    transaction
        .prepare("UPDATE schema_migrations SET compatible_from = version WHERE version = ?1")?
        .execute([status.release])?;
    let update = "DO UPDATE SET value = excluded.value, revision = revision + 1, since = excluded.since";
    set_start_rules(&transaction, &current_start_rules(), update)?;
    Ok(transaction.commit()?)
}

/// Compares the file with this release.
pub(super) fn status(connection: &Connection) -> Result<SchemaStatus, Error> {
    Ok(SchemaStatus::of(recorded(connection)?, MIGRATIONS))
}

pub(super) fn check(connection: &Connection) -> Result<(), Error> {
    status(connection)?.check()
}

/// Checks that a database is a store or empty, and not the database of another program.
pub(super) fn check_owner(connection: &Connection, path: &Path) -> Result<(), Error> {
    let tables: Result<i64, _> =
        connection.query_row("SELECT count(*) FROM sqlite_master WHERE type = 'table'", [], |row| row.get(0));
    let own: &str =
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('workflows', 'dispatch')";
    let own_tables: Result<i64, _> = connection.query_row(own, [], |row| row.get(0));
    let unreadable = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            let text = format!("{}: {error}; restore the database from a backup", path.display());
            Error::configuration(text).caused_by(error)
        }
        Some(_) | None => error.into(),
    };
    let (tables, own_tables) = (tables.map_err(unreadable)?, own_tables.map_err(unreadable)?);
    if (tables > 0 || exact_version(connection)? > 0) && own_tables < 2 {
        return Err(Error::configuration(format!(
            "{} is a database of another program: choose another data directory",
            path.display()
        )));
    }
    Ok(())
}

/// Returns the recorded migrations in order.
pub(super) fn applied(connection: &Connection) -> Result<Vec<AppliedMigration>, Error> {
    if !has_table(connection, "schema_migrations")? {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare(
        "SELECT version, name, compatible_from, release, applied_at FROM schema_migrations ORDER BY version",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(AppliedMigration {
            version: row.get(0)?,
            name: row.get(1)?,
            compatible_from: row.get(2)?,
            release: row.get(3)?,
            applied_at: Timestamp(row.get(4)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn record(connection: &Connection, migration: &Migration, release: &str) -> Result<(), Error> {
    let sql = "INSERT INTO schema_migrations (version, name, compatible_from, release, applied_at)
         VALUES (?1, ?2, ?3, ?4, ?5)";
    let Migration { version, name, compatible_from, .. } = migration;
    connection.execute(sql, params![version, name, compatible_from, release, clock().0])?;
    Ok(())
}

/// Sets the rules of new workflows. `on_conflict` is the action if they are set.
fn set_start_rules(connection: &Connection, value: &str, on_conflict: &'static str) -> Result<(), Error> {
    if !has_table(connection, "agreements")? {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO agreements (name, revision, value, since) VALUES (?1, 1, ?2, ?3)
         ON CONFLICT (name) {on_conflict}"
    );
    connection.execute(&sql, params![START_RULES, value, clock().0])?;
    Ok(())
}

fn has_table(connection: &Connection, name: &str) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1)";
    Ok(connection.query_row(sql, [name], |row| row.get(0))?)
}

fn recorded(connection: &Connection) -> Result<RecordedVersion, Error> {
    let exact = exact_version(connection)?;
    if !has_table(connection, "schema_migrations")? {
        return Ok(RecordedVersion { exact, migrations: None });
    }
    let sql = "SELECT max(version), max(compatible_from) FROM schema_migrations";
    let row: (Option<i64>, Option<i64>) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(RecordedVersion { exact, migrations: row.0.zip(row.1) })
}

fn exact_version(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
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
