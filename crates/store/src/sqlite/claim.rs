//! The ledger's claims.

use super::rows::{LEDGER, id_bytes, ledger_row, text_of};
use crate::ledger::lane_queue;
use crate::{Claim, ClaimRequest, Error, Fence, LedgerRow, LedgerRowKey, RowKind};
use goconductor_saga::{OwedKey, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

/// The queue of timers, and of commands to be taken back that were never delivered.
const NO_LANE: &str = "";
/// Each delivery doubles the time to the next, up to this many times.
const DOUBLINGS: u32 = 5;

/// What would be claimed now, and when the next is due.
pub(super) fn due(connection: &Connection, request: &ClaimRequest) -> Result<Claim, Error> {
    let mut claim = Claim::default();
    for lane in &request.lanes {
        let queue = lane_queue(&lane.namespace, &lane.service, lane.side);
        let waiting = lane.waiting_since.map_or(i64::MAX, |since| since.0);
        due_in(connection, request.now, &queue, waiting, lane.limit.min(request.limit), &mut claim)?;
    }
    if request.timers {
        due_in(connection, request.now, NO_LANE, i64::MAX, request.limit, &mut claim)?;
    }
    Ok(claim)
}

fn due_in(
    connection: &Connection,
    now: Timestamp,
    queue: &str,
    waiting_since: i64,
    limit: u32,
    claim: &mut Claim,
) -> Result<(), Error> {
    let sql = format!(
        "SELECT {LEDGER} FROM dispatch
         WHERE queue = ?1 AND due_at <= ?2 AND (deliveries = 0 OR issued_at < ?3)
         ORDER BY due_at LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![queue, now.0, waiting_since, limit], ledger_row)?;
    let mut found = 0;
    for row in rows {
        claim.rows.push(row?.read()?);
        found += 1;
    }
    // A full page: there may be more that is due now.
    let next = if found >= limit {
        Some(now.0)
    } else {
        connection
            .prepare_cached(
                "SELECT min(due_at) FROM dispatch WHERE queue = ?1 AND due_at > ?2 AND due_at < ?3",
            )?
            .query_row(params![queue, now.0, i64::MAX], |row| row.get::<_, Option<i64>>(0))?
    };
    if let Some(next) = next.map(Timestamp) {
        claim.next_due = Some(claim.next_due.map_or(next, |known| known.min(next)));
    }
    Ok(())
}

/// Marks what is due as delivered once more.
pub(super) fn claim(connection: &Connection, request: &ClaimRequest) -> Result<Claim, Error> {
    if let Some(fence) = &request.fence {
        check_fence(connection, fence)?;
    }
    let claim = due(connection, request)?;
    let mut mark = connection.prepare_cached(
        "UPDATE dispatch SET deliveries = ?3, issued_at = ?4, due_at = ?5 WHERE workflow_id = ?1 AND key = ?2",
    )?;
    for row in &claim.rows {
        let delivered = delivered(row);
        let pause = request.redelivery.saturating_mul(1 << row.deliveries.min(DOUBLINGS));
        mark.execute(params![
            id_bytes(row.key.id),
            text_of(row.key.key),
            delivered,
            request.now.0,
            request.now.after(pause).0
        ])?;
    }
    Ok(claim)
}

fn delivered(row: &LedgerRow) -> u32 {
    match (row.key.key, row.kind, row.deliveries) {
        (OwedKey::Timer(_), _, count) | (OwedKey::Command(..), RowKind::Withdraw, count @ 0) => count,
        (OwedKey::Command(..), RowKind::Run | RowKind::Held | RowKind::Withdraw, count) => {
            count.saturating_add(1)
        }
    }
}

fn check_fence(connection: &Connection, fence: &Fence) -> Result<(), Error> {
    let name = format!("fence/{}", fence.name);
    let newest: Option<i64> = connection
        .prepare_cached("SELECT value FROM epochs WHERE name = ?1")?
        .query_row(params![name], |row| row.get(0))
        .optional()?;
    let token = i64::try_from(fence.token).unwrap_or(i64::MAX);
    match newest {
        Some(newest) if newest > token => Err(Error::Fenced {
            name: fence.name.clone(),
            token: fence.token,
            newest: super::rows::number(newest),
        }),
        Some(newest) if newest == token => Ok(()),
        Some(_) | None => {
            connection
                .prepare_cached(
                    "INSERT INTO epochs (name, value) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                )?
                .execute(params![name, token])?;
            Ok(())
        }
    }
}

pub(super) fn extend(connection: &Connection, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error> {
    let mut update = connection.prepare_cached(
        "UPDATE dispatch SET due_at = ?4
         WHERE workflow_id = ?1 AND key = ?2 AND attempt = ?3 AND kind <> 'held' AND deliveries > 0",
    )?;
    for row in rows {
        update.execute(params![id_bytes(row.id), text_of(row.key), row.attempt, due_at.0])?;
    }
    Ok(())
}

pub(super) fn release(connection: &Connection, rows: &[LedgerRowKey]) -> Result<(), Error> {
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
