//! YAML or JSON text to a checked graph, with every problem and its place; CEL behind `saga`'s trait.
//!
//! [`parse`] reads a definition and either gives the graph that the rules run, or everything that is
//! wrong with it at once, each with a stable code, a JSON pointer, line, column and what to do.
//!
//! The crate deliberately knows nothing of storage, of running workflows or of HTTP. What it accepts is
//! bounded: no text, however hostile, takes long, much memory or the stack.
//!
//! Invariants: what is accepted is a graph that can run; equal content has an equal digest, whatever its
//! format, comments and order of keys; an expression that is accepted names only what is known by then.

mod cel;
mod check;
mod digest;
pub mod duration;
mod expand;
mod fields;
mod input;
mod json_text;
mod node;
mod problem;
mod settings;
mod step;
mod template;
mod tree;
pub mod yaml;
mod yaml_text;

use fields::Reader;
use goconductor_saga::{Definition, Json};

pub use cel::Cel;
pub use input::{InputProblem, InputSchema, check_input};
pub use problem::{ERROR_CODES, Problem};

/// The form of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, without what makes it dangerous.
    Yaml,
    /// JSON.
    Json,
}

/// What a text may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Its bytes.
    pub bytes: usize,
    /// How deeply it is nested.
    pub depth: usize,
    /// Its values and keys, with what aliases repeat.
    pub nodes: usize,
    /// Its steps, those in blocks among them.
    pub steps: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 512 << 10, depth: 64, nodes: 100_000, steps: 1000 }
    }
}

/// A definition in which nothing is wrong.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The graph.
    pub definition: Definition,
    /// `blake3:…` of its content.
    pub digest: String,
}

/// Reads a definition.
///
/// # Errors
/// With everything that is wrong, in the order of the text.
pub fn parse(text: &[u8], format: Format, limits: &Limits) -> Result<Checked, Vec<Problem>> {
    let root = read(text, format, limits).map_err(|problem| vec![problem])?;
    let mut reader = Reader::default();
    let mut checked = None;
    if let Some(document) = tree::document(&mut reader, &root, limits)
        && let Some(expanded) = expand::expand(&mut reader, &document)
    {
        let plan = check::rules(&mut reader, &document, &expanded);
        check::expressions_of(&mut reader, &document, &expanded, plan.as_ref());
        checked = plan.map(|_| expanded.definition);
    }
    let mut problems = reader.problems;
    if let (Some(definition), true) = (checked, problems.is_empty()) {
        return Ok(Checked { definition, digest: digest::of(&root.to_json()) });
    }
    problems.sort_by(|a, b| (a.line, a.column, a.code).cmp(&(b.line, b.column, b.code)));
    problems.dedup();
    Err(problems)
}

fn read(text: &[u8], format: Format, limits: &Limits) -> Result<node::Node, Problem> {
    if text.len() > limits.bytes {
        let detail = format!("the text has {} bytes; at most {} are read", text.len(), limits.bytes);
        return Err(Problem::new(problem::LIMIT, "", (1, 1), detail));
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = text.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        Problem::new(problem::SYNTAX, "", (line, column), "the text is not UTF-8".to_owned())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        Format::Yaml => yaml_text::read(text, limits),
        Format::Json => json_text::read(text, limits),
    }
}

/// The JSON Schema of the language: editors complete from it. [`parse`] gives the better messages.
#[must_use]
pub fn schema() -> Json {
    // Invariant: the file is JSON; a test reads it.
    serde_json::from_str(include_str!("schema.json")).unwrap_or(Json::Null)
}
