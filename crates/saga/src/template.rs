//! Templates: values that may contain expressions.

use crate::Json;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A value that may contain expressions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// A literal value.
    Value(Json),
    /// One expression. The result has the type of its value.
    Expression(String),
    /// A text that contains expressions.
    Text(Vec<TextPart>),
    /// A list of templates.
    List(Vec<Template>),
    /// An object of templates.
    Map(BTreeMap<String, Template>),
}

/// A part of an interpolated text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextPart {
    /// A literal text.
    Literal(String),
    /// An expression. A string is inserted as it is, and any other value as JSON.
    Expression(String),
}

impl Template {
    /// Returns whether an expression of the template may refer to signals.
    pub(crate) fn may_name_signals(&self) -> bool {
        match self {
            Self::Value(_) => false,
            Self::Expression(expression) => may_name_signals(expression),
            Self::Text(parts) => parts.iter().any(|part| match part {
                TextPart::Literal(_) => false,
                TextPart::Expression(expression) => may_name_signals(expression),
            }),
            Self::List(items) => items.iter().any(Self::may_name_signals),
            Self::Map(entries) => entries.values().any(Self::may_name_signals),
        }
    }
}

/// Returns whether an expression may refer to `signals`. A field of that name, such as `input.signals`, does not count. A
/// text that only looks like a reference does, because that has no other effect than a copy of the signals.
pub(crate) fn may_name_signals(expression: &str) -> bool {
    const NAME: &str = "signals";
    let is_in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_reference = |(at, _): (usize, &str)| {
        let before = expression.get(..at).unwrap_or_default();
        let after = expression.get(at + NAME.len()..).unwrap_or_default();
        !before.ends_with(is_in_name) && !before.trim_end().ends_with('.') && !after.starts_with(is_in_name)
    };
    expression.match_indices(NAME).any(is_reference)
}

#[cfg(test)]
mod tests {
    use super::may_name_signals;

    #[test]
    fn reference_to_signals_is_not_a_field_of_that_name() {
        for expression in
            ["signals", "signals.go.by", "signals['a-b'] + 1", "!has(signals.go)", "[signals.a]"]
        {
            assert!(may_name_signals(expression), "{expression}");
        }
        for expression in ["input.signals", "input . signals", "signals_of", "mysignals.a", "input.signal"] {
            assert!(!may_name_signals(expression), "{expression}");
        }
    }
}
