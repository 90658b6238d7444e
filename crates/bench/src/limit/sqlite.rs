//! The limit of SQLite, measured on one connection with the settings of the store.

use super::workload::{WORKFLOWS, WriteMode, WriteSizes, payload};
use rusqlite::{Connection, params};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

const TABLES: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -8192;
PRAGMA wal_autocheckpoint = 4000;
DROP TABLE IF EXISTS workflows;
DROP TABLE IF EXISTS events;
DROP TABLE IF EXISTS dispatch;
CREATE TABLE workflows (id BLOB NOT NULL PRIMARY KEY, seq INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    workflow_id BLOB NOT NULL, seq INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (workflow_id, seq)
) WITHOUT ROWID;
CREATE TABLE dispatch (
    workflow_id BLOB NOT NULL, key INTEGER NOT NULL, due_at INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (workflow_id, key)
) WITHOUT ROWID;
CREATE INDEX dispatch_due ON dispatch (due_at);
";

/// Writes transitions in one mode for `duration`. Returns their number and the elapsed seconds.
pub(crate) fn measure(
    path: &Path,
    bytes: WriteSizes,
    mode: WriteMode,
    duration: Duration,
) -> anyhow::Result<(u64, f64)> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(TABLES)?;
    let ids: Vec<[u8; 16]> = (0..WORKFLOWS).map(|_| *uuid::Uuid::now_v7().as_bytes()).collect();
    let transaction = connection.transaction()?;
    for id in &ids {
        transaction
            .prepare_cached("INSERT INTO workflows VALUES (?1, 0, ?2)")?
            .execute(params![id, payload(bytes.state, 0)])?;
        transaction
            .prepare_cached("INSERT INTO dispatch VALUES (?1, 0, 0, ?2)")?
            .execute(params![id, payload(bytes.ledger, 0)])?;
    }
    transaction.commit()?;
    let started = Instant::now();
    let (mut written, mut seq) = (0, 0_i64);
    while started.elapsed() < duration {
        seq += 1;
        for batch in ids.chunks(mode.batch_size) {
            let transaction = connection.transaction()?;
            for id in batch {
                write(&transaction, bytes, id, seq)?;
            }
            transaction.commit()?;
            written += crate::figures::to_u64(batch.len());
            if started.elapsed() >= duration {
                break;
            }
        }
    }
    Ok((written, started.elapsed().as_secs_f64()))
}

/// Writes one transition.
fn write(connection: &Connection, bytes: WriteSizes, id: &[u8; 16], seq: i64) -> anyhow::Result<()> {
    let number = u64::try_from(seq).unwrap_or(0);
    let changed = connection
        .prepare_cached("UPDATE workflows SET seq = ?2, state = ?3 WHERE id = ?1 AND seq = ?2 - 1")?
        .execute(params![id, seq, payload(bytes.state, number)])?;
    anyhow::ensure!(changed == 1, "an update affected no workflow");
    for event in 0..i64::try_from(bytes.events)? {
        let number_of_event = seq * i64::try_from(bytes.events)? + event;
        connection.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3)")?.execute(params![
            id,
            number_of_event,
            payload(bytes.event, number)
        ])?;
    }
    connection
        .prepare_cached("DELETE FROM dispatch WHERE workflow_id = ?1 AND key = ?2 - 1")?
        .execute(params![id, seq])?;
    connection.prepare_cached("INSERT INTO dispatch VALUES (?1, ?2, ?2, ?3)")?.execute(params![
        id,
        seq,
        payload(bytes.ledger, number)
    ])?;
    Ok(())
}
