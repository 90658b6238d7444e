//! A filter as SQL, with every value bound.

use crate::{Comparison, Field, Filter, Value};
use rusqlite::types::Value as Bound;

/// Appends a filter to a condition of which the first that is bound is the namespace.
pub(super) fn and(filter: Option<&Filter>, sql: &mut String, bound: &mut Vec<Bound>) {
    let Some(filter) = filter else { return };
    sql.push_str(" AND ");
    condition(filter, sql, bound);
    // The same once more, as an index can be asked for it.
    for (field, text) in filter.certain() {
        let column = match field {
            Field::Status => "status",
            Field::Definition => "definition",
            Field::IdempotencyKey if !text.is_empty() => "key",
            Field::Id
            | Field::Version
            | Field::Cause
            | Field::IdempotencyKey
            | Field::CreatedAt
            | Field::EndedAt
            | Field::Label(_) => continue,
        };
        bound.push(Bound::Text(text.to_owned()));
        let place = bound.len();
        if column == "key" {
            sql.push_str(&format!(
                " AND id IN (SELECT workflow_id FROM start_keys WHERE namespace = ?1 AND key = ?{place})"
            ));
        } else {
            sql.push_str(&format!(" AND {column} = ?{place}"));
        }
    }
}

/// Appends a condition and what is bound in it.
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

fn compare(field: &Field, comparison: Comparison, value: &Value, sql: &mut String, bound: &mut Vec<Bound>) {
    if !field.takes(value) {
        sql.push_str(if comparison == Comparison::NotEqual { "1" } else { "0" });
        return;
    }
    let column = match field {
        Field::Id => "id".to_owned(),
        Field::Status => "status".to_owned(),
        Field::Definition => "definition".to_owned(),
        Field::Version => "version".to_owned(),
        Field::Cause => "cause".to_owned(),
        Field::IdempotencyKey => "idempotency_key".to_owned(),
        Field::CreatedAt => "created_at".to_owned(),
        Field::EndedAt => "ended_at".to_owned(),
        Field::Label(name) => {
            bound.push(Bound::Text(name.clone()));
            // By `json_each` and not by a path: a label's name may hold anything.
            format!("(SELECT each.value FROM json_each(labels) AS each WHERE each.key = ?{})", bound.len())
        }
    };
    bound.push(match (field, value) {
        (Field::Id, Value::Text(text)) => match uuid::Uuid::try_parse(text) {
            Ok(id) => Bound::Blob(id.into_bytes().to_vec()),
            // Equals nothing.
            Err(_) => Bound::Null,
        },
        (_, Value::Text(text)) => Bound::Text(text.clone()),
        (_, Value::Number(number)) => Bound::Integer(*number),
        (_, Value::Time(at)) => Bound::Integer(at.0),
    });
    let place = bound.len();
    let text = match comparison {
        Comparison::Equal => format!("coalesce({column} = ?{place}, 0)"),
        // What is not there differs from everything; but a time that is not there is like no other.
        Comparison::NotEqual if *field == Field::EndedAt => format!("coalesce({column} <> ?{place}, 0)"),
        Comparison::NotEqual => format!("({column} IS NOT ?{place})"),
        Comparison::Less => format!("coalesce({column} < ?{place}, 0)"),
        Comparison::LessOrEqual => format!("coalesce({column} <= ?{place}, 0)"),
        Comparison::Greater => format!("coalesce({column} > ?{place}, 0)"),
        Comparison::GreaterOrEqual => format!("coalesce({column} >= ?{place}, 0)"),
    };
    sql.push_str(&text);
}
