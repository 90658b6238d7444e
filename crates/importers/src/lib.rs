//! Importers of definitions of other engines.
//!
//! [`import`] translates the workflow of OSS Conductor, a state machine in Amazon States Language, or a workflow of
//! Serverless ImportedWorkflow to a definition. A [`Note`] states each part that was changed, lost or refused.
//!
//! The crate reads no files and knows nothing about the engine. It is deterministic, and its input is bounded by the
//! limits of definitions.
//!
//! Invariants:
//!
//! * A definition that is returned has no problems.
//! * Each part of the source that has no counterpart has a note of the level [`Level::Lost`] or [`Level::Refused`].
//! * No step declares a compensation that the source does not declare.

mod asl;
mod build;
mod call;
mod condition;
mod conductor;
mod data;
mod flow;
mod json;
mod path;
mod serverless;
mod step;
mod time;
mod write;

use goconductor_definition::{Format, Limits, Problem, document, format, parse};
use goconductor_saga::Json;
use std::fmt;

/// The engine whose definition is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A workflow of OSS Conductor, in JSON.
    Conductor,
    /// A state machine in Amazon States Language with the query language JSONPath.
    Asl,
    /// A workflow of Serverless Workflow 0.8 or 1.0, in JSON or YAML.
    ServerlessWorkflow,
}

impl Source {
    /// All engines.
    pub const ALL: [Self; 3] = [Self::Conductor, Self::Asl, Self::ServerlessWorkflow];

    /// The name of the engine, as in the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conductor => "conductor",
            Self::Asl => "asl",
            Self::ServerlessWorkflow => "serverless-workflow",
        }
    }

    /// Recognises the engine by the keys of a document.
    fn of(document: &Json) -> Option<Self> {
        let has = |key: &str| document.get(key).is_some();
        if has("States") || has("StartAt") {
            return Some(Self::Asl);
        }
        if has("states")
            || has("specVersion")
            || document.get("document").is_some_and(|it| it.get("dsl").is_some())
        {
            return Some(Self::ServerlessWorkflow);
        }
        has("tasks").then_some(Self::Conductor)
    }
}

/// The effect of the import on a part of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The part was translated. The note states how, or what remains to be declared.
    Info,
    /// The part was translated, but a property of it has no counterpart.
    Lost,
    /// The part has no counterpart, and is not in the definition.
    Refused,
}

impl Level {
    /// The name of the level.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Lost => "lost",
            Self::Refused => "refused",
        }
    }
}

/// A remark about a part of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The part of the source: names and keys, separated by slashes.
    pub path: String,
    /// The level.
    pub level: Level,
    /// The remark, for people.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.level.as_str(), self.path, self.text)
    }
}

/// An imported definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The engine of the source.
    pub source: Source,
    /// The definition in YAML, formatted.
    pub definition: String,
    /// The remarks, in the order of the source.
    pub notes: Vec<Note>,
}

impl Imported {
    /// Returns whether a part of the source could not be expressed.
    #[must_use]
    pub fn has_losses(&self) -> bool {
        self.notes.iter().any(|note| note.level != Level::Info)
    }
}

/// The reason why a source cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportProblem {
    /// The part of the source, or nothing.
    pub path: String,
    /// The error, and advice for the user.
    pub text: String,
}

impl fmt::Display for ImportProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)
    }
}

impl ImportProblem {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

/// The reasons why a source cannot be imported. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Problems(pub Vec<ImportProblem>);

impl From<ImportProblem> for Problems {
    fn from(problem: ImportProblem) -> Self {
        Self(vec![problem])
    }
}

/// Imports the definition of another engine. Without `source`, the engine is recognised by the keys of the document.
///
/// # Errors
/// Returns [`Problems`] if the text is not JSON or YAML, the engine is not known, or no step can be imported.
pub fn import(text: &str, source: Option<Source>) -> Result<Imported, Problems> {
    let limits = Limits::default();
    let kind = if text.trim_start().starts_with('{') { Format::Json } else { Format::Yaml };
    let document = document(text.as_bytes(), kind, &limits).map_err(|problem| {
        ImportProblem::new(format!("{}:{}", problem.line, problem.column), problem.detail)
    })?;
    let source = source.or_else(|| Source::of(&document)).ok_or_else(|| {
        ImportProblem::new(
            "",
            "the engine is not recognised: name it with --from conductor, asl or serverless-workflow",
        )
    })?;
    let (mut workflow, mut notes) = match source {
        Source::Conductor => conductor::read(&document),
        Source::Asl => asl::read(&document),
        Source::ServerlessWorkflow => serverless::read(&document),
    }?;
    if workflow.steps.is_empty() {
        let mut problems = vec![ImportProblem::new("", "no step of the workflow can be expressed")];
        problems.extend(notes.into_iter().map(|note| ImportProblem::new(note.path, note.text)));
        return Err(Problems(problems));
    }
    let is_refused =
        |problems: &[Problem]| problems.iter().all(|problem| problem.pointer.starts_with("/input"));
    let definition = match checked(&workflow, source) {
        Err(problems) if workflow.input.is_some() && is_refused(&problems) => {
            let reason = problems.first().map_or("", |problem| problem.detail.as_str());
            let text = format!("the schema of the input cannot be expressed: {reason}");
            notes.push(Note { path: "workflow/input".to_owned(), level: Level::Lost, text });
            workflow.input = None;
            checked(&workflow, source)
        }
        definition => definition,
    };
    let definition = definition.map_err(|problems| Problems(problems.iter().map(invalid).collect()))?;
    Ok(Imported { source, definition, notes })
}

/// Writes a definition in the canonical form, and checks it.
fn checked(workflow: &step::ImportedWorkflow, source: Source) -> Result<String, Vec<Problem>> {
    let limits = Limits::default();
    let definition =
        format(&write::definition(workflow, source), &limits).map_err(|problem| vec![problem])?;
    parse(definition.as_bytes(), Format::Yaml, &limits).map(|_| definition)
}

fn invalid(problem: &Problem) -> ImportProblem {
    let text = format!("the imported definition is not valid at {}: {}", problem.pointer, problem.detail);
    ImportProblem::new("", text)
}
