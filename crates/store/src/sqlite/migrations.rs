//! Schema migrations. A file of a newer release is refused.

use crate::Error;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// The migrations in order. The statements of a released migration must not change. The file's `user_version` is the number
/// of migrations applied.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../../migrations/sqlite/0001_first.sql"),
    include_str!("../../../../migrations/sqlite/0002_processes.sql"),
    include_str!("../../../../migrations/sqlite/0003_steady.sql"),
    include_str!("../../../../migrations/sqlite/0004_locks.sql"),
    include_str!("../../../../migrations/sqlite/0005_leases.sql"),
    include_str!("../../../../migrations/sqlite/0006_agreements.sql"),
    include_str!("../../../../migrations/sqlite/0007_archive.sql"),
];

pub(super) fn run(connection: &mut Connection) -> Result<(), Error> {
    let have = version(connection)?;
    for (number, migration) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > have) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
        tracing::info!(version = number, "migration was applied");
    }
    check(connection)
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
    if (tables > 0 || version(connection)? > 0) && own_tables < 2 {
        return Err(Error::configuration(format!(
            "{} is a database of another program: choose another data directory",
            path.display()
        )));
    }
    Ok(())
}

pub(super) fn check(connection: &Connection) -> Result<(), Error> {
    let (have, want) = (version(connection)?, i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX));
    if have == want {
        return Ok(());
    }
    let action = if have > want {
        "start the release that wrote it, or a newer one"
    } else if have == 0 {
        // A server would make it an empty store. If there was one, its data would be lost for good.
        "it is empty; name the right location, or restore the store from a backup"
    } else {
        "make a backup, then start `goconductor dev` of this release on it, which applies the pending migrations"
    };
    Err(Error::Schema { reason: format!("it has version {have}, this release has {want}: {action}") })
}

fn version(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
