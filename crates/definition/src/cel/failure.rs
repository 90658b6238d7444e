//! Descriptions of failed evaluations. Those of the interpreter name its own types, such as `Float(7.0), Int(2)`.

use cel::{ExecutionError, Value};
use goconductor_saga::shortened;

/// Maximum characters of a value in a description.
const MAX_VALUE_CHARS: usize = 40;

/// Returns why an expression has no value, and what to write.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the interpreter can add errors, which get the last description"
)]
pub(super) fn reason(error: &ExecutionError) -> String {
    match error {
        ExecutionError::UnsupportedBinaryOperator(name, left, right) => {
            let symbol = symbol(name);
            operands(symbol, &[described(left), described(right)], &[kind(left), kind(right)])
        }
        ExecutionError::NoSuchOverload(error) => {
            let kinds: Vec<&str> = error.argument_types().iter().map(|name| type_name(name)).collect();
            let described: Vec<String> = kinds.iter().map(|kind| with_article(kind)).collect();
            operands(symbol(error.function()), &described, &kinds)
        }
        ExecutionError::ValuesNotComparable(left, right) => {
            format!("{} and {} cannot be compared", described(left), described(right))
        }
        ExecutionError::NoSuchKey(name) => format!("field `{name}` is missing: test for it with has(…)"),
        ExecutionError::UndeclaredReference(name) => format!("`{name}` is not known"),
        ExecutionError::DivisionByZero(value) | ExecutionError::RemainderByZero(value) => {
            format!("{} is divided by zero", described(value))
        }
        ExecutionError::Overflow(name, left, right) => {
            let symbol = symbol(name);
            format!("overflow: the result of {} {symbol} {} has more than 64 bits", plain(left), plain(right))
        }
        ExecutionError::IndexOutOfBounds(index) => {
            format!("the list has no element {}: test its length with size(…)", plain(index))
        }
        ExecutionError::UnexpectedType { got, want } => {
            let (got, want) = (with_article(type_name(got)), with_article(type_name(want)));
            format!("expected {want}, found {got}")
        }
        ExecutionError::UnsupportedIndex(index, of) => {
            format!("{} has no element {}", described(of), described(index))
        }
        ExecutionError::UnsupportedKeyType(value) => {
            format!("{} cannot be the key of a map: write string(…) around it", described(value))
        }
        ExecutionError::DuplicateKey(key) => format!("the map has the key {} twice", plain(key)),
        ExecutionError::FunctionError { function, message } => conversion(function, message),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("a function has {actual} arguments, and takes {expected}")
        }
        ExecutionError::UnsupportedTargetType { target } => {
            format!("the function does not take {}", described(target))
        }
        ExecutionError::NotSupportedAsMethod { method, target } => {
            format!("{} has no function `{method}`", described(target))
        }
        ExecutionError::MissingArgumentOrTarget => "a function has too few arguments".to_owned(),
        _ => "an operator or a function has a value of the wrong type".to_owned(),
    }
}

/// Describes operands that an operator does not accept.
pub(super) fn operands(symbol: &str, described: &[String], kinds: &[&str]) -> String {
    let what = format!("`{symbol}` does not take {}", described.join(" and "));
    // An index of another type is not a mistake of its operands.
    match advice(kinds).filter(|_| symbol != "[ ]") {
        Some(advice) => format!("{what}: {advice}"),
        None => what,
    }
}

/// Returns what to write for operands of different types.
pub(super) fn advice(kinds: &[&str]) -> Option<String> {
    let has = |kind: &str| kinds.contains(&kind);
    let is_number = |kind: &&str| ["int", "uint", "double"].contains(kind);
    if has("null") {
        return Some("test for null first, such as `x != null`".to_owned());
    }
    if let (true, Some(number)) = (has("string"), kinds.iter().find(|kind| is_number(kind))) {
        return Some(format!("write string(…) around the {number}"));
    }
    if has("double") && (has("int") || has("uint")) {
        let other = if has("int") { "int" } else { "uint" };
        return Some(format!("write double(…) around the {other}"));
    }
    (has("int") && has("uint")).then(|| "write int(…) around the uint".to_owned())
}

/// Describes a text or number that cannot be converted.
fn conversion(function: &str, message: &str) -> String {
    let lower = message.to_lowercase();
    if ["int", "uint", "double", "bool"].contains(&function) {
        let why = if lower.contains("overflow") || lower.contains("range") {
            "it is out of range"
        } else {
            "it is not in the form of one"
        };
        return format!("{function}(…) cannot convert its value to {}: {why}", with_article(function));
    }
    format!("the function `{function}` does not accept its values")
}

/// Returns how an operator is written.
fn symbol(name: &str) -> &str {
    match name {
        "add" => "+",
        "sub" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" | "mod" => "%",
        "@in" => "in",
        "_[_]" => "[ ]",
        "_?_:_" => "? :",
        other => other.trim_matches('_'),
    }
}

/// Returns the name of a type in expressions.
fn type_name(name: &str) -> &str {
    match name {
        "null_type" => "null",
        "iterable" => "list or map",
        other => other,
    }
}

/// Returns the name of a type with its article.
pub(super) fn with_article(kind: &str) -> String {
    match kind {
        "null" => "null".to_owned(),
        "int" => "an int".to_owned(),
        other => format!("a {other}"),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::UInt(_) => "uint",
        Value::Float(_) => "double",
        Value::String(_) => "string",
        Value::List(_) => "list",
        Value::Map(_) => "map",
        Value::Bytes(_) => "bytes",
        Value::Function(..) => "function",
        Value::Opaque(_) | Value::Struct(_) => "value without a JSON form",
    }
}

/// Describes a value with its type: `the double 7.0`.
fn described(value: &Value) -> String {
    match value {
        Value::Bool(_) | Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::String(_) => {
            format!("the {} {}", kind(value), plain(value))
        }
        Value::List(items) => format!("a list of {} elements", items.len()),
        Value::Map(map) => format!("a map of {} entries", map.map.len()),
        Value::Null | Value::Bytes(_) | Value::Function(..) | Value::Opaque(_) | Value::Struct(_) => {
            with_article(kind(value))
        }
    }
}

/// Returns a value as it is written in an expression.
fn plain(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::UInt(value) => value.to_string(),
        // The form `{:?}` keeps the `.0` that makes it a double.
        Value::Float(value) => format!("{value:?}"),
        Value::String(text) => format!("\"{}\"", shortened(text, MAX_VALUE_CHARS)),
        Value::Null
        | Value::List(_)
        | Value::Map(_)
        | Value::Bytes(_)
        | Value::Function(..)
        | Value::Opaque(_)
        | Value::Struct(_) => described(value),
    }
}
