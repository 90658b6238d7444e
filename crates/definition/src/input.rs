//! Validation of workflow inputs against the JSON Schema of the definition.

use goconductor_saga::Json;
use jsonschema::{PatternOptions, Validator};

/// Maximum number of problems that are reported for one input.
const MAX_PROBLEMS: usize = 50;
/// Maximum characters of a message, which repeats values of any length.
const MAX_MESSAGE_CHARS: usize = 500;
/// Maximum bytes of a compiled pattern.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// A compiled JSON Schema.
#[derive(Debug)]
pub struct InputSchema(Validator);

/// A value of an input that violates the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputProblem {
    /// The JSON pointer of the value (RFC 6901).
    pub pointer: String,
    /// The violation.
    pub detail: String,
}

impl InputSchema {
    /// Compiles a schema. A reference can only lead into the schema itself, and nothing is fetched.
    ///
    /// # Errors
    /// Returns the reason if the value is not a valid JSON Schema.
    pub fn new(schema: &Json) -> Result<Self, String> {
        let meta = jsonschema::meta::validate(schema);
        meta.map_err(|error| {
            format!("at {}: {}", location(error.instance_path().as_str()), short(&error.to_string()))
        })?;
        // This regex engine runs in linear time for any pattern and text. It does not support look-around.
        let patterns =
            PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
        jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .build(schema)
            .map(Self)
            .map_err(|error| short(&error.to_string()))
    }

    /// Validates an input.
    ///
    /// # Errors
    /// Returns the first 50 violations.
    pub fn check(&self, input: &Json) -> Result<(), Vec<InputProblem>> {
        if self.0.is_valid(input) {
            return Ok(());
        }
        let problem = |error: jsonschema::ValidationError<'_>| InputProblem {
            pointer: error.instance_path().as_str().to_owned(),
            detail: short(&error.to_string()),
        };
        Err(self.0.iter_errors(input).take(MAX_PROBLEMS).map(problem).collect())
    }
}

/// Validates an input against a schema that is used only once.
///
/// # Errors
/// Returns the first 50 violations, or a single problem if the value is not a valid JSON Schema.
pub fn check_input(schema: &Json, input: &Json) -> Result<(), Vec<InputProblem>> {
    let wrong = |detail| vec![InputProblem { pointer: String::new(), detail }];
    InputSchema::new(schema).map_err(wrong)?.check(input)
}

fn location(pointer: &str) -> &str {
    if pointer.is_empty() { "the root" } else { pointer }
}

fn short(message: &str) -> String {
    if message.chars().count() <= MAX_MESSAGE_CHARS {
        return message.to_owned();
    }
    message.chars().take(MAX_MESSAGE_CHARS).chain("…".chars()).collect()
}
