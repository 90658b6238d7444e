//! Writes starts and transitions.

use super::maintenance::{count_ended, uncount};
use super::rows::{id_bytes, load_one, text_of};
use super::{clock, workflow_locks};
use crate::json::json;
use crate::ledger::queue_of;
use crate::{EncodedTransition, Error, NewWorkflow, TransitionWrite, Write, WriteOutcome};
use goconductor_saga::{Due, LedgerChange, Owed, Timestamp, WorkflowId};
use rusqlite::{Connection, OptionalExtension, params};

/// The due time of a row that is never due.
pub(super) const NEVER: i64 = i64::MAX;

pub(super) fn write(connection: &Connection, write: &Write) -> Result<WriteOutcome, Error> {
    match write {
        Write::Start(new) => start(connection, new),
        Write::Transition(write) => transition(connection, write),
    }
}

fn start(connection: &Connection, new: &NewWorkflow) -> Result<WriteOutcome, Error> {
    let record = &*new.write.record;
    if let Some(key) = &new.idempotency_key {
        let existing: Option<(Vec<u8>, String)> = connection
            .prepare_cached(
                "SELECT workflow_id, request_digest FROM start_keys WHERE namespace = ?1 AND key = ?2",
            )?
            .query_row(params![record.namespace, key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((id, digest)) = existing {
            let id = super::rows::id_of(&id)?;
            if digest != new.request_digest {
                return Ok(WriteOutcome::KeyConflict(id));
            }
            let loaded = load_one(connection, id)?.ok_or_else(|| {
                Error::corrupt(
                    format!("the start of {id}"),
                    "its idempotency key exists, but its workflow does not",
                )
            })?;
            return Ok(WriteOutcome::Replayed(Box::new(loaded)));
        }
    }
    let inserted = connection
        .prepare_cached(
            "INSERT INTO workflows (id, namespace, definition, version, status, cause, seq, state, created_at,
                 ended_at, idempotency_key, labels, error)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            id_bytes(record.id),
            record.namespace,
            record.definition,
            record.version,
            record.status.as_str(),
            record.cause.map_or("", |cause| cause.as_str()),
            number(record.seq),
            &*record.state,
            record.created_at.0,
            record.ended_at.map(|at| at.0),
            new.idempotency_key.as_deref().unwrap_or_default(),
            json("labels", &record.labels)?,
            record.error,
        ])?;
    if inserted == 0 {
        return conflict(connection, record.id);
    }
    if let Some(key) = &new.idempotency_key {
        connection
            .prepare_cached(
                "INSERT INTO start_keys (namespace, key, workflow_id, request_digest) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![record.namespace, key, id_bytes(record.id), new.request_digest])?;
    }
    if let Some(parent) = new.unnamed_parent() {
        connection
            .prepare_cached("INSERT INTO kept_children (id, parent_id) VALUES (?1, ?2)")?
            .execute(params![id_bytes(record.id), id_bytes(parent)])?;
    }
    if record.ends {
        count_ended(connection, record.id)?;
    }
    events(connection, record)?;
    ledger(connection, &new.write)?;
    Ok(WriteOutcome::Written)
}

fn transition(connection: &Connection, write: &TransitionWrite) -> Result<WriteOutcome, Error> {
    let record = &*write.record;
    let changed = connection
        .prepare_cached(
            "UPDATE workflows SET status = ?3, cause = ?4, seq = ?5, state = ?6, ended_at = ?7, error = ?8
             WHERE id = ?1 AND seq = ?2",
        )?
        .execute(params![
            id_bytes(record.id),
            number(record.from_seq),
            record.status.as_str(),
            record.cause.map_or("", |cause| cause.as_str()),
            number(record.seq),
            &*record.state,
            record.ended_at.map(|at| at.0),
            record.error,
        ])?;
    if changed == 0 {
        return conflict(connection, record.id);
    }
    if let Some(former) = record.reopens {
        uncount(connection, record, former)?;
    }
    if record.migrates {
        connection
            .prepare_cached("UPDATE workflows SET version = ?2 WHERE id = ?1")?
            .execute(params![id_bytes(record.id), record.version])?;
    }
    if record.ends {
        count_ended(connection, record.id)?;
    }
    events(connection, record)?;
    ledger(connection, write)?;
    if !record.locks.is_empty() {
        workflow_locks::release(connection, write, clock())?;
    }
    Ok(WriteOutcome::Written)
}

/// Returns the outcome of a conflict.
fn conflict(connection: &Connection, id: WorkflowId) -> Result<WriteOutcome, Error> {
    Ok(match load_one(connection, id)? {
        Some(present) => WriteOutcome::Lost(Box::new(present)),
        None => WriteOutcome::Missing,
    })
}

fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(NEVER)
}

fn events(connection: &Connection, record: &EncodedTransition) -> Result<(), Error> {
    let mut insert =
        connection.prepare_cached("INSERT INTO events (workflow_id, seq, body) VALUES (?1, ?2, ?3)")?;
    for (seq, event) in &record.events {
        insert.execute(params![id_bytes(record.id), number(*seq), &**event])?;
    }
    Ok(())
}

fn ledger(connection: &Connection, write: &TransitionWrite) -> Result<(), Error> {
    for change in &write.record.ledger {
        match change {
            LedgerChange::Settle(key) => {
                connection
                    .prepare_cached("DELETE FROM dispatch WHERE workflow_id = ?1 AND key = ?2")?
                    .execute(params![id_bytes(write.record.id), key.to_string()])?;
            }
            LedgerChange::Issue(row) => issue(connection, write, row)?,
            LedgerChange::Change(row) => change_row(connection, write, row)?,
        }
    }
    Ok(())
}

/// Returns the kind of a row, its queue before the first delivery and its due time.
fn columns(write: &TransitionWrite, row: &Owed) -> (&'static str, String, i64) {
    let queue = queue_of(&write.record.namespace, row.service.as_deref(), row.key);
    match row.due {
        Due::At(Timestamp(at)) => ("run", queue, at),
        Due::Held => ("held", queue, NEVER),
        Due::Withdraw => ("withdraw", String::new(), write.now.0),
    }
}

fn issue(connection: &Connection, write: &TransitionWrite, row: &Owed) -> Result<(), Error> {
    let published = write.publishes.contains(&row.key);
    let (kind, queue, due_at) = columns(write, row);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO dispatch (workflow_id, key, attempt, namespace, service, kind, queue,
                 due_at, deliveries, issued_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            id_bytes(write.record.id),
            text_of(row.key),
            row.attempt,
            write.record.namespace,
            row.service,
            kind,
            queue,
            if published { write.redeliver_at.0 } else { due_at },
            i64::from(published),
            write.now.0,
        ])?;
    Ok(())
}

/// Changes the row of an open attempt. A delivered row remains delivered.
fn change_row(connection: &Connection, write: &TransitionWrite, row: &Owed) -> Result<(), Error> {
    let published = write.publishes.contains(&row.key);
    let (kind, queue, due_at) = columns(write, row);
    let in_lane = queue_of(&write.record.namespace, row.service.as_deref(), row.key);
    let changed = connection
        .prepare_cached(
            "UPDATE dispatch SET
                 due_at = CASE
                     WHEN ?8 OR ?3 = 'held' OR deliveries = 0 OR kind = 'held' THEN ?5
                     ELSE due_at END,
                 queue = CASE WHEN ?8 OR deliveries > 0 THEN ?6 ELSE ?4 END,
                 deliveries = deliveries + ?8,
                 issued_at = CASE WHEN ?8 THEN ?9 ELSE issued_at END,
                 kind = ?3
             WHERE workflow_id = ?1 AND key = ?2 AND attempt = ?7",
        )?
        .execute(params![
            id_bytes(write.record.id),
            text_of(row.key),
            kind,
            queue,
            if published { write.redeliver_at.0 } else { due_at },
            in_lane,
            row.attempt,
            published,
            write.now.0,
        ])?;
    if changed == 0 {
        tracing::warn!(workflow = %write.record.id, key = %row.key, "ledger row was missing");
        return issue(connection, write, row);
    }
    Ok(())
}
