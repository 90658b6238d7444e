//! Batches of operations on workflows.

use super::rows::{escape_nul, number, unescape_nul};
use super::{NOW, PostgresStore, commit, read, unavailable, uncertain};
use crate::workflow_batch::{REMOVED_ITEMS, SELECTION_LIMIT, stored_name};
use crate::{
    BatchChange, BatchCounts, BatchId, BatchItem, BatchItemResult, BatchItemStatus, BatchLease,
    BatchOperation, BatchSelection, BatchStatus, Error, ListRequest, TakenItem, WorkflowBatch,
    WorkflowBatchStore,
};
use async_trait::async_trait;
use goconductor_saga::{Timestamp, WorkflowId};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::time::Duration;
use uuid::Uuid;

const COLUMNS: &str = "id, namespace, status, operation, step, filter, reason, actor, rate, created_at, ended_at, \
     total, done, refused, failed, lease_token";

#[async_trait]
impl WorkflowBatchStore for PostgresStore {
    async fn create_batch(&self, batch: &WorkflowBatch) -> Result<bool, Error> {
        create(&mut *self.connection().await?, batch).await
    }

    async fn select_batch_items(&self, id: BatchId, page: &ListRequest) -> Result<BatchSelection, Error> {
        select_items(&mut *self.connection().await?, id, page).await
    }

    async fn change_batch(
        &self,
        namespace: &str,
        id: BatchId,
        change: &BatchChange,
    ) -> Result<Option<(WorkflowBatch, bool)>, Error> {
        let mut connection = self.connection().await?;
        if let Some(batch) = change_status(&mut connection, namespace, id, change).await? {
            return Ok(Some((batch, true)));
        }
        Ok(get(&mut connection, namespace, id).await?.map(|batch| (batch, false)))
    }

    async fn batch(&self, namespace: &str, id: BatchId) -> Result<Option<WorkflowBatch>, Error> {
        get(&mut *self.connection().await?, namespace, id).await
    }

    async fn batches(
        &self,
        namespace: &str,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Vec<WorkflowBatch>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM batches WHERE namespace = $1 AND ($2::uuid IS NULL OR id < $2)
                 AND status NOT IN ('SELECTING', 'DISCARDED') ORDER BY id DESC LIMIT $3"
        );
        // Safe: the text contains only constants.
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(escape_nul(namespace))
            .bind(before.map(|id| id.0))
            .bind(i64::from(limit))
            .fetch_all(&mut *self.connection().await?)
            .await
            .map_err(unavailable)?;
        rows.iter().map(batch).collect()
    }

    async fn batch_items(
        &self,
        id: BatchId,
        status: Option<BatchItemStatus>,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<BatchItem>, Error> {
        items(&mut *self.connection().await?, id, status, after, limit).await
    }

    async fn lease_batch(&self, ttl: Duration) -> Result<Option<(WorkflowBatch, BatchLease)>, Error> {
        lease(&mut *self.connection().await?, ttl).await
    }

    async fn take_batch_items(
        &self,
        lease: BatchLease,
        ttl: Duration,
        limit: u32,
    ) -> Result<Option<Vec<TakenItem>>, Error> {
        let mut transaction = self.begin().await?;
        let taken = take(&mut transaction, lease, ttl, limit).await?;
        commit(transaction).await?;
        Ok(taken)
    }

    async fn finish_batch_items(
        &self,
        lease: BatchLease,
        results: &[BatchItemResult],
    ) -> Result<bool, Error> {
        let mut transaction = self.begin().await?;
        let is_held = finish(&mut transaction, lease, results).await?;
        commit(transaction).await?;
        Ok(is_held)
    }
}

async fn create(connection: &mut PgConnection, batch: &WorkflowBatch) -> Result<bool, Error> {
    let sql = "INSERT INTO batches (id, namespace, status, operation, step, filter, reason, actor, rate, created_at,
             ended_at, total, done, refused, failed, lease_until, lease_token)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULL, 0, 0, 0, 0, 0, 0) ON CONFLICT (id) DO NOTHING";
    let done = sqlx::query(sql)
        .bind(batch.id.0)
        .bind(escape_nul(&batch.namespace))
        .bind(batch.status.as_str())
        .bind(batch.operation.as_str())
        .bind(escape_nul(batch.step.as_deref().unwrap_or_default()))
        .bind(escape_nul(&batch.filter))
        .bind(escape_nul(&batch.reason))
        .bind(escape_nul(batch.actor.as_deref().unwrap_or_default()))
        .bind(i64::from(batch.rate))
        .bind(batch.created_at.0)
        .execute(connection)
        .await
        .map_err(uncertain)?;
    Ok(done.rows_affected() > 0)
}

/// The workflows are read first. A workflow that has ended since is still an item, because the set is that of the read.
async fn select_items(
    connection: &mut PgConnection,
    id: BatchId,
    page: &ListRequest,
) -> Result<BatchSelection, Error> {
    let found = read::list_ids(connection, page).await?;
    sqlx::query(
        "INSERT INTO batch_items (batch_id, workflow_id, status, seq)
         SELECT $1, workflow_id, 'PENDING', 0 FROM unnest($2::uuid[]) AS workflow_id
         WHERE EXISTS (SELECT 1 FROM batches WHERE id = $1 AND status = 'SELECTING')
         ON CONFLICT DO NOTHING",
    )
    .bind(id.0)
    .bind(&found)
    .execute(connection)
    .await
    .map_err(uncertain)?;
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    Ok(BatchSelection {
        count: u64::try_from(found.len()).unwrap_or(u64::MAX),
        last: found.last().copied().map(WorkflowId),
        more: found.len() >= limit,
    })
}

async fn change_status(
    connection: &mut PgConnection,
    namespace: &str,
    id: BatchId,
    change: &BatchChange,
) -> Result<Option<WorkflowBatch>, Error> {
    let sql = format!(
        "UPDATE batches SET status = $3, total = coalesce($4, total), ended_at = CASE WHEN $5 THEN {NOW} END,
             lease_until = CASE WHEN $3 = 'RUNNING' THEN 0 ELSE lease_until END
         WHERE id = $1 AND namespace = $2 AND status = ANY ($6) RETURNING {COLUMNS}"
    );
    let from: Vec<&str> = change.from.iter().map(|status| status.as_str()).collect();
    // Safe: the text contains only constants.
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(id.0)
        .bind(escape_nul(namespace))
        .bind(change.to.as_str())
        .bind(change.total.map(|total| i64::try_from(total).unwrap_or(i64::MAX)))
        .bind(change.to.has_ended())
        .bind(from)
        .fetch_optional(connection)
        .await
        .map_err(uncertain)?;
    row.as_ref().map(batch).transpose()
}

async fn get(
    connection: &mut PgConnection,
    namespace: &str,
    id: BatchId,
) -> Result<Option<WorkflowBatch>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE id = $1 AND namespace = $2");
    // Safe: the text contains only constants.
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(id.0)
        .bind(escape_nul(namespace))
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?;
    row.as_ref().map(batch).transpose()
}

async fn items(
    connection: &mut PgConnection,
    id: BatchId,
    status: Option<BatchItemStatus>,
    after: Option<WorkflowId>,
    limit: u32,
) -> Result<Vec<BatchItem>, Error> {
    let of_status = if status.is_some() { "AND status = $4" } else { "AND ($4::text IS NULL)" };
    let sql = format!(
        "SELECT workflow_id, status, code, detail, ended_at FROM batch_items
         WHERE batch_id = $1 AND workflow_id > $2 {of_status} ORDER BY workflow_id LIMIT $3"
    );
    // Safe: the text contains only constants.
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(id.0)
        .bind(after.map_or(Uuid::nil(), |id| id.0))
        .bind(i64::from(limit))
        .bind(status.map(BatchItemStatus::as_str))
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    rows.iter().map(item).collect()
}

async fn lease(
    connection: &mut PgConnection,
    ttl: Duration,
) -> Result<Option<(WorkflowBatch, BatchLease)>, Error> {
    let sql = format!(
        "UPDATE batches SET lease_token = lease_token + 1, lease_until = {NOW} + $1
         WHERE id = (SELECT id FROM batches WHERE status = 'RUNNING' AND lease_until <= {NOW}
             ORDER BY lease_until, id LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING {COLUMNS}"
    );
    // Safe: the text contains only constants.
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(micros(ttl))
        .fetch_optional(connection)
        .await
        .map_err(uncertain)?;
    let Some(row) = row else { return Ok(None) };
    let batch = batch(&row)?;
    let token = number(row.try_get("lease_token").map_err(unavailable)?);
    let lease = BatchLease { id: batch.id, token };
    Ok(Some((batch, lease)))
}

async fn take(
    connection: &mut PgConnection,
    lease: BatchLease,
    ttl: Duration,
    limit: u32,
) -> Result<Option<Vec<TakenItem>>, Error> {
    let renewed = format!(
        "UPDATE batches SET lease_until = {NOW} + $3 WHERE id = $1 AND lease_token = $2 AND status = 'RUNNING'"
    );
    // Safe: the text contains only constants.
    let renewed = sqlx::query(AssertSqlSafe(renewed))
        .bind(lease.id.0)
        .bind(token_of(lease))
        .bind(micros(ttl))
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    if renewed.rows_affected() == 0 {
        return Ok(None);
    }
    if limit == 0 {
        return Ok(Some(Vec::new()));
    }
    let rows: Vec<(Uuid, i64, bool)> = sqlx::query_as(
        "WITH next AS (
             (SELECT workflow_id, true AS is_repeated FROM batch_items
              WHERE batch_id = $1 AND status = 'STARTED' ORDER BY workflow_id LIMIT $2)
             UNION ALL
             (SELECT workflow_id, false FROM batch_items
              WHERE batch_id = $1 AND status = 'PENDING' ORDER BY workflow_id LIMIT $2)
             LIMIT $2
         )
         UPDATE batch_items SET status = 'STARTED', seq = CASE WHEN next.is_repeated THEN batch_items.seq
             ELSE coalesce((SELECT seq FROM workflows WHERE workflows.id = batch_items.workflow_id), 0) END
         FROM next WHERE batch_items.batch_id = $1 AND batch_items.workflow_id = ANY (ARRAY[next.workflow_id])
         RETURNING batch_items.workflow_id, batch_items.seq, next.is_repeated",
    )
    .bind(lease.id.0)
    .bind(i64::from(limit))
    .fetch_all(&mut *connection)
    .await
    .map_err(unavailable)?;
    if rows.is_empty() {
        let sql = format!("UPDATE batches SET status = 'COMPLETED', ended_at = {NOW} WHERE id = $1");
        // Safe: the text contains only constants.
        sqlx::query(AssertSqlSafe(sql)).bind(lease.id.0).execute(connection).await.map_err(unavailable)?;
    }
    let taken =
        |(id, seq, is_repeated)| TakenItem { workflow: WorkflowId(id), seq: number(seq), is_repeated };
    let mut taken: Vec<TakenItem> = rows.into_iter().map(taken).collect();
    taken.sort_unstable_by_key(|item| item.workflow);
    Ok(Some(taken))
}

async fn finish(
    connection: &mut PgConnection,
    lease: BatchLease,
    results: &[BatchItemResult],
) -> Result<bool, Error> {
    // The row is locked, so that the lease cannot be lost before the commit.
    let held: Option<i64> =
        sqlx::query_scalar("SELECT total FROM batches WHERE id = $1 AND lease_token = $2 FOR UPDATE")
            .bind(lease.id.0)
            .bind(token_of(lease))
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
    if held.is_none() {
        return Ok(false);
    }
    let text = |text: &Option<String>| text.as_deref().map(|text| escape_nul(text).into_owned());
    let sql = format!(
        "UPDATE batch_items SET status = result.status, code = result.code, detail = result.detail, ended_at = {NOW}
         FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) AS result (id, status, code, detail)
         WHERE batch_id = $1 AND workflow_id = ANY (ARRAY[result.id]) AND batch_items.status = 'STARTED'
         RETURNING batch_items.status"
    );
    // Safe: the text contains only constants.
    let statuses: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(lease.id.0)
        .bind(results.iter().map(|result| result.workflow.0).collect::<Vec<_>>())
        .bind(results.iter().map(|result| result.status.as_str()).collect::<Vec<_>>())
        .bind(results.iter().map(|result| text(&result.code)).collect::<Vec<_>>())
        .bind(results.iter().map(|result| text(&result.detail)).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    let count = |status: BatchItemStatus| {
        let count = statuses.iter().filter(|each| *each == status.as_str()).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    };
    sqlx::query(
        "UPDATE batches SET done = done + $2, refused = refused + $3, failed = failed + $4 WHERE id = $1",
    )
    .bind(lease.id.0)
    .bind(count(BatchItemStatus::Done))
    .bind(count(BatchItemStatus::Refused))
    .bind(count(BatchItemStatus::Failed))
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(true)
}

/// Removes items of one batch that is no longer needed, and then the batch. Returns whether there is more to remove.
pub(super) async fn remove(
    connection: &mut PgConnection,
    now: Timestamp,
    ended_by: Option<Timestamp>,
) -> Result<bool, Error> {
    let selected_by = now.0.saturating_sub(micros(SELECTION_LIMIT));
    let gone: Option<Uuid> = sqlx::query_scalar(
        "SELECT id FROM batches WHERE status = 'DISCARDED' OR (status = 'SELECTING' AND created_at <= $1)
             OR ended_at <= $2 LIMIT 1",
    )
    .bind(selected_by)
    .bind(ended_by.map(|at| at.0))
    .fetch_optional(&mut *connection)
    .await
    .map_err(unavailable)?;
    let Some(gone) = gone else { return Ok(false) };
    let removed = sqlx::query(
        "DELETE FROM batch_items WHERE batch_id = $1 AND workflow_id = ANY (ARRAY(
             SELECT workflow_id FROM batch_items WHERE batch_id = $1 ORDER BY workflow_id LIMIT $2))",
    )
    .bind(gone)
    .bind(i64::from(REMOVED_ITEMS))
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    if removed.rows_affected() < u64::from(REMOVED_ITEMS) {
        sqlx::query("DELETE FROM batches WHERE id = $1")
            .bind(gone)
            .execute(connection)
            .await
            .map_err(unavailable)?;
    }
    Ok(true)
}

fn batch(row: &PgRow) -> Result<WorkflowBatch, Error> {
    let names = |name: &str| row.try_get::<String, _>(name).map_err(unavailable);
    let status = stored_name("the status of a batch", &names("status")?, BatchStatus::of_name)?;
    let operation = stored_name("the operation of a batch", &names("operation")?, BatchOperation::of_name)?;
    plain(row, status, operation).map_err(unavailable)
}

fn plain(row: &PgRow, status: BatchStatus, operation: BatchOperation) -> Result<WorkflowBatch, sqlx::Error> {
    let text = |name: &str| row.try_get(name).map(unescape_nul);
    let optional = |name: &str| text(name).map(|text| (!text.is_empty()).then_some(text));
    let count = |name: &str| row.try_get(name).map(number);
    Ok(WorkflowBatch {
        id: BatchId(row.try_get("id")?),
        namespace: text("namespace")?,
        status,
        operation,
        step: optional("step")?,
        filter: text("filter")?,
        reason: text("reason")?,
        actor: optional("actor")?,
        rate: u32::try_from(row.try_get::<i64, _>("rate")?).unwrap_or(u32::MAX),
        created_at: Timestamp(row.try_get("created_at")?),
        ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(Timestamp),
        counts: BatchCounts {
            total: count("total")?,
            done: count("done")?,
            refused: count("refused")?,
            failed: count("failed")?,
        },
    })
}

fn item(row: &PgRow) -> Result<BatchItem, Error> {
    let status: String = row.try_get(1).map_err(unavailable)?;
    let status = stored_name("the status of an item", &status, BatchItemStatus::of_name)?;
    let text = |place: usize| {
        row.try_get::<Option<String>, _>(place).map_err(unavailable).map(|text| text.map(unescape_nul))
    };
    Ok(BatchItem {
        workflow: WorkflowId(row.try_get(0).map_err(unavailable)?),
        status,
        code: text(2)?,
        detail: text(3)?,
        ended_at: row.try_get::<Option<i64>, _>(4).map_err(unavailable)?.map(Timestamp),
    })
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn token_of(lease: BatchLease) -> i64 {
    i64::try_from(lease.token).unwrap_or(i64::MAX)
}
