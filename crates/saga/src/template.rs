//! Templates: values that may contain expressions.

use crate::Json;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A value that may contain expressions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Returns whether an expression of the template may refer to signals. A text that only looks like a reference
    /// counts as well, because that has no other effect than a copy of the signals.
    pub(crate) fn may_name_signals(&self) -> bool {
        let names = |expression: &String| expression.contains("signals");
        match self {
            Self::Value(_) => false,
            Self::Expression(expression) => names(expression),
            Self::Text(parts) => parts.iter().any(|part| match part {
                TextPart::Literal(_) => false,
                TextPart::Expression(expression) => names(expression),
            }),
            Self::List(items) => items.iter().any(Self::may_name_signals),
            Self::Map(entries) => entries.values().any(Self::may_name_signals),
        }
    }
}
