//! Removes workflows. A transaction removes few of them, so that it occupies the writer for some milliseconds at most. SQLite
//! reuses the freed pages.

use super::rows::{id_bytes, id_of};
use super::{SqliteStore, clock, locks, payloads, statistics, workflow_batches};
use crate::maintenance::above;
use crate::retention::EndedBy;
use crate::{
    EncodedTransition, Error, FormerEnd, MaintenanceReport, MaintenanceRequest, MaintenanceStore,
    StoreStatistics,
};
use async_trait::async_trait;
use goconductor_saga::{Timestamp, WorkflowId};
use rusqlite::{Connection, OptionalExtension, params};

/// Number of workflows removed in one transaction.
const BATCH: usize = 32;

#[async_trait]
impl MaintenanceStore for SqliteStore {
    async fn maintain(&self, request: &MaintenanceRequest) -> Result<MaintenanceReport, Error> {
        let now = Timestamp(request.now.0.min(clock().0));
        if self.read(move |connection| locks::has_free(connection, now)).await? {
            self.write_job(move |connection| locks::remove_free(connection, now)).await?;
        }
        let ended_by = request.ended_by();
        let latest = ended_by.latest();
        let gone = self.read(move |connection| workflow_batches::obsolete(connection, now, latest)).await?;
        let mut more = gone.is_some();
        if let Some(id) = gone {
            self.write_job(move |connection| workflow_batches::remove(connection, &id)).await?;
        }
        if self.read(move |connection| payloads::has_unchecked(connection, now)).await? {
            more |= self.write_job(move |connection| payloads::check(connection, now)).await?;
        }
        let Some(latest) = latest else { return Ok(MaintenanceReport { more, ..Default::default() }) };
        // Found without the writer, because most calls find nothing to remove.
        let found = self.read(move |connection| ended(connection, latest, ended_by)).await?;
        if found.is_empty() {
            return Ok(MaintenanceReport { more, ..Default::default() });
        }
        let report = self.write_job(move |connection| remove(connection, &found, ended_by)).await?;
        Ok(MaintenanceReport { more: report.more || more, ..report })
    }

    async fn statistics(&self, now: Timestamp) -> Result<Option<StoreStatistics>, Error> {
        self.read(move |connection| statistics::statistics(connection, now)).await.map(Some)
    }
}

/// The condition that the retention of a workflow has ended. Its parameters are the times from ?2 on. A comparison with NULL
/// is not true, so a status without a limit is kept.
const IS_DUE: &str = "ended_at <= CASE status WHEN 'COMPLETED' THEN ?2 WHEN 'ROLLED_BACK' THEN ?3 WHEN 'TERMINATED' THEN ?4 END";

/// Returns the oldest workflows whose retention has ended. A child is kept for as long as its parent exists, whose rollback
/// needs it. The idempotency key of a child begins with the id of its parent, or the child is in `kept_children`.
fn ended(connection: &Connection, latest: Timestamp, ended_by: EndedBy) -> Result<Vec<WorkflowId>, Error> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id FROM workflows AS ended WHERE id < ?1 AND {IS_DUE}
                 AND NOT EXISTS (SELECT 1 FROM workflows AS parent
                     WHERE parent.id = unhex(substr(ended.idempotency_key, 1, 36), '-'))
                 AND (ended.idempotency_key = '' OR NOT EXISTS (
                     SELECT 1 FROM kept_children AS kept JOIN workflows AS parent ON parent.id = kept.parent_id
                     WHERE kept.id = ended.id))
             ORDER BY id LIMIT ?5"
    ))?;
    let [completed, rolled_back, terminated] = ended_by.micros();
    let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
    let rows = statement
        .query_map(params![id_bytes(above(latest)), completed, rolled_back, terminated, limit], |row| {
            row.get::<_, Vec<u8>>(0)
        })?;
    rows.map(|bytes| id_of(&bytes?)).collect()
}

fn remove(
    connection: &Connection,
    ids: &[WorkflowId],
    ended_by: EndedBy,
) -> Result<MaintenanceReport, Error> {
    let mut removed = 0;
    for id in ids {
        if remove_one(connection, *id, ended_by)? {
            removed += 1;
        }
    }
    Ok(MaintenanceReport { removed, more: ids.len() == BATCH })
}

/// Removes a workflow with its history, its key and its count. A trigger removes its labels. Returns whether it existed.
fn remove_one(connection: &Connection, id: WorkflowId, ended_by: EndedBy) -> Result<bool, Error> {
    let [completed, rolled_back, terminated] = ended_by.micros();
    let gone: Option<(String, String)> = connection
        .prepare_cached(&format!(
            "SELECT namespace, idempotency_key FROM workflows WHERE id = ?1 AND {IS_DUE}"
        ))?
        .query_row(params![id_bytes(id), completed, rolled_back, terminated], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((namespace, key)) = gone else { return Ok(false) };
    connection
        .prepare_cached(
            "UPDATE ended_counts SET count = count - 1
             WHERE (namespace, definition, version, status, cause) =
                 (SELECT namespace, definition, version, status, cause FROM workflows WHERE id = ?1)",
        )?
        .execute(params![id_bytes(id)])?;
    if !key.is_empty() {
        connection
            .prepare_cached("DELETE FROM start_keys WHERE namespace = ?1 AND key = ?2 AND workflow_id = ?3")?
            .execute(params![namespace, key, id_bytes(id)])?;
        connection.prepare_cached("DELETE FROM kept_children WHERE id = ?1")?.execute([id_bytes(id)])?;
    }
    payloads::unlink(connection, id)?;
    connection.prepare_cached("DELETE FROM events WHERE workflow_id = ?1")?.execute(params![id_bytes(id)])?;
    connection.prepare_cached("DELETE FROM workflows WHERE id = ?1")?.execute(params![id_bytes(id)])?;
    Ok(true)
}

/// Removes a workflow that had ended and is reopened from the counts.
pub(super) fn uncount(
    connection: &Connection,
    record: &EncodedTransition,
    former: FormerEnd,
) -> Result<(), Error> {
    connection
        .prepare_cached(
            "INSERT INTO ended_counts (namespace, definition, version, status, cause, count)
             VALUES (?1, ?2, ?3, ?4, ?5, -1)
             ON CONFLICT DO UPDATE SET count = count - 1",
        )?
        .execute(params![
            record.namespace,
            record.definition,
            record.version,
            former.status.as_str(),
            former.cause_text(),
        ])?;
    Ok(())
}

/// Adds a workflow that has just ended to the counts.
pub(super) fn count_ended(connection: &Connection, id: WorkflowId) -> Result<(), Error> {
    connection
        .prepare_cached(
            "INSERT INTO ended_counts (namespace, definition, version, status, cause, count)
             SELECT namespace, definition, version, status, cause, 1 FROM workflows WHERE id = ?1
             ON CONFLICT DO UPDATE SET count = count + 1",
        )?
        .execute(params![id_bytes(id)])?;
    Ok(())
}
