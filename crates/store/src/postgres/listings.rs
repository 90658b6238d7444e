//! The index of workflow lists. The table `listings` orders workflows newest first within their definition and bucket. Its
//! column `listed` is the bucket: `OPEN` until the workflow ends, and then its status.

use super::filter::condition;
use super::rows::escape_nul;
use crate::{Field, Filter};
use goconductor_saga::{Status, WorkflowId};
use sqlx::{Postgres, QueryBuilder};

/// The bucket of workflows that have not ended.
const OPEN: &str = "OPEN";

/// A page of a list.
#[derive(Clone, Copy)]
pub(super) struct ListingsPage {
    /// The last workflow of the previous page.
    pub(super) before: Option<WorkflowId>,
    /// Maximum number of workflows.
    pub(super) limit: i64,
}

/// The part of a filter that the index evaluates.
#[derive(Default)]
struct Narrowed<'a> {
    definition: Option<&'a str>,
    bucket: Option<&'a str>,
    /// Whether the filter excludes the workflows that run elements of a step.
    excludes_elements: bool,
    /// Whether the filter has further conditions.
    has_more: bool,
}

impl<'a> Narrowed<'a> {
    fn by(filter: Option<&'a Filter>) -> Self {
        let mut narrowed = Self::default();
        let Some(filter) = filter else { return narrowed };
        for (field, text) in filter.certain() {
            match field {
                Field::Definition => narrowed.definition = Some(text),
                Field::Status if is_final(text) => narrowed.bucket = Some(text),
                // An unknown status matches no workflow. The remaining conditions ensure that.
                Field::Status => narrowed.bucket = Some(OPEN),
                Field::RunsElements => narrowed.excludes_elements = text == "false",
                Field::Id
                | Field::Version
                | Field::Cause
                | Field::IdempotencyKey
                | Field::ErrorCode
                | Field::CreatedAt
                | Field::EndedAt
                | Field::Label(_) => {}
            }
        }
        if filter.is_open_only() && narrowed.bucket.is_none() {
            narrowed.bucket = Some(OPEN);
        }
        let is_one = matches!(filter, Filter::Compare(..));
        let ended = narrowed.bucket.is_some_and(|bucket| bucket != OPEN);
        narrowed.has_more = !(is_one && (narrowed.definition.is_some() || ended));
        narrowed
    }
}

fn is_final(status: &str) -> bool {
    Status::ALL.into_iter().any(|each| each.as_str() == status && each.is_final())
}

/// Returns whether the index excludes some workflows.
pub(super) fn narrows(filter: Option<&Filter>) -> bool {
    let Narrowed { definition, bucket, excludes_elements: _, has_more: _ } = Narrowed::by(filter);
    definition.is_some() || bucket.is_some()
}

/// The table expression `kind`: the triples of namespace, definition and bucket. They are few, however many workflows exist.
pub(super) const KINDS: &str = "kind AS (
        (SELECT namespace, definition, listed FROM listings ORDER BY namespace, definition, listed LIMIT 1)
        UNION ALL
        SELECT next.namespace, next.definition, next.listed FROM kind CROSS JOIN LATERAL (
            SELECT namespace, definition, listed FROM listings
            WHERE (namespace, definition, listed) > (kind.namespace, kind.definition, kind.listed)
            ORDER BY namespace, definition, listed LIMIT 1) AS next
    )";

/// Appends a `FROM` clause with the matching workflows, of one page or all.
pub(super) fn push(
    namespace: &str,
    filter: Option<&Filter>,
    page: Option<ListingsPage>,
    query: &mut QueryBuilder<Postgres>,
) {
    let narrowed = Narrowed::by(filter);
    push_narrowed(namespace, &narrowed, filter.filter(|_| narrowed.has_more), page, query);
}

/// Appends a `FROM` clause with the workflows that have not ended.
pub(super) fn push_open(namespace: &str, query: &mut QueryBuilder<Postgres>) {
    let open = Narrowed { bucket: Some(OPEN), ..Narrowed::default() };
    push_narrowed(namespace, &open, None, None, query);
}

/// Iterates over the pairs of definition and bucket, and reads the newest workflows of each. There are few pairs, however
/// many workflows exist. The planner does not know that and would read all workflows, so the query is written so that
/// only this plan is possible.
fn push_narrowed(
    namespace: &str,
    narrowed: &Narrowed<'_>,
    filter: Option<&Filter>,
    page: Option<ListingsPage>,
    query: &mut QueryBuilder<Postgres>,
) {
    let namespace = escape_nul(namespace);
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
        query.push(" AND kind.definition = ").push_bind(escape_nul(definition).into_owned());
    }
    if narrowed.excludes_elements {
        query.push(" AND right(kind.definition, 1) <> ']'");
    }
    if let Some(bucket) = narrowed.bucket {
        query.push(" AND kind.listed = ").push_bind(bucket.to_owned());
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
