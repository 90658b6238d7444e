//! Locks.

use super::rows::number;
use super::{SqliteStore, clock};
use crate::lock::KEEP_FREE;
use crate::{
    Error, Lock, LockHold, LockOutcome, LockRequest, LockStore, WorkflowLockOutcome, WorkflowLockRequest,
};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::time::Duration;

#[async_trait]
impl LockStore for SqliteStore {
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockOutcome, Error> {
        let request = request.clone();
        self.write_job(move |connection| acquire(connection, &request, clock())).await
    }

    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockOutcome, Error> {
        let hold = hold.clone();
        let renew = move |connection: &Connection| {
            let now = clock();
            set_expiry(connection, &hold, now.after(ttl), now)
        };
        self.write_job(renew).await
    }

    async fn release_lock(&self, hold: &LockHold) -> Result<LockOutcome, Error> {
        let hold = hold.clone();
        let release = move |connection: &Connection| {
            let now = clock();
            let outcome = set_expiry(connection, &hold, now, now)?;
            if matches!(outcome, LockOutcome::Granted(_)) {
                wake(connection, &hold.namespace, &hold.key, now)?;
            }
            Ok(outcome)
        };
        self.write_job(release).await
    }

    async fn acquire_workflow_locks(
        &self,
        request: &WorkflowLockRequest,
    ) -> Result<WorkflowLockOutcome, Error> {
        self.acquire_all(request.clone()).await
    }

    async fn lock_holder(&self, namespace: &str, key: &str) -> Result<Option<Lock>, Error> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.read(move |connection| current_hold(connection, &namespace, &key, clock())).await
    }

    async fn locks(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<Lock>, Error> {
        let (namespace, after) = (namespace.to_owned(), after.map(str::to_owned));
        self.read(move |connection| list(connection, &namespace, after.as_deref(), limit, clock())).await
    }
}

fn lock(row: &Row<'_>) -> rusqlite::Result<Lock> {
    Ok(Lock {
        namespace: row.get(0)?,
        key: row.get(1)?,
        owner: row.get(2)?,
        token: number(row.get(3)?),
        acquired_at: Timestamp(row.get(4)?),
        expires_at: Timestamp(row.get(5)?),
    })
}

/// Returns the lock if it is held.
fn current_hold(
    connection: &Connection,
    namespace: &str,
    key: &str,
    now: Timestamp,
) -> Result<Option<Lock>, Error> {
    let sql = "SELECT namespace, key, owner, token, acquired_at, expires_at FROM locks
               WHERE namespace = ?1 AND key = ?2 AND expires_at > ?3";
    Ok(connection.prepare_cached(sql)?.query_row(params![namespace, key, now.0], lock).optional()?)
}

fn next_token(connection: &Connection) -> Result<i64, Error> {
    let sql = "INSERT INTO epochs (name, value) VALUES ('lock/token', 1)
               ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

pub(super) fn acquire(
    connection: &Connection,
    request: &LockRequest,
    now: Timestamp,
) -> Result<LockOutcome, Error> {
    let LockRequest { namespace, key, owner, ttl } = request;
    let expires_at = now.after(*ttl);
    let (token, acquired_at) = match current_hold(connection, namespace, key, now)? {
        // The response to the first call may have been lost.
        Some(lock) if lock.owner == *owner => {
            (i64::try_from(lock.token).unwrap_or(i64::MAX), lock.acquired_at)
        }
        Some(lock) => return Ok(LockOutcome::Held(lock)),
        None => (next_token(connection)?, now),
    };
    let sql = "INSERT INTO locks (namespace, key, owner, token, acquired_at, expires_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (namespace, key) DO UPDATE SET owner = excluded.owner, token = excluded.token,
                   acquired_at = excluded.acquired_at, expires_at = excluded.expires_at
               RETURNING namespace, key, owner, token, acquired_at, expires_at";
    let row = params![namespace, key, owner, token, acquired_at.0, expires_at.0];
    Ok(LockOutcome::Granted(connection.prepare_cached(sql)?.query_row(row, lock)?))
}

/// Sets the expiry of a hold. A hold of another owner is not changed.
fn set_expiry(
    connection: &Connection,
    hold: &LockHold,
    until: Timestamp,
    now: Timestamp,
) -> Result<LockOutcome, Error> {
    let Some(found) = current_hold(connection, &hold.namespace, &hold.key, now)? else {
        return Ok(LockOutcome::Free);
    };
    if found.owner != hold.owner || hold.token.is_some_and(|token| token != found.token) {
        return Ok(LockOutcome::Held(found));
    }
    connection
        .prepare_cached("UPDATE locks SET expires_at = ?3 WHERE namespace = ?1 AND key = ?2")?
        .execute(params![hold.namespace, hold.key, until.0])?;
    Ok(LockOutcome::Granted(Lock { expires_at: until, ..found }))
}

fn list(
    connection: &Connection,
    namespace: &str,
    after: Option<&str>,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<Lock>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT namespace, key, owner, token, acquired_at, expires_at FROM locks
         WHERE namespace = ?1 AND (?2 IS NULL OR key > ?2) AND expires_at > ?3 ORDER BY key LIMIT ?4",
    )?;
    let rows = statement.query_map(params![namespace, after, now.0, limit], lock)?;
    rows.map(|row| Ok(row?)).collect()
}

/// Returns the time before which a lock must have expired for its row to be removed.
fn free_before(now: Timestamp) -> i64 {
    now.0.saturating_sub(i64::try_from(KEEP_FREE.as_micros()).unwrap_or(i64::MAX))
}

/// Returns whether rows of free locks can be removed.
pub(super) fn has_free(connection: &Connection, now: Timestamp) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM locks WHERE expires_at < ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([free_before(now)], |row| row.get(0))?)
}

/// Removes the rows of locks that have been free for longer than [`KEEP_FREE`].
pub(super) fn remove_free(connection: &Connection, now: Timestamp) -> Result<(), Error> {
    connection.prepare_cached("DELETE FROM locks WHERE expires_at < ?1")?.execute([free_before(now)])?;
    Ok(())
}

/// Makes the first requests due that wait for a lock: those up to the first that does not share it.
pub(super) fn wake(connection: &Connection, namespace: &str, key: &str, now: Timestamp) -> Result<(), Error> {
    connection
        .prepare_cached(
            "UPDATE dispatch SET due_at = ?3, deliveries = 0
             WHERE kind = 'run' AND (workflow_id, key) IN (
                 SELECT workflow_id, row_key FROM lock_claims
                 WHERE namespace = ?1 AND key = ?2 AND token IS NULL AND arrival <= coalesce(
                     (SELECT min(arrival) FROM lock_claims
                      WHERE namespace = ?1 AND key = ?2 AND token IS NULL AND NOT shared), arrival))",
        )?
        .execute(params![namespace, key, now.0])?;
    Ok(())
}
