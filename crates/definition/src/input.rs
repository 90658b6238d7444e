//! Whether a workflow's input fits its definition's JSON Schema.

use goconductor_saga::Json;
use jsonschema::{PatternOptions, Validator};

/// Problems of one input that are told at once.
const MOST_PROBLEMS: usize = 50;
/// Characters of a message: it repeats values, which may be long.
const MESSAGE: usize = 500;
/// Bytes that a compiled pattern may take.
const PATTERN_BYTES: usize = 1 << 20;

/// A JSON Schema that is ready to check inputs.
#[derive(Debug)]
pub struct InputSchema(Validator);

/// A place of an input that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputProblem {
    /// Where (RFC 6901).
    pub pointer: String,
    /// What is expected there.
    pub detail: String,
}

impl InputSchema {
    /// Makes a schema ready. Nothing is fetched: a reference leads to the schema itself, or nowhere.
    ///
    /// # Errors
    /// When it is no JSON Schema, with why.
    pub fn new(schema: &Json) -> Result<Self, String> {
        let meta = jsonschema::meta::validate(schema);
        meta.map_err(|error| {
            format!("at {}: {}", place(error.instance_path().as_str()), short(&error.to_string()))
        })?;
        // This engine takes linear time, whatever the pattern and the text; look-around has to go for it.
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
        jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .build(schema)
            .map(Self)
            .map_err(|error| short(&error.to_string()))
    }

    /// Checks an input.
    ///
    /// # Errors
    /// With the places that do not fit.
    pub fn check(&self, input: &Json) -> Result<(), Vec<InputProblem>> {
        if self.0.is_valid(input) {
            return Ok(());
        }
        let problem = |error: jsonschema::ValidationError<'_>| InputProblem {
            pointer: error.instance_path().as_str().to_owned(),
            detail: short(&error.to_string()),
        };
        Err(self.0.iter_errors(input).take(MOST_PROBLEMS).map(problem).collect())
    }
}

/// Checks an input against a schema that is used once.
///
/// # Errors
/// With the places that do not fit.
pub fn check_input(schema: &Json, input: &Json) -> Result<(), Vec<InputProblem>> {
    let wrong = |detail| vec![InputProblem { pointer: String::new(), detail }];
    InputSchema::new(schema).map_err(wrong)?.check(input)
}

fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "the top" } else { pointer }
}

fn short(message: &str) -> String {
    if message.chars().count() <= MESSAGE {
        return message.to_owned();
    }
    message.chars().take(MESSAGE).chain("…".chars()).collect()
}
