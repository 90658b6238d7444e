//! Conversion between JSON and CEL values, with limits on their size.

use cel::Value;
use cel::objects::{Key, Map};
use goconductor_saga::Json;
use std::collections::HashMap;
use std::sync::Arc;

/// Maximum number of values that an expression may visit. If a loop refers to a value outside of it, this is the length
/// of the longest list times the number of input values. A visit takes about a quarter of a microsecond.
const MAX_VISITS: usize = 4_000_000;
/// Maximum bytes that additions could produce if each were evaluated for each element.
const MAX_GROWTH: usize = 32 << 20;
/// The assumed size of a value in bytes.
const VALUE_BYTES: usize = 32;
/// Maximum bytes of a result, including the size of its values.
const MAX_RESULT_BYTES: usize = 4 << 20;
/// Maximum nesting depth of a result.
const MAX_RESULT_DEPTH: usize = 64;

/// The size of the inputs of an expression.
#[derive(Debug, Default)]
pub(super) struct Size {
    values: usize,
    longest_list: usize,
    longest_text: usize,
}

impl Size {
    /// Refuses inputs that would take too much time or memory.
    pub(super) fn check(&self, loops_over_outside: bool, additions: usize) -> Result<(), String> {
        let times = if loops_over_outside { self.longest_list.max(1) } else { 1 };
        if times.saturating_mul(self.values) > MAX_VISITS {
            return Err(format!(
                "a loop over a list of {times} elements with {} input values would take too long",
                self.values
            ));
        }
        let element = self.longest_text.max(self.longest_list.saturating_mul(VALUE_BYTES));
        if element.saturating_mul(times).saturating_mul(additions) > MAX_GROWTH {
            return Err("the result of its additions could become too large".to_owned());
        }
        Ok(())
    }
}

/// Converts a JSON value to a CEL value. An integer becomes a CEL int, so that `amount + 1` is valid.
pub(super) fn from_json(json: &Json, size: &mut Size) -> Value {
    size.values += 1;
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(large)) => Value::UInt(large),
            (None, None) => number.as_f64().map_or(Value::Null, Value::Float),
        },
        Json::String(text) => {
            size.longest_text = size.longest_text.max(text.len());
            Value::String(Arc::new(text.clone()))
        }
        Json::Array(items) => {
            size.longest_list = size.longest_list.max(items.len());
            Value::List(Arc::new(items.iter().map(|item| from_json(item, size)).collect()))
        }
        Json::Object(entries) => {
            size.longest_list = size.longest_list.max(entries.len());
            map(entries.iter().map(|(key, value)| (key.as_str(), from_json(value, size))))
        }
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
        self.left = self.left.checked_sub(bytes).ok_or("the result is too large")?;
        Ok(())
    }
}
