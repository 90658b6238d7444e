//! The locks of workflows. A claim is a row of `lock_claims`, and a hold is also a row of `locks`.
//!
//! The queue of a key is changed by one transaction at a time, which holds the advisory lock of the key. A transaction
//! acquires its advisory locks first and in the order of their numbers, so that no two wait for each other.

use super::locks::{acquire, wake};
use super::rows::{escape_nul, number};
use super::{NOW, PostgresStore, commit, unavailable};
use crate::lock::{SHARED_OWNER, WORKFLOW_LEASE};
use crate::{
    Error, LockOutcome, LockRequest, TransitionWrite, WantedLock, WorkflowLockOutcome, WorkflowLockRequest,
    Write,
};
use goconductor_saga::OwedKey;
use sqlx::{AssertSqlSafe, PgConnection};

impl PostgresStore {
    pub(super) async fn acquire_all_once(
        &self,
        request: &WorkflowLockRequest,
    ) -> Result<WorkflowLockOutcome, Error> {
        let mut transaction = self.begin().await?;
        let keys: Vec<(&str, &str)> =
            request.locks.iter().map(|lock| (request.namespace.as_str(), lock.key.as_str())).collect();
        serialize(&mut transaction, &keys).await?;
        let outcome = acquire_all(&mut transaction, request).await?;
        commit(transaction).await?;
        Ok(outcome)
    }
}

/// Returns the keys of the locks that a batch releases, with their namespaces.
pub(super) fn released(batch: &[Write]) -> Vec<(&str, &str)> {
    let records = batch.iter().map(|write| match write {
        Write::Start(new) => &new.write.record,
        Write::Transition(write) => &write.record,
    });
    let keys = records.flat_map(|record| {
        let keys = record.locks.iter().flat_map(|release| &release.keys);
        keys.map(move |key| (record.namespace.as_str(), key.as_str()))
    });
    keys.collect()
}

/// Waits until no other transaction changes the queues of these keys.
pub(super) async fn serialize(connection: &mut PgConnection, keys: &[(&str, &str)]) -> Result<(), Error> {
    let names: Vec<String> = keys
        .iter()
        .map(|(namespace, key)| format!("{}/{}", escape_nul(namespace), escape_nul(key)))
        .collect();
    sqlx::query(
        "SELECT pg_advisory_xact_lock(number) FROM (
             SELECT DISTINCT hashtextextended(name, 7) AS number FROM unnest($1::text[]) AS name ORDER BY 1
         ) AS numbers",
    )
    .bind(names)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}

async fn acquire_all(
    connection: &mut PgConnection,
    request: &WorkflowLockRequest,
) -> Result<WorkflowLockOutcome, Error> {
    let waits: Option<i32> = sqlx::query_scalar(
        "SELECT 1 FROM dispatch WHERE workflow_id = $1 AND key = $2 AND kind = 'run' FOR UPDATE",
    )
    .bind(request.id.0)
    .bind(request.row.to_string())
    .fetch_optional(&mut *connection)
    .await
    .map_err(unavailable)?;
    if waits.is_none() {
        return Ok(WorkflowLockOutcome::Gone);
    }
    let mut tokens = Vec::with_capacity(request.locks.len());
    for lock in &request.locks {
        let Some(token) = acquire_one(connection, request, lock).await? else {
            sqlx::query(
                "UPDATE dispatch SET due_at = $3, deliveries = 0 WHERE workflow_id = $1 AND key = $2",
            )
            .bind(request.id.0)
            .bind(request.row.to_string())
            .bind(request.poll_at.0)
            .execute(&mut *connection)
            .await
            .map_err(unavailable)?;
            return Ok(WorkflowLockOutcome::Waiting);
        };
        tokens.push(number(token));
    }
    Ok(WorkflowLockOutcome::Granted(tokens))
}

/// Acquires one lock, and returns its token. Returns `None` if the claim waits.
async fn acquire_one(
    connection: &mut PgConnection,
    request: &WorkflowLockRequest,
    lock: &WantedLock,
) -> Result<Option<i64>, Error> {
    let found: Option<(i64, Option<i64>)> = sqlx::query_as(
        "SELECT arrival, token FROM lock_claims WHERE workflow_id = $1 AND row_key = $2 AND key = $3",
    )
    .bind(request.id.0)
    .bind(request.row.to_string())
    .bind(escape_nul(&lock.key))
    .fetch_optional(&mut *connection)
    .await
    .map_err(unavailable)?;
    let arrival = match found {
        Some((_, Some(token))) if is_held(connection, request, lock, token).await? => {
            return Ok(Some(token));
        }
        // An operator released the lock while the request waited for another one.
        Some((arrival, _)) => arrival,
        None => arrive(connection, request, lock).await?,
    };
    if !is_first(connection, request, lock, arrival).await? {
        return Ok(None);
    }
    let hold = LockRequest {
        namespace: request.namespace.clone(),
        key: lock.key.clone(),
        owner: if lock.shared { SHARED_OWNER.to_owned() } else { request.owner.clone() },
        ttl: WORKFLOW_LEASE,
    };
    let token = match acquire(connection, &hold).await? {
        LockOutcome::Granted(held) => Some(i64::try_from(held.token).unwrap_or(i64::MAX)),
        LockOutcome::Held(_) | LockOutcome::Free => None,
    };
    sqlx::query("UPDATE lock_claims SET token = $4 WHERE workflow_id = $1 AND row_key = $2 AND key = $3")
        .bind(request.id.0)
        .bind(request.row.to_string())
        .bind(escape_nul(&lock.key))
        .bind(token)
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(token)
}

async fn is_held(
    connection: &mut PgConnection,
    request: &WorkflowLockRequest,
    lock: &WantedLock,
    token: i64,
) -> Result<bool, Error> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM locks
         WHERE namespace = $1 AND key = $2 AND token = $3 AND expires_at > {NOW})"
    );
    // Safe: the text contains only constants.
    sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(escape_nul(&request.namespace))
        .bind(escape_nul(&lock.key))
        .bind(token)
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}

/// Puts a claim at the end of the queue of its key. Returns its place.
async fn arrive(
    connection: &mut PgConnection,
    request: &WorkflowLockRequest,
    lock: &WantedLock,
) -> Result<i64, Error> {
    sqlx::query_scalar(
        "INSERT INTO lock_claims (workflow_id, row_key, namespace, key, shared, arrival)
         VALUES ($1, $2, $3, $4, $5, nextval('lock_arrivals')) RETURNING arrival",
    )
    .bind(request.id.0)
    .bind(request.row.to_string())
    .bind(escape_nul(&request.namespace))
    .bind(escape_nul(&lock.key))
    .bind(lock.shared)
    .fetch_one(connection)
    .await
    .map_err(unavailable)
}

/// Returns whether no earlier claim of the key waits that excludes this one.
async fn is_first(
    connection: &mut PgConnection,
    request: &WorkflowLockRequest,
    lock: &WantedLock,
    arrival: i64,
) -> Result<bool, Error> {
    sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT 1 FROM lock_claims
         WHERE namespace = $1 AND key = $2 AND arrival < $3 AND token IS NULL AND NOT (shared AND $4))",
    )
    .bind(escape_nul(&request.namespace))
    .bind(escape_nul(&lock.key))
    .bind(arrival)
    .bind(lock.shared)
    .fetch_one(connection)
    .await
    .map_err(unavailable)
}

/// Releases the locks of transitions, and makes the requests due that wait for them. The transaction has [`serialize`]d
/// the keys.
pub(super) async fn release(connection: &mut PgConnection, writes: &[&TransitionWrite]) -> Result<(), Error> {
    for write in writes {
        let record = &*write.record;
        for release in &record.locks {
            let claims: Vec<(String, Option<i64>)> = sqlx::query_as(
                "DELETE FROM lock_claims WHERE workflow_id = $1 AND row_key = $2 RETURNING key, token",
            )
            .bind(record.id.0)
            .bind(OwedKey::Timer(release.timer).to_string())
            .fetch_all(&mut *connection)
            .await
            .map_err(unavailable)?;
            let namespace = escape_nul(&record.namespace);
            for (key, token) in claims {
                if let Some(token) = token {
                    expire(connection, &namespace, &key, token).await?;
                }
                wake(connection, &namespace, &key, write.now).await?;
            }
        }
    }
    Ok(())
}

/// Ends a hold, unless another workflow shares it.
async fn expire(connection: &mut PgConnection, namespace: &str, key: &str, token: i64) -> Result<(), Error> {
    let sql = format!(
        "UPDATE locks SET expires_at = {NOW}
         WHERE namespace = $1 AND key = $2 AND token = $3 AND expires_at > {NOW}
             AND NOT EXISTS (SELECT 1 FROM lock_claims WHERE namespace = $1 AND key = $2 AND token = $3)"
    );
    // Safe: the text contains only constants.
    sqlx::query(AssertSqlSafe(sql))
        .bind(namespace)
        .bind(key)
        .bind(token)
        .execute(connection)
        .await
        .map_err(unavailable)?;
    Ok(())
}
