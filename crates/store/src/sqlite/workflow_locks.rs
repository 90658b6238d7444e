//! The locks of workflows. A claim is a row of `lock_claims`, and a hold is also a row of `locks`.

use super::locks::{acquire, wake};
use super::rows::{id_bytes, number, text_of};
use super::{SqliteStore, clock};
use crate::lock::{SHARED_OWNER, WORKFLOW_LEASE};
use crate::{
    Error, LockOutcome, LockRequest, TransitionWrite, WantedLock, WorkflowLockOutcome, WorkflowLockRequest,
};
use goconductor_saga::{OwedKey, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

impl SqliteStore {
    pub(super) async fn acquire_all(
        &self,
        request: WorkflowLockRequest,
    ) -> Result<WorkflowLockOutcome, Error> {
        self.write_job(move |connection| acquire_all(connection, &request, clock())).await
    }
}

fn acquire_all(
    connection: &Connection,
    request: &WorkflowLockRequest,
    now: Timestamp,
) -> Result<WorkflowLockOutcome, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM dispatch WHERE workflow_id = ?1 AND key = ?2 AND kind = 'run')";
    let waits: bool = connection
        .prepare_cached(sql)?
        .query_row(params![id_bytes(request.id), text_of(request.row)], |row| row.get(0))?;
    if !waits {
        return Ok(WorkflowLockOutcome::Gone);
    }
    let mut tokens = Vec::with_capacity(request.locks.len());
    for lock in &request.locks {
        let Some(token) = acquire_one(connection, request, lock, now)? else {
            connection
                .prepare_cached(
                    "UPDATE dispatch SET due_at = ?3, deliveries = 0 WHERE workflow_id = ?1 AND key = ?2",
                )?
                .execute(params![id_bytes(request.id), text_of(request.row), request.poll_at.0])?;
            return Ok(WorkflowLockOutcome::Waiting);
        };
        tokens.push(number(token));
    }
    Ok(WorkflowLockOutcome::Granted(tokens))
}

/// Acquires one lock, and returns its token. Returns `None` if the claim waits.
fn acquire_one(
    connection: &Connection,
    request: &WorkflowLockRequest,
    lock: &WantedLock,
    now: Timestamp,
) -> Result<Option<i64>, Error> {
    let sql = "SELECT arrival, token FROM lock_claims WHERE workflow_id = ?1 AND row_key = ?2 AND key = ?3";
    let found: Option<(i64, Option<i64>)> = connection
        .prepare_cached(sql)?
        .query_row(params![id_bytes(request.id), text_of(request.row), lock.key], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let arrival = match found {
        Some((_, Some(token))) if is_held(connection, request, lock, token, now)? => return Ok(Some(token)),
        // An operator released the lock while the request waited for another one.
        Some((arrival, _)) => arrival,
        None => arrive(connection, request, lock)?,
    };
    if !is_first(connection, request, lock, arrival)? {
        return Ok(None);
    }
    let hold = LockRequest {
        namespace: request.namespace.clone(),
        key: lock.key.clone(),
        owner: if lock.shared { SHARED_OWNER.to_owned() } else { request.owner.clone() },
        ttl: WORKFLOW_LEASE,
    };
    let token = match acquire(connection, &hold, now)? {
        LockOutcome::Granted(held) => Some(i64::try_from(held.token).unwrap_or(i64::MAX)),
        LockOutcome::Held(_) | LockOutcome::Free => None,
    };
    connection
        .prepare_cached(
            "UPDATE lock_claims SET token = ?4 WHERE workflow_id = ?1 AND row_key = ?2 AND key = ?3",
        )?
        .execute(params![id_bytes(request.id), text_of(request.row), lock.key, token])?;
    Ok(token)
}

fn is_held(
    connection: &Connection,
    request: &WorkflowLockRequest,
    lock: &WantedLock,
    token: i64,
    now: Timestamp,
) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM locks
               WHERE namespace = ?1 AND key = ?2 AND token = ?3 AND expires_at > ?4)";
    let row = params![request.namespace, lock.key, token, now.0];
    Ok(connection.prepare_cached(sql)?.query_row(row, |row| row.get(0))?)
}

/// Puts a claim at the end of the queue of its key. Returns its place.
fn arrive(connection: &Connection, request: &WorkflowLockRequest, lock: &WantedLock) -> Result<i64, Error> {
    let sql = "INSERT INTO epochs (name, value) VALUES ('lock/arrival', 1)
               ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value";
    let arrival: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    connection
        .prepare_cached(
            "INSERT INTO lock_claims (workflow_id, row_key, namespace, key, shared, arrival, token)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL)",
        )?
        .execute(params![
            id_bytes(request.id),
            text_of(request.row),
            request.namespace,
            lock.key,
            lock.shared,
            arrival
        ])?;
    Ok(arrival)
}

/// Returns whether no earlier claim of the key waits that excludes this one.
fn is_first(
    connection: &Connection,
    request: &WorkflowLockRequest,
    lock: &WantedLock,
    arrival: i64,
) -> Result<bool, Error> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM lock_claims
               WHERE namespace = ?1 AND key = ?2 AND arrival < ?3 AND token IS NULL AND NOT (shared AND ?4))";
    let row = params![request.namespace, lock.key, arrival, lock.shared];
    Ok(connection.prepare_cached(sql)?.query_row(row, |row| row.get(0))?)
}

/// Releases the locks of a transition, and makes the requests due that wait for them.
pub(super) fn release(connection: &Connection, write: &TransitionWrite, now: Timestamp) -> Result<(), Error> {
    let record = &*write.record;
    for release in &record.locks {
        let row = text_of(OwedKey::Timer(release.timer));
        let claims: Vec<(String, Option<i64>)> = connection
            .prepare_cached(
                "DELETE FROM lock_claims WHERE workflow_id = ?1 AND row_key = ?2 RETURNING key, token",
            )?
            .query_map(params![id_bytes(record.id), row], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (key, token) in claims {
            if let Some(token) = token {
                // The last workflow that shares a lock releases it.
                connection
                    .prepare_cached(
                        "UPDATE locks SET expires_at = ?4
                         WHERE namespace = ?1 AND key = ?2 AND token = ?3 AND expires_at > ?4
                             AND NOT EXISTS (SELECT 1 FROM lock_claims
                                 WHERE namespace = ?1 AND key = ?2 AND token = ?3)",
                    )?
                    .execute(params![record.namespace, key, token, now.0])?;
            }
            wake(connection, &record.namespace, &key, write.now)?;
        }
    }
    Ok(())
}
