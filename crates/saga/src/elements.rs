//! The elements of a step with `for_each`, as definitions, expressions and names of workflows refer to them.

use crate::template::may_name_signals;
use crate::{Action, Compensation, FailurePolicy, Json, Retry, Template, Timeouts};
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Maximum elements of a list.
pub const MAX_ELEMENTS: u32 = 10_000;
/// The number of elements that run at once, if the definition does not state it.
pub const DEFAULT_MAX_PARALLEL: u32 = 16;

/// The `for_each` of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForEach {
    /// A CEL expression, whose value is the list.
    pub list: String,
    /// The name of the variable that has the element.
    #[serde(rename = "as")]
    pub variable: String,
    /// Maximum elements that run at once, at least 1.
    pub max_parallel: u32,
    /// The action of an element.
    pub action: Action,
    /// The input of an element's action, or `None` for the element itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Template>,
    /// The compensation of an element, or `None` if there is nothing to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Compensation>,
    /// The retry policy of an element.
    pub retry: Retry,
    /// The time limits of an element.
    pub timeout: Timeouts,
    /// The policy for an element whose outcome is unknown.
    #[serde(default, skip_serializing_if = "FailurePolicy::is_default")]
    pub failure: FailurePolicy,
}

/// An element in the scope of an expression.
#[derive(Debug, Clone, Copy)]
pub struct ElementScope<'a> {
    /// The name of the variable that has the element.
    pub variable: &'a str,
    /// The element.
    pub value: &'a Json,
    /// The position in the list, counted from 0. It is the variable `index`.
    pub index: u32,
}

/// A range of the elements of a step. As text, `definition/step[from..to]`, it is the name of the definition of the
/// workflow that runs them. No stored definition has such a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elements {
    /// The name of the definition that has the step.
    pub definition: String,
    /// The name of the step.
    pub step: String,
    /// The first element.
    pub from: u32,
    /// The end of the range, which is not part of it.
    pub to: u32,
}

impl ForEach {
    /// Returns whether the list or the input of an element may refer to signals.
    pub(crate) fn may_name_signals(&self) -> bool {
        let undo = self.compensate.as_ref();
        let id = self.action.child().and_then(|child| child.id.as_ref());
        may_name_signals(&self.list)
            || id.is_some_and(Template::may_name_signals)
            || self.input.as_ref().is_some_and(Template::may_name_signals)
            || undo.and_then(|undo| undo.input.as_ref()).is_some_and(Template::may_name_signals)
            || undo.and_then(|undo| undo.when.as_deref()).is_some_and(may_name_signals)
    }
}

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}[{}..{}]", self.definition, self.step, self.from, self.to)
    }
}

impl Elements {
    /// Reads the name of a definition. Returns `None` if it is not the name of a range of elements.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (path, range) = name.strip_suffix(']')?.rsplit_once('[')?;
        let (definition, step) = path.split_once('/')?;
        let (from, to) = range.split_once("..")?;
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        let found = Self { definition: definition.to_owned(), step: step.to_owned(), from, to };
        (from <= to && to <= MAX_ELEMENTS && found.to_string() == name).then_some(found)
    }

    /// Returns the number of elements.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.to.saturating_sub(self.from)
    }
}
