//! Counts of the workflows with a label that many have.
//!
//! To read each of them would take a fraction of a second. If the filter has only further conditions on the definition and on
//! the status, two indexes contain everything that is needed.

use super::filter::and;
use super::search::Searches;
use crate::{Field, Filter};
use rusqlite::types::Value as Bound;

/// The conditions of a filter, besides that on the label.
#[derive(Default)]
struct CountConditions<'a> {
    on_definition: Vec<&'a Filter>,
    on_status: Vec<&'a Filter>,
}

impl<'a> CountConditions<'a> {
    /// Returns the conditions, or `None` if there are others.
    fn of(filter: &'a Filter, label: (&str, &str)) -> Option<Self> {
        let mut conditions = Self::default();
        for part in parts(filter) {
            let is_label = |(field, value): &(&Field, &str)| {
                matches!(field, Field::Label(name) if name == label.0) && *value == label.1
            };
            if part.certain().iter().any(is_label) {
                continue;
            }
            if uses_only(part, &|field: &Field| matches!(field, Field::Definition | Field::RunsElements)) {
                conditions.on_definition.push(part);
            } else if uses_only(part, &|field: &Field| *field == Field::Status) {
                conditions.on_status.push(part);
            } else {
                return None;
            }
        }
        Some(conditions)
    }
}

/// Returns the conditions that must all be true.
fn parts(filter: &Filter) -> Vec<&Filter> {
    match filter {
        Filter::All(parts_of) => parts_of.iter().flat_map(parts).collect(),
        Filter::Any(_) | Filter::Not(_) | Filter::Compare(..) => vec![filter],
    }
}

fn uses_only(filter: &Filter, allowed: &dyn Fn(&Field) -> bool) -> bool {
    match filter {
        Filter::All(parts) | Filter::Any(parts) => parts.iter().all(|part| uses_only(part, allowed)),
        Filter::Not(part) => uses_only(part, allowed),
        Filter::Compare(field, ..) => allowed(field),
    }
}

/// Returns the query of counts, and its bind parameters, or `None` if it needs more than the two indexes.
pub(super) fn query(
    namespace: &str,
    by: &Field,
    filter: &Filter,
    searches: &Searches<'_>,
) -> Option<(String, Vec<Bound>)> {
    let (name, value) = searches.label()?;
    let conditions = CountConditions::of(filter, (name, value))?;
    let mut bound = [namespace, name, value].map(|text| Bound::Text(text.to_owned())).to_vec();
    let mut labelled = "workflow_labels WHERE namespace = ?1 AND name = ?2 AND value = ?3".to_owned();
    for condition in conditions.on_definition {
        and(Some(condition), &mut labelled, &mut bound);
    }
    let mut sql = match by {
        Field::Definition if conditions.on_status.is_empty() => {
            format!("SELECT definition, count(*) FROM {labelled}")
        }
        Field::Status => format!(
            "SELECT status, count(*) FROM workflows INDEXED BY workflows_by_status
             WHERE namespace = ?1 AND id IN (SELECT workflow_id FROM {labelled})"
        ),
        Field::Id
        | Field::Definition
        | Field::Version
        | Field::Cause
        | Field::IdempotencyKey
        | Field::CreatedAt
        | Field::EndedAt
        | Field::ErrorCode
        | Field::RunsElements
        | Field::Label(_) => return None,
    };
    for condition in conditions.on_status {
        and(Some(condition), &mut sql, &mut bound);
    }
    sql.push_str(" GROUP BY 1 ORDER BY 1");
    Some((sql, bound))
}
