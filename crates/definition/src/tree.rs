//! The top level of a definition, as parsed and not yet expanded.

use crate::Limits;
use crate::fields::{At, FieldReader, Fields};
use crate::input::SchemaRefusal;
use crate::lock::ParsedLock;
use crate::node::Node;
use crate::problem::{DUPLICATE, LIMIT, VALUE};
use crate::settings::Defaults;
use crate::step::{Body, ParsedStep};
use goconductor_saga::{Json, NameKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// The keys of a definition.
const KNOWN: &[&str] = &[
    "$schema",
    "workflow",
    "title",
    "description",
    "labels",
    "input",
    "output",
    "timeout",
    "defaults",
    "compensation",
    "steps",
    "namespace",
    "schedule",
    "lock",
];

/// A parsed definition.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) at: At<'a>,
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) input: Option<Json>,
    pub(crate) output: Option<At<'a>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) defaults: Defaults,
    pub(crate) schedule: Option<goconductor_schedule::Spec>,
    pub(crate) locks: Vec<ParsedLock<'a>>,
    pub(crate) steps: Vec<ParsedStep<'a>>,
}

/// Reads the document. Returns `None` if further checks are pointless.
pub(crate) fn document<'a>(
    reader: &mut FieldReader,
    root: &'a Node,
    limits: &Limits,
) -> Option<Document<'a>> {
    let at = At::root(root);
    let fields = reader.fields(&at, KNOWN)?;
    let name = reader.required(&fields, "workflow").and_then(|at| name(reader, &at));
    refuse(reader, &fields);
    let defaults = reader.defaults(&fields);
    let steps_at = reader.required(&fields, "steps");
    let steps = steps_at.as_ref().map(|at| reader.steps(at, &defaults, 0)).unwrap_or_default();
    if let (true, Some(at)) = (count(&steps) > limits.steps, &steps_at) {
        reader.push(at.problem(
            LIMIT,
            format!("the definition has {} steps, and the limit is {}", count(&steps), limits.steps),
        ));
        return None;
    }
    names(reader, &steps, &mut BTreeMap::new());
    let input = fields.get("input").and_then(|at| input_schema(reader, &at));
    let name = name.unwrap_or_default();
    let schedule = fields.get("schedule").and_then(|at| crate::schedule::read(reader, &at, &name));
    Some(Document {
        name,
        schedule,
        title: reader.optional_text(&fields, "title"),
        description: reader.optional_text(&fields, "description"),
        labels: reader.labels(&fields),
        input,
        output: fields.get("output"),
        timeout: fields.get("timeout").and_then(|at| reader.duration(&at)),
        defaults,
        locks: reader.locks(&fields),
        steps,
        at,
    })
}

fn name(reader: &mut FieldReader, at: &At<'_>) -> Option<String> {
    let text = reader.text(at)?;
    match NameKind::Definition.check(text) {
        Ok(()) => Some(text.to_owned()),
        Err(error) => {
            reader.push(at.problem(VALUE, error.to_string()).hint("use `title` for free text"));
            None
        }
    }
}

fn refuse(reader: &mut FieldReader, fields: &Fields<'_>) {
    if let Some(at) = fields.get("namespace") {
        let problem = at.problem(VALUE, "a definition does not name its namespace");
        reader.push(
            problem.hint("remove it, and set the namespace in the request that applies the definition"),
        );
    }
}

fn input_schema(reader: &mut FieldReader, at: &At<'_>) -> Option<Json> {
    let schema = at.node.to_json();
    if !schema.is_object() {
        reader.wrong_type(at, "an object that is a JSON Schema");
        return None;
    }
    let problem = match crate::InputSchema::check_new(&schema) {
        Ok(()) => return Some(schema),
        Err(SchemaRefusal::Invalid(reason)) => {
            at.problem(VALUE, format!("the value is not a valid JSON Schema: {reason}"))
        }
        Err(SchemaRefusal::Costly(reason)) => at.problem(LIMIT, reason),
    };
    reader.push(problem);
    None
}

fn count(steps: &[ParsedStep<'_>]) -> usize {
    steps
        .iter()
        .map(|step| match &step.body {
            Body::Block(branches) => branches.iter().map(|branch| count(&branch.steps)).sum(),
            Body::Step(_) | Body::Broken => 1,
        })
        .sum()
}

/// Reports duplicate names. Steps and blocks share one set of names.
fn names<'a>(reader: &mut FieldReader, steps: &[ParsedStep<'a>], seen: &mut BTreeMap<String, usize>) {
    for step in steps {
        if let Some(line) = seen.insert(step.name.clone(), step.name_at.node.line) {
            let detail = format!("duplicate name `{}`: it is already used in line {line}", step.name);
            reader.push(step.name_at.problem(DUPLICATE, detail));
        }
        if let Body::Block(branches) = &step.body {
            for branch in branches {
                names(reader, &branch.steps, seen);
            }
        }
    }
}
