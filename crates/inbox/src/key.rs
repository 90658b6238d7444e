//! Idempotency keys.

use crate::Error;
use std::fmt;

/// The operation of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Executes the step.
    Execute,
    /// Compensates the step.
    Compensate,
}

impl Operation {
    /// The name of the operation in a key.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Compensate => "compensate",
        }
    }
}

/// An idempotency key: `<workflow>/<step>/<execute or compensate>`. The index of a `for_each` element is part of the
/// step: `book[3]`. So is the number of a re-run: `book~2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Workflow and step, the common part of both operations.
    step: String,
    operation: Operation,
}

impl Key {
    /// Parses a key of the given operation.
    ///
    /// # Errors
    /// Returns [`Error::Key`] if `text` is not a key or belongs to the other operation.
    pub fn of(text: &str, operation: Operation) -> Result<Self, Error> {
        let expected = operation.as_str();
        let wrong = || Error::Key { text: text.to_owned(), expected };
        let step = text.strip_suffix(expected).and_then(|rest| rest.strip_suffix('/')).ok_or_else(wrong)?;
        match step.split_once('/') {
            Some((workflow, name)) if !workflow.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { step: step.to_owned(), operation })
            }
            Some(_) | None => Err(wrong()),
        }
    }

    /// Workflow and step. Both operations have the same.
    #[must_use]
    pub fn step(&self) -> &str {
        &self.step
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.step, self.operation.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_split_and_malformed_keys_are_rejected() {
        let key = Key::of("01a2/book[3]/execute", Operation::Execute).expect("the key is well-formed");
        assert_eq!((key.step(), key.to_string().as_str()), ("01a2/book[3]", "01a2/book[3]/execute"));
        // A re-run of the step is another step for the inbox.
        let again = Key::of("01a2/book[3]~2/execute", Operation::Execute).expect("the key is well-formed");
        assert_ne!(again.step(), key.step());
        for text in [
            "",
            "execute",
            "/execute",
            "a/execute",
            "a//execute",
            "/b/execute",
            "a/b/compensate",
            "a/b/c/execute",
        ] {
            assert!(Key::of(text, Operation::Execute).is_err(), "{text}");
        }
    }
}
