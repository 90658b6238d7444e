//! Locks.

use super::rows::{escape_nul, number, unescape_nul};
use super::{NOW, PostgresStore, retry_conflicts, unavailable, uncertain};
use crate::lock::KEEP_FREE;
use crate::{
    Error, Lock, LockHold, LockOutcome, LockRequest, LockStore, WorkflowLockOutcome, WorkflowLockRequest,
};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::time::Duration;

const COLUMNS: &str = "namespace, key, owner, token, acquired_at, expires_at";
/// Condition: the caller already holds the lock. The response to its first call may have been lost.
const STILL: &str = "known.owner = excluded.owner
     AND known.expires_at > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// Maximum number of attempts. An attempt is repeated if the lock was held, but is free when its holder is read.
const MAX_ATTEMPTS: u32 = 5;

#[async_trait]
impl LockStore for PostgresStore {
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockOutcome, Error> {
        acquire(&mut *self.connection().await?, request).await
    }

    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockOutcome, Error> {
        set_expiry(&mut *self.connection().await?, hold, ttl).await
    }

    async fn release_lock(&self, hold: &LockHold) -> Result<LockOutcome, Error> {
        let mut connection = self.connection().await?;
        let outcome = set_expiry(&mut connection, hold, Duration::ZERO).await?;
        if let LockOutcome::Granted(lock) = &outcome {
            let (namespace, key) = (escape_nul(&hold.namespace), escape_nul(&hold.key));
            // The release is durable. Without the wake-up, workflows that wait find the lock at their next poll.
            if let Err(error) = wake(&mut connection, &namespace, &key, lock.expires_at).await {
                tracing::debug!(%error, "workflows that wait for a lock were not woken up");
            }
        }
        Ok(outcome)
    }

    async fn acquire_workflow_locks(
        &self,
        request: &WorkflowLockRequest,
    ) -> Result<WorkflowLockOutcome, Error> {
        retry_conflicts!(self.acquire_all_once(request).await)
    }

    async fn lock_holder(&self, namespace: &str, key: &str) -> Result<Option<Lock>, Error> {
        current_hold(&mut *self.connection().await?, namespace, key).await
    }

    async fn locks(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<Lock>, Error> {
        list(&mut *self.connection().await?, namespace, after, limit).await
    }
}

fn lock(row: &PgRow) -> Result<Lock, sqlx::Error> {
    Ok(Lock {
        namespace: unescape_nul(row.try_get(0)?),
        key: unescape_nul(row.try_get(1)?),
        owner: unescape_nul(row.try_get(2)?),
        token: number(row.try_get(3)?),
        acquired_at: Timestamp(row.try_get(4)?),
        expires_at: Timestamp(row.try_get(5)?),
    })
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX >> 2)
}

/// Returns the lock if it is held.
async fn current_hold(
    connection: &mut PgConnection,
    namespace: &str,
    key: &str,
) -> Result<Option<Lock>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM locks WHERE namespace = $1 AND key = $2 AND expires_at > {NOW}");
    // Safe: the text contains only constants.
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(escape_nul(namespace))
        .bind(escape_nul(key))
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?;
    row.map(|row| lock(&row).map_err(unavailable)).transpose()
}

/// Acquires a lock with one statement. The token of an existing row is drawn while the row is locked, so it is higher than
/// all earlier tokens of the row.
pub(super) async fn acquire(
    connection: &mut PgConnection,
    request: &LockRequest,
) -> Result<LockOutcome, Error> {
    let sql = format!(
        "INSERT INTO locks AS known (namespace, key, owner, token, acquired_at, expires_at)
         VALUES ($1, $2, $3, nextval('lock_tokens'), {NOW}, {NOW} + $4)
         ON CONFLICT (namespace, key) DO UPDATE SET
             token = CASE WHEN {STILL} THEN known.token ELSE nextval('lock_tokens') END,
             acquired_at = CASE WHEN {STILL} THEN known.acquired_at ELSE {NOW} END,
             owner = excluded.owner, expires_at = {NOW} + $4
         WHERE known.owner = excluded.owner OR known.expires_at <= {NOW}
         RETURNING {COLUMNS}"
    );
    for _ in 0..MAX_ATTEMPTS {
        // Safe: the text contains only constants.
        let row = sqlx::query(AssertSqlSafe(sql.clone()))
            .bind(escape_nul(&request.namespace))
            .bind(escape_nul(&request.key))
            .bind(escape_nul(&request.owner))
            .bind(micros(request.ttl))
            .fetch_optional(&mut *connection)
            .await
            .map_err(uncertain)?;
        if let Some(row) = row {
            return lock(&row).map(LockOutcome::Granted).map_err(unavailable);
        }
        if let Some(lock) = current_hold(connection, &request.namespace, &request.key).await? {
            return Ok(LockOutcome::Held(lock));
        }
    }
    Err(Error::unavailable("the lock changed its holder during every attempt to acquire it"))
}

/// Sets the expiry of a hold to `ttl` from now. A hold of another owner is not changed.
async fn set_expiry(
    connection: &mut PgConnection,
    hold: &LockHold,
    ttl: Duration,
) -> Result<LockOutcome, Error> {
    let sql = format!(
        "UPDATE locks SET expires_at = {NOW} + $5
         WHERE namespace = $1 AND key = $2 AND owner = $3 AND ($4::bigint IS NULL OR token = $4)
             AND expires_at > {NOW}
         RETURNING {COLUMNS}"
    );
    // Safe: the text contains only constants.
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(escape_nul(&hold.namespace))
        .bind(escape_nul(&hold.key))
        .bind(escape_nul(&hold.owner))
        .bind(hold.token.map(|token| i64::try_from(token).unwrap_or(i64::MAX)))
        .bind(micros(ttl))
        .fetch_optional(&mut *connection)
        .await
        .map_err(uncertain)?;
    if let Some(row) = row {
        return lock(&row).map(LockOutcome::Granted).map_err(unavailable);
    }
    Ok(current_hold(connection, &hold.namespace, &hold.key)
        .await?
        .map_or(LockOutcome::Free, LockOutcome::Held))
}

async fn list(
    connection: &mut PgConnection,
    namespace: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Lock>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM locks
         WHERE namespace = $1 AND ($2::text IS NULL OR key > $2) AND expires_at > {NOW} ORDER BY key LIMIT $3"
    );
    // Safe: the text contains only constants.
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(escape_nul(namespace))
        .bind(after.map(escape_nul))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    rows.iter().map(|row| lock(row).map_err(unavailable)).collect()
}

/// Removes the rows of locks that have been free for longer than [`KEEP_FREE`].
pub(super) async fn remove_free(connection: &mut PgConnection, now: Timestamp) -> Result<(), Error> {
    let sql = format!("DELETE FROM locks WHERE expires_at < $1 AND expires_at < {NOW}");
    // Safe: the text contains only constants.
    sqlx::query(AssertSqlSafe(sql))
        .bind(now.0.saturating_sub(micros(KEEP_FREE)))
        .execute(connection)
        .await
        .map_err(uncertain)?;
    Ok(())
}

/// Makes the first requests due that wait for a lock: those up to the first that does not share it. The names are as
/// stored. A row that another transaction changes is left to its poll.
pub(super) async fn wake(
    connection: &mut PgConnection,
    namespace: &str,
    key: &str,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "WITH first AS (
             SELECT workflow_id, row_key FROM lock_claims
             WHERE namespace = $1 AND key = $2 AND token IS NULL AND arrival <= coalesce(
                 (SELECT min(arrival) FROM lock_claims
                  WHERE namespace = $1 AND key = $2 AND token IS NULL AND NOT shared), arrival)
         ), waiting AS (
             SELECT dispatch.workflow_id, dispatch.key FROM dispatch
             JOIN first ON dispatch.workflow_id = first.workflow_id AND dispatch.key = first.row_key
             WHERE dispatch.kind = 'run' FOR UPDATE OF dispatch SKIP LOCKED
         )
         UPDATE dispatch SET due_at = $3, deliveries = 0 FROM waiting
         WHERE dispatch.workflow_id = waiting.workflow_id AND dispatch.key = waiting.key",
    )
    .bind(namespace)
    .bind(key)
    .bind(now.0)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}
