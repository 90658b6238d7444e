//! Problems of a definition and their error codes.

use crate::node::Node;
use goconductor_saga::shortened;

/// Characters of a refused number that a message repeats.
const SHOWN_CHARS: usize = 60;

/// A problem and its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable error code, such as `GC1004`. Each code has a page.
    pub code: &'static str,
    /// The JSON pointer of the value (RFC 6901).
    pub pointer: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
    /// The problem.
    pub detail: String,
    /// How to fix it.
    pub hint: Option<String>,
}

/// The text has a syntax error.
pub(crate) const SYNTAX: &str = "GC1001";
/// The text or one of its parts exceeds a limit.
pub(crate) const LIMIT: &str = "GC1002";
/// A value has the wrong type.
pub(crate) const TYPE: &str = "GC1003";
/// A key is unknown.
pub(crate) const UNKNOWN_KEY: &str = "GC1004";
/// A key is missing.
pub(crate) const MISSING_KEY: &str = "GC1005";
/// A value is not allowed.
pub(crate) const VALUE: &str = "GC1006";
/// A name or a key is not unique.
pub(crate) const DUPLICATE: &str = "GC1007";
/// A step that is referred to does not exist.
pub(crate) const UNKNOWN_STEP: &str = "GC1008";
/// The dependencies of steps form a cycle.
pub(crate) const CYCLE: &str = "GC1009";
/// A step has no action or several actions.
pub(crate) const ACTION: &str = "GC1010";
/// A step does not declare its compensation.
pub(crate) const COMPENSATION: &str = "GC1011";
/// The pivot rule is violated.
pub(crate) const PIVOT: &str = "GC1012";
/// An expression is not valid.
pub(crate) const EXPRESSION: &str = "GC1013";
/// An expression refers to a value that is not known when it is evaluated.
pub(crate) const REFERENCE: &str = "GC1014";
/// A number cannot be represented exactly.
pub(crate) const NUMBER: &str = "GC1015";
/// A `switch` has no default branch. This is a warning.
pub(crate) const NO_DEFAULT_BRANCH: &str = "GC1016";
/// A `sleep` or `wait_for_signal` is not valid.
pub(crate) const WAIT: &str = "GC1021";
/// A `probe` or `on_unknown` is not valid.
pub(crate) const PROBE: &str = "GC1022";
/// The definition of a child does not exist, or cannot be undone with its parent.
pub(crate) const CHILD: &str = "GC1023";
/// A call cannot be made as it is written.
pub(crate) const CALL: &str = "GC1024";
/// A call has a setting that it cannot have.
pub(crate) const CALL_SETTING: &str = "GC1025";
/// The descriptor set of a gRPC call cannot be used.
pub(crate) const GRPC_DESCRIPTORS: &str = "GC1029";
/// A schedule has an invalid pattern, time zone or placeholder.
pub(crate) const SCHEDULE: &str = "GC1027";
/// A `for_each` is not valid.
pub(crate) const FOR_EACH: &str = "GC1028";
/// The language has the feature, and the release does not support it. No definition is refused with it any more.
pub(crate) const UNSUPPORTED: &str = "GC1020";

/// A lock may be requested out of order, so that workflows could deadlock.
pub(crate) const LOCK_ORDER: &str = "GC1026";

/// All error codes of this crate, with their titles.
pub const ERROR_CODES: &[(&str, &str)] = &[
    (SYNTAX, "Malformed definition text"),
    (LIMIT, "Definition limit exceeded"),
    (TYPE, "Wrong value type"),
    (UNKNOWN_KEY, "Unknown key"),
    (MISSING_KEY, "Missing key"),
    (VALUE, "Invalid value"),
    (DUPLICATE, "Duplicate name or key"),
    (UNKNOWN_STEP, "Unknown step"),
    (CYCLE, "Dependency cycle"),
    (ACTION, "Step without exactly one action"),
    (COMPENSATION, "Undeclared compensation"),
    (PIVOT, "Pivot rule violation"),
    (EXPRESSION, "Invalid expression"),
    (REFERENCE, "Unavailable name in an expression"),
    (NUMBER, "Number that cannot be kept exactly"),
    (NO_DEFAULT_BRANCH, "Switch without a default branch"),
    (UNSUPPORTED, "Unsupported language feature"),
    (WAIT, "Invalid sleep or wait for a signal"),
    (PROBE, "Invalid probe"),
    (CHILD, "Unusable child definition"),
    (CALL, "Invalid call"),
    (CALL_SETTING, "Setting that a call cannot have"),
    (GRPC_DESCRIPTORS, "Unusable descriptor set of a call"),
    (SCHEDULE, "Invalid schedule of a definition"),
    (LOCK_ORDER, "Lock out of order"),
];

impl Problem {
    pub(crate) fn new(
        code: &'static str,
        pointer: &str,
        (line, column): (usize, usize),
        detail: String,
    ) -> Self {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Self {
            code,
            pointer: pointer.to_owned(),
            line: number(line),
            column: number(column),
            detail,
            hint: None,
        }
    }

    /// Creates the problem of a number that cannot be kept.
    pub(crate) fn inexact(number: &str, at: (usize, usize)) -> Self {
        let number = shortened(number, SHOWN_CHARS);
        let detail = format!(
            "the number {number} cannot be represented exactly: it is neither a 64-bit integer nor a double in its \
             shortest form"
        );
        Self::new(NUMBER, "", at, detail).hint("write it as a string, in quotes")
    }

    pub(crate) fn at(node: &Node, pointer: &str, code: &'static str, detail: String) -> Self {
        Self::new(code, pointer, (node.line, node.column), detail)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
