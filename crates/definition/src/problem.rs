//! What is wrong with a definition, and the codes for it.

use crate::node::Node;

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable, with a page: `GC1004`.
    pub code: &'static str,
    /// Where in the document (RFC 6901).
    pub pointer: String,
    /// Where in the text, from 1.
    pub line: u32,
    /// Where in the line, from 1, in characters.
    pub column: u32,
    /// What is wrong.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The text can't be read.
pub(crate) const SYNTAX: &str = "GC1001";
/// The text, or what it holds, is over a limit.
pub(crate) const LIMIT: &str = "GC1002";
/// A value is of the wrong type.
pub(crate) const TYPE: &str = "GC1003";
/// A key is not known.
pub(crate) const UNKNOWN_KEY: &str = "GC1004";
/// A key is missing.
pub(crate) const MISSING_KEY: &str = "GC1005";
/// A value is not allowed.
pub(crate) const VALUE: &str = "GC1006";
/// A name, or a key, is there twice.
pub(crate) const DUPLICATE: &str = "GC1007";
/// A step that does not exist is named.
pub(crate) const UNKNOWN_STEP: &str = "GC1008";
/// Steps wait for one another.
pub(crate) const CYCLE: &str = "GC1009";
/// A step has no action, or more than one.
pub(crate) const ACTION: &str = "GC1010";
/// A step does not say how it is undone.
pub(crate) const COMPENSATION: &str = "GC1011";
/// The rule of the pivot is broken.
pub(crate) const PIVOT: &str = "GC1012";
/// An expression can't be computed.
pub(crate) const EXPRESSION: &str = "GC1013";
/// An expression names what is not known by then.
pub(crate) const REFERENCE: &str = "GC1014";
/// The language has it, this release does not.
pub(crate) const UNSUPPORTED: &str = "GC1020";

/// Every code of this crate, with its title.
pub const ERROR_CODES: &[(&str, &str)] = &[
    (SYNTAX, "The text can't be read"),
    (LIMIT, "Over a limit"),
    (TYPE, "A value is of the wrong type"),
    (UNKNOWN_KEY, "A key is not known"),
    (MISSING_KEY, "A key is missing"),
    (VALUE, "A value is not allowed"),
    (DUPLICATE, "Something is there twice"),
    (UNKNOWN_STEP, "A step that does not exist is named"),
    (CYCLE, "Steps wait for one another"),
    (ACTION, "A step has no action, or more than one"),
    (COMPENSATION, "A step does not say how it is undone"),
    (PIVOT, "The rule of the pivot is broken"),
    (EXPRESSION, "An expression can't be computed"),
    (REFERENCE, "An expression names what is not known by then"),
    (UNSUPPORTED, "Not supported yet"),
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

    pub(crate) fn at(node: &Node, pointer: &str, code: &'static str, detail: String) -> Self {
        Self::new(code, pointer, (node.line, node.column), detail)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
