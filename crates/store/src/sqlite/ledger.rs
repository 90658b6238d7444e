//! The dispatch ledger.

use super::batch::NEVER;
use super::rows::{LEDGER, id_bytes, ledger_row, number, text_of};
use super::{SqliteStore, read};
use crate::ledger::lane_queue;
use crate::{
    Claim, ClaimRequest, Error, Fence, LedgerRow, LedgerRowKey, LedgerStore, LedgerWaits, RowKind,
    WorkflowShard,
};
use async_trait::async_trait;
use goconductor_saga::{OwedKey, Timestamp, WorkflowId};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// The queue of timers, and of commands to withdraw that were never delivered.
const NO_LANE: &str = "";
/// The slot of a workflow: the last four bits of its id.
const SLOT: &str = "(instr('0123456789ABCDEF', substr(hex(workflow_id), 32, 1)) - 1)";
/// Each delivery doubles the time until the next one, at most this many times.
const MAX_DOUBLINGS: u32 = 5;

#[async_trait]
impl LedgerStore for SqliteStore {
    #[tracing::instrument(level = "debug", skip_all, fields(lanes = request.lanes.len(), timers = request.timers))]
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Error> {
        let request = request.clone();
        let peeked = request.clone();
        if let Some(claim) = self.read(move |connection| peek_due(connection, &peeked)).await? {
            return Ok(claim);
        }
        self.write_job(move |connection| claim(connection, &request)).await
    }

    async fn extend(&self, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error> {
        let rows = rows.to_vec();
        self.write_job(move |connection| extend(connection, &rows, due_at)).await
    }

    async fn release(&self, rows: &[LedgerRowKey]) -> Result<(), Error> {
        let rows = rows.to_vec();
        self.write_job(move |connection| release(connection, &rows)).await
    }

    async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, Error> {
        self.write_job(move |connection| expire_deliveries(connection, now)).await
    }

    async fn ledger(&self, ids: &[WorkflowId]) -> Result<Vec<LedgerRow>, Error> {
        let ids = ids.to_vec();
        self.read(move |connection| read::ledger(connection, &ids)).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<(String, u64)>, Error> {
        self.read(move |connection| read::backlog(connection, now)).await
    }

    async fn waits(&self, now: Timestamp, claimed_after: Timestamp) -> Result<LedgerWaits, Error> {
        self.read(move |connection| waits(connection, now, claimed_after)).await
    }

    async fn orphans(&self, limit: u32) -> Result<Vec<LedgerRow>, Error> {
        self.read(move |connection| read::orphans(connection, limit)).await
    }
}

/// Counts the ledger rows that are due and those that are claimed, and finds when the next one is due.
fn waits(connection: &Connection, now: Timestamp, claimed_after: Timestamp) -> Result<LedgerWaits, Error> {
    let sql = "SELECT count(*) FILTER (WHERE due_at <= ?1), count(*) FILTER (WHERE due_at > ?2),
               min(due_at) FILTER (WHERE due_at > ?1 AND due_at <= ?2)
           FROM dispatch WHERE due_at < ?3";
    let read = |row: &Row<'_>| {
        Ok(LedgerWaits {
            due: number(row.get(0)?),
            claimed: number(row.get(1)?),
            next_due: row.get::<_, Option<i64>>(2)?.map(Timestamp),
        })
    };
    Ok(connection.prepare_cached(sql)?.query_row(params![now.0, claimed_after.0, NEVER], read)?)
}

/// Returns the queues of a claim, each with the publish time of its oldest message and a limit.
fn queues(request: &ClaimRequest) -> Vec<(String, i64, u32)> {
    let mut queues = Vec::with_capacity(request.lanes.len() + 1);
    for lane in &request.lanes {
        let waiting_since = lane.waiting_since.map_or(NEVER, |since| since.0);
        let queue = lane_queue(&lane.namespace, &lane.service, lane.side);
        queues.push((queue, waiting_since, lane.limit.min(request.limit)));
    }
    if request.timers {
        queues.push((NO_LANE.to_owned(), NEVER, request.limit));
    }
    queues
}

/// Checks without the writer whether the claim would write, because most claims find no due row. Returns the result of
/// the claim if it would not write, and `None` otherwise.
fn peek_due(connection: &Connection, request: &ClaimRequest) -> Result<Option<Claim>, Error> {
    if let Some(fence) = &request.fence
        && !is_newest(connection, fence)?
    {
        return Ok(None);
    }
    let mut claim = Claim::default();
    for (queue, waiting_since, limit) in queues(request) {
        if limit > 0 && !due_in(connection, request, &queue, waiting_since, 1)?.is_empty() {
            return Ok(None);
        }
        record_next(connection, request, &queue, waiting_since, &mut claim)?;
    }
    Ok(Some(claim))
}

fn due_in(
    connection: &Connection,
    request: &ClaimRequest,
    queue: &str,
    waiting_since: i64,
    limit: u32,
) -> Result<Vec<LedgerRow>, Error> {
    let sql = format!(
        "SELECT {LEDGER} FROM dispatch
         WHERE queue = ?1 AND due_at <= ?2 AND (deliveries = 0 OR issued_at < ?3)
             AND {SLOT} % ?5 = ?6
         ORDER BY due_at LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    // A held row has the due time `NEVER`. It is not due even then.
    let now = request.now.0.min(NEVER - 1);
    let (of, index) = WorkflowShard::slots(request.shard);
    let rows = statement.query_map(params![queue, now, waiting_since, limit, of, index], ledger_row)?;
    rows.map(|row| row?.read()).collect()
}

/// Records the time when the next row of a queue is due. It is not in the future if the limits exclude a due row.
fn record_next(
    connection: &Connection,
    request: &ClaimRequest,
    queue: &str,
    waiting_since: i64,
    claim: &mut Claim,
) -> Result<(), Error> {
    let sql = format!(
        "SELECT due_at FROM dispatch
         WHERE queue = ?1 AND due_at < ?2 AND (due_at > ?3 OR deliveries = 0 OR issued_at < ?4)
             AND {SLOT} % ?5 = ?6
         ORDER BY due_at LIMIT 1"
    );
    let (of, index) = WorkflowShard::slots(request.shard);
    let next: Option<i64> = connection
        .prepare_cached(&sql)?
        .query_row(params![queue, NEVER, request.now.0, waiting_since, of, index], |row| row.get(0))
        .optional()?;
    if let Some(next) = next.map(Timestamp) {
        claim.next_due = Some(claim.next_due.map_or(next, |earliest| earliest.min(next)));
    }
    Ok(())
}

/// Claims due rows.
fn claim(connection: &Connection, request: &ClaimRequest) -> Result<Claim, Error> {
    if let Some(fence) = &request.fence {
        store_fence(connection, fence)?;
    }
    let mut claim = Claim::default();
    for (queue, waiting_since, limit) in queues(request) {
        let rows = due_in(connection, request, &queue, waiting_since, limit)?;
        mark_delivered(connection, request, &rows)?;
        claim.rows.extend(rows);
        record_next(connection, request, &queue, waiting_since, &mut claim)?;
    }
    Ok(claim)
}

/// Increments the number of deliveries of rows.
fn mark_delivered(connection: &Connection, request: &ClaimRequest, rows: &[LedgerRow]) -> Result<(), Error> {
    let mut update = connection.prepare_cached(
        "UPDATE dispatch SET deliveries = ?3, issued_at = ?4, due_at = ?5 WHERE workflow_id = ?1 AND key = ?2",
    )?;
    for row in rows {
        let delivered = delivered(row);
        let delay = request.redelivery.saturating_mul(1 << row.deliveries.min(MAX_DOUBLINGS));
        update.execute(params![
            id_bytes(row.key.id),
            text_of(row.key.key),
            delivered,
            request.now.0,
            request.now.after(delay).0
        ])?;
    }
    Ok(())
}

fn delivered(row: &LedgerRow) -> u32 {
    match (row.key.key, row.kind, row.deliveries) {
        (OwedKey::Timer(_), _, count) | (OwedKey::Command(..), RowKind::Withdraw, count @ 0) => count,
        (OwedKey::Command(..), RowKind::Run | RowKind::Held | RowKind::Withdraw, count) => {
            count.saturating_add(1)
        }
    }
}

/// Returns whether the token of a fence is stored as the newest.
///
/// # Errors
/// Returns `Error::Fenced` if a newer token is stored.
fn is_newest(connection: &Connection, fence: &Fence) -> Result<bool, Error> {
    let newest: Option<i64> = connection
        .prepare_cached("SELECT value FROM epochs WHERE name = ?1")?
        .query_row(params![format!("fence/{}", fence.name)], |row| row.get(0))
        .optional()?;
    match newest.map(number) {
        Some(newest) if newest > fence.token => {
            Err(Error::Fenced { name: fence.name.clone(), token: fence.token, newest })
        }
        newest => Ok(newest == Some(fence.token)),
    }
}

fn store_fence(connection: &Connection, fence: &Fence) -> Result<(), Error> {
    if is_newest(connection, fence)? {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO epochs (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![format!("fence/{}", fence.name), i64::try_from(fence.token).unwrap_or(NEVER)])?;
    Ok(())
}

fn extend(connection: &Connection, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error> {
    let mut update = connection.prepare_cached(
        // The deliveries of timers are not counted.
        "UPDATE dispatch SET due_at = ?4
         WHERE workflow_id = ?1 AND key = ?2 AND attempt = ?3 AND kind <> 'held'
             AND (deliveries > 0 OR service IS NULL)",
    )?;
    for row in rows {
        update.execute(params![id_bytes(row.id), text_of(row.key), row.attempt, due_at.0])?;
    }
    Ok(())
}

fn release(connection: &Connection, rows: &[LedgerRowKey]) -> Result<(), Error> {
    let mut update = connection.prepare_cached(
        "UPDATE dispatch SET
             deliveries = deliveries - 1,
             due_at = CASE WHEN kind = 'held' THEN due_at ELSE 0 END,
             queue = CASE WHEN kind = 'withdraw' AND deliveries = 1 THEN '' ELSE queue END
         WHERE workflow_id = ?1 AND key = ?2 AND attempt = ?3 AND deliveries > 0",
    )?;
    for row in rows {
        update.execute(params![id_bytes(row.id), text_of(row.key), row.attempt])?;
    }
    Ok(())
}

fn expire_deliveries(connection: &Connection, now: Timestamp) -> Result<u64, Error> {
    let sql = "UPDATE dispatch SET due_at = ?1 WHERE deliveries > 0 AND kind <> 'held' AND due_at > ?1";
    Ok(number(i64::try_from(connection.execute(sql, [now.0])?).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::{LedgerWaits, NEVER, Timestamp, waits};
    use crate::sqlite::migrations;
    use rusqlite::{Connection, params};

    #[test]
    fn rows_are_due_or_claimed_or_wait() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrations::run(&mut connection, None).unwrap();
        let nothing = waits(&connection, Timestamp(100), Timestamp(1000)).unwrap();
        assert_eq!(nothing, LedgerWaits::default());
        for (workflow, due_at) in [(1_u8, 0), (2, 100), (3, 101), (4, 1000), (5, 1001), (6, NEVER)] {
            let sql = "INSERT INTO dispatch (workflow_id, key, attempt, namespace, service, kind, queue, due_at, deliveries,
                           issued_at)
                       VALUES (?1, 'timer/workflow', 0, 'default', NULL, 'run', '', ?2, 0, 0)";
            connection.execute(sql, params![vec![workflow; 16], due_at]).unwrap();
        }
        let found = waits(&connection, Timestamp(100), Timestamp(1000)).unwrap();
        assert_eq!(found, LedgerWaits { due: 2, claimed: 1, next_due: Some(Timestamp(101)) });
    }
}
