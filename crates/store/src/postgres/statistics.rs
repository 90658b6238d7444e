//! Figures about all workflows. Each query reads counters, or a limited number of entries from the beginning of an index
//! range.

use super::listings::KINDS;
use super::rows::{number, status_of, unescape_nul};
use super::unavailable;
use crate::maintenance::started_at;
use crate::statistics::{COUNT_LIMIT, DUE_LIMIT, LaneStatistics, OLDEST_LIMIT};
use crate::{Error, StoreStatistics};
use goconductor_saga::{Status, Timestamp, WorkflowId};
use sqlx::PgConnection;
use std::sync::LazyLock;
use uuid::Uuid;

/// The pairs of namespace and definition with open workflows. The planner does not know that there are few and would read
/// all workflows, so the query is written so that only this plan is possible.
static OPEN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "
    WITH RECURSIVE {KINDS}
    SELECT kind.namespace, open.count, running.id
    FROM kind
    CROSS JOIN LATERAL (
        SELECT count(*) AS count FROM (
            SELECT FROM listings
            WHERE namespace = kind.namespace AND definition = kind.definition AND listed = 'OPEN' LIMIT $1) AS few
    ) AS open
    LEFT JOIN LATERAL (
        SELECT few.id FROM (
            SELECT id FROM listings
            WHERE namespace = kind.namespace AND definition = kind.definition AND listed = 'OPEN'
            ORDER BY id LIMIT $2) AS few
        WHERE NOT EXISTS (
            SELECT FROM workflows WHERE workflows.id = few.id AND workflows.astray IN ('PAUSED', 'ERROR'))
        ORDER BY few.id LIMIT 1
    ) AS running ON true
    WHERE kind.listed = 'OPEN'"
    )
});

/// The open workflows that may need attention. They are few.
const ATTENTION: &str = "
    SELECT namespace, astray, cause <> '', count(*) FROM (
        SELECT namespace, astray, cause FROM workflows WHERE astray IS NOT NULL LIMIT $1) AS few
    GROUP BY 1, 2, 3";

const ENDED: &str =
    "SELECT namespace, status, sum(count)::bigint FROM ended_counts GROUP BY namespace, status";

/// The lanes with rows, and the due rows of each. The indexes are those of a claim: rows that were never delivered are
/// ordered by their due time, and delivered rows by their last delivery.
const LANES: &str = "
    WITH RECURSIVE fresh AS (
        (SELECT queue FROM dispatch WHERE deliveries = 0 ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT next.queue FROM fresh CROSS JOIN LATERAL (
            SELECT queue FROM dispatch WHERE deliveries = 0 AND queue > fresh.queue ORDER BY queue LIMIT 1) AS next
    ), taken AS (
        (SELECT queue FROM dispatch WHERE deliveries > 0 AND kind <> 'held' ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT next.queue FROM taken CROSS JOIN LATERAL (
            SELECT queue FROM dispatch WHERE deliveries > 0 AND kind <> 'held' AND queue > taken.queue
            ORDER BY queue LIMIT 1) AS next
    )
    SELECT lane.queue, due_fresh.count + due_taken.count, least(due_fresh.oldest, due_taken.oldest)
    FROM (SELECT queue FROM fresh UNION SELECT queue FROM taken) AS lane
    CROSS JOIN LATERAL (
        SELECT count(*) AS count, min(greatest(due_at, issued_at)) AS oldest FROM (
            SELECT due_at, issued_at FROM dispatch
            WHERE queue = lane.queue AND deliveries = 0 AND due_at <= $1 ORDER BY due_at LIMIT $2) AS few
    ) AS due_fresh
    CROSS JOIN LATERAL (
        SELECT count(*) AS count, min(greatest(due_at, issued_at)) AS oldest FROM (
            SELECT due_at, issued_at FROM dispatch
            WHERE queue = lane.queue AND deliveries > 0 AND kind <> 'held' ORDER BY issued_at LIMIT $2) AS few
        WHERE due_at <= $1
    ) AS due_taken";

const DEAD_LETTERS: &str = "SELECT count(*) FROM (SELECT FROM dead_letters LIMIT $1) AS few";

pub(super) async fn statistics(
    connection: &mut PgConnection,
    now: Timestamp,
) -> Result<StoreStatistics, Error> {
    let mut statistics = StoreStatistics::default();
    let ended: Vec<(String, String, i64)> =
        sqlx::query_as(ENDED).fetch_all(&mut *connection).await.map_err(unavailable)?;
    for (namespace, status, count) in ended {
        statistics.namespace(unescape_nul(namespace)).add(status_of(&status)?, number(count));
    }
    open(connection, &mut statistics).await?;
    let lanes: Vec<(String, i64, Option<i64>)> = sqlx::query_as(LANES)
        .bind(now.0)
        .bind(DUE_LIMIT)
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    for (queue, overdue, oldest) in lanes {
        let lane = LaneStatistics { overdue: number(overdue), oldest_due: oldest.map(Timestamp) };
        statistics.lanes.insert(unescape_nul(queue), lane);
    }
    let dead_letters: i64 = sqlx::query_scalar(DEAD_LETTERS)
        .bind(COUNT_LIMIT)
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    statistics.dead_letters = number(dead_letters);
    Ok(statistics)
}

/// Adds the open workflows. All that do not need attention are in progress.
async fn open(connection: &mut PgConnection, statistics: &mut StoreStatistics) -> Result<(), Error> {
    let open: Vec<(String, i64, Option<Uuid>)> = sqlx::query_as(OPEN.as_str())
        .bind(COUNT_LIMIT)
        .bind(OLDEST_LIMIT)
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    for (namespace, count, oldest) in open {
        let namespace = statistics.namespace(unescape_nul(namespace));
        namespace.add(Status::InProgress, number(count));
        if let Some(id) = oldest {
            namespace.add_running(started_at(WorkflowId(id)));
        }
    }
    let attention: Vec<(String, String, bool, i64)> =
        sqlx::query_as(ATTENTION).bind(COUNT_LIMIT).fetch_all(&mut *connection).await.map_err(unavailable)?;
    for (namespace, status, rolls_back, count) in attention {
        let (status, count) = (status_of(&status)?, number(count));
        let namespace = statistics.namespace(unescape_nul(namespace));
        namespace.add(status, count);
        if let Some(in_progress) = namespace.workflows.get_mut(&Status::InProgress) {
            *in_progress = in_progress.saturating_sub(count);
        }
        if status == Status::Error && rolls_back {
            namespace.failed_rollbacks += count;
        }
    }
    Ok(())
}
