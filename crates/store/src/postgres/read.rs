//! What is read of workflows.

use super::listings::{self, Page};
use super::rows::{RawLedgerRow, given, given_labels, number, status_of, stored, uuids};
use super::unavailable;
use crate::json::parsed;
use crate::{
    Comparison, Count, Error, Field, Filter, LedgerRow, ListPage, ListRequest, Seen, Summary, Value,
};
use goconductor_saga::{Event, RollbackCause, Timestamp, WorkflowId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

/// Open, and not on their way forward: `workflows_astray` finds them.
const ASTRAY: [&str; 3] = ["ROLLING_BACK", "PAUSED", "ERROR"];

pub(super) async fn history(
    connection: &mut PgConnection,
    id: WorkflowId,
    after_seq: u64,
    limit: u32,
) -> Result<Vec<Event>, Error> {
    let bodies: Vec<String> = sqlx::query_scalar(
        // The history of one that was removed is there until its partition is dropped.
        "SELECT body FROM events WHERE workflow_id = $1 AND seq > $2
             AND EXISTS (SELECT 1 FROM workflows WHERE id = $1) ORDER BY seq LIMIT $3",
    )
    .bind(id.0)
    .bind(i64::try_from(after_seq).unwrap_or(i64::MAX))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    bodies.iter().map(|body| parsed(&format!("an event of {id}"), body)).collect()
}

pub(super) async fn seen(connection: &mut PgConnection, ids: &[WorkflowId]) -> Result<Vec<Seen>, Error> {
    let rows: Vec<(Uuid, i64, String)> =
        sqlx::query_as("SELECT id, seq, status FROM workflows WHERE id = ANY ($1)")
            .bind(uuids(ids))
            .fetch_all(connection)
            .await
            .map_err(unavailable)?;
    rows.into_iter()
        .map(|(id, seq, status)| {
            Ok(Seen { id: WorkflowId(id), seq: number(seq), status: status_of(&status)? })
        })
        .collect()
}

struct RawSummary {
    id: Uuid,
    definition: String,
    version: i32,
    status: String,
    cause: String,
    seq: i64,
    created_at: i64,
    ended_at: Option<i64>,
    labels: String,
    idempotency_key: String,
    error: Option<String>,
}

impl<'r> FromRow<'r, PgRow> for RawSummary {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            definition: row.try_get("definition")?,
            version: row.try_get("version")?,
            status: row.try_get("status")?,
            cause: row.try_get("cause")?,
            seq: row.try_get("seq")?,
            created_at: row.try_get("created_at")?,
            ended_at: row.try_get("ended_at")?,
            labels: row.try_get("labels")?,
            idempotency_key: row.try_get("idempotency_key")?,
            error: row.try_get("error")?,
        })
    }
}

fn summary(raw: RawSummary) -> Result<Summary, Error> {
    let id = raw.id;
    let cause = match raw.cause.as_str() {
        "" => None,
        "STEP_FAILED" => Some(RollbackCause::StepFailed),
        "CANCELLED" => Some(RollbackCause::Cancelled),
        "TIMED_OUT" => Some(RollbackCause::TimedOut),
        "OPERATOR" => Some(RollbackCause::Operator),
        other => return Err(Error::corrupt("a rollback cause", format!("unknown cause {other:?}"))),
    };
    Ok(Summary {
        id: WorkflowId(id),
        definition: given(raw.definition),
        version: u32::try_from(raw.version).unwrap_or(0),
        status: status_of(&raw.status)?,
        cause,
        seq: number(raw.seq),
        created_at: Timestamp(raw.created_at),
        ended_at: raw.ended_at.map(Timestamp),
        labels: given_labels(&format!("the labels of {id}"), &raw.labels)?,
        idempotency_key: (!raw.idempotency_key.is_empty()).then(|| given(raw.idempotency_key)),
        error: raw.error.map(|text| parsed(&format!("the error of {id}"), &text)).transpose()?,
    })
}

pub(super) async fn list(connection: &mut PgConnection, request: &ListRequest) -> Result<ListPage, Error> {
    let limit = i64::from(request.limit) + 1;
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT workflows.id, definition, version, status, cause, seq, created_at, ended_at, labels::text AS labels,
             idempotency_key, error FROM ",
    );
    if finds_few(request.filter.as_ref()) {
        query.push("workflows WHERE namespace = ").push_bind(stored(&request.namespace));
        if let Some(before) = request.before {
            query.push(" AND id < ").push_bind(before.0);
        }
        and(request.filter.as_ref(), &request.namespace, &mut query);
    } else {
        let page = Page { before: request.before, limit };
        listings::push(&request.namespace, request.filter.as_ref(), Some(page), &mut query);
    }
    query.push(" ORDER BY workflows.id DESC LIMIT ").push_bind(limit);
    let rows: Vec<RawSummary> = query.build_query_as().fetch_all(connection).await.map_err(unavailable)?;
    let mut workflows = rows.into_iter().map(summary).collect::<Result<Vec<_>, _>>()?;
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let more = workflows.len() > limit;
    workflows.truncate(limit);
    Ok(ListPage { workflows, more })
}

pub(super) async fn counts(
    connection: &mut PgConnection,
    namespace: &str,
    by: &Field,
    filter: Option<&Filter>,
) -> Result<Vec<Count>, Error> {
    let column = match by {
        Field::Definition => "definition",
        Field::Version => "version",
        Field::Cause => "cause",
        Field::Status
        | Field::Id
        | Field::IdempotencyKey
        | Field::CreatedAt
        | Field::EndedAt
        | Field::Label(_) => "status",
    };
    let mut query =
        QueryBuilder::<Postgres>::new("SELECT value COLLATE \"C\", sum(count)::bigint FROM (SELECT ");
    query.push(column).push("::text AS value, count(*) AS count FROM ");
    // Those that have ended are counted already, unless the filter asks for more than what by.
    let is_counted = filter.is_none_or(Filter::is_counted);
    if is_counted {
        listings::push_open(namespace, &mut query);
        query.push(" WHERE true");
        and(filter, namespace, &mut query);
    } else if finds_few(filter) || !listings::narrows(filter) {
        query.push("workflows WHERE namespace = ").push_bind(stored(namespace));
        and(filter, namespace, &mut query);
    } else {
        listings::push(namespace, filter, None, &mut query);
    }
    query.push(" GROUP BY 1");
    if is_counted {
        query
            .push(" UNION ALL SELECT ")
            .push(column)
            .push("::text, count FROM ended_counts WHERE namespace = ");
        query.push_bind(stored(namespace));
        if let Some(filter) = filter {
            query.push(" AND ");
            condition(filter, &mut query);
        }
    }
    query.push(") AS counted GROUP BY 1 HAVING sum(count) > 0 ORDER BY 1");
    let rows: Vec<(String, i64)> = query.build_query_as().fetch_all(connection).await.map_err(unavailable)?;
    Ok(rows
        .into_iter()
        .map(|(value, count)| Count { by: by.clone(), value: given(value), count: number(count) })
        .collect())
}

/// Whether an index of the workflows themselves leads to the few that fit.
fn finds_few(filter: Option<&Filter>) -> bool {
    filter.into_iter().flat_map(Filter::certain).any(|(field, text)| match field {
        Field::IdempotencyKey => !text.is_empty(),
        Field::Label(_) => true,
        Field::Status => ASTRAY.contains(&text),
        Field::Id | Field::Definition | Field::Version | Field::Cause | Field::CreatedAt | Field::EndedAt => {
            false
        }
    })
}

/// Appends a filter to a condition on the workflows of a namespace.
fn and(filter: Option<&Filter>, namespace: &str, query: &mut QueryBuilder<Postgres>) {
    let Some(filter) = filter else { return };
    query.push(" AND ");
    condition(filter, query);
    // The same once more, as an index can be asked for it.
    for (field, text) in filter.certain() {
        match field {
            Field::Status => {
                if ASTRAY.contains(&text) {
                    query.push(" AND astray = ").push_bind(text.to_owned());
                }
            }
            Field::IdempotencyKey if !text.is_empty() => {
                query.push(" AND id IN (SELECT workflow_id FROM start_keys WHERE namespace = ");
                query.push_bind(stored(namespace)).push(" AND key = ").push_bind(stored(text)).push(")");
            }
            Field::Label(name) => {
                query.push(" AND labels <> '{}'::jsonb AND labels @> jsonb_build_object(");
                query.push_bind(stored(name)).push("::text, ").push_bind(stored(text)).push("::text)");
            }
            Field::Id
            | Field::Definition
            | Field::Version
            | Field::Cause
            | Field::IdempotencyKey
            | Field::CreatedAt
            | Field::EndedAt => {}
        }
    }
}

/// Appends a condition, with every value bound.
pub(super) fn condition(filter: &Filter, query: &mut QueryBuilder<Postgres>) {
    match filter {
        Filter::All(parts) => joined(parts, " AND ", "true", query),
        Filter::Any(parts) => joined(parts, " OR ", "false", query),
        Filter::Not(part) => {
            query.push("NOT coalesce(");
            condition(part, query);
            query.push(", false)");
        }
        Filter::Compare(field, comparison, value) => compare(field, *comparison, value, query),
    }
}

fn joined(parts: &[Filter], with: &str, empty: &str, query: &mut QueryBuilder<Postgres>) {
    query.push("(");
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            query.push(with);
        }
        condition(part, query);
    }
    if parts.is_empty() {
        query.push(empty);
    }
    query.push(")");
}

fn compare(field: &Field, comparison: Comparison, value: &Value, query: &mut QueryBuilder<Postgres>) {
    if !field.takes(value) {
        query.push(if comparison == Comparison::NotEqual { "true" } else { "false" });
        return;
    }
    let operator = match comparison {
        Comparison::Equal => " = ",
        // What is not there differs from everything; but a time that is not there is like no other.
        Comparison::NotEqual if *field == Field::EndedAt => " <> ",
        Comparison::NotEqual => " IS DISTINCT FROM ",
        Comparison::Less => " < ",
        Comparison::LessOrEqual => " <= ",
        Comparison::Greater => " > ",
        Comparison::GreaterOrEqual => " >= ",
    };
    query.push("coalesce(");
    match field {
        Field::Id => query.push("id"),
        // By bytes, as SQLite compares, whatever the database's collation.
        Field::Status => query.push("status COLLATE \"C\""),
        Field::Definition => query.push("definition COLLATE \"C\""),
        Field::Version => query.push("version::bigint"),
        Field::Cause => query.push("cause COLLATE \"C\""),
        Field::IdempotencyKey => query.push("idempotency_key COLLATE \"C\""),
        Field::CreatedAt => query.push("created_at"),
        Field::EndedAt => query.push("ended_at"),
        Field::Label(name) => query.push("(labels ->> ").push_bind(stored(name)).push(") COLLATE \"C\""),
    };
    query.push(operator);
    match (field, value) {
        (Field::Id, Value::Text(text)) => query.push_bind(Uuid::try_parse(text).ok()),
        (_, Value::Text(text)) => query.push_bind(stored(text)),
        (_, Value::Number(number)) => query.push_bind(*number),
        (_, Value::Time(at)) => query.push_bind(at.0),
    };
    query.push(", false)");
}

pub(super) async fn ledger(
    connection: &mut PgConnection,
    ids: &[WorkflowId],
) -> Result<Vec<LedgerRow>, Error> {
    let rows: Vec<RawLedgerRow> = sqlx::query_as(
        "SELECT * FROM dispatch WHERE workflow_id = ANY ($1)
         ORDER BY array_position($1, workflow_id), key COLLATE \"C\"",
    )
    .bind(uuids(ids))
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    rows.into_iter().map(RawLedgerRow::read).collect()
}

pub(super) async fn orphans(connection: &mut PgConnection, limit: u32) -> Result<Vec<LedgerRow>, Error> {
    let rows: Vec<RawLedgerRow> = sqlx::query_as(
        "SELECT * FROM dispatch
         WHERE NOT EXISTS (SELECT 1 FROM workflows WHERE workflows.id = dispatch.workflow_id) LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    rows.into_iter().map(RawLedgerRow::read).collect()
}

pub(super) async fn ids(
    connection: &mut PgConnection,
    after: Option<WorkflowId>,
    limit: u32,
) -> Result<Vec<WorkflowId>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM workflows WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after.map_or(Uuid::nil(), |id| id.0))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    Ok(ids.into_iter().map(WorkflowId).collect())
}

pub(super) async fn backlog(
    connection: &mut PgConnection,
    now: Timestamp,
) -> Result<Vec<(String, u64)>, Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT queue, count(*) FROM dispatch WHERE queue <> '' AND due_at <= $1 GROUP BY queue
         ORDER BY queue COLLATE \"C\"",
    )
    .bind(now.0)
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    Ok(rows.into_iter().map(|(queue, count)| (given(queue), number(count))).collect())
}
