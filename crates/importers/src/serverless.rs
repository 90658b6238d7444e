//! Workflows of Serverless Workflow: 0.8, and what is simple of the DSL 1.0.

mod action;
mod compensation;
mod dsl;
mod each;
mod states;

use crate::build::Build;
use crate::condition::translate;
use crate::data::{StateData, cel_at};
use crate::json::{literal, text};
use crate::path::{PathSegment, parse, select};
use crate::step::{ImportedAction, ImportedStep, ImportedWorkflow};
use crate::{ImportProblem, Note};
use goconductor_saga::Json;
use serde_json::json;

/// Reads a workflow.
pub(crate) fn read(document: &Json) -> Result<(ImportedWorkflow, Vec<Note>), ImportProblem> {
    if document.get("document").is_some() { dsl::read(document) } else { states::read(document) }
}

struct ServerlessImporter<'a> {
    build: Build,
    document: &'a Json,
    depth: usize,
    /// The variables of the loop that surrounds a task of the DSL: the element and its position.
    variables: Option<(String, String)>,
}

impl<'a> ServerlessImporter<'a> {
    fn new(document: &'a Json, name: &str) -> Self {
        Self { build: Build::new(name), document, depth: 0, variables: None }
    }

    /// Translates a value whose texts may be expressions `${ … }` of jq. A value without a counterpart is null.
    fn template(&mut self, path: &str, value: &Json, data: &StateData) -> Json {
        if let Some(items) = value.as_array() {
            return items.iter().map(|item| self.template(path, item, data)).collect();
        }
        if let Some(object) = value.as_object() {
            let fields = object.iter();
            let fields = fields
                .map(|(key, value)| (key.clone(), self.template(&format!("{path}/{key}"), value, data)));
            return Json::Object(fields.collect());
        }
        let Some(source) = value.as_str() else { return value.clone() };
        let Some(inner) = expression(source) else { return Json::String(literal(source)) };
        let known = variable(inner).or_else(|| self.loop_variable(inner));
        let found = known.or_else(|| parse(inner).and_then(|segments| data.get(&segments)));
        match found {
            Some((value, changed)) => {
                if changed {
                    self.build.lost(
                        path,
                        "the input of the workflow is below `input`, because objects are not merged",
                    );
                }
                value
            }
            None => {
                self.build.lost(path, format!("the expression `{inner}` has no counterpart, and is null"));
                Json::Null
            }
        }
    }

    /// Translates a condition of jq, with or without `${ }`.
    fn condition(&self, source: &str, data: &StateData) -> Option<String> {
        let inner = expression(source).unwrap_or(source);
        translate(inner, |path| cel_at(data, path))
    }

    /// Selects a part of a document. Without a counterpart, it is the whole document.
    fn filtered(&mut self, path: &str, source: Option<&Json>, data: StateData) -> StateData {
        match source {
            Some(source) if source.as_str().and_then(expression) != Some(".") => {
                StateData::of(self.template(path, source, &data))
            }
            Some(_) | None => data,
        }
    }

    /// Adds a step that fails.
    fn fail(&mut self, path: &str, name: &str, cause: &str, steps: &mut Vec<ImportedStep>) {
        let text = "the step fails with the code WAIT_EXPRESSION_FAILED in place of the error, and the workflow rolls back";
        self.build.info(path, text);
        let cause: String = cause.chars().filter(|c| !c.is_control()).take(200).collect();
        let name = self.build.name(name);
        let failure = crate::json::quoted(&format!("failed: {cause}"));
        steps.push(ImportedStep::new(name, ImportedAction::Sleep(format!("${{ {failure} }}"))));
    }

    /// Adds a step that waits for a signal. Returns its output.
    fn signal(
        &mut self,
        path: &str,
        name: &str,
        event: &str,
        until: Option<String>,
        steps: &mut Vec<ImportedStep>,
    ) -> StateData {
        let name = self.build.name(name);
        let signal = crate::build::kebab(event);
        let signal = if signal.is_empty() { name.clone() } else { signal };
        self.build.info(path, format!("the event {event} is the signal {signal}"));
        let value = match until {
            Some(until) => json!({ "signal": signal, "until": until }),
            None => json!(signal),
        };
        steps.push(ImportedStep::new(name.clone(), ImportedAction::Signal(value)));
        output(&name)
    }
}

/// The output of a step.
fn output(step: &str) -> StateData {
    let cel = format!("{}.output", select("steps", &[PathSegment::Field(step.to_owned())]));
    StateData::of(crate::json::expression(&cel))
}

/// The expression of a text that is only one.
fn expression(source: &str) -> Option<&str> {
    source.trim().strip_prefix("${")?.strip_suffix('}').map(str::trim)
}

/// Values of the variables of the runtime.
fn variable(source: &str) -> Option<(Json, bool)> {
    let cel = match source {
        "$workflow.id" | "$WORKFLOW.id" => "workflow.id".to_owned(),
        _ => {
            let rest = source.strip_prefix("$workflow.input")?;
            select("input", &parse(&format!("${rest}"))?)
        }
    };
    Some((crate::json::expression(&cel), false))
}

/// The name of a target, or `None` for the end.
fn transition(value: &Json) -> Option<&str> {
    let transition = value.get("transition")?;
    transition.as_str().or_else(|| text(transition, "nextState"))
}
