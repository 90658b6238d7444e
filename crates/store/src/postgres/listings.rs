//! How lists find workflows: newest first by definition and by whether, or as what, they have ended.

use super::read::condition;
use super::rows::stored;
use crate::{Field, Filter};
use goconductor_saga::{Status, WorkflowId};
use sqlx::{Postgres, QueryBuilder};

/// As what those are listed that have not ended.
const OPEN: &str = "OPEN";

/// A page of a list.
#[derive(Clone, Copy)]
pub(super) struct Page {
    /// Older than this one.
    pub(super) before: Option<WorkflowId>,
    /// At most so many.
    pub(super) limit: i64,
}

/// What of a filter the listings answer themselves.
#[derive(Default)]
struct Narrowed<'a> {
    definition: Option<&'a str>,
    listed: Option<&'a str>,
    /// Whether the filter asks for more than that.
    rest: bool,
}

impl<'a> Narrowed<'a> {
    fn by(filter: Option<&'a Filter>) -> Self {
        let mut narrowed = Self::default();
        let Some(filter) = filter else { return narrowed };
        for (field, text) in filter.certain() {
            match field {
                Field::Definition => narrowed.definition = Some(text),
                Field::Status if is_final(text) => narrowed.listed = Some(text),
                // A text that is no status fits none, and it is the rest that says so.
                Field::Status => narrowed.listed = Some(OPEN),
                Field::Id
                | Field::Version
                | Field::Cause
                | Field::IdempotencyKey
                | Field::CreatedAt
                | Field::EndedAt
                | Field::Label(_) => {}
            }
        }
        let is_one = matches!(filter, Filter::Compare(..));
        let ended = narrowed.listed.is_some_and(|listed| listed != OPEN);
        narrowed.rest = !(is_one && (narrowed.definition.is_some() || ended));
        narrowed
    }
}

fn is_final(status: &str) -> bool {
    Status::ALL.into_iter().any(|each| each.as_str() == status && each.is_final())
}

/// Whether the listings lead to fewer than all workflows.
pub(super) fn narrows(filter: Option<&Filter>) -> bool {
    let Narrowed { definition, listed, rest: _ } = Narrowed::by(filter);
    definition.is_some() || listed.is_some()
}

/// Appends a `FROM` of the workflows that fit, of a page or of all.
pub(super) fn push(
    namespace: &str,
    filter: Option<&Filter>,
    page: Option<Page>,
    query: &mut QueryBuilder<Postgres>,
) {
    let narrowed = Narrowed::by(filter);
    push_narrowed(namespace, &narrowed, filter.filter(|_| narrowed.rest), page, query);
}

/// Appends a `FROM` of the workflows that have not ended.
pub(super) fn push_open(namespace: &str, query: &mut QueryBuilder<Postgres>) {
    let open = Narrowed { listed: Some(OPEN), ..Narrowed::default() };
    push_narrowed(namespace, &open, None, None, query);
}

/// Goes from one pair of definition and `listed` to the next, and takes the newest of each: however many
/// workflows there are, pairs are few. It is written so that it can be carried out in this one way only: the
/// planner knows nothing of how few, and would read all workflows.
fn push_narrowed(
    namespace: &str,
    narrowed: &Narrowed<'_>,
    filter: Option<&Filter>,
    page: Option<Page>,
    query: &mut QueryBuilder<Postgres>,
) {
    let namespace = stored(namespace);
    query.push(
        "(WITH RECURSIVE kind AS (
             (SELECT definition, listed FROM listings WHERE namespace = ",
    );
    query.push_bind(namespace.clone().into_owned());
    query.push(
        " ORDER BY definition, listed LIMIT 1)
             UNION ALL
             SELECT next.definition, next.listed FROM kind CROSS JOIN LATERAL (
                 SELECT definition, listed FROM listings
                 WHERE (definition, listed) > (kind.definition, kind.listed) AND namespace = ",
    );
    query.push_bind(namespace.clone().into_owned());
    query.push(
        " ORDER BY definition, listed LIMIT 1) AS next
         ) SELECT found.id FROM kind CROSS JOIN LATERAL (
             SELECT listings.id FROM listings
             WHERE listings.definition = kind.definition AND listings.listed = kind.listed
                 AND listings.namespace = ",
    );
    query.push_bind(namespace.into_owned());
    if let Some(before) = page.and_then(|page| page.before) {
        query.push(" AND listings.id < ").push_bind(before.0);
    }
    if let Some(filter) = filter {
        query.push(" AND (SELECT true FROM workflows WHERE workflows.id = listings.id AND ");
        condition(filter, query);
        query.push(")");
    }
    if let Some(page) = page {
        query.push(" ORDER BY listings.id DESC LIMIT ").push_bind(page.limit);
    }
    query.push(") AS found WHERE true");
    if let Some(definition) = narrowed.definition {
        query.push(" AND kind.definition = ").push_bind(stored(definition).into_owned());
    }
    if let Some(listed) = narrowed.listed {
        query.push(" AND kind.listed = ").push_bind(listed.to_owned());
    }
    if let Some(page) = page {
        query.push(" ORDER BY found.id DESC LIMIT ").push_bind(page.limit);
    }
    query.push(
        ") AS page CROSS JOIN LATERAL (
             SELECT * FROM workflows WHERE workflows.id = page.id OFFSET 0
         ) AS workflows",
    );
}
