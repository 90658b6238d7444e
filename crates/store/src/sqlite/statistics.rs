//! Figures about all workflows. Each query reads counters, or a limited number of entries from the beginning of an index
//! range.

use super::rows::{id_of, number, status_of};
use crate::maintenance::started_at;
use crate::statistics::{COUNT_LIMIT, DUE_LIMIT, LaneStatistics};
use crate::{Error, StoreStatistics};
use goconductor_saga::{Status, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

/// The namespaces, which are few. Each step of the recursion is one search in the index.
const NAMESPACES: &str = "
    WITH RECURSIVE space (name) AS (
        SELECT min(namespace) FROM workflows
        UNION ALL
        SELECT (SELECT min(namespace) FROM workflows WHERE namespace > space.name) FROM space
        WHERE space.name IS NOT NULL)
    SELECT name FROM space WHERE name IS NOT NULL";

/// The lanes with ledger rows, likewise.
const LANES: &str = "
    WITH RECURSIVE lane (name) AS (
        SELECT min(queue) FROM dispatch
        UNION ALL
        SELECT (SELECT min(queue) FROM dispatch WHERE queue > lane.name) FROM lane WHERE lane.name IS NOT NULL)
    SELECT name FROM lane WHERE name IS NOT NULL";

const ENDED: &str = "SELECT namespace, status, sum(count) FROM ended_counts GROUP BY namespace, status";

const OPEN: &str = "
    SELECT count(*) FROM (SELECT 1 FROM workflows WHERE namespace = ?1 AND status = ?2 LIMIT ?3)";

const OLDEST: &str = "SELECT id FROM workflows WHERE namespace = ?1 AND status = ?2 ORDER BY id LIMIT 1";

const FAILED_ROLLBACKS: &str = "
    SELECT count(*) FROM (SELECT cause FROM workflows WHERE namespace = ?1 AND status = 'ERROR' LIMIT ?2)
    WHERE cause <> ''";

/// A held row has a due time that is never reached.
const DUE: &str = "
    SELECT count(*), min(max(due_at, issued_at)) FROM (
        SELECT due_at, issued_at FROM dispatch WHERE queue = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3)";

const DEAD_LETTERS: &str = "SELECT count(*) FROM (SELECT 1 FROM dead_letters LIMIT ?1)";

const OPEN_STATUSES: [Status; 5] =
    [Status::Queued, Status::InProgress, Status::RollingBack, Status::Paused, Status::Error];

pub(super) fn statistics(connection: &Connection, now: Timestamp) -> Result<StoreStatistics, Error> {
    let mut statistics = StoreStatistics::default();
    let mut ended = connection.prepare_cached(ENDED)?;
    let rows = ended.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
    })?;
    for row in rows {
        let (namespace, status, count) = row?;
        statistics.namespace(namespace).add(status_of(&status)?, number(count));
    }
    for namespace in names(connection, NAMESPACES)? {
        open(connection, namespace, &mut statistics)?;
    }
    for lane in names(connection, LANES)? {
        let (overdue, oldest): (i64, Option<i64>) = connection
            .prepare_cached(DUE)?
            .query_row(params![lane, now.0, DUE_LIMIT], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let figures = LaneStatistics { overdue: number(overdue), oldest_due: oldest.map(Timestamp) };
        statistics.lanes.insert(lane, figures);
    }
    let dead_letters: i64 =
        connection.prepare_cached(DEAD_LETTERS)?.query_row(params![COUNT_LIMIT], |row| row.get(0))?;
    statistics.dead_letters = number(dead_letters);
    Ok(statistics)
}

fn names(connection: &Connection, query: &str) -> Result<Vec<String>, Error> {
    let mut statement = connection.prepare_cached(query)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds the open workflows of a namespace.
fn open(connection: &Connection, namespace: String, statistics: &mut StoreStatistics) -> Result<(), Error> {
    let mut count = connection.prepare_cached(OPEN)?;
    let mut oldest = connection.prepare_cached(OLDEST)?;
    let failed: i64 = connection
        .prepare_cached(FAILED_ROLLBACKS)?
        .query_row(params![namespace, COUNT_LIMIT], |row| row.get(0))?;
    let figures = statistics.namespace(namespace.clone());
    figures.failed_rollbacks = number(failed);
    for status in OPEN_STATUSES {
        let open: i64 =
            count.query_row(params![namespace, status.as_str(), COUNT_LIMIT], |row| row.get(0))?;
        let counted_as = if status == Status::Queued { Status::InProgress } else { status };
        figures.add(counted_as, number(open));
        if matches!(status, Status::Paused | Status::Error) {
            continue;
        }
        let id: Option<Vec<u8>> =
            oldest.query_row(params![namespace, status.as_str()], |row| row.get(0)).optional()?;
        if let Some(id) = id {
            figures.add_running(started_at(id_of(&id)?));
        }
    }
    Ok(())
}
