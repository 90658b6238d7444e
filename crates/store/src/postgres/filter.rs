//! Translates filters to SQL. Every value is a bind parameter.

use super::rows::escape_nul;
use crate::{Comparison, Field, Filter, FilterValue};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

/// The code of a workflow's error, as JSON writes it. The index `workflows_by_error_code` contains it. A text function is
/// used, because the JSON functions of the server refuse a text with U+0000, which a message may contain.
pub(super) const ERROR_CODE: &str = r#"(substring(error FROM '"code":"((?:[^"\\]|\\.)*)"') COLLATE "C")"#;

/// Escapes a text as JSON does.
pub(super) fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}

/// Reverses [`json_escaped`].
pub(super) fn json_unescaped(stored: &str) -> String {
    serde_json::from_str(&format!("\"{stored}\"")).unwrap_or_else(|_| stored.to_owned())
}

/// Appends a condition. Every value is a bind parameter.
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

fn compare(field: &Field, comparison: Comparison, value: &FilterValue, query: &mut QueryBuilder<Postgres>) {
    if !field.takes(value) {
        query.push(if comparison == Comparison::NotEqual { "true" } else { "false" });
        return;
    }
    let operator = match comparison {
        Comparison::Equal => " = ",
        // A missing value is not equal to any value. For a missing time, every comparison is false.
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
        // Compares bytes, as SQLite does, independent of the database's collation.
        Field::Status => query.push("status COLLATE \"C\""),
        Field::Definition => query.push("definition COLLATE \"C\""),
        Field::RunsElements => {
            query.push("(CASE WHEN right(definition, 1) = ']' THEN 'true' ELSE 'false' END) COLLATE \"C\"")
        }
        Field::Version => query.push("version::bigint"),
        Field::Cause => query.push("cause COLLATE \"C\""),
        Field::IdempotencyKey => query.push("idempotency_key COLLATE \"C\""),
        Field::CreatedAt => query.push("created_at"),
        Field::EndedAt => query.push("ended_at"),
        Field::ErrorCode => query.push("coalesce(").push(ERROR_CODE).push(", '')"),
        Field::Label(name) => query.push("(labels ->> ").push_bind(escape_nul(name)).push(") COLLATE \"C\""),
    };
    query.push(operator);
    match (field, value) {
        (Field::Id, FilterValue::Text(text)) => query.push_bind(Uuid::try_parse(text).ok()),
        (Field::ErrorCode, FilterValue::Text(text)) => query.push_bind(json_escaped(text)),
        (_, FilterValue::Text(text)) => query.push_bind(escape_nul(text)),
        (_, FilterValue::Number(number)) => query.push_bind(*number),
        (_, FilterValue::Time(at)) => query.push_bind(at.0),
    };
    query.push(", false)");
}
