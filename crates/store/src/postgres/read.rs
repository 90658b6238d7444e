//! Queries of workflows and ledger rows.

use super::filter::{ERROR_CODE, condition, json_escaped, json_unescaped};
use super::listings::{self, ListingsPage};
use super::rows::{PgLedgerRow, decode_labels, escape_nul, number, status_of, unescape_nul, uuids};
use super::unavailable;
use crate::json::parsed;
use crate::{Count, Error, Field, Filter, LedgerRow, ListPage, ListRequest, Summary, WorkflowHead};
use goconductor_saga::{Event, RollbackCause, Timestamp, WorkflowId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

/// The statuses of open workflows that may need attention. The column `astray` contains the status of such a workflow,
/// and the index `workflows_astray` finds it.
const ATTENTION_STATUSES: [&str; 3] = ["ROLLING_BACK", "PAUSED", "ERROR"];

pub(super) async fn history(
    connection: &mut PgConnection,
    id: WorkflowId,
    after_seq: u64,
    limit: u32,
) -> Result<Vec<Event>, Error> {
    let bodies: Vec<String> = sqlx::query_scalar(
        // The events of a removed workflow exist until their partition is dropped.
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

pub(super) async fn heads(
    connection: &mut PgConnection,
    ids: &[WorkflowId],
) -> Result<Vec<WorkflowHead>, Error> {
    let rows: Vec<(Uuid, i64, String)> =
        sqlx::query_as("SELECT id, seq, status FROM workflows WHERE id = ANY ($1)")
            .bind(uuids(ids))
            .fetch_all(connection)
            .await
            .map_err(unavailable)?;
    rows.into_iter()
        .map(|(id, seq, status)| {
            Ok(WorkflowHead { id: WorkflowId(id), seq: number(seq), status: status_of(&status)? })
        })
        .collect()
}

struct PgSummary {
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

impl<'r> FromRow<'r, PgRow> for PgSummary {
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

fn summary(raw: PgSummary) -> Result<Summary, Error> {
    let id = raw.id;
    let cause = match raw.cause.as_str() {
        "" => None,
        "STEP_FAILED" => Some(RollbackCause::StepFailed),
        "CANCELLED" => Some(RollbackCause::Cancelled),
        "TIMED_OUT" => Some(RollbackCause::TimedOut),
        "OPERATOR" => Some(RollbackCause::Operator),
        "PARENT" => Some(RollbackCause::Parent),
        other => return Err(Error::corrupt("a rollback cause", format!("unknown cause {other:?}"))),
    };
    Ok(Summary {
        id: WorkflowId(id),
        definition: unescape_nul(raw.definition),
        version: u32::try_from(raw.version).unwrap_or(0),
        status: status_of(&raw.status)?,
        cause,
        seq: number(raw.seq),
        created_at: Timestamp(raw.created_at),
        ended_at: raw.ended_at.map(Timestamp),
        labels: decode_labels(&format!("the labels of {id}"), &raw.labels)?,
        idempotency_key: (!raw.idempotency_key.is_empty()).then(|| unescape_nul(raw.idempotency_key)),
        error: raw.error.map(|text| parsed(&format!("the error of {id}"), &text)).transpose()?,
    })
}

pub(super) async fn list(connection: &mut PgConnection, request: &ListRequest) -> Result<ListPage, Error> {
    let limit = i64::from(request.limit) + 1;
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT workflows.id, definition, version, status, cause, seq, created_at, ended_at, labels::text AS labels,
             idempotency_key, error FROM ",
    );
    push_page(request, limit, &mut query);
    let rows: Vec<PgSummary> = query.build_query_as().fetch_all(connection).await.map_err(unavailable)?;
    let mut workflows = rows.into_iter().map(summary).collect::<Result<Vec<_>, _>>()?;
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let more = workflows.len() > limit;
    workflows.truncate(limit);
    Ok(ListPage { workflows, more })
}

/// Returns the ids of a page of a list.
pub(super) async fn list_ids(
    connection: &mut PgConnection,
    request: &ListRequest,
) -> Result<Vec<Uuid>, Error> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT workflows.id FROM ");
    push_page(request, i64::from(request.limit), &mut query);
    query.build_query_scalar().fetch_all(connection).await.map_err(unavailable)
}

/// Appends the source, the condition, the order and the limit of a list.
fn push_page(request: &ListRequest, limit: i64, query: &mut QueryBuilder<Postgres>) {
    if finds_few(request.filter.as_ref()) {
        query.push("workflows WHERE namespace = ").push_bind(escape_nul(&request.namespace).into_owned());
        if let Some(before) = request.before {
            query.push(" AND id < ").push_bind(before.0);
        }
        and(request.filter.as_ref(), &request.namespace, query);
    } else {
        let page = ListingsPage { before: request.before, limit };
        listings::push(&request.namespace, request.filter.as_ref(), Some(page), query);
    }
    query.push(" ORDER BY workflows.id DESC LIMIT ").push_bind(limit);
}

/// Counts workflows by the code of their error. Only those that have an error are counted, which an index finds. They are
/// not counted in advance.
async fn counts_by_error_code(
    connection: &mut PgConnection,
    namespace: &str,
    filter: Option<&Filter>,
) -> Result<Vec<Count>, Error> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(ERROR_CODE).push(", count(*) FROM workflows WHERE error IS NOT NULL AND ");
    query.push(ERROR_CODE).push(" IS NOT NULL AND namespace = ").push_bind(escape_nul(namespace));
    and(filter, namespace, &mut query);
    query.push(" GROUP BY 1 ORDER BY 1");
    let rows: Vec<(String, i64)> = query.build_query_as().fetch_all(connection).await.map_err(unavailable)?;
    let count = |(value, count): (String, i64)| Count {
        by: Field::ErrorCode,
        value: json_unescaped(&value),
        count: number(count),
    };
    Ok(rows.into_iter().map(count).collect())
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
        Field::ErrorCode => return counts_by_error_code(connection, namespace, filter).await,
        Field::Status
        | Field::Id
        | Field::IdempotencyKey
        | Field::CreatedAt
        | Field::EndedAt
        | Field::RunsElements
        | Field::Label(_) => "status",
    };
    let mut query =
        QueryBuilder::<Postgres>::new("SELECT value COLLATE \"C\", sum(count)::bigint FROM (SELECT ");
    query.push(column).push("::text AS value, count(*) AS count FROM ");
    // Ended workflows are counted in advance, unless the filter uses other fields than the counts have.
    let is_counted = filter.is_none_or(Filter::is_counted);
    if is_counted {
        listings::push_open(namespace, &mut query);
        query.push(" WHERE true");
        and(filter, namespace, &mut query);
    } else if finds_few(filter) || !listings::narrows(filter) {
        query.push("workflows WHERE namespace = ").push_bind(escape_nul(namespace));
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
        query.push_bind(escape_nul(namespace));
        if let Some(filter) = filter {
            query.push(" AND ");
            condition(filter, &mut query);
        }
    }
    query.push(") AS counted GROUP BY 1 HAVING sum(count) > 0 ORDER BY 1");
    let rows: Vec<(String, i64)> = query.build_query_as().fetch_all(connection).await.map_err(unavailable)?;
    Ok(rows
        .into_iter()
        .map(|(value, count)| Count { by: by.clone(), value: unescape_nul(value), count: number(count) })
        .collect())
}

/// Returns whether an index of the table `workflows` finds the matching workflows, which are few.
fn finds_few(filter: Option<&Filter>) -> bool {
    filter.into_iter().flat_map(Filter::certain).any(|(field, text)| match field {
        Field::Id => true,
        Field::IdempotencyKey => !text.is_empty(),
        Field::Label(_) => true,
        Field::ErrorCode => !text.is_empty(),
        Field::Status => ATTENTION_STATUSES.contains(&text),
        Field::Definition
        | Field::Version
        | Field::Cause
        | Field::CreatedAt
        | Field::EndedAt
        | Field::RunsElements => false,
    })
}

/// Appends a filter to the condition of a query on `workflows`.
fn and(filter: Option<&Filter>, namespace: &str, query: &mut QueryBuilder<Postgres>) {
    let Some(filter) = filter else { return };
    query.push(" AND ");
    condition(filter, query);
    // Repeats equality conditions in a form that an index supports.
    for (field, text) in filter.certain() {
        match field {
            // NULL is not equal to any id.
            Field::Id => {
                query.push(" AND id = ").push_bind(Uuid::try_parse(text).ok());
            }
            Field::Status => {
                if ATTENTION_STATUSES.contains(&text) {
                    query.push(" AND astray = ").push_bind(text.to_owned());
                }
            }
            Field::IdempotencyKey if !text.is_empty() => {
                query.push(" AND id IN (SELECT workflow_id FROM start_keys WHERE namespace = ");
                query
                    .push_bind(escape_nul(namespace))
                    .push(" AND key = ")
                    .push_bind(escape_nul(text))
                    .push(")");
            }
            Field::Label(name) => {
                query.push(" AND labels <> '{}'::jsonb AND labels @> jsonb_build_object(");
                query
                    .push_bind(escape_nul(name))
                    .push("::text, ")
                    .push_bind(escape_nul(text))
                    .push("::text)");
            }
            Field::ErrorCode if !text.is_empty() => {
                query.push(" AND error IS NOT NULL AND ").push(ERROR_CODE).push(" = ");
                query.push_bind(json_escaped(text));
            }
            Field::Definition
            | Field::Version
            | Field::Cause
            | Field::IdempotencyKey
            | Field::ErrorCode
            | Field::RunsElements
            | Field::CreatedAt
            | Field::EndedAt => {}
        }
    }
}

pub(super) async fn ledger(
    connection: &mut PgConnection,
    ids: &[WorkflowId],
) -> Result<Vec<LedgerRow>, Error> {
    let rows: Vec<PgLedgerRow> = sqlx::query_as(
        "SELECT * FROM dispatch WHERE workflow_id = ANY ($1)
         ORDER BY array_position($1, workflow_id), key COLLATE \"C\"",
    )
    .bind(uuids(ids))
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    rows.into_iter().map(PgLedgerRow::read).collect()
}

pub(super) async fn orphans(connection: &mut PgConnection, limit: u32) -> Result<Vec<LedgerRow>, Error> {
    let rows: Vec<PgLedgerRow> = sqlx::query_as(
        "SELECT * FROM dispatch
         WHERE NOT EXISTS (SELECT 1 FROM workflows WHERE workflows.id = dispatch.workflow_id) LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    rows.into_iter().map(PgLedgerRow::read).collect()
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
    Ok(rows.into_iter().map(|(queue, count)| (unescape_nul(queue), number(count))).collect())
}
