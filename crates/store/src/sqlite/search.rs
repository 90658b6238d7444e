//! Chooses the index that finds the workflows of a filter.
//!
//! SQLite does not know which values are frequent, and would choose the index by the shape of the condition. Therefore the
//! entries that each index has for the filter are counted first, up to a limit, and the query names the index to use.

use super::filter::ERROR_CODE;
use crate::{Comparison, Error, Field, Filter, FilterValue};
use rusqlite::types::Value as Bound;
use rusqlite::{Connection, params_from_iter};

/// Up to this number, the entries of a search are counted.
pub(super) const COUNTED: u64 = 10_000;

/// A search in an index, by a value that the filter names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search<'a> {
    Id(&'a str),
    Key(&'a str),
    Label(&'a str, Comparison, &'a str),
    ErrorCode(&'a str),
    Status(&'a str),
    Definition(&'a str),
}

/// Searches that together find all workflows that match a filter, and possibly others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Searches<'a> {
    /// At least one.
    each: Vec<Search<'a>>,
    /// The number of entries, if it was counted. Above [`COUNTED`], it is not exact.
    entries: Option<u64>,
}

impl<'a> Search<'a> {
    /// Returns the search for a comparison, if an index supports it.
    fn of(field: &'a Field, comparison: Comparison, value: &'a FilterValue) -> Option<Self> {
        let FilterValue::Text(text) = value else { return None };
        let is_equal = comparison == Comparison::Equal;
        match field {
            Field::Label(name) => {
                (comparison != Comparison::NotEqual).then_some(Self::Label(name, comparison, text))
            }
            Field::Id => is_equal.then_some(Self::Id(text)),
            Field::Status => is_equal.then_some(Self::Status(text)),
            Field::Definition => is_equal.then_some(Self::Definition(text)),
            // Workflows without a key, or without an error, have no entry.
            Field::IdempotencyKey => (is_equal && !text.is_empty()).then_some(Self::Key(text)),
            Field::ErrorCode => (is_equal && !text.is_empty()).then_some(Self::ErrorCode(text)),
            Field::Version | Field::Cause | Field::CreatedAt | Field::EndedAt | Field::RunsElements => None,
        }
    }

    /// Returns the position among searches with the same number of entries. The most selective kind is first.
    fn rank(self) -> u8 {
        match self {
            Self::Id(_) => 0,
            Self::Key(_) => 1,
            Self::Label(_, Comparison::Equal, _) => 2,
            Self::ErrorCode(_) => 3,
            Self::Status(_) => 4,
            Self::Definition(_) => 5,
            Self::Label(..) => 6,
        }
    }

    /// Returns whether the entries are in the order of the ids.
    fn is_ordered(self) -> bool {
        match self {
            Self::Label(_, comparison, _) => comparison == Comparison::Equal,
            Self::Id(_) | Self::Key(_) | Self::ErrorCode(_) | Self::Status(_) | Self::Definition(_) => true,
        }
    }

    /// Returns the name of the column with the id, and the rest of a query from the name of the table on. Its first bind
    /// parameter is the namespace.
    fn source(self, bound: &mut Vec<Bound>) -> (&'static str, String) {
        let mut bind = |value: Bound| {
            bound.push(value);
            bound.len()
        };
        let owned = |text: &str| Bound::Text(text.to_owned());
        match self {
            Self::Id(text) => {
                // NULL is not equal to any id.
                let id = uuid::Uuid::try_parse(text)
                    .map_or(Bound::Null, |id| Bound::Blob(id.into_bytes().to_vec()));
                ("id", format!("workflows WHERE id = ?{}", bind(id)))
            }
            Self::Key(key) => {
                ("workflow_id", format!("start_keys WHERE namespace = ?1 AND key = ?{}", bind(owned(key))))
            }
            Self::Label(name, comparison, value) => {
                let (name, value) = (bind(owned(name)), bind(owned(value)));
                let operator = operator(comparison);
                let entries = "workflow_labels WHERE namespace = ?1 AND name";
                ("workflow_id", format!("{entries} = ?{name} AND value {operator} ?{value}"))
            }
            Self::ErrorCode(code) => {
                let entries = "workflows INDEXED BY workflows_by_error_code WHERE namespace = ?1";
                ("id", format!("{entries} AND error IS NOT NULL AND {ERROR_CODE} = ?{}", bind(owned(code))))
            }
            Self::Status(status) => {
                let entries = "workflows INDEXED BY workflows_by_status WHERE namespace = ?1";
                ("id", format!("{entries} AND status = ?{}", bind(owned(status))))
            }
            Self::Definition(definition) => {
                let entries = "workflows INDEXED BY workflows_by_definition WHERE namespace = ?1";
                ("id", format!("{entries} AND definition = ?{}", bind(owned(definition))))
            }
        }
    }

    /// Counts the entries, up to a limit.
    fn count(self, connection: &Connection, namespace: &str, limit: u64) -> Result<u64, Error> {
        let mut bound = vec![Bound::Text(namespace.to_owned())];
        let (_, source) = self.source(&mut bound);
        bound.push(Bound::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        let sql = format!("SELECT count(*) FROM (SELECT ?1 FROM {source} LIMIT ?{})", bound.len());
        let count: i64 =
            connection.prepare_cached(&sql)?.query_row(params_from_iter(bound), |row| row.get(0))?;
        Ok(super::rows::number(count))
    }
}

fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "<>",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

impl<'a> Searches<'a> {
    /// Returns the searches that read the fewest entries, or `None` if no index supports the filter.
    pub(super) fn for_list(
        connection: &Connection,
        namespace: &str,
        filter: Option<&'a Filter>,
    ) -> Result<Option<Self>, Error> {
        let mut candidates = candidates(filter);
        if let [only] = candidates.as_slice()
            && only.is_ordered()
        {
            return Ok(candidates.pop());
        }
        let mut best = None;
        for candidate in candidates {
            let counted = candidate.counted(connection, namespace)?;
            // Without an order, all entries are read before the first workflow is found. If they are many, a page is more
            // likely to be filled by the newest workflows.
            if counted.is_ordered() || counted.is_few() {
                best = Some(counted.fewer(best));
            }
        }
        Ok(best)
    }

    /// Like [`for_list`](Self::for_list), for a query that reads all matching workflows.
    pub(super) fn for_counts(
        connection: &Connection,
        namespace: &str,
        filter: Option<&'a Filter>,
    ) -> Result<Option<Self>, Error> {
        let mut best = None;
        for candidate in candidates(filter) {
            best = Some(candidate.counted(connection, namespace)?.fewer(best));
        }
        Ok(best)
    }

    fn one(search: Search<'a>) -> Self {
        Self { each: vec![search], entries: None }
    }

    fn counted(mut self, connection: &Connection, namespace: &str) -> Result<Self, Error> {
        let mut entries: u64 = 0;
        for search in &self.each {
            if entries <= COUNTED {
                entries += search.count(connection, namespace, COUNTED + 1)?;
            }
        }
        self.entries = Some(entries.min(COUNTED + 1));
        Ok(self)
    }

    /// Returns the one with fewer entries. Both are counted.
    fn fewer(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.cost() <= self.cost() => other,
            Some(_) | None => self,
        }
    }

    fn cost(&self) -> (Option<u64>, bool, u8) {
        (self.entries, !self.is_ordered(), self.each.iter().map(|each| each.rank()).max().unwrap_or(u8::MAX))
    }

    /// Returns whether the entries were counted, and are at most [`COUNTED`].
    pub(super) fn is_few(&self) -> bool {
        self.entries.is_some_and(|entries| entries <= COUNTED)
    }

    /// Returns whether one query finds the entries in the order of the ids.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self.each.as_slice(), [only] if only.is_ordered())
    }

    /// Returns the name and the value of the label, if the only search is for a label with this value.
    pub(super) fn label(&self) -> Option<(&'a str, &'a str)> {
        match self.each.as_slice() {
            [Search::Label(name, Comparison::Equal, value)] => Some((*name, *value)),
            _ => None,
        }
    }

    /// Appends a query of the ids, in the column `found_id`. The first bind parameter is the namespace. The ids are below the
    /// bind parameter `before`.
    pub(super) fn push(&self, before: Option<usize>, sql: &mut String, bound: &mut Vec<Bound>) {
        for (number, search) in self.each.iter().enumerate() {
            if number > 0 {
                sql.push_str(" UNION ");
            }
            let (id, source) = search.source(bound);
            sql.push_str(&format!("SELECT {id} AS found_id FROM {source}"));
            if let Some(before) = before {
                sql.push_str(&format!(" AND {id} < ?{before}"));
            }
        }
    }
}

/// Returns the searches from which one can be chosen.
fn candidates(filter: Option<&Filter>) -> Vec<Searches<'_>> {
    match filter {
        None | Some(Filter::Not(_)) => Vec::new(),
        Some(Filter::All(parts)) => parts.iter().flat_map(|part| candidates(Some(part))).collect(),
        Some(Filter::Compare(field, comparison, value)) => {
            Search::of(field, *comparison, value).map(Searches::one).into_iter().collect()
        }
        Some(Filter::Any(parts)) => {
            // Each part needs a search: a workflow may match any of them.
            let parts: Option<Vec<Searches<'_>>> = parts
                .iter()
                .map(|part| candidates(Some(part)).into_iter().min_by_key(|searches| searches.cost()))
                .collect();
            let each: Vec<Search<'_>> = parts.into_iter().flatten().flat_map(|part| part.each).collect();
            if each.is_empty() { Vec::new() } else { vec![Searches { each, entries: None }] }
        }
    }
}
