//! Removes workflows whose retention has ended, with their keys. Their histories go with their partitions, except for those
//! that are in none.
//!
//! A child is kept for as long as its parent exists, whose rollback needs it. The idempotency key of a child begins with the id
//! of its parent, or the child is in `kept_children`. The parent is looked up by scalar subqueries, which the planner does not
//! replace by a join that would read all workflows.

use super::listings::KINDS;
use super::rows::number;
use super::unavailable;
use crate::Error;
use crate::maintenance::above;
use crate::retention::EndedBy;
use goconductor_saga::Timestamp;
use sqlx::PgConnection;
use std::sync::LazyLock;
use uuid::Uuid;

/// Number of workflows removed in one transaction.
pub(super) const BATCH: i64 = 200;

/// Removes the workflows that `{due}` selects, and counts them.
const REMOVE: &str = "
    WITH gone AS (
        DELETE FROM workflows WHERE id = ANY (ARRAY({due}))
        RETURNING id, namespace, definition, version, status, cause, idempotency_key
    ), forgotten AS (
        DELETE FROM start_keys USING gone
        WHERE gone.idempotency_key <> '' AND start_keys.namespace = gone.namespace
            AND start_keys.key = gone.idempotency_key AND start_keys.workflow_id = gone.id
    ), unkept AS (
        DELETE FROM kept_children USING gone WHERE gone.idempotency_key <> '' AND kept_children.id = gone.id
    ), unlisted AS (
        DELETE FROM listings USING gone
        WHERE listings.namespace = gone.namespace AND listings.definition = gone.definition
            AND listings.listed = gone.status AND listings.id = gone.id
    ), history AS (
        DELETE FROM events_other USING gone WHERE events_other.workflow_id = gone.id
    ), unlinked AS (
        DELETE FROM payload_links USING gone WHERE payload_links.workflow_id = gone.id
        RETURNING payload_links.namespace, payload_links.digest
    ), unchecked AS (
        UPDATE payloads SET check_at = 0 FROM unlinked
        WHERE payloads.namespace = unlinked.namespace AND payloads.digest = unlinked.digest
    ), counted AS (
        INSERT INTO ended_counts (namespace, definition, version, status, cause, count)
        SELECT namespace, definition, version, status, cause, -count(*) FROM gone
        GROUP BY namespace, definition, version, status, cause
    ) SELECT count(*) FROM gone";

/// The condition that the parent of a workflow does not exist.
const NO_PARENT: &str = "
    (SELECT parent.id FROM workflows AS parent WHERE parent.id =
        CASE WHEN ended.idempotency_key ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/'
            THEN left(ended.idempotency_key, 36)::uuid END) IS NULL
    AND (ended.idempotency_key = '' OR
        (SELECT parent.id FROM kept_children AS kept JOIN workflows AS parent ON parent.id = kept.parent_id
            WHERE kept.id = ended.id) IS NULL)";

/// Removes the oldest workflows, if all statuses have the same retention.
static REMOVE_OLDEST: LazyLock<String> = LazyLock::new(|| {
    let due = format!(
        "SELECT id FROM workflows AS ended WHERE id < $1 AND ended_at <= $2 AND {NO_PARENT}
         ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED"
    );
    REMOVE.replace("{due}", &due)
});

/// Removes given workflows whose retention has ended. They can have been reopened since they were selected.
static REMOVE_SELECTED: LazyLock<String> = LazyLock::new(|| {
    REMOVE.replace(
        "{due}",
        "SELECT id FROM workflows WHERE id = ANY ($1) AND ended_at <= CASE status
             WHEN 'COMPLETED' THEN $2::bigint WHEN 'ROLLED_BACK' THEN $3::bigint WHEN 'TERMINATED' THEN $4::bigint END
         ORDER BY id FOR UPDATE SKIP LOCKED",
    )
});

/// Selects workflows by retentions that differ. It reads the oldest workflows of each pair of definition and status, like
/// the lists, so that it does not read the workflows of a status that is kept for longer.
static SELECT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH RECURSIVE {KINDS}, due (listed, ended_by, above) AS (
             VALUES ('COMPLETED', $1::bigint, $4::uuid), ('ROLLED_BACK', $2::bigint, $5::uuid),
                 ('TERMINATED', $3::bigint, $6::uuid)
         )
         SELECT ended.id FROM kind JOIN due USING (listed) CROSS JOIN LATERAL (
             SELECT listings.id FROM listings
             WHERE listings.namespace = kind.namespace AND listings.definition = kind.definition
                 AND listings.listed = kind.listed AND listings.id < due.above
             ORDER BY listings.id OFFSET 0
         ) AS old CROSS JOIN LATERAL (
             SELECT workflows.id, workflows.idempotency_key FROM workflows
             WHERE workflows.id = old.id AND workflows.ended_at <= due.ended_by OFFSET 0
         ) AS ended
         WHERE due.ended_by IS NOT NULL AND {NO_PARENT}
         LIMIT $7"
    )
});

/// Removes some of the workflows whose retention has ended, and returns how many.
pub(super) async fn remove(connection: &mut PgConnection, ended_by: EndedBy) -> Result<u64, Error> {
    let removed: i64 = match ended_by.uniform() {
        Some(ended_by) => sqlx::query_scalar(REMOVE_OLDEST.as_str())
            .bind(above(ended_by).0)
            .bind(ended_by.0)
            .bind(BATCH)
            .fetch_one(connection)
            .await
            .map_err(unavailable)?,
        None => remove_by_status(connection, ended_by).await?,
    };
    Ok(number(removed))
}

async fn remove_by_status(connection: &mut PgConnection, ended_by: EndedBy) -> Result<i64, Error> {
    let EndedBy { completed, rolled_back, terminated } = ended_by;
    let times = ended_by.micros();
    let ids =
        [completed, rolled_back, terminated].map(|at| at.map_or(Uuid::nil(), |at: Timestamp| above(at).0));
    let mut query = sqlx::query_scalar(SELECT.as_str());
    for time in times {
        query = query.bind(time);
    }
    for id in ids {
        query = query.bind(id);
    }
    let selected: Vec<Uuid> = query.bind(BATCH).fetch_all(&mut *connection).await.map_err(unavailable)?;
    if selected.is_empty() {
        return Ok(0);
    }
    let mut query = sqlx::query_scalar(REMOVE_SELECTED.as_str()).bind(selected);
    for time in times {
        query = query.bind(time);
    }
    query.fetch_one(connection).await.map_err(unavailable)
}
