//! Expressions that only select a value of the workflow, such as `input.order_id` or `steps.pay.output.id`.
//!
//! Most expressions of a definition have this form. They are read from the workflow without the interpreter, which would
//! convert the value and everything beside it.

use super::names::value_path;
use cel::common::ast::Expr;
use goconductor_saga::{Json, PayloadRoot, Scope};

/// Maximum values inside a value that is read directly. The work for a larger one is counted.
const MAX_VALUES: usize = 32;
/// Maximum bytes of the strings and keys inside a value that is read directly.
const MAX_TEXT_BYTES: usize = 4096;

/// The path of a selected value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DirectPath {
    /// Fields of the input of the workflow.
    Input(Vec<String>),
    /// The name of a step, and fields of its output.
    Output(String, Vec<String>),
    /// The name of a signal, and fields of its last payload.
    Signal(String, Vec<String>),
}

impl DirectPath {
    /// Returns the path of an expression. Returns `None` if the expression does more than select a value.
    pub(super) fn of(expression: &Expr) -> Option<Self> {
        let owned = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect();
        let (root, fields) = value_path(expression)?;
        match (root, fields.as_slice()) {
            ("input", fields) => Some(Self::Input(owned(fields))),
            ("steps", [step, "output", fields @ ..]) => Some(Self::Output((*step).to_owned(), owned(fields))),
            ("signals", [signal, fields @ ..]) => Some(Self::Signal((*signal).to_owned(), owned(fields))),
            _ => None,
        }
    }

    /// Returns a copy of the value, or the reference to it if the path selects all of a value that the workflow carries by
    /// reference. Returns `None` if it does not exist or is large: the interpreter describes the
    /// former, and counts the work for the latter.
    pub(super) fn read(&self, scope: &Scope<'_>) -> Option<Json> {
        let (root, fields) = match self {
            Self::Input(fields) => (PayloadRoot::Input, fields),
            Self::Output(step, fields) => (PayloadRoot::Output(step), fields),
            Self::Signal(name, fields) => (PayloadRoot::Signal(name), fields),
        };
        if fields.is_empty()
            && let Some(reference) = scope.reference(root)
        {
            return Some(reference.to_json());
        }
        let root = match root {
            PayloadRoot::Input => scope.input(),
            PayloadRoot::Output(step) => scope.step(step)?.output()?,
            PayloadRoot::Signal(name) => scope.signal(name)?,
        };
        let value = fields.iter().try_fold(root, |value, field| value.as_object()?.get(field))?;
        let (mut values, mut bytes) = (MAX_VALUES, MAX_TEXT_BYTES);
        is_small(value, &mut values, &mut bytes).then(|| value.clone())
    }
}

/// Returns whether a value fits into the rest of the limits, which it reduces.
fn is_small(value: &Json, values: &mut usize, bytes: &mut usize) -> bool {
    let mut take = |text: &str| {
        *bytes = bytes.saturating_sub(text.len());
        *bytes > 0
    };
    *values = values.saturating_sub(1);
    if *values == 0 {
        return false;
    }
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => true,
        Json::String(text) => take(text),
        Json::Array(items) => items.iter().all(|item| is_small(item, values, bytes)),
        Json::Object(entries) => {
            entries.keys().all(|key| take(key))
                && entries.values().all(|value| is_small(value, values, bytes))
        }
    }
}
