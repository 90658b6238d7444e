//! Filters of workflow lists: their meaning, independent of their text form and of SQL.

use goconductor_saga::{Status, Timestamp};

/// A condition on workflows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All conditions are true.
    All(Vec<Filter>),
    /// At least one condition is true.
    Any(Vec<Filter>),
    /// The condition is false.
    Not(Box<Filter>),
    /// Compares a field with a value. A label that a workflow does not have is not equal to any value.
    Compare(Field, Comparison, FilterValue),
}

impl Filter {
    /// Returns whether the filter uses only the fields by which ended workflows are counted.
    pub(crate) fn is_counted(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().all(Self::is_counted),
            Self::Not(part) => part.is_counted(),
            Self::Compare(field, ..) => {
                matches!(
                    field,
                    Field::Status | Field::Definition | Field::Version | Field::Cause | Field::RunsElements
                )
            }
        }
    }

    /// Returns the filter of the workflows that have not ended.
    #[must_use]
    pub fn open() -> Self {
        let statuses = Status::ALL.into_iter().filter(|status| !status.is_final());
        let is = |status: Status| {
            Self::Compare(Field::Status, Comparison::Equal, FilterValue::Text(status.as_str().to_owned()))
        };
        Self::Any(statuses.map(is).collect())
    }

    /// Returns the filter of the workflows that do not run elements of a step.
    #[must_use]
    pub fn without_elements() -> Self {
        Self::Compare(Field::RunsElements, Comparison::Equal, FilterValue::Text("false".to_owned()))
    }

    /// Returns whether the filter excludes all workflows that have ended, by [`Filter::open`].
    pub(crate) fn is_open_only(&self) -> bool {
        match self {
            Self::All(parts) => parts.iter().any(Self::is_open_only),
            Self::Any(_) => *self == Self::open(),
            Self::Not(_) | Self::Compare(..) => false,
        }
    }

    /// Returns fields whose value is fixed by the filter for every matching workflow. An index can be used for them.
    pub(crate) fn certain(&self) -> Vec<(&Field, &str)> {
        match self {
            Self::All(parts) => parts.iter().flat_map(Self::certain).collect(),
            Self::Compare(field, Comparison::Equal, FilterValue::Text(text)) => vec![(field, text.as_str())],
            Self::Any(_) | Self::Not(_) | Self::Compare(..) => Vec::new(),
        }
    }
}

/// A field that a filter can compare.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The workflow's id, as text. A text that is not a valid id is not equal to any id.
    Id,
    /// `QUEUED`, …
    Status,
    /// The definition's name.
    Definition,
    /// The definition's version.
    Version,
    /// The cause of the rollback, or the empty text.
    Cause,
    /// The idempotency key of the start, or the empty text.
    IdempotencyKey,
    /// Time when the start was accepted.
    CreatedAt,
    /// Time when the workflow became final. For a workflow that is not final, every comparison is false.
    EndedAt,
    /// The code of the workflow's error, or the empty text.
    ErrorCode,
    /// `true` for a workflow that runs elements of a step with `for_each`, and `false` for all others. Callers do not see
    /// those workflows unless they name them.
    RunsElements,
    /// A label.
    Label(String),
}

impl Field {
    /// Returns whether the field can be compared with a value of this type. With another type, `!=` is true and every
    /// other comparison is false.
    pub(crate) fn takes(&self, value: &FilterValue) -> bool {
        match (self, value) {
            (
                Self::Id
                | Self::Status
                | Self::Definition
                | Self::Cause
                | Self::IdempotencyKey
                | Self::ErrorCode
                | Self::RunsElements
                | Self::Label(_),
                FilterValue::Text(_),
            )
            | (Self::Version, FilterValue::Number(_))
            | (Self::CreatedAt | Self::EndedAt, FilterValue::Time(_)) => true,
            (_, FilterValue::Text(_) | FilterValue::Number(_) | FilterValue::Time(_)) => false,
        }
    }
}

/// A comparison operator.
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

/// The value to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterValue {
    /// A value for a text field.
    Text(String),
    /// A value for the version.
    Number(i64),
    /// A value for a time field.
    Time(Timestamp),
}
