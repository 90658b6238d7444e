//! Conversion between JSON and CEL values, with a limit on the size of a result.

use cel::Value;
use cel::objects::{Key, Map};
use goconductor_saga::Json;
use std::collections::HashMap;
use std::sync::Arc;

/// The assumed size of a value in bytes.
const VALUE_BYTES: usize = 32;
/// Maximum bytes of a result, including the size of its values.
const MAX_RESULT_BYTES: usize = 4 << 20;
/// Maximum nesting depth of a result.
const MAX_RESULT_DEPTH: usize = 64;

/// Converts a JSON value to a CEL value. An integer becomes a CEL int, so that `amount + 1` is valid.
pub(super) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(large)) => Value::UInt(large),
            (None, None) => number.as_f64().map_or(Value::Null, Value::Float),
        },
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(from_json).collect())),
        Json::Object(entries) => map(entries.iter().map(|(key, value)| (key.as_str(), from_json(value)))),
    }
}

/// Returns a CEL map.
pub(super) fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Value)>) -> Value {
    let entries = entries.into_iter().map(|(key, value)| (Key::from(key.to_owned()), value));
    Value::Map(Map { map: Arc::new(entries.collect::<HashMap<_, _>>()) })
}

/// Converts a result to JSON.
pub(super) fn to_json(value: &Value) -> Result<Json, String> {
    Writer { left: MAX_RESULT_BYTES }.json(value, MAX_RESULT_DEPTH)
}

struct Writer {
    left: usize,
}

impl Writer {
    fn json(&mut self, value: &Value, depth: usize) -> Result<Json, String> {
        self.reserve(VALUE_BYTES)?;
        let inner = depth.checked_sub(1).ok_or("the result is nested too deeply")?;
        match value {
            Value::Null => Ok(Json::Null),
            Value::Bool(value) => Ok(Json::Bool(*value)),
            Value::Int(value) => Ok(Json::from(*value)),
            Value::UInt(value) => Ok(Json::from(*value)),
            Value::Float(value) => serde_json::Number::from_f64(*value)
                .map(Json::Number)
                .ok_or_else(|| format!("the result {value} has no JSON form")),
            Value::String(text) => {
                self.reserve(text.len())?;
                Ok(Json::String(text.as_ref().clone()))
            }
            Value::List(items) => {
                items.iter().map(|item| self.json(item, inner)).collect::<Result<_, _>>().map(Json::Array)
            }
            Value::Map(map) => {
                let mut object = serde_json::Map::new();
                for (key, value) in map.map.iter() {
                    let key = match key {
                        Key::String(text) => text.as_ref().clone(),
                        Key::Int(number) => number.to_string(),
                        Key::Uint(number) => number.to_string(),
                        Key::Bool(value) => value.to_string(),
                    };
                    self.reserve(key.len())?;
                    object.insert(key, self.json(value, inner)?);
                }
                Ok(Json::Object(object))
            }
            Value::Bytes(_) | Value::Function(..) | Value::Opaque(_) | Value::Struct(_) => {
                Err("the result has no JSON form".to_owned())
            }
        }
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), String> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or("the result is too large: at most 4 MiB, of which each value takes 32 bytes")?;
        Ok(())
    }
}
