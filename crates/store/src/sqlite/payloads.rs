//! Payloads that workflows carry by reference.

use super::SqliteStore;
use super::rows::id_bytes;
use crate::payload::{PAYLOAD_GRACE, PAYLOADS_CHECKED};
use crate::{Error, PayloadChunk, PayloadLink, PayloadStore, StoredPayload};
use async_trait::async_trait;
use goconductor_saga::{Timestamp, WorkflowId};
use rusqlite::{Connection, OptionalExtension, params};

/// Number of chunks that one check removes, so that it occupies the writer for some milliseconds at most.
const CHUNKS_REMOVED: usize = 32;

#[async_trait]
impl PayloadStore for SqliteStore {
    async fn link_payload(&self, link: &PayloadLink) -> Result<bool, Error> {
        let link = link.clone();
        self.write_job(move |connection| put_link(connection, &link)).await
    }

    async fn put_payload_chunk(&self, chunk: &PayloadChunk) -> Result<(), Error> {
        let chunk = chunk.clone();
        self.write_job(move |connection| {
            let sql = "INSERT INTO payload_chunks (namespace, digest, number, data)
                       VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
            let PayloadChunk { payload, number, data } = &chunk;
            let values = params![payload.namespace, payload.digest.0, number, data];
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(())
        })
        .await
    }

    async fn payload_chunk(
        &self,
        payload: &StoredPayload,
        workflow: WorkflowId,
        number: u32,
    ) -> Result<Option<Vec<u8>>, Error> {
        let StoredPayload { namespace, digest } = payload.clone();
        self.read(move |connection| {
            let sql = "SELECT data FROM payload_chunks AS chunk
                       WHERE namespace = ?1 AND digest = ?2 AND number = ?3 AND EXISTS (
                           SELECT 1 FROM payload_links AS link WHERE link.workflow_id = ?4
                               AND link.namespace = chunk.namespace AND link.digest = chunk.digest)";
            let mut statement = connection.prepare_cached(sql)?;
            let values = params![namespace, digest.0, number, id_bytes(workflow)];
            Ok(statement.query_row(values, |row| row.get(0)).optional()?)
        })
        .await
    }
}

fn put_link(connection: &Connection, link: &PayloadLink) -> Result<bool, Error> {
    let PayloadLink { payload: StoredPayload { namespace, digest }, workflow, chunks, now } = link;
    let check_at = now.after(PAYLOAD_GRACE);
    connection
        .prepare_cached(
            "INSERT INTO payloads (namespace, digest, chunks, check_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET check_at = excluded.check_at",
        )?
        .execute(params![namespace, digest.0, chunks, check_at.0])?;
    connection
        .prepare_cached(
            "INSERT INTO payload_links (workflow_id, namespace, digest) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![id_bytes(*workflow), namespace, digest.0])?;
    let stored: u32 = connection
        .prepare_cached("SELECT count(*) FROM payload_chunks WHERE namespace = ?1 AND digest = ?2")?
        .query_row(params![namespace, digest.0], |row| row.get(0))?;
    Ok(stored >= *chunks)
}

/// Removes the links of a workflow. The next maintenance checks its payloads.
pub(super) fn unlink(connection: &Connection, id: WorkflowId) -> Result<(), Error> {
    connection
        .prepare_cached(
            "UPDATE payloads SET check_at = 0 WHERE (namespace, digest) IN
                 (SELECT namespace, digest FROM payload_links WHERE workflow_id = ?1)",
        )?
        .execute([id_bytes(id)])?;
    connection.prepare_cached("DELETE FROM payload_links WHERE workflow_id = ?1")?.execute([id_bytes(id)])?;
    Ok(())
}

/// Returns whether payloads must be checked.
pub(super) fn has_unchecked(connection: &Connection, now: Timestamp) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM payloads WHERE check_at <= ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([now.0], |row| row.get(0))?)
}

/// Removes payloads without workflows. Returns whether more must be checked.
pub(super) fn check(connection: &Connection, now: Timestamp) -> Result<bool, Error> {
    let sql = "SELECT namespace, digest FROM payloads WHERE check_at <= ?1 ORDER BY check_at LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![now.0, PAYLOADS_CHECKED], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found: Vec<(String, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
    let mut left = CHUNKS_REMOVED;
    for (namespace, digest) in &found {
        left = check_one(connection, namespace, digest, left)?;
        if left == 0 {
            return Ok(true);
        }
    }
    Ok(u32::try_from(found.len()).is_ok_and(|count| count == PAYLOADS_CHECKED))
}

/// Checks a payload, and removes at most `left` chunks. Returns how many of them are left: if none is, the payload is checked
/// again. A link in between makes its writer store the removed chunks again, because it counts them.
fn check_one(connection: &Connection, namespace: &str, digest: &[u8], left: usize) -> Result<usize, Error> {
    // Links of starts that were not committed.
    connection
        .prepare_cached(
            "DELETE FROM payload_links WHERE namespace = ?1 AND digest = ?2
                 AND NOT EXISTS (SELECT 1 FROM workflows WHERE workflows.id = payload_links.workflow_id)",
        )?
        .execute(params![namespace, digest])?;
    let is_used: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM payload_links WHERE namespace = ?1 AND digest = ?2)")?
        .query_row(params![namespace, digest], |row| row.get(0))?;
    if is_used {
        connection
            .prepare_cached("UPDATE payloads SET check_at = NULL WHERE namespace = ?1 AND digest = ?2")?
            .execute(params![namespace, digest])?;
        return Ok(left);
    }
    let removed = connection
        .prepare_cached(
            "DELETE FROM payload_chunks WHERE namespace = ?1 AND digest = ?2 AND number IN
                 (SELECT number FROM payload_chunks WHERE namespace = ?1 AND digest = ?2 LIMIT ?3)",
        )?
        .execute(params![namespace, digest, i64::try_from(left).unwrap_or(i64::MAX)])?;
    if removed < left {
        connection
            .prepare_cached("DELETE FROM payloads WHERE namespace = ?1 AND digest = ?2")?
            .execute(params![namespace, digest])?;
    }
    Ok(left.saturating_sub(removed))
}
