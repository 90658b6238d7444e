//! JSON to CEL's values and back, with an eye on how much there is.

use cel::Value;
use cel::objects::{Key, Map};
use goconductor_saga::Json;
use std::collections::HashMap;
use std::sync::Arc;

/// Values that an expression may go through: elements of its longest list times all it is given, if a loop
/// names something outside of it. A quarter of a microsecond each.
const TURNS: usize = 4_000_000;
/// What additions may grow to, in bytes, were each done for each element.
const GROWTH: usize = 32 << 20;
/// What a value costs, in bytes.
const VALUE_BYTES: usize = 32;
/// Bytes that a result may have, its values among them.
const RESULT_BYTES: usize = 4 << 20;
/// How deeply a result may be nested.
const RESULT_DEPTH: usize = 64;

/// How much an expression is given.
#[derive(Debug, Default)]
pub(super) struct Size {
    values: usize,
    longest_list: usize,
    longest_text: usize,
}

impl Size {
    /// Whether that can be computed in reasonable time and memory.
    pub(super) fn check(&self, loops_over_outside: bool, additions: usize) -> Result<(), String> {
        let times = if loops_over_outside { self.longest_list.max(1) } else { 1 };
        if times.saturating_mul(self.values) > TURNS {
            return Err(format!(
                "its loop goes through a list of {times}, each time with {} values at hand: that takes too long",
                self.values
            ));
        }
        let element = self.longest_text.max(self.longest_list.saturating_mul(VALUE_BYTES));
        if element.saturating_mul(times).saturating_mul(additions) > GROWTH {
            return Err("what it adds up may grow too large".to_owned());
        }
        Ok(())
    }
}

/// A JSON value as CEL sees it. Whole numbers are CEL's ints, so that `amount + 1` can be written.
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

/// An object as CEL sees it.
pub(super) fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Value)>) -> Value {
    let entries = entries.into_iter().map(|(key, value)| (Key::from(key.to_owned()), value));
    Value::Map(Map { map: Arc::new(entries.collect::<HashMap<_, _>>()) })
}

/// A result as JSON.
pub(super) fn to_json(value: &Value) -> Result<Json, String> {
    Writer { left: RESULT_BYTES }.json(value, RESULT_DEPTH)
}

struct Writer {
    left: usize,
}

impl Writer {
    fn json(&mut self, value: &Value, depth: usize) -> Result<Json, String> {
        self.take(VALUE_BYTES)?;
        let inner = depth.checked_sub(1).ok_or("its value is nested too deeply")?;
        match value {
            Value::Null => Ok(Json::Null),
            Value::Bool(value) => Ok(Json::Bool(*value)),
            Value::Int(value) => Ok(Json::from(*value)),
            Value::UInt(value) => Ok(Json::from(*value)),
            Value::Float(value) => serde_json::Number::from_f64(*value)
                .map(Json::Number)
                .ok_or_else(|| format!("its value {value} can't be written as JSON")),
            Value::String(text) => {
                self.take(text.len())?;
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
                    self.take(key.len())?;
                    object.insert(key, self.json(value, inner)?);
                }
                Ok(Json::Object(object))
            }
            Value::Bytes(_) | Value::Function(..) | Value::Opaque(_) | Value::Struct(_) => {
                Err("its value can't be written as JSON".to_owned())
            }
        }
    }

    fn take(&mut self, bytes: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(bytes).ok_or("its value is too large")?;
        Ok(())
    }
}
