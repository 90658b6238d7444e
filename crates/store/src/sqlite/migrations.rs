//! Brings a file to this release's tables, and refuses one that is of a newer release.

use crate::Error;
use rusqlite::{Connection, TransactionBehavior};

/// In order; never changed once released. The number of those applied is the file's `user_version`.
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
        tracing::info!(number, "the database has new tables");
    }
    check(connection)
}

pub(super) fn check(connection: &Connection) -> Result<(), Error> {
    let (have, want) = (version(connection)?, i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX));
    if have == want {
        return Ok(());
    }
    let what_to_do = if have > want {
        "start the release that wrote it, or a newer one"
    } else {
        "start `goconductor dev` over it once, which brings it up to date"
    };
    Err(Error::Schema { reason: format!("it has version {have}, this release has {want}: {what_to_do}") })
}

fn version(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
