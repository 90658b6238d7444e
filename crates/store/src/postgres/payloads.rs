//! Payloads that workflows carry by reference.
//!
//! The row of a payload is locked by those who link it and by the check that may remove it, so a payload is not removed
//! while it is linked.

use super::rows::escape_nul;
use super::{PostgresStore, commit, unavailable, uncertain};
use crate::payload::{PAYLOAD_GRACE, PAYLOADS_CHECKED};
use crate::{Error, PayloadChunk, PayloadLink, PayloadStore, StoredPayload};
use async_trait::async_trait;
use goconductor_saga::{Timestamp, WorkflowId};
use sqlx::PgConnection;

#[async_trait]
impl PayloadStore for PostgresStore {
    async fn link_payload(&self, link: &PayloadLink) -> Result<bool, Error> {
        let mut transaction = self.begin().await?;
        let stored = put_link(&mut transaction, link).await?;
        commit(transaction).await?;
        Ok(stored)
    }

    async fn put_payload_chunk(&self, chunk: &PayloadChunk) -> Result<(), Error> {
        let PayloadChunk { payload, number, data } = chunk;
        let sql = "INSERT INTO payload_chunks (namespace, digest, number, data)
                   VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        sqlx::query(sql)
            .bind(escape_nul(&payload.namespace))
            .bind(payload.digest.0.as_slice())
            .bind(i64::from(*number))
            .bind(data.as_slice())
            .execute(&mut *self.connection().await?)
            .await
            .map_err(uncertain)?;
        Ok(())
    }

    async fn payload_chunk(
        &self,
        payload: &StoredPayload,
        workflow: WorkflowId,
        number: u32,
    ) -> Result<Option<Vec<u8>>, Error> {
        let sql = "SELECT data FROM payload_chunks AS chunk
                   WHERE namespace = $1 AND digest = $2 AND number = $3 AND EXISTS (
                       SELECT 1 FROM payload_links AS link WHERE link.workflow_id = $4
                           AND link.namespace = chunk.namespace AND link.digest = chunk.digest)";
        sqlx::query_scalar(sql)
            .bind(escape_nul(&payload.namespace))
            .bind(payload.digest.0.as_slice())
            .bind(i64::from(number))
            .bind(workflow.0)
            .fetch_optional(&mut *self.connection().await?)
            .await
            .map_err(unavailable)
    }
}

async fn put_link(connection: &mut PgConnection, link: &PayloadLink) -> Result<bool, Error> {
    let PayloadLink { payload: StoredPayload { namespace, digest }, workflow, chunks, now } = link;
    let upsert = "INSERT INTO payloads (namespace, digest, chunks, check_at) VALUES ($1, $2, $3, $4)
                  ON CONFLICT (namespace, digest) DO UPDATE SET check_at = excluded.check_at";
    sqlx::query(upsert)
        .bind(escape_nul(namespace))
        .bind(digest.0.as_slice())
        .bind(i64::from(*chunks))
        .bind(now.after(PAYLOAD_GRACE).0)
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    let insert = "INSERT INTO payload_links (workflow_id, namespace, digest) VALUES ($1, $2, $3)
                  ON CONFLICT DO NOTHING";
    sqlx::query(insert)
        .bind(workflow.0)
        .bind(escape_nul(namespace))
        .bind(digest.0.as_slice())
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    let count = "SELECT count(*) FROM payload_chunks WHERE namespace = $1 AND digest = $2";
    let stored: i64 = sqlx::query_scalar(count)
        .bind(escape_nul(namespace))
        .bind(digest.0.as_slice())
        .fetch_one(connection)
        .await
        .map_err(unavailable)?;
    Ok(stored >= i64::from(*chunks))
}

/// Removes payloads without workflows. Returns whether more must be checked.
pub(super) async fn check(store: &PostgresStore, now: Timestamp) -> Result<bool, Error> {
    let mut transaction = store.begin().await?;
    let sql = "SELECT namespace, digest FROM payloads WHERE check_at <= $1
               ORDER BY check_at LIMIT $2 FOR UPDATE SKIP LOCKED";
    let found: Vec<(String, Vec<u8>)> = sqlx::query_as(sql)
        .bind(now.0)
        .bind(i64::from(PAYLOADS_CHECKED))
        .fetch_all(&mut *transaction)
        .await
        .map_err(unavailable)?;
    for (namespace, digest) in &found {
        check_one(&mut transaction, namespace, digest).await?;
    }
    commit(transaction).await?;
    Ok(u32::try_from(found.len()).is_ok_and(|count| count == PAYLOADS_CHECKED))
}

/// Checks a payload, whose row is locked. The namespace is in its stored form.
async fn check_one(connection: &mut PgConnection, namespace: &str, digest: &[u8]) -> Result<(), Error> {
    // Each statement sees the links that were committed before the row was locked.
    let statements = [
        // Links of starts that were not committed.
        "DELETE FROM payload_links WHERE namespace = $1 AND digest = $2
             AND NOT EXISTS (SELECT 1 FROM workflows WHERE workflows.id = payload_links.workflow_id)",
        "UPDATE payloads SET check_at = NULL WHERE namespace = $1 AND digest = $2",
        "DELETE FROM payloads WHERE namespace = $1 AND digest = $2
             AND NOT EXISTS (SELECT 1 FROM payload_links AS link
                 WHERE link.namespace = $1 AND link.digest = $2)",
        "DELETE FROM payload_chunks WHERE namespace = $1 AND digest = $2
             AND NOT EXISTS (SELECT 1 FROM payloads AS payload
                 WHERE payload.namespace = $1 AND payload.digest = $2)",
    ];
    for sql in statements {
        sqlx::query(sql).bind(namespace).bind(digest).execute(&mut *connection).await.map_err(unavailable)?;
    }
    Ok(())
}
