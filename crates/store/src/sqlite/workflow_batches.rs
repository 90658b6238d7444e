//! Batches of operations on workflows.

use super::rows::{id_bytes, id_of, number};
use super::{SqliteStore, clock, read};
use crate::json::corrupt;
use crate::workflow_batch::{REMOVED_ITEMS, SELECTION_LIMIT, stored_name};
use crate::{
    BatchChange, BatchCounts, BatchId, BatchItem, BatchItemResult, BatchItemStatus, BatchLease,
    BatchOperation, BatchSelection, BatchStatus, Error, ListRequest, TakenItem, WorkflowBatch,
    WorkflowBatchStore,
};
use async_trait::async_trait;
use goconductor_saga::{Timestamp, WorkflowId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::time::Duration;

const COLUMNS: &str = "id, namespace, status, operation, step, filter, reason, actor, rate, created_at, ended_at, \
     total, done, refused, failed, lease_token";

#[async_trait]
impl WorkflowBatchStore for SqliteStore {
    async fn create_batch(&self, batch: &WorkflowBatch) -> Result<bool, Error> {
        let batch = batch.clone();
        self.write_job(move |connection| create(connection, &batch)).await
    }

    async fn select_batch_items(&self, id: BatchId, page: &ListRequest) -> Result<BatchSelection, Error> {
        let request = page.clone();
        // Read without the writer, because a filter may read many workflows.
        let found = self.read(move |connection| read::list_ids(connection, &request)).await?;
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let selection = BatchSelection {
            count: u64::try_from(found.len()).unwrap_or(u64::MAX),
            last: found.last().copied(),
            more: found.len() >= limit,
        };
        self.write_job(move |connection| add_items(connection, id, &found)).await?;
        Ok(selection)
    }

    async fn change_batch(
        &self,
        namespace: &str,
        id: BatchId,
        change: &BatchChange,
    ) -> Result<Option<(WorkflowBatch, bool)>, Error> {
        let (namespace, change) = (namespace.to_owned(), change.clone());
        self.write_job(move |connection| change_status(connection, &namespace, id, &change)).await
    }

    async fn batch(&self, namespace: &str, id: BatchId) -> Result<Option<WorkflowBatch>, Error> {
        let namespace = namespace.to_owned();
        self.read(move |connection| get(connection, &namespace, id)).await
    }

    async fn batches(
        &self,
        namespace: &str,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Vec<WorkflowBatch>, Error> {
        let namespace = namespace.to_owned();
        self.read(move |connection| list(connection, &namespace, before, limit)).await
    }

    async fn batch_items(
        &self,
        id: BatchId,
        status: Option<BatchItemStatus>,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<BatchItem>, Error> {
        self.read(move |connection| items(connection, id, status, after, limit)).await
    }

    async fn lease_batch(&self, ttl: Duration) -> Result<Option<(WorkflowBatch, BatchLease)>, Error> {
        // Asked without the writer first, because most calls find no batch.
        if self.read(move |connection| running(connection, clock())).await?.is_none() {
            return Ok(None);
        }
        self.write_job(move |connection| lease(connection, ttl, clock())).await
    }

    async fn take_batch_items(
        &self,
        lease: BatchLease,
        ttl: Duration,
        limit: u32,
    ) -> Result<Option<Vec<TakenItem>>, Error> {
        self.write_job(move |connection| take(connection, lease, ttl, limit)).await
    }

    async fn finish_batch_items(
        &self,
        lease: BatchLease,
        results: &[BatchItemResult],
    ) -> Result<bool, Error> {
        let results = results.to_vec();
        self.write_job(move |connection| finish(connection, lease, &results)).await
    }
}

fn create(connection: &Connection, batch: &WorkflowBatch) -> Result<bool, Error> {
    let sql = "INSERT INTO batches (id, namespace, status, operation, step, filter, reason, actor, rate, created_at,
             ended_at, total, done, refused, failed, lease_until, lease_token)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL, 0, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING";
    let row = params![
        batch_bytes(batch.id),
        batch.namespace,
        batch.status.as_str(),
        batch.operation.as_str(),
        batch.step.as_deref().unwrap_or_default(),
        batch.filter,
        batch.reason,
        batch.actor.as_deref().unwrap_or_default(),
        batch.rate,
        batch.created_at.0,
    ];
    Ok(connection.prepare_cached(sql)?.execute(row)? > 0)
}

fn add_items(connection: &Connection, id: BatchId, found: &[WorkflowId]) -> Result<(), Error> {
    let is_open: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM batches WHERE id = ?1 AND status = 'SELECTING'")?
        .query_row([batch_bytes(id)], |row| row.get(0))
        .optional()?;
    if is_open.is_none() {
        return Ok(());
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO batch_items (batch_id, workflow_id, status, seq) VALUES (?1, ?2, 'PENDING', 0)
         ON CONFLICT DO NOTHING",
    )?;
    for workflow in found {
        insert.execute(params![batch_bytes(id), id_bytes(*workflow)])?;
    }
    Ok(())
}

fn change_status(
    connection: &Connection,
    namespace: &str,
    id: BatchId,
    change: &BatchChange,
) -> Result<Option<(WorkflowBatch, bool)>, Error> {
    let Some(before) = get(connection, namespace, id)? else { return Ok(None) };
    if !change.from.contains(&before.status) {
        return Ok(Some((before, false)));
    }
    let total = change.total.map(|total| i64::try_from(total).unwrap_or(i64::MAX));
    let ended_at = change.to.has_ended().then(|| clock().0);
    connection
        .prepare_cached(
            "UPDATE batches SET status = ?2, total = coalesce(?3, total), ended_at = ?4,
                 lease_until = CASE WHEN ?2 = 'RUNNING' THEN 0 ELSE lease_until END
             WHERE id = ?1",
        )?
        .execute(params![batch_bytes(id), change.to.as_str(), total, ended_at])?;
    Ok(get(connection, namespace, id)?.map(|batch| (batch, true)))
}

fn get(connection: &Connection, namespace: &str, id: BatchId) -> Result<Option<WorkflowBatch>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE id = ?1 AND namespace = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let row = statement.query_row(params![batch_bytes(id), namespace], stored).optional()?;
    row.map(|(row, _)| row.read()).transpose()
}

fn list(
    connection: &Connection,
    namespace: &str,
    before: Option<BatchId>,
    limit: u32,
) -> Result<Vec<WorkflowBatch>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM batches WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
             AND status NOT IN ('SELECTING', 'DISCARDED') ORDER BY id DESC LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![namespace, before.map(batch_bytes), limit], stored)?;
    rows.map(|row| row?.0.read()).collect()
}

fn items(
    connection: &Connection,
    id: BatchId,
    status: Option<BatchItemStatus>,
    after: Option<WorkflowId>,
    limit: u32,
) -> Result<Vec<BatchItem>, Error> {
    let of_status = if status.is_some() { "status = ?4" } else { "?4 IS NULL" };
    let sql = format!(
        "SELECT workflow_id, status, code, detail, ended_at FROM batch_items
         WHERE batch_id = ?1 AND workflow_id > ?2 AND {of_status} ORDER BY workflow_id LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let after = after.map_or_else(Vec::new, |id| id_bytes(id).to_vec());
    let rows = statement.query_map(
        params![batch_bytes(id), after, limit, status.map(BatchItemStatus::as_str)],
        |row| {
            let id: (Vec<u8>, String) = (row.get(0)?, row.get(1)?);
            Ok((id, row.get(2)?, row.get(3)?, row.get::<_, Option<i64>>(4)?))
        },
    )?;
    rows.map(|row| {
        let ((id, status), code, detail, ended_at) = row?;
        let status = stored_name("the status of an item", &status, BatchItemStatus::of_name)?;
        Ok(BatchItem { workflow: id_of(&id)?, status, code, detail, ended_at: ended_at.map(Timestamp) })
    })
    .collect()
}

/// Returns a running batch whose lease has ended.
fn running(connection: &Connection, now: Timestamp) -> Result<Option<Vec<u8>>, Error> {
    let sql = "SELECT id FROM batches WHERE status = 'RUNNING' AND lease_until <= ?1
               ORDER BY lease_until, id LIMIT 1";
    Ok(connection.prepare_cached(sql)?.query_row([now.0], |row| row.get(0)).optional()?)
}

fn lease(
    connection: &Connection,
    ttl: Duration,
    now: Timestamp,
) -> Result<Option<(WorkflowBatch, BatchLease)>, Error> {
    let Some(id) = running(connection, now)? else { return Ok(None) };
    let sql = format!(
        "UPDATE batches SET lease_token = lease_token + 1, lease_until = ?2 WHERE id = ?1 RETURNING {COLUMNS}"
    );
    let until = now.0.saturating_add(micros(ttl));
    let (row, token) = connection.prepare_cached(&sql)?.query_row(params![id, until], stored)?;
    let batch = row.read()?;
    let lease = BatchLease { id: batch.id, token };
    Ok(Some((batch, lease)))
}

fn take(
    connection: &Connection,
    lease: BatchLease,
    ttl: Duration,
    limit: u32,
) -> Result<Option<Vec<TakenItem>>, Error> {
    let until = clock().0.saturating_add(micros(ttl));
    let renewed = connection
        .prepare_cached(
            "UPDATE batches SET lease_until = ?3 WHERE id = ?1 AND lease_token = ?2 AND status = 'RUNNING'",
        )?
        .execute(params![batch_bytes(lease.id), token_of(lease), until])?;
    if renewed == 0 {
        return Ok(None);
    }
    if limit == 0 {
        return Ok(Some(Vec::new()));
    }
    let mut taken = of_status(connection, lease.id, BatchItemStatus::Started, limit)?;
    let rest = limit.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
    let mut start = connection.prepare_cached(
        "UPDATE batch_items SET status = 'STARTED',
             seq = coalesce((SELECT seq FROM workflows WHERE workflows.id = workflow_id), 0)
         WHERE batch_id = ?1 AND workflow_id = ?2 RETURNING seq",
    )?;
    for mut item in of_status(connection, lease.id, BatchItemStatus::Pending, rest)? {
        let key = params![batch_bytes(lease.id), id_bytes(item.workflow)];
        item.seq = number(start.query_row(key, |row| row.get(0))?);
        taken.push(item);
    }
    if taken.is_empty() {
        connection
            .prepare_cached("UPDATE batches SET status = 'COMPLETED', ended_at = ?2 WHERE id = ?1")?
            .execute(params![batch_bytes(lease.id), clock().0])?;
    }
    taken.sort_unstable_by_key(|item| item.workflow);
    Ok(Some(taken))
}

fn of_status(
    connection: &Connection,
    id: BatchId,
    status: BatchItemStatus,
    limit: u32,
) -> Result<Vec<TakenItem>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT workflow_id, seq FROM batch_items WHERE batch_id = ?1 AND status = ?2
         ORDER BY workflow_id LIMIT ?3",
    )?;
    let rows = statement.query_map(params![batch_bytes(id), status.as_str(), limit], |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))
    })?;
    let is_repeated = status == BatchItemStatus::Started;
    rows.map(|row| {
        let (id, seq) = row?;
        Ok(TakenItem { workflow: id_of(&id)?, seq: number(seq), is_repeated })
    })
    .collect()
}

fn finish(connection: &Connection, lease: BatchLease, results: &[BatchItemResult]) -> Result<bool, Error> {
    let held: Option<i64> = connection
        .prepare_cached("SELECT total FROM batches WHERE id = ?1 AND lease_token = ?2")?
        .query_row(params![batch_bytes(lease.id), token_of(lease)], |row| row.get(0))
        .optional()?;
    if held.is_none() {
        return Ok(false);
    }
    let (mut done, mut refused, mut failed) = (0_i64, 0_i64, 0_i64);
    let mut update = connection.prepare_cached(
        "UPDATE batch_items SET status = ?3, code = ?4, detail = ?5, ended_at = ?6
         WHERE batch_id = ?1 AND workflow_id = ?2 AND status = 'STARTED'",
    )?;
    let now = clock().0;
    for result in results {
        let BatchItemResult { workflow, status, code, detail } = result;
        let row = params![batch_bytes(lease.id), id_bytes(*workflow), status.as_str(), code, detail, now];
        let changed = i64::try_from(update.execute(row)?).unwrap_or(0);
        match status {
            BatchItemStatus::Done => done += changed,
            BatchItemStatus::Refused => refused += changed,
            BatchItemStatus::Failed => failed += changed,
            BatchItemStatus::Pending | BatchItemStatus::Started => {}
        }
    }
    connection
        .prepare_cached(
            "UPDATE batches SET done = done + ?2, refused = refused + ?3, failed = failed + ?4 WHERE id = ?1",
        )?
        .execute(params![batch_bytes(lease.id), done, refused, failed])?;
    Ok(true)
}

/// Returns a batch that is no longer needed.
pub(super) fn obsolete(
    connection: &Connection,
    now: Timestamp,
    ended_by: Option<Timestamp>,
) -> Result<Option<Vec<u8>>, Error> {
    let sql =
        "SELECT id FROM batches WHERE status = 'DISCARDED' OR (status = 'SELECTING' AND created_at <= ?1)
                   OR ended_at <= ?2 LIMIT 1";
    let selected_by = now.0.saturating_sub(micros(SELECTION_LIMIT));
    let mut statement = connection.prepare_cached(sql)?;
    let row = params![selected_by, ended_by.map(|at| at.0)];
    Ok(statement.query_row(row, |row| row.get(0)).optional()?)
}

/// Removes items of a batch, or the batch if it has none left.
pub(super) fn remove(connection: &Connection, id: &[u8]) -> Result<(), Error> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM batch_items WHERE batch_id = ?1 AND workflow_id IN (
                 SELECT workflow_id FROM batch_items WHERE batch_id = ?1 ORDER BY workflow_id LIMIT ?2)",
        )?
        .execute(params![id, REMOVED_ITEMS])?;
    if removed == 0 {
        connection.prepare_cached("DELETE FROM batches WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

/// A row whose names have not been parsed.
struct StoredBatch {
    id: Vec<u8>,
    status: String,
    operation: String,
    /// The other columns.
    rest: WorkflowBatch,
}

impl StoredBatch {
    fn read(self) -> Result<WorkflowBatch, Error> {
        let id = uuid::Uuid::from_slice(&self.id).map_err(|error| corrupt("the id of a batch", error))?;
        Ok(WorkflowBatch {
            id: BatchId(id),
            status: stored_name("the status of a batch", &self.status, BatchStatus::of_name)?,
            operation: stored_name("the operation of a batch", &self.operation, BatchOperation::of_name)?,
            ..self.rest
        })
    }
}

/// Reads a row, with the token of its lease.
fn stored(row: &Row<'_>) -> rusqlite::Result<(StoredBatch, u64)> {
    let optional = |text: String| (!text.is_empty()).then_some(text);
    let count = |place: usize| row.get(place).map(number);
    let rest = WorkflowBatch {
        id: BatchId(uuid::Uuid::nil()),
        namespace: row.get(1)?,
        status: BatchStatus::Selecting,
        operation: BatchOperation::Retry,
        step: optional(row.get(4)?),
        filter: row.get(5)?,
        reason: row.get(6)?,
        actor: optional(row.get(7)?),
        rate: row.get(8)?,
        created_at: Timestamp(row.get(9)?),
        ended_at: row.get::<_, Option<i64>>(10)?.map(Timestamp),
        counts: BatchCounts { total: count(11)?, done: count(12)?, refused: count(13)?, failed: count(14)? },
    };
    let batch = StoredBatch { id: row.get(0)?, status: row.get(2)?, operation: row.get(3)?, rest };
    Ok((batch, count(15)?))
}

fn batch_bytes(id: BatchId) -> [u8; 16] {
    id.0.into_bytes()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn token_of(lease: BatchLease) -> i64 {
    i64::try_from(lease.token).unwrap_or(i64::MAX)
}
