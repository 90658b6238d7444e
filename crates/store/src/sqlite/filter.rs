//! Translates filters to SQL. Every value is a bind parameter.

use crate::{Comparison, Field, Filter, FilterValue};
use rusqlite::types::Value as Bound;

/// The code of a workflow's error. The index `workflows_by_error_code` contains it.
pub(super) const ERROR_CODE: &str = "(CASE WHEN json_valid(error) THEN json_extract(error, '$.code') END)";

/// Appends a filter to the condition of a query.
pub(super) fn and(filter: Option<&Filter>, sql: &mut String, bound: &mut Vec<Bound>) {
    let Some(filter) = filter else { return };
    sql.push_str(" AND ");
    condition(filter, sql, bound);
}

/// Repeats the equality conditions on the fields of the counts in a form that an index supports.
pub(super) fn and_certain(filter: Option<&Filter>, sql: &mut String, bound: &mut Vec<Bound>) {
    for (field, text) in filter.into_iter().flat_map(Filter::certain) {
        let column = match field {
            Field::Status => "status",
            Field::Definition => "definition",
            Field::Id
            | Field::Version
            | Field::Cause
            | Field::IdempotencyKey
            | Field::ErrorCode
            | Field::CreatedAt
            | Field::EndedAt
            | Field::RunsElements
            | Field::Label(_) => continue,
        };
        bound.push(Bound::Text(text.to_owned()));
        sql.push_str(&format!(" AND {column} = ?{}", bound.len()));
    }
}

/// Appends a condition and its bind parameters.
fn condition(filter: &Filter, sql: &mut String, bound: &mut Vec<Bound>) {
    match filter {
        Filter::All(parts) => joined(parts, " AND ", "1", sql, bound),
        Filter::Any(parts) => joined(parts, " OR ", "0", sql, bound),
        Filter::Not(part) => {
            sql.push_str("NOT coalesce(");
            condition(part, sql, bound);
            sql.push_str(", 0)");
        }
        Filter::Compare(field, comparison, value) => compare(field, *comparison, value, sql, bound),
    }
}

fn joined(parts: &[Filter], with: &str, empty: &str, sql: &mut String, bound: &mut Vec<Bound>) {
    sql.push('(');
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            sql.push_str(with);
        }
        condition(part, sql, bound);
    }
    if parts.is_empty() {
        sql.push_str(empty);
    }
    sql.push(')');
}

fn compare(
    field: &Field,
    comparison: Comparison,
    value: &FilterValue,
    sql: &mut String,
    bound: &mut Vec<Bound>,
) {
    if !field.takes(value) {
        sql.push_str(if comparison == Comparison::NotEqual { "1" } else { "0" });
        return;
    }
    let column = match field {
        Field::Id => "id".to_owned(),
        Field::Status => "status".to_owned(),
        Field::Definition => "definition".to_owned(),
        Field::RunsElements => {
            "(CASE WHEN substr(definition, -1) = ']' THEN 'true' ELSE 'false' END)".to_owned()
        }
        Field::Version => "version".to_owned(),
        Field::Cause => "cause".to_owned(),
        Field::IdempotencyKey => "idempotency_key".to_owned(),
        Field::CreatedAt => "created_at".to_owned(),
        Field::EndedAt => "ended_at".to_owned(),
        Field::ErrorCode => format!("coalesce({ERROR_CODE}, '')"),
        Field::Label(name) => {
            bound.push(Bound::Text(name.clone()));
            // `json_each` is used instead of a JSON path, because the name of a label may contain any character.
            format!("(SELECT each.value FROM json_each(labels) AS each WHERE each.key = ?{})", bound.len())
        }
    };
    bound.push(match (field, value) {
        (Field::Id, FilterValue::Text(text)) => match uuid::Uuid::try_parse(text) {
            Ok(id) => Bound::Blob(id.into_bytes().to_vec()),
            // NULL is not equal to any id.
            Err(_) => Bound::Null,
        },
        (_, FilterValue::Text(text)) => Bound::Text(text.clone()),
        (_, FilterValue::Number(number)) => Bound::Integer(*number),
        (_, FilterValue::Time(at)) => Bound::Integer(at.0),
    });
    let parameter = bound.len();
    let text = match comparison {
        Comparison::Equal => format!("coalesce({column} = ?{parameter}, 0)"),
        // A missing value is not equal to any value. For a missing time, every comparison is false.
        Comparison::NotEqual if *field == Field::EndedAt => format!("coalesce({column} <> ?{parameter}, 0)"),
        Comparison::NotEqual => format!("({column} IS NOT ?{parameter})"),
        Comparison::Less => format!("coalesce({column} < ?{parameter}, 0)"),
        Comparison::LessOrEqual => format!("coalesce({column} <= ?{parameter}, 0)"),
        Comparison::Greater => format!("coalesce({column} > ?{parameter}, 0)"),
        Comparison::GreaterOrEqual => format!("coalesce({column} >= ?{parameter}, 0)"),
    };
    sql.push_str(&text);
}
