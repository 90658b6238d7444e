//! Which workflows a list shows: the meaning of a filter, apart from its text and from any SQL.

use goconductor_saga::Timestamp;

/// A condition on workflows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All hold.
    All(Vec<Filter>),
    /// At least one holds.
    Any(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// A field compared with a value. A label that a workflow does not have equals nothing, and differs
    /// from everything.
    Compare(Field, Comparison, Value),
}

impl Filter {
    /// Whether it asks for nothing but what ended workflows are counted by.
    pub(crate) fn is_counted(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().all(Self::is_counted),
            Self::Not(part) => part.is_counted(),
            Self::Compare(field, ..) => {
                matches!(field, Field::Status | Field::Definition | Field::Version | Field::Cause)
            }
        }
    }

    /// Texts that certain fields of every workflow that fits have: what an index can be asked for.
    pub(crate) fn certain(&self) -> Vec<(&Field, &str)> {
        match self {
            Self::All(parts) => parts.iter().flat_map(Self::certain).collect(),
            Self::Compare(field, Comparison::Equal, Value::Text(text)) => vec![(field, text.as_str())],
            Self::Any(_) | Self::Not(_) | Self::Compare(..) => Vec::new(),
        }
    }
}

/// What can be compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The workflow's id, as text; a text that is none equals no id, and differs from every one.
    Id,
    /// `QUEUED`, …
    Status,
    /// The definition's name.
    Definition,
    /// The definition's version.
    Version,
    /// Why it is rolled back; a workflow without a cause has the empty text.
    Cause,
    /// The key that it was started with; the empty text if without.
    IdempotencyKey,
    /// When its start was accepted.
    CreatedAt,
    /// When it became final; one that has not is not before, after or equal to any time.
    EndedAt,
    /// A label.
    Label(String),
}

impl Field {
    /// Whether such values can be compared with it. One that can't equals nothing, differs from
    /// everything, and stands before or after nothing.
    pub(crate) fn takes(&self, value: &Value) -> bool {
        match (self, value) {
            (
                Self::Id
                | Self::Status
                | Self::Definition
                | Self::Cause
                | Self::IdempotencyKey
                | Self::Label(_),
                Value::Text(_),
            )
            | (Self::Version, Value::Number(_))
            | (Self::CreatedAt | Self::EndedAt, Value::Time(_)) => true,
            (_, Value::Text(_) | Value::Number(_) | Value::Time(_)) => false,
        }
    }
}

/// How it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// For texts.
    Text(String),
    /// For versions.
    Number(i64),
    /// For times.
    Time(Timestamp),
}
