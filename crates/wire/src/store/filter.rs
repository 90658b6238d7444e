//! Filters, lists and counts.

use super::{Malformed, id, id_bytes, required};
use crate::internal as wire;
use goconductor_saga::Timestamp;
use goconductor_store::{Comparison, Field, Filter, FilterValue, ListPage, ListRequest};

/// Converts a field to its message, with the name of the label if the field is a label.
#[must_use]
pub fn field(field: &Field) -> (wire::FilterField, String) {
    let plain = |field| (field, String::new());
    match field {
        Field::Id => plain(wire::FilterField::Id),
        Field::Status => plain(wire::FilterField::Status),
        Field::Definition => plain(wire::FilterField::Definition),
        Field::Version => plain(wire::FilterField::Version),
        Field::Cause => plain(wire::FilterField::Cause),
        Field::IdempotencyKey => plain(wire::FilterField::IdempotencyKey),
        Field::CreatedAt => plain(wire::FilterField::CreatedAt),
        Field::EndedAt => plain(wire::FilterField::EndedAt),
        Field::ErrorCode => plain(wire::FilterField::ErrorCode),
        Field::RunsElements => plain(wire::FilterField::RunsElements),
        Field::Label(name) => (wire::FilterField::Label, name.clone()),
    }
}

/// Converts a field from its message.
///
/// # Errors
/// Returns [`Malformed`] if the field is unspecified.
pub fn field_of(field: wire::FilterField, label: String) -> Result<Field, Malformed> {
    Ok(match field {
        wire::FilterField::Id => Field::Id,
        wire::FilterField::Status => Field::Status,
        wire::FilterField::Definition => Field::Definition,
        wire::FilterField::Version => Field::Version,
        wire::FilterField::Cause => Field::Cause,
        wire::FilterField::IdempotencyKey => Field::IdempotencyKey,
        wire::FilterField::CreatedAt => Field::CreatedAt,
        wire::FilterField::EndedAt => Field::EndedAt,
        wire::FilterField::ErrorCode => Field::ErrorCode,
        wire::FilterField::RunsElements => Field::RunsElements,
        wire::FilterField::Label => Field::Label(label),
        wire::FilterField::Unspecified => return Err(Malformed("field of a filter is missing".to_owned())),
    })
}

impl From<&Filter> for wire::Filter {
    fn from(filter: &Filter) -> Self {
        let mut nodes = Vec::new();
        write(filter, &mut nodes);
        Self { nodes }
    }
}

fn write(filter: &Filter, nodes: &mut Vec<wire::FilterNode>) {
    use wire::filter_node::Node;
    let count = |filters: &[Filter]| u32::try_from(filters.len()).unwrap_or(u32::MAX);
    let node = match filter {
        Filter::All(filters) => {
            filters.iter().for_each(|each| write(each, nodes));
            Node::All(count(filters))
        }
        Filter::Any(filters) => {
            filters.iter().for_each(|each| write(each, nodes));
            Node::Any(count(filters))
        }
        Filter::Not(filter) => {
            write(filter, nodes);
            Node::Not(wire::FilterNot {})
        }
        Filter::Compare(of, comparison, value) => {
            let (field, label) = field(of);
            Node::Compare(wire::FilterCompare {
                field: field.into(),
                label,
                comparison: compared(*comparison).into(),
                value: Some(wire::FilterValue { value: Some(value_of(value)) }),
            })
        }
    };
    nodes.push(wire::FilterNode { node: Some(node) });
}

fn compared(comparison: Comparison) -> wire::Comparison {
    match comparison {
        Comparison::Equal => wire::Comparison::Equal,
        Comparison::NotEqual => wire::Comparison::NotEqual,
        Comparison::Less => wire::Comparison::Less,
        Comparison::LessOrEqual => wire::Comparison::LessOrEqual,
        Comparison::Greater => wire::Comparison::Greater,
        Comparison::GreaterOrEqual => wire::Comparison::GreaterOrEqual,
    }
}

fn value_of(value: &FilterValue) -> wire::filter_value::Value {
    match value {
        FilterValue::Text(text) => wire::filter_value::Value::Text(text.clone()),
        FilterValue::Number(number) => wire::filter_value::Value::Number(*number),
        FilterValue::Time(time) => wire::filter_value::Value::Time(time.0),
    }
}

impl TryFrom<wire::Filter> for Filter {
    type Error = Malformed;

    fn try_from(filter: wire::Filter) -> Result<Self, Malformed> {
        use wire::filter_node::Node;
        let mut read: Vec<Self> = Vec::new();
        let last = |read: &mut Vec<Self>, count: u32| {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            required(read.len().checked_sub(count), "operand of a filter").map(|from| read.split_off(from))
        };
        for node in filter.nodes {
            let next = match required(node.node, "node of a filter")? {
                Node::All(count) => Self::All(last(&mut read, count)?),
                Node::Any(count) => Self::Any(last(&mut read, count)?),
                Node::Not(wire::FilterNot {}) => {
                    Self::Not(Box::new(required(read.pop(), "operand of a filter")?))
                }
                Node::Compare(compare) => compare_of(compare)?,
            };
            read.push(next);
        }
        let whole = required(read.pop(), "filter")?;
        if read.is_empty() { Ok(whole) } else { Err(Malformed("the filter has unused operands".to_owned())) }
    }
}

fn compare_of(compare: wire::FilterCompare) -> Result<Filter, Malformed> {
    let comparison = match compare.comparison() {
        wire::Comparison::Equal => Comparison::Equal,
        wire::Comparison::NotEqual => Comparison::NotEqual,
        wire::Comparison::Less => Comparison::Less,
        wire::Comparison::LessOrEqual => Comparison::LessOrEqual,
        wire::Comparison::Greater => Comparison::Greater,
        wire::Comparison::GreaterOrEqual => Comparison::GreaterOrEqual,
        wire::Comparison::Unspecified => {
            return Err(Malformed("comparison of a filter is missing".to_owned()));
        }
    };
    let field = field_of(compare.field(), compare.label)?;
    let value = match required(compare.value.and_then(|value| value.value), "value of a filter")? {
        wire::filter_value::Value::Text(text) => FilterValue::Text(text),
        wire::filter_value::Value::Number(number) => FilterValue::Number(number),
        wire::filter_value::Value::Time(time) => FilterValue::Time(Timestamp(time)),
    };
    Ok(Filter::Compare(field, comparison, value))
}

impl From<&ListRequest> for wire::ListRequest {
    fn from(request: &ListRequest) -> Self {
        Self {
            namespace: request.namespace.clone(),
            filter: request.filter.as_ref().map(Into::into),
            limit: request.limit,
            before: request.before.map(id_bytes).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::ListRequest> for ListRequest {
    type Error = Malformed;

    fn try_from(wire: wire::ListRequest) -> Result<Self, Malformed> {
        Ok(Self {
            namespace: wire.namespace,
            filter: wire.filter.map(TryInto::try_into).transpose()?,
            limit: wire.limit,
            before: if wire.before.is_empty() { None } else { Some(id(&wire.before)?) },
        })
    }
}

impl TryFrom<&ListPage> for wire::ListResponse {
    type Error = Malformed;

    fn try_from(page: &ListPage) -> Result<Self, Malformed> {
        let workflows = page.workflows.iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self { workflows, more: page.more })
    }
}

impl TryFrom<wire::ListResponse> for ListPage {
    type Error = Malformed;

    fn try_from(wire: wire::ListResponse) -> Result<Self, Malformed> {
        let workflows = wire.workflows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self { workflows, more: wire.more })
    }
}
