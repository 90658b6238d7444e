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
