//! The semantics of a filter, independent of a database. The conformance cases compare every store with it.

use crate::{Comparison, Field, Filter, FilterValue, Summary};
use goconductor_saga::{Timestamp, WorkflowId};
use std::cmp::Ordering;

impl Filter {
    /// Returns whether a workflow matches the filter.
    #[must_use]
    pub fn matches(&self, of: &Summary) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(of)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(of)),
            Self::Not(part) => !part.matches(of),
            Self::Compare(field, comparison, value) => {
                let order = compare_field(field, value, of);
                if order.is_none() && *field == Field::EndedAt && matches!(value, FilterValue::Time(_)) {
                    return false;
                }
                match comparison {
                    Comparison::Equal => order == Some(Ordering::Equal),
                    Comparison::NotEqual => order != Some(Ordering::Equal),
                    Comparison::Less => order == Some(Ordering::Less),
                    Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
                    Comparison::Greater => order == Some(Ordering::Greater),
                    Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
                }
            }
        }
    }
}

/// Compares a field with a value. Returns `None` if they are not comparable.
fn compare_field(field: &Field, value: &FilterValue, of: &Summary) -> Option<Ordering> {
    let text = |text: &str| match value {
        FilterValue::Text(value) => Some(text.cmp(value)),
        FilterValue::Number(_) | FilterValue::Time(_) => None,
    };
    let time = |time: Timestamp| match value {
        FilterValue::Time(value) => Some(time.cmp(value)),
        FilterValue::Text(_) | FilterValue::Number(_) => None,
    };
    match (field, value) {
        (Field::Id, FilterValue::Text(text)) => text.parse::<WorkflowId>().ok().map(|id| of.id.cmp(&id)),
        (Field::Version, FilterValue::Number(number)) => Some(i64::from(of.version).cmp(number)),
        (Field::Id | Field::Version, _) => None,
        (Field::Status, _) => text(of.status.as_str()),
        (Field::Definition, _) => text(&of.definition),
        // The names of other definitions do not end so. The databases compare the same.
        (Field::RunsElements, _) => text(if of.definition.ends_with(']') { "true" } else { "false" }),
        (Field::Cause, _) => text(of.cause.map_or("", |cause| cause.as_str())),
        (Field::IdempotencyKey, _) => text(of.idempotency_key.as_deref().unwrap_or_default()),
        (Field::ErrorCode, _) => {
            let code = of.error.as_ref().and_then(|error| error.get("code")).and_then(|code| code.as_str());
            text(code.unwrap_or_default())
        }
        (Field::CreatedAt, _) => time(of.created_at),
        (Field::EndedAt, _) => of.ended_at.and_then(time),
        (Field::Label(name), _) => of.labels.get(name).and_then(|value| text(value)),
    }
}
