//! Validation of workflow inputs against the JSON Schema of the definition.
//!
//! A schema comes from one caller and an input from another, and the validator has no budget of its own. The work of
//! a validation is therefore bounded before it runs: [`bound`] computes from the schema how often a value can be
//! checked. A schema that multiplies checks is refused when the definition is applied, and an input that is too large
//! for its schema is refused when a workflow starts.

mod bound;
mod graph;
mod message;
mod pattern;
mod rates;

use bound::{NoBound, WorkBound};
use goconductor_saga::Json;
use graph::SchemaGraph;
use jsonschema::{PatternOptions, Validator};
use message::{clipped, pointer_name, violation};

/// Maximum number of problems that are reported for one input.
const MAX_PROBLEMS: usize = 50;
/// Maximum bytes of a compiled pattern.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// Maximum times that a schema may check one value. Schemas in use need fewer than a hundred.
const MAX_CHECKS_PER_VALUE: u64 = 2000;
/// Maximum times that `uniqueItems` may compare one value, in units of [`rates`].
const MAX_COMPARISONS_PER_VALUE: u64 = 200;
/// Maximum checks of one input: about half a second.
const MAX_CHECKS: u64 = 20_000_000;
/// Maximum checks of one value, for any input.
const MAX_CHECKS_OF_SCHEMA: u64 = MAX_CHECKS / 100;
/// Maximum checks of one input whose failures are collected. A failure needs about 300 bytes.
const MAX_COLLECTED_CHECKS: u64 = 200_000;
/// Maximum checks of a validation that may run on a thread that serves other requests: about 0.1 ms.
const MAX_QUICK_CHECKS: u64 = 5000;
/// Maximum nested calls of a validation on the stack of any thread.
const MAX_FRAMES_ON_CALLER: u64 = 100;
/// Maximum nested calls of a validation.
const MAX_FRAMES: u64 = 4000;
/// Maximum length of a path through the schemas, at each step of which the compiler recurses.
const MAX_PATH: usize = 2000;
/// Maximum length of a path that is compiled on the stack of any thread.
const MAX_PATH_ON_CALLER: usize = 50;
/// The stack for the longest path and the most nested calls. Only the pages that are used take memory.
const STACK_BYTES: usize = 64 << 20;

/// A compiled JSON Schema.
#[derive(Debug)]
pub struct InputSchema {
    validator: Validator,
    bound: WorkBound,
    has_alternatives: bool,
}

/// A value of an input that violates the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputProblem {
    /// The JSON pointer of the value (RFC 6901).
    pub pointer: String,
    /// The violation.
    pub detail: String,
}

/// A schema that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SchemaRefusal {
    /// The value is not a valid JSON Schema.
    Invalid(String),
    /// A validation could take too long or use too much memory.
    Costly(String),
}

impl InputSchema {
    /// Compiles a schema. A reference can only lead into the schema itself, and nothing is fetched.
    ///
    /// # Errors
    /// Returns the reason if the value is not a valid JSON Schema, or if every input would need too many checks.
    pub fn new(schema: &Json) -> Result<Self, String> {
        Self::compile(schema).map_err(|refusal| match refusal {
            SchemaRefusal::Invalid(reason) | SchemaRefusal::Costly(reason) => reason,
        })
    }

    /// Checks the schema of a new definition. The limits are lower than those of [`InputSchema::new`], which must
    /// compile the schemas of definitions that an earlier release accepted.
    pub(crate) fn check_new(schema: &Json) -> Result<(), SchemaRefusal> {
        let compiled = Self::compile(schema)?;
        let largest = compiled.bound.largest();
        let costly = |times: u64, limit: u64, what: &str, advice: &str| {
            let times = if times == u64::MAX { "more than 10^19".to_owned() } else { times.to_string() };
            let detail = format!(
                "the schema can {what} one value of an input {times} times, and the limit is {limit}: {advice}"
            );
            Err(SchemaRefusal::Costly(detail))
        };
        if largest.checks > MAX_CHECKS_PER_VALUE {
            let advice = "do not nest anyOf, oneOf, allOf, not, $ref or unevaluatedProperties so that they refer to \
                          one schema several times, and shorten long enums";
            return costly(largest.checks, MAX_CHECKS_PER_VALUE, "check", advice);
        }
        if largest.below > MAX_COMPARISONS_PER_VALUE {
            let advice = "do not apply uniqueItems at several levels or in several alternatives";
            return costly(largest.below, MAX_COMPARISONS_PER_VALUE, "compare", advice);
        }
        Ok(())
    }

    fn compile(schema: &Json) -> Result<Self, SchemaRefusal> {
        let invalid = SchemaRefusal::Invalid;
        if let Err(error) = jsonschema::meta::validate(schema) {
            let at = pointer_name(error.instance_path().as_str());
            return Err(invalid(format!("at {at}: {}", violation(&error))));
        }
        let graph = SchemaGraph::new(schema).map_err(invalid)?;
        let bound = WorkBound::new(&graph).map_err(|reason| match reason {
            NoBound::Endless => invalid(
                "a schema applies to the same value as itself, without end: refer to it from `properties` or `items`"
                    .to_owned(),
            ),
            NoBound::TooLarge => SchemaRefusal::Costly("the schema is too large: split it".to_owned()),
        })?;
        let path = bound::longest_path(&graph);
        let costly = |detail: String| Err(SchemaRefusal::Costly(detail));
        if path > MAX_PATH || bound.largest().frames > MAX_FRAMES {
            return costly(format!(
                "the schema has chains of references that are too long: at most {MAX_PATH} schemas may refer to one \
                 another"
            ));
        }
        // The compiler can follow each way to a schema that applies to the same value.
        let checks = bound.of(&Json::Null).0;
        if checks > MAX_CHECKS_OF_SCHEMA {
            return costly(format!(
                "the schema can check each input {checks} times, and the limit is {MAX_CHECKS_OF_SCHEMA}: do not nest \
                 anyOf, oneOf, allOf, not or $ref so that they refer to one schema several times"
            ));
        }
        let built = on_large_stack(path > MAX_PATH_ON_CALLER, || validator(schema));
        let validator = built.unwrap_or_else(|| Err("the schema could not be compiled".to_owned()));
        let validator = validator.map_err(invalid)?;
        Ok(Self { validator, bound, has_alternatives: graph.has_alternatives })
    }

    /// Returns whether the validation of an input is so short that it need not run on a thread of its own.
    #[must_use]
    pub fn is_quick(&self, input: &Json) -> bool {
        let (checks, frames) = self.bound.of(input);
        checks <= MAX_QUICK_CHECKS && frames <= MAX_FRAMES_ON_CALLER
    }

    /// Validates an input.
    ///
    /// # Errors
    /// Returns the first 50 violations. Returns a single problem if the input is so large that the schema could need
    /// too many checks.
    pub fn check(&self, input: &Json) -> Result<(), Vec<InputProblem>> {
        let whole = |detail: String| Err(vec![InputProblem { pointer: String::new(), detail }]);
        let (checks, frames) = self.bound.of(input);
        let values = graph::count(input);
        if checks > MAX_CHECKS {
            return whole(format!(
                "the input has {values} values, for which the schema can need {checks} checks, and the limit is \
                 {MAX_CHECKS}: use a smaller input, or a schema with fewer alternatives and shorter patterns"
            ));
        }
        let checked = on_large_stack(frames > MAX_FRAMES_ON_CALLER, || self.problems(input, checks));
        match checked {
            Some(Some(problems)) if problems.is_empty() => Ok(()),
            Some(Some(problems)) => Err(problems),
            Some(None) => whole(format!(
                "the input does not match the schema. It has {values} values, which are too many to list the problems: \
                 try a smaller input of the same form"
            )),
            None => whole("the input could not be checked against the schema".to_owned()),
        }
    }

    /// Returns the first problems, or `None` if their collection would need too much memory.
    fn problems(&self, input: &Json, checks: u64) -> Option<Vec<InputProblem>> {
        if self.validator.is_valid(input) {
            return Some(Vec::new());
        }
        let problem = |error: jsonschema::ValidationError<'_>| InputProblem {
            pointer: error.instance_path().as_str().to_owned(),
            detail: clipped(&violation(&error)),
        };
        if checks <= MAX_COLLECTED_CHECKS {
            return Some(self.validator.iter_errors(input).take(MAX_PROBLEMS).map(problem).collect());
        }
        if self.has_alternatives {
            return None;
        }
        // Without alternatives, the first failure ends the validation and has no others in it.
        Some(self.validator.validate(input).err().map(problem).into_iter().collect())
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

fn validator(schema: &Json) -> Result<Validator, String> {
    // This regex engine runs in linear time for any pattern and text. It does not support look-around.
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
    jsonschema::options()
        .offline()
        .with_pattern_options(patterns)
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| message::not_compiled(&error))
}

/// Runs a function that may recurse deeply, on a thread with a large stack if necessary. Returns `None` if the thread
/// could not be started or the function panicked.
fn on_large_stack<T: Send>(is_necessary: bool, run: impl FnOnce() -> T + Send) -> Option<T> {
    if !is_necessary {
        return Some(run());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("schema".to_owned()).stack_size(STACK_BYTES);
        thread.spawn_scoped(scope, run).ok()?.join().ok()
    })
}

#[cfg(test)]
mod tests;
