//! Queries of workflows and ledger rows.

use super::filter::{ERROR_CODE, and, and_certain};
use super::label_counts;
use super::rows::{LEDGER, id_bytes, id_of, ledger_row, number, status_of};
use super::search::Searches;
use crate::json::parsed;
use crate::{Count, Error, Field, Filter, LedgerRow, ListPage, ListRequest, Summary, WorkflowHead};
use goconductor_saga::{Event, RollbackCause, Timestamp, WorkflowId};
use rusqlite::types::Value as Bound;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

pub(super) fn history(
    connection: &Connection,
    id: WorkflowId,
    after_seq: u64,
    limit: u32,
) -> Result<Vec<Event>, Error> {
    let after = i64::try_from(after_seq).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "SELECT body FROM events WHERE workflow_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?;
    let rows = statement.query_map(params![id_bytes(id), after, limit], |row| row.get::<_, String>(0))?;
    rows.map(|body| parsed(&format!("an event of {id}"), &body?)).collect()
}

pub(super) fn heads(connection: &Connection, ids: &[WorkflowId]) -> Result<Vec<WorkflowHead>, Error> {
    let mut statement = connection.prepare_cached("SELECT seq, status FROM workflows WHERE id = ?1")?;
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        let row: Option<(i64, String)> =
            statement.query_row(params![id_bytes(*id)], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        if let Some((seq, status)) = row {
            all.push(WorkflowHead { id: *id, seq: number(seq), status: status_of(&status)? });
        }
    }
    Ok(all)
}

struct SqliteSummary {
    id: Vec<u8>,
    definition: String,
    version: u32,
    status: String,
    cause: String,
    seq: i64,
    created_at: i64,
    ended_at: Option<i64>,
    labels: String,
    idempotency_key: String,
    error: Option<String>,
}

fn raw_summary(row: &Row<'_>) -> rusqlite::Result<SqliteSummary> {
    Ok(SqliteSummary {
        id: row.get(0)?,
        definition: row.get(1)?,
        version: row.get(2)?,
        status: row.get(3)?,
        cause: row.get(4)?,
        seq: row.get(5)?,
        created_at: row.get(6)?,
        ended_at: row.get(7)?,
        labels: row.get(8)?,
        idempotency_key: row.get(9)?,
        error: row.get(10)?,
    })
}

fn summary(raw: SqliteSummary) -> Result<Summary, Error> {
    let id = id_of(&raw.id)?;
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
        id,
        definition: raw.definition,
        version: raw.version,
        status: status_of(&raw.status)?,
        cause,
        seq: number(raw.seq),
        created_at: Timestamp(raw.created_at),
        ended_at: raw.ended_at.map(Timestamp),
        labels: parsed(&format!("the labels of {id}"), &raw.labels)?,
        idempotency_key: (!raw.idempotency_key.is_empty()).then_some(raw.idempotency_key),
        error: raw.error.map(|text| parsed(&format!("the error of {id}"), &text)).transpose()?,
    })
}

pub(super) fn list(connection: &Connection, request: &ListRequest) -> Result<ListPage, Error> {
    let columns =
        "id, definition, version, status, cause, seq, created_at, ended_at, labels, idempotency_key, error";
    let searches = Searches::for_list(connection, &request.namespace, request.filter.as_ref())?;
    let (sql, bound) = page(columns, request, i64::from(request.limit) + 1, searches.as_ref());
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(bound), raw_summary)?;
    let mut workflows = rows.map(|row| summary(row?)).collect::<Result<Vec<_>, Error>>()?;
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let more = workflows.len() > limit;
    workflows.truncate(limit);
    Ok(ListPage { workflows, more })
}

/// Returns the ids of a page of a list.
pub(super) fn list_ids(connection: &Connection, request: &ListRequest) -> Result<Vec<WorkflowId>, Error> {
    let searches = Searches::for_list(connection, &request.namespace, request.filter.as_ref())?;
    let (sql, bound) = page("id", request, i64::from(request.limit), searches.as_ref());
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(bound), |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|bytes| id_of(&bytes?)).collect()
}

/// Returns the query of a page of a list, and its bind parameters.
pub(super) fn page(
    columns: &str,
    request: &ListRequest,
    limit: i64,
    searches: Option<&Searches<'_>>,
) -> (String, Vec<Bound>) {
    let mut bound = vec![Bound::Text(request.namespace.clone())];
    let before = request.before.map(|before| {
        bound.push(Bound::Blob(id_bytes(before).to_vec()));
        bound.len()
    });
    let mut sql = format!("SELECT {columns} FROM ");
    let mut order = "id";
    match searches {
        // The entries are in the order of the page, so they are read until the page is full.
        Some(searches) if searches.is_ordered() => {
            order = "found_id";
            sql.push('(');
            searches.push(before, &mut sql, &mut bound);
            sql.push_str(") CROSS JOIN workflows ON workflows.id = found_id WHERE +namespace = ?1");
        }
        // All entries are read and sorted. Without `NOT INDEXED` and `+`, all workflows of the namespace would be compared
        // with them.
        Some(searches) => {
            sql.push_str("workflows NOT INDEXED WHERE id IN (");
            searches.push(before, &mut sql, &mut bound);
            sql.push_str(") AND +namespace = ?1");
        }
        None => {
            sql.push_str("workflows INDEXED BY workflows_newest WHERE namespace = ?1");
            if let Some(before) = before {
                sql.push_str(&format!(" AND id < ?{before}"));
            }
        }
    }
    and(request.filter.as_ref(), &mut sql, &mut bound);
    bound.push(Bound::Integer(limit));
    sql.push_str(&format!(" ORDER BY {order} DESC LIMIT ?{}", bound.len()));
    (sql, bound)
}

/// Returns the query of counts, and its bind parameters.
fn counts_query(
    namespace: &str,
    by: &Field,
    filter: Option<&Filter>,
    searches: Option<&Searches<'_>>,
) -> (String, Vec<Bound>) {
    let column = match by {
        Field::Definition => "definition",
        Field::Version => "version",
        Field::Cause => "cause",
        Field::ErrorCode => ERROR_CODE,
        Field::Status
        | Field::Id
        | Field::IdempotencyKey
        | Field::CreatedAt
        | Field::EndedAt
        | Field::RunsElements
        | Field::Label(_) => "status",
    };
    let mut bound = vec![Bound::Text(namespace.to_owned())];
    let mut sql = format!(
        "SELECT value, sum(count) FROM (SELECT CAST({column} AS TEXT) AS value, count(*) AS count FROM workflows"
    );
    match searches {
        Some(searches) => {
            sql.push_str(" NOT INDEXED WHERE id IN (");
            searches.push(None, &mut sql, &mut bound);
            sql.push_str(") AND +namespace = ?1");
        }
        None if *by == Field::ErrorCode => {
            sql.push_str(" INDEXED BY workflows_by_error_code WHERE namespace = ?1");
        }
        None => sql.push_str(" WHERE namespace = ?1"),
    }
    // Ended workflows are counted in advance, unless the filter uses other fields than the counts have.
    let is_counted = is_counted(by, filter);
    if *by == Field::ErrorCode {
        sql.push_str(&format!(" AND error IS NOT NULL AND {ERROR_CODE} IS NOT NULL"));
    }
    if is_counted {
        sql.push_str(" AND status IN ('QUEUED', 'IN_PROGRESS', 'ROLLING_BACK', 'PAUSED', 'ERROR')");
        and_certain(filter, &mut sql, &mut bound);
    }
    and(filter, &mut sql, &mut bound);
    sql.push_str(" GROUP BY 1");
    if is_counted {
        sql.push_str(&format!(
            " UNION ALL SELECT CAST({column} AS TEXT), count FROM ended_counts WHERE namespace = ?1"
        ));
        and(filter, &mut sql, &mut bound);
    }
    sql.push_str(") GROUP BY value HAVING sum(count) > 0 ORDER BY value");
    (sql, bound)
}

/// Returns whether the ended workflows of a count were counted in advance.
fn is_counted(by: &Field, filter: Option<&Filter>) -> bool {
    *by != Field::ErrorCode && filter.is_none_or(Filter::is_counted)
}

/// Returns the query of counts that reads the fewest entries, and its bind parameters.
pub(super) fn best_counts_query(
    connection: &Connection,
    namespace: &str,
    by: &Field,
    filter: Option<&Filter>,
) -> Result<(String, Vec<Bound>), Error> {
    if is_counted(by, filter) {
        return Ok(counts_query(namespace, by, filter, None));
    }
    let searches = Searches::for_counts(connection, namespace, filter)?;
    if searches.as_ref().is_some_and(Searches::is_few) {
        return Ok(counts_query(namespace, by, filter, searches.as_ref()));
    }
    // The index of the errors has few entries.
    let searches = searches.filter(|_| *by != Field::ErrorCode);
    let by_label =
        searches.as_ref().and_then(|searches| label_counts::query(namespace, by, filter?, searches));
    Ok(by_label.unwrap_or_else(|| counts_query(namespace, by, filter, searches.as_ref())))
}

pub(super) fn counts(
    connection: &Connection,
    namespace: &str,
    by: &Field,
    filter: Option<&Filter>,
) -> Result<Vec<Count>, Error> {
    let (sql, bound) = best_counts_query(connection, namespace, by, filter)?;
    let mut statement = connection.prepare(&sql)?;
    let rows = statement
        .query_map(params_from_iter(bound), |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    rows.map(|row| {
        let (value, count) = row?;
        Ok(Count { by: by.clone(), value, count: number(count) })
    })
    .collect()
}

pub(super) fn ledger(connection: &Connection, ids: &[WorkflowId]) -> Result<Vec<LedgerRow>, Error> {
    let sql = format!("SELECT {LEDGER} FROM dispatch WHERE workflow_id = ?1 ORDER BY key");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut all = Vec::new();
    for id in ids {
        for row in statement.query_map(params![id_bytes(*id)], ledger_row)? {
            all.push(row?.read()?);
        }
    }
    Ok(all)
}

pub(super) fn orphans(connection: &Connection, limit: u32) -> Result<Vec<LedgerRow>, Error> {
    let sql = format!(
        "SELECT {LEDGER} FROM dispatch AS row
         WHERE NOT EXISTS (SELECT 1 FROM workflows WHERE workflows.id = row.workflow_id) LIMIT ?1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![limit], ledger_row)?;
    rows.map(|row| row?.read()).collect()
}

pub(super) fn ids(
    connection: &Connection,
    after: Option<WorkflowId>,
    limit: u32,
) -> Result<Vec<WorkflowId>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM workflows WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let after = after.map_or_else(Vec::new, |id| id_bytes(id).to_vec());
    let rows = statement.query_map(params![after, limit], |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|bytes| id_of(&bytes?)).collect()
}

pub(super) fn backlog(connection: &Connection, now: Timestamp) -> Result<Vec<(String, u64)>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT queue, count(*) FROM dispatch WHERE queue <> '' AND due_at <= ?1 GROUP BY queue ORDER BY queue",
    )?;
    let rows =
        statement.query_map(params![now.0], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    rows.map(|row| row.map(|(queue, count)| (queue, number(count))).map_err(Error::from)).collect()
}
