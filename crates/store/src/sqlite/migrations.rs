//! Schema migrations. A file of a newer release is refused.

use crate::Error;
use rusqlite::{Connection, TransactionBehavior};

/// The migrations in order. The statements of a released migration must not change. The file's `user_version` is the number
/// of migrations applied.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../../migrations/sqlite/0001_first.sql"),
    include_str!("../../../../migrations/sqlite/0002_processes.sql"),
    include_str!("../../../../migrations/sqlite/0003_steady.sql"),
    include_str!("../../../../migrations/sqlite/0004_locks.sql"),
    include_str!("../../../../migrations/sqlite/0005_leases.sql"),
    include_str!("../../../../migrations/sqlite/0006_agreements.sql"),
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

pub(super) fn check(connection: &Connection) -> Result<(), Error> {
    let (have, want) = (version(connection)?, i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX));
    if have == want {
        return Ok(());
    }
    let action = if have > want {
        "start the release that wrote it, or a newer one"
    } else {
        "start `goconductor dev` of this release on it, which applies the pending migrations"
    };
    Err(Error::Schema { reason: format!("it has version {have}, this release has {want}: {action}") })
}

fn version(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
