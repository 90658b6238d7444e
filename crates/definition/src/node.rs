//! A document with the place of each of its values.

use goconductor_saga::Json;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
}

/// What a document is made of.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Null, true, a number, a text.
    Scalar(Json),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Scalar(scalar) => scalar.clone(),
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
            }
        }
    }

    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(Json::Null) => "null",
            Value::Scalar(Json::Bool(_)) => "true or false",
            Value::Scalar(Json::Number(_)) => "a number",
            Value::Scalar(Json::String(_)) => "a text",
            Value::Scalar(Json::Array(_)) | Value::List(_) => "a list",
            Value::Scalar(Json::Object(_)) | Value::Map(_) => "an object",
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(Json::String(text)) => Some(text),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => None,
        }
    }
}
