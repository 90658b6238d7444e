//! The dispatch ledger: the changes of transitions, and claims.

use super::row_encoding::{LedgerEntry, NEVER, NO_LANE};
use super::rows::{PgLedgerRow, escape_nul, uuids};
use super::{PostgresStore, commit, read, retry_conflicts, unavailable, uncertain};
use crate::ledger::lane_queue;
use crate::{
    Claim, ClaimRequest, Error, Fence, LedgerRow, LedgerRowKey, LedgerStore, TransitionWrite, WorkflowShard,
};
use async_trait::async_trait;
use goconductor_saga::{LedgerChange, Timestamp, WorkflowId};
use sqlx::PgConnection;
use uuid::Uuid;

/// Maximum time until a redelivery, in microseconds. Sums with it cannot overflow.
const LONGEST_REDELIVERY: i64 = NEVER >> 10;

#[async_trait]
impl LedgerStore for PostgresStore {
    #[tracing::instrument(level = "debug", skip_all, fields(lanes = request.lanes.len(), timers = request.timers))]
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Error> {
        if let Some(claim) = peek_due(&mut *self.connection().await?, request).await? {
            return Ok(claim);
        }
        retry_conflicts!(self.claim_once(request).await)
    }

    async fn extend(&self, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error> {
        let mut connection = self.connection().await?;
        retry_conflicts!(extend(&mut connection, rows, due_at).await)
    }

    async fn release(&self, rows: &[LedgerRowKey]) -> Result<(), Error> {
        let mut connection = self.connection().await?;
        retry_conflicts!(release(&mut connection, rows).await)
    }

    async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, Error> {
        let mut connection = self.connection().await?;
        retry_conflicts!(expire_deliveries(&mut connection, now).await)
    }

    async fn ledger(&self, ids: &[WorkflowId]) -> Result<Vec<LedgerRow>, Error> {
        read::ledger(&mut *self.connection().await?, ids).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<(String, u64)>, Error> {
        read::backlog(&mut *self.connection().await?, now).await
    }

    async fn orphans(&self, limit: u32) -> Result<Vec<LedgerRow>, Error> {
        read::orphans(&mut *self.connection().await?, limit).await
    }
}

impl PostgresStore {
    async fn claim_once(&self, request: &ClaimRequest) -> Result<Claim, Error> {
        let mut transaction = self.begin().await?;
        let claim = claim(&mut transaction, request).await?;
        commit(transaction).await?;
        Ok(claim)
    }
}

/// The ledger rows that a batch deletes and inserts.
#[derive(Default)]
pub(super) struct Rows<'a> {
    pub(super) settled_ids: Vec<Uuid>,
    pub(super) settled_keys: Vec<String>,
    pub(super) issued: Vec<LedgerEntry<'a>>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(writes: impl Iterator<Item = &'a TransitionWrite>) -> Self {
        let mut rows = Self::default();
        for write in writes {
            for change in &write.record.ledger {
                match change {
                    LedgerChange::Settle(key) => {
                        rows.settled_ids.push(write.record.id.0);
                        rows.settled_keys.push(key.to_string());
                    }
                    LedgerChange::Issue(row) => {
                        // The row replaces the row of the previous attempt.
                        if row.attempt > 1 {
                            rows.settled_ids.push(write.record.id.0);
                            rows.settled_keys.push(row.key.to_string());
                        }
                        rows.issued.push(LedgerEntry::of(write, row));
                    }
                    LedgerChange::Change(_) => {}
                }
            }
        }
        rows
    }
}

/// Returns whether a transition changes ledger rows in place.
pub(super) fn changes_in_place(write: &TransitionWrite) -> bool {
    write.record.ledger.iter().any(|change| matches!(change, LedgerChange::Change(_)))
}

/// Inserts rows that should exist but are missing or belong to another attempt.
async fn insert(connection: &mut PgConnection, rows: &[LedgerEntry<'_>]) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO dispatch (workflow_id, key, attempt, namespace, service, kind, queue, due_at,
             deliveries, issued_at)
         SELECT * FROM unnest($1::ledger_row[])
         ON CONFLICT (workflow_id, key) DO UPDATE SET attempt = excluded.attempt,
             service = excluded.service, kind = excluded.kind, queue = excluded.queue,
             due_at = excluded.due_at, deliveries = excluded.deliveries, issued_at = excluded.issued_at
         WHERE dispatch.attempt <> excluded.attempt",
    )
    .bind(rows)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}

/// Changes the rows of open attempts. Delivered rows remain delivered.
pub(super) async fn change(connection: &mut PgConnection, writes: &[&TransitionWrite]) -> Result<(), Error> {
    let mut rows = Vec::new();
    for write in writes {
        for change in &write.record.ledger {
            if let LedgerChange::Change(row) = change {
                rows.push(LedgerEntry::of(write, row));
            }
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let changed = sqlx::query(
        "UPDATE dispatch SET
             due_at = CASE
                 WHEN row.deliveries > 0 OR row.kind = 'held' OR dispatch.deliveries = 0
                     OR dispatch.kind = 'held' THEN row.due_at
                 ELSE dispatch.due_at END,
             queue = CASE WHEN row.deliveries > 0 OR dispatch.deliveries > 0 THEN row.lane ELSE row.queue END,
             deliveries = dispatch.deliveries + row.deliveries,
             issued_at = CASE WHEN row.deliveries > 0 THEN row.issued_at ELSE dispatch.issued_at END,
             kind = row.kind
         FROM ROWS FROM (unnest($1::ledger_row[]), unnest($2::text[])) AS row (id, key, attempt, namespace,
             service, kind, queue, due_at, deliveries, issued_at, lane)
         WHERE dispatch.workflow_id = ANY (ARRAY[row.id]) AND dispatch.key = row.key
             AND dispatch.attempt = row.attempt",
    )
    .bind(&rows)
    .bind(rows.iter().map(|row| &*row.lane).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?
    .rows_affected();
    if usize::try_from(changed).unwrap_or(usize::MAX) != rows.len() {
        tracing::warn!(expected = rows.len(), changed, "ledger rows were missing");
        insert(connection, &rows).await?;
    }
    Ok(())
}

/// Returns the queues of a claim, each with the publish time of its oldest message and a limit.
fn queues(request: &ClaimRequest) -> Vec<(String, i64, u32)> {
    let mut queues: Vec<_> = request
        .lanes
        .iter()
        .map(|lane| {
            let queue = escape_nul(&lane_queue(&lane.namespace, &lane.service, lane.side)).into_owned();
            let waiting_since = lane.waiting_since.map_or(NEVER, |since| since.0);
            (queue, waiting_since, lane.limit.min(request.limit))
        })
        .collect();
    if request.timers {
        queues.push((NO_LANE.to_owned(), NEVER, request.limit));
    }
    queues
}

/// The state of the queues of a claim.
struct Peek {
    /// Whether a row is due in a queue whose limit is not 0.
    is_due: Option<bool>,
    /// Time when the next row is due. It is not in the future if the limits exclude a due row.
    next: Option<i64>,
    /// The newest fencing token of the claim's fence.
    newest: Option<i64>,
}

/// Reads the state of the queues from index ranges. The ranges exclude rows of other lanes, and rows that are not due, are
/// still queued or wait for an operator, so the number of such rows does not affect the cost.
async fn peek(connection: &mut PgConnection, request: &ClaimRequest) -> Result<Peek, Error> {
    let (of, index) = WorkflowShard::slots(request.shard);
    let (mut names, mut sinces, mut has_room) = (Vec::new(), Vec::new(), Vec::new());
    for (name, waiting_since, limit) in queues(request) {
        names.push(name);
        sinces.push(waiting_since);
        has_room.push(limit > 0);
    }
    let (is_due, next, newest) = sqlx::query_as(
        "SELECT bool_or(due.due_at <= $5 AND row.has_room) AS is_due, min(due.due_at) AS next,
             (SELECT value FROM epochs WHERE name = $8) AS newest
         FROM unnest($1::text[], $2::bigint[], $3::bool[]) AS row (queue, waiting_since, has_room)
         CROSS JOIN LATERAL (
             (SELECT due_at FROM dispatch
              WHERE dispatch.queue = row.queue AND deliveries = 0 AND due_at < $4
                  AND (get_byte(uuid_send(workflow_id), 15) & 15) % $6 = $7
              ORDER BY due_at LIMIT 1)
             UNION ALL
             (SELECT due_at FROM dispatch
              WHERE dispatch.queue = row.queue AND deliveries > 0 AND kind <> 'held'
                  AND issued_at < row.waiting_since AND due_at <= $5
                  AND (get_byte(uuid_send(workflow_id), 15) & 15) % $6 = $7
              ORDER BY issued_at LIMIT 1)
             UNION ALL
             (SELECT due_at FROM dispatch
              WHERE dispatch.queue = row.queue AND deliveries > 0 AND kind <> 'held' AND due_at > $5
                  AND (get_byte(uuid_send(workflow_id), 15) & 15) % $6 = $7
              ORDER BY issued_at LIMIT 1)
         ) AS due",
    )
    .bind(names)
    .bind(sinces)
    .bind(has_room)
    .bind(NEVER)
    // A held row has the due time `NEVER`. It is not due even then.
    .bind(request.now.0.min(NEVER - 1))
    .bind(of)
    .bind(index)
    .bind(request.fence.as_ref().map(|fence| escape_nul(&format!("fence/{}", fence.name)).into_owned()))
    .fetch_one(connection)
    .await
    .map_err(unavailable)?;
    Ok(Peek { is_due, next, newest })
}

/// Checks without writing whether the claim would write, because most claims find no due row and a write costs a sync to
/// disk. Returns the result of the claim if it would not write, and `None` otherwise.
async fn peek_due(connection: &mut PgConnection, request: &ClaimRequest) -> Result<Option<Claim>, Error> {
    let Peek { is_due, next, newest } = peek(connection, request).await?;
    if let Some(fence) = &request.fence {
        check_token(fence, newest.unwrap_or_default())?;
        if newest.map(super::rows::number) != Some(fence.token) {
            return Ok(None);
        }
    }
    if is_due == Some(true) {
        return Ok(None);
    }
    Ok(Some(Claim { rows: Vec::new(), next_due: next.map(Timestamp) }))
}

/// Claims due rows. The caller commits.
async fn claim(connection: &mut PgConnection, request: &ClaimRequest) -> Result<Claim, Error> {
    if let Some(fence) = &request.fence {
        check_fence(connection, fence).await?;
    }
    let mut claim = Claim::default();
    for (queue, waiting_since, limit) in queues(request) {
        if limit > 0 {
            let mut rows = mark_delivered(connection, request, &queue, waiting_since, limit).await?;
            rows.sort_by_key(|row| row.due_at);
            claim.rows.extend(rows);
        }
    }
    claim.next_due = peek(connection, request).await?.next.map(Timestamp);
    Ok(claim)
}

/// Increments the number of deliveries of due rows. Returns the rows as they were before.
async fn mark_delivered(
    connection: &mut PgConnection,
    request: &ClaimRequest,
    queue: &str,
    waiting_since: i64,
    limit: u32,
) -> Result<Vec<LedgerRow>, Error> {
    let (of, index) = WorkflowShard::slots(request.shard);
    // Each delivery doubles the time until the next one, at most five times.
    let rows: Vec<PgLedgerRow> = sqlx::query_as(
        "WITH fresh AS (
             SELECT * FROM dispatch
             WHERE queue = $1 AND deliveries = 0 AND due_at <= $6
                 AND (get_byte(uuid_send(workflow_id), 15) & 15) % $7 = $8
             ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
         ), again AS (
             SELECT * FROM dispatch
             WHERE queue = $1 AND deliveries > 0 AND kind <> 'held' AND issued_at < $3 AND due_at <= $6
                 AND (get_byte(uuid_send(workflow_id), 15) & 15) % $7 = $8
             ORDER BY issued_at LIMIT $4 FOR UPDATE SKIP LOCKED
         ), due AS (
             SELECT * FROM (TABLE fresh UNION ALL TABLE again) AS both_kinds ORDER BY due_at LIMIT $4
         )
         UPDATE dispatch SET
             deliveries = due.deliveries + CASE
                 WHEN due.service IS NULL OR (due.kind = 'withdraw' AND due.deliveries = 0) THEN 0 ELSE 1 END,
             issued_at = $2,
             due_at = $2 + $5 * (1 << least(due.deliveries, 5)::int)
         FROM due WHERE dispatch.workflow_id = ANY (ARRAY[due.workflow_id]) AND dispatch.key = due.key
         RETURNING due.workflow_id, due.key, due.attempt, due.namespace, due.service, due.kind, due.due_at,
             due.deliveries, due.issued_at",
    )
    .bind(queue)
    .bind(request.now.0)
    .bind(waiting_since)
    .bind(i64::from(limit))
    .bind(i64::try_from(request.redelivery.as_micros()).unwrap_or(NEVER).min(LONGEST_REDELIVERY))
    // A held row has the due time `NEVER`. It is not due even then.
    .bind(request.now.0.min(NEVER - 1))
    .bind(of)
    .bind(index)
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    rows.into_iter().map(PgLedgerRow::read).collect()
}

async fn check_fence(connection: &mut PgConnection, fence: &Fence) -> Result<(), Error> {
    let token = i64::try_from(fence.token).unwrap_or(NEVER);
    // The statement locks the row until the commit, so a replaced leader cannot claim rows after its successor.
    let newest: i64 = sqlx::query_scalar(
        "INSERT INTO epochs (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = greatest(epochs.value, excluded.value) RETURNING value",
    )
    .bind(escape_nul(&format!("fence/{}", fence.name)))
    .bind(token)
    .fetch_one(connection)
    .await
    .map_err(unavailable)?;
    check_token(fence, newest)
}

fn check_token(fence: &Fence, newest: i64) -> Result<(), Error> {
    let newest = super::rows::number(newest);
    if newest > fence.token {
        return Err(Error::Fenced { name: fence.name.clone(), token: fence.token, newest });
    }
    Ok(())
}

fn columns(rows: &[LedgerRowKey]) -> (Vec<Uuid>, Vec<String>, Vec<i64>) {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let keys = rows.iter().map(|row| row.key.to_string()).collect();
    (uuids(&ids), keys, rows.iter().map(|row| i64::from(row.attempt)).collect())
}

/// Locks rows in the same order as all other statements, so that concurrent calls cannot deadlock.
fn locked(which: &'static str) -> String {
    format!(
        "WITH row AS (
             SELECT workflow_id, dispatch.key FROM dispatch
             JOIN unnest($1::uuid[], $2::text[], $3::bigint[]) AS named (id, key, attempt)
                 ON workflow_id = ANY (ARRAY[named.id]) AND dispatch.key = named.key
                     AND dispatch.attempt = named.attempt
             WHERE {which} ORDER BY workflow_id, dispatch.key FOR UPDATE OF dispatch
         )"
    )
}

async fn extend(
    connection: &mut PgConnection,
    rows: &[LedgerRowKey],
    due_at: Timestamp,
) -> Result<(), Error> {
    let (ids, keys, attempts) = columns(rows);
    // The deliveries of timers are not counted.
    let locked = locked("(deliveries > 0 OR service IS NULL)");
    let sql = format!(
        "{locked} UPDATE dispatch SET due_at = $4 FROM row
         WHERE dispatch.workflow_id = ANY (ARRAY[row.workflow_id]) AND dispatch.key = row.key AND kind <> 'held'"
    );
    // Safe: the text contains only constants.
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(ids)
        .bind(keys)
        .bind(attempts)
        .bind(due_at.0)
        .execute(connection)
        .await
        .map_err(uncertain)?;
    Ok(())
}

async fn release(connection: &mut PgConnection, rows: &[LedgerRowKey]) -> Result<(), Error> {
    let (ids, keys, attempts) = columns(rows);
    let locked = locked("deliveries > 0");
    let sql = format!(
        "{locked} UPDATE dispatch SET
             due_at = CASE WHEN kind = 'held' THEN due_at ELSE 0 END,
             queue = CASE WHEN kind = 'withdraw' AND deliveries = 1 THEN '' ELSE queue END,
             deliveries = deliveries - 1
         FROM row WHERE dispatch.workflow_id = ANY (ARRAY[row.workflow_id]) AND dispatch.key = row.key"
    );
    // Safe: the text contains only constants.
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(ids)
        .bind(keys)
        .bind(attempts)
        .execute(connection)
        .await
        .map_err(uncertain)?;
    Ok(())
}

async fn expire_deliveries(connection: &mut PgConnection, now: Timestamp) -> Result<u64, Error> {
    let changed = sqlx::query(
        "WITH row AS (
             SELECT workflow_id, key FROM dispatch WHERE deliveries > 0 AND kind <> 'held' AND due_at > $1
             ORDER BY workflow_id, key FOR UPDATE
         )
         UPDATE dispatch SET due_at = $1 FROM row
         WHERE dispatch.workflow_id = ANY (ARRAY[row.workflow_id]) AND dispatch.key = row.key",
    )
    .bind(now.0)
    .execute(connection)
    .await
    .map_err(uncertain)?;
    Ok(changed.rows_affected())
}
