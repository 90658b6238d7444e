//! Definitions: from YAML or JSON to a checked graph, and the evaluation of CEL expressions.
//!
//! [`parse`] returns the graph that the rules run, or every problem of the text at once. A problem has a stable code, a
//! JSON pointer, a line, a column and a hint.
//!
//! The crate knows nothing about storage, running workflows or HTTP. All input is bounded: no text, however hostile,
//! takes long, uses much memory or overflows the stack.
//!
//! Invariants:
//!
//! * An accepted definition is a graph that can run.
//! * Equal content has an equal digest, regardless of its format, its comments and the order of its keys.
//! * An accepted expression refers only to values that are known when it is evaluated.

mod cel;
mod check;
mod child;
mod compare;
mod digest;
pub mod duration;
mod expand;
mod fields;
mod format;
mod input;
mod json_text;
mod lock;
mod lock_order;
mod node;
mod problem;
mod schedule;
mod schema;
mod settings;
mod step;
mod template;
mod tree;
pub mod yaml;
mod yaml_text;

use fields::FieldReader;
use goconductor_saga::{Definition, EncodingError, Json, decode_text, end_position, without_utf8_mark};

pub use cel::Cel;
pub use child::ChildReference;
pub use compare::{Difference, compare};
pub use digest::of as digest;
pub use format::{format, key_rank};
pub use input::{InputProblem, InputSchema, check_input};
pub use problem::{ERROR_CODES, Problem};
pub use schema::{label_rule, schema};
pub use step::call::{CALL_METHODS, RESERVED_CALL_HEADERS};

/// The format of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, without tags, merge keys and multiple documents.
    Yaml,
    /// JSON.
    Json,
}

/// Limits of a text.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of bytes.
    pub bytes: usize,
    /// Maximum nesting depth.
    pub depth: usize,
    /// Maximum number of values and keys, including those that aliases repeat.
    pub nodes: usize,
    /// Maximum number of steps, including those in blocks.
    pub steps: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 512 << 10, depth: 64, nodes: 100_000, steps: 1000 }
    }
}

/// A definition without problems.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The definition.
    pub definition: Definition,
    /// The digest of the content: `blake3:…`.
    pub digest: String,
    /// The schedule that starts its workflows.
    pub schedule: Option<goconductor_schedule::Spec>,
    /// Parts that were accepted and are probably mistakes, in the order of the text.
    pub warnings: Vec<Problem>,
    /// The steps that start child workflows. The caller checks that their definitions exist.
    pub children: Vec<ChildReference>,
}

/// Parses and checks a definition.
///
/// # Errors
/// Returns every problem, in the order of the text.
pub fn parse(text: &[u8], format: Format, limits: &Limits) -> Result<Checked, Vec<Problem>> {
    let root = read(text, format, limits).map_err(|problem| vec![problem])?;
    let mut reader = FieldReader::default();
    let (mut checked, mut schedule) = (None, None);
    if let Some(document) = tree::document(&mut reader, &root, limits)
        && let Some(expanded) = expand::expand(&mut reader, &document)
    {
        let plan = check::rules(&mut reader, &document, &expanded);
        check::expressions_of(&mut reader, &document, &expanded, plan.as_ref());
        let children = child::references(&expanded);
        checked = plan.map(|_| (expanded.definition, children));
        schedule = document.schedule;
    }
    let FieldReader { problems, warnings } = reader;
    if let (Some((definition, children)), true) = (checked, problems.is_empty()) {
        let (digest, warnings) = (digest::of(&root.to_json()), in_order(warnings));
        return Ok(Checked { definition, digest, schedule, warnings, children });
    }
    Err(in_order(problems))
}

/// Parses a document of any content, without interpreting it.
///
/// # Errors
/// Returns the first problem of the text.
pub fn document(text: &[u8], format: Format, limits: &Limits) -> Result<Json, Problem> {
    Ok(read(text, format, limits)?.to_json())
}

fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| (a.line, a.column, a.code).cmp(&(b.line, b.column, b.code)));
    problems.dedup();
    problems
}

fn read(text: &[u8], format: Format, limits: &Limits) -> Result<node::Node, Problem> {
    if text.len() > limits.bytes {
        let detail = format!("the text has {} bytes, and the limit is {}", text.len(), limits.bytes);
        return Err(Problem::new(problem::LIMIT, "", (1, 1), detail));
    }
    let text = decode_text(text).map_err(|error| not_utf8(text, &error))?;
    match format {
        Format::Yaml => yaml_text::read(text, limits),
        Format::Json => json_text::read(text, limits),
    }
}

fn not_utf8(text: &[u8], error: &EncodingError) -> Problem {
    let valid = match error {
        EncodingError::Marked(_) => 0,
        EncodingError::Invalid { valid_up_to } => *valid_up_to,
    };
    let before = without_utf8_mark(text).get(..valid).unwrap_or_default();
    Problem::new(problem::SYNTAX, "", end_position(before), error.to_string())
}
