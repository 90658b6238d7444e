//! Workflows of OSS Conductor.

mod decision;
mod each;
mod reference;
mod system;

use crate::build::Build;
use crate::json::{entries, flag, list, text};
use crate::step::{ImportedAction, ImportedStep, ImportedWorkflow};
use crate::time::seconds;
use crate::{ImportProblem, Note};
use goconductor_saga::Json;
use reference::TaskScope;
use serde_json::{Map, json};

/// Keys of a task that have no counterpart.
const LOST: &[(&str, &str)] = &[
    ("startDelay", "the delay of the first attempt is lost: add a `sleep` before the step"),
    ("permissive", "a permissive task is imported as a usual one"),
    ("onStateChange", "events of a task are lost"),
    ("cacheConfig", "the cache of outputs is lost"),
];

/// Reads a workflow.
pub(crate) fn read(document: &Json) -> Result<(ImportedWorkflow, Vec<Note>), ImportProblem> {
    let Some(name) = text(document, "name") else {
        return Err(ImportProblem::new("name", "a workflow of Conductor has a `name`"));
    };
    let mut importer = ConductorImporter { build: Build::new(name) };
    if document.get("tasks").and_then(Json::as_array).is_none() {
        return Err(ImportProblem::new("tasks", "a workflow of Conductor has a list of `tasks`"));
    }
    importer.build.lost_keys(
        "workflow",
        document,
        &[
            (
                "failureWorkflow",
                "a workflow that runs after a failure has no counterpart: declare `compensate` for each step",
            ),
            (
                "inputTemplate",
                "defaults of the input are lost: use `default` in its schema and `has` in expressions",
            ),
            ("workflowStatusListenerSink", "listeners of the status are lost: watch the events of workflows"),
            ("rateLimitConfig", "the limit of concurrent workflows is lost"),
        ],
    );
    let timeout =
        document.get("timeoutSeconds").filter(|value| value.as_f64().is_some_and(|each| each > 0.0));
    if timeout.is_some() && text(document, "timeoutPolicy") == Some("ALERT_ONLY") {
        importer.build.lost("workflow/timeoutPolicy", "a workflow that times out rolls back");
    }
    let mut scope = TaskScope::default();
    let steps = importer.tasks(list(document, "tasks"), &mut scope);
    let outputs =
        document.get("outputParameters").filter(|value| value.as_object().is_some_and(|all| !all.is_empty()));
    let output = outputs.map(|value| importer.template("workflow/outputParameters", value, &scope));
    let workflow = ImportedWorkflow {
        name: importer.build.definition.clone(),
        title: (importer.build.definition != name).then(|| name.to_owned()),
        description: text(document, "description").filter(|text| !text.is_empty()).map(str::to_owned),
        input: schema(document),
        timeout: timeout.and_then(seconds),
        steps,
        output,
    };
    Ok((workflow, importer.build.notes))
}

/// The schema of the input: the names of its fields, which Conductor does not require.
fn schema(document: &Json) -> Option<Json> {
    let names: Map<String, Json> = list(document, "inputParameters")
        .iter()
        .filter_map(|name| Some((name.as_str()?.to_owned(), json!({}))))
        .collect();
    (!names.is_empty()).then(|| json!({ "type": "object", "properties": names }))
}

struct ConductorImporter {
    build: Build,
}

impl ConductorImporter {
    fn tasks(&mut self, tasks: &[Json], scope: &mut TaskScope) -> Vec<ImportedStep> {
        let mut steps = Vec::new();
        for (at, task) in tasks.iter().enumerate() {
            self.task(task, tasks.get(at + 1), scope, &mut steps);
        }
        steps
    }

    fn task(
        &mut self,
        task: &Json,
        next: Option<&Json>,
        scope: &mut TaskScope,
        steps: &mut Vec<ImportedStep>,
    ) {
        let reference = text(task, "taskReferenceName").or_else(|| text(task, "name")).unwrap_or("task");
        let path = format!("tasks/{reference}");
        self.build.lost_keys(&path, task, LOST);
        match text(task, "type").unwrap_or("SIMPLE") {
            "SIMPLE" => self.simple(&path, reference, task, scope, steps),
            "HTTP" => self.http(&path, reference, task, scope, steps),
            "SUB_WORKFLOW" => self.sub_workflow(&path, reference, task, scope, steps),
            "WAIT" => self.wait(&path, reference, task, scope, steps),
            "HUMAN" => self.signal(&path, reference, scope, steps),
            "FORK_JOIN" => self.fork(&path, reference, task, next, scope, steps),
            "SWITCH" | "DECISION" => self.decision(&path, reference, task, scope, steps),
            "FORK_JOIN_DYNAMIC" => self.dynamic_fork(&path, reference, task, next, scope, steps),
            "DO_WHILE" => self.each(&path, reference, task, scope, steps),
            // The join belongs to the fork above it.
            "JOIN" | "NOOP" => {}
            kind => self.build.refused(&path, refusal(kind)),
        }
    }

    fn simple(
        &mut self,
        path: &str,
        reference: &str,
        task: &Json,
        scope: &mut TaskScope,
        steps: &mut Vec<ImportedStep>,
    ) {
        let name = text(task, "name").unwrap_or(reference);
        let action = self.run(path, name);
        let mut step = ImportedStep::new(self.build.name(reference), action);
        step.input = Some(match task.get("inputParameters") {
            Some(input) => self.template(path, input, scope),
            None => json!({}),
        });
        self.finish(path, reference, task, step, scope, steps);
    }

    /// Returns the action of a worker's task.
    fn run(&mut self, path: &str, name: &str) -> ImportedAction {
        let action = self.build.action(name);
        self.build.info(path, format!("the task {name} is the action {action}"));
        ImportedAction::Run(action)
    }

    /// Applies the settings that all tasks have, and adds the step.
    fn finish(
        &mut self,
        path: &str,
        reference: &str,
        task: &Json,
        mut step: ImportedStep,
        scope: &mut TaskScope,
        steps: &mut Vec<ImportedStep>,
    ) {
        step.continues = flag(task, "optional");
        let definition = task.get("taskDefinition").unwrap_or(task);
        let count = definition.get("retryCount").and_then(Json::as_u64);
        if let Some(count) = count.filter(|_| step.has_attempts()) {
            step.retry = Some(retry(definition, count));
        }
        let timeout = ["timeoutSeconds", "responseTimeoutSeconds"]
            .into_iter()
            .filter_map(|key| definition.get(key))
            .find(|value| value.as_f64().is_some_and(|each| each > 0.0));
        if step.has_attempts() {
            step.timeout = timeout.and_then(seconds).map(Json::String);
        }
        scope.add(reference, &step.name);
        self.build.push(steps, path, step);
    }

    fn fork(
        &mut self,
        path: &str,
        reference: &str,
        task: &Json,
        next: Option<&Json>,
        scope: &mut TaskScope,
        steps: &mut Vec<ImportedStep>,
    ) {
        let before = scope.clone();
        let mut branches = Vec::new();
        let mut last: Vec<&str> = Vec::new();
        for branch in list(task, "forkTasks").iter().filter_map(Json::as_array) {
            let mut inner = before.clone();
            branches.push(self.tasks(branch, &mut inner));
            scope.extend(inner);
            last.extend(branch.last().and_then(|task| text(task, "taskReferenceName")));
        }
        match next.filter(|next| text(next, "type") == Some("JOIN")) {
            Some(join) => {
                let joined: Vec<&str> = list(join, "joinOn").iter().filter_map(Json::as_str).collect();
                if last.iter().any(|name| !joined.contains(name)) {
                    self.build.lost(
                        path,
                        "the step after the block waits for all branches, and not only for those of `joinOn`",
                    );
                }
                scope.add_join(text(join, "taskReferenceName").unwrap_or_default());
            }
            None => {
                self.build.lost(path, "the fork has no join after it: the next step waits for all branches")
            }
        }
        self.build.push_parallel(steps, reference, branches);
    }

    /// Translates a value with references.
    fn template(&mut self, path: &str, value: &Json, scope: &TaskScope) -> Json {
        if let Some(text) = value.as_str() {
            let (template, unknown) = scope.text(text);
            for reference in unknown {
                self.build.lost(path, format!("the reference `{reference}` has no counterpart, and is null"));
            }
            return template;
        }
        if let Some(items) = value.as_array() {
            return items.iter().map(|item| self.template(path, item, scope)).collect();
        }
        match value.as_object() {
            Some(_) => {
                let object = json!({ "value": value });
                let fields = entries(&object, "value");
                let fields = fields
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), self.template(path, value, scope)));
                Json::Object(fields.collect())
            }
            None => value.clone(),
        }
    }
}

fn retry(definition: &Json, count: u64) -> Json {
    if count == 0 {
        return json!("none");
    }
    let mut retry = Map::new();
    retry.insert("max_attempts".to_owned(), json!(count + 1));
    let backoff = match text(definition, "retryLogic") {
        Some("EXPONENTIAL_BACKOFF") => "exponential",
        Some("LINEAR_BACKOFF") => "linear",
        Some(_) | None => "fixed",
    };
    retry.insert("backoff".to_owned(), json!(backoff));
    let delay =
        definition.get("retryDelaySeconds").filter(|value| value.as_f64().is_some_and(|each| each > 0.0));
    if let Some(delay) = delay.and_then(seconds) {
        retry.insert("initial".to_owned(), json!(delay));
    }
    Json::Object(retry)
}

fn refusal(kind: &str) -> String {
    let reason = match kind {
        "DO_WHILE" => "a loop that is not over a list has no counterpart",
        "DYNAMIC" | "FORK_JOIN_DYNAMIC" => "tasks that are known only at run time have no counterpart",
        "TERMINATE" => {
            "a step that ends the workflow has no counterpart: use the conditions of the steps below it"
        }
        "SET_VARIABLE" => "workflows have no variables: use the outputs of steps",
        "INLINE" | "LAMBDA" | "JSON_JQ_TRANSFORM" => {
            "code in a definition has no counterpart: use expressions or a step"
        }
        "START_WORKFLOW" => {
            "a workflow that is started and not awaited has no counterpart: use a step that starts it"
        }
        _ => "this type of task has no counterpart",
    };
    format!("{kind}: {reason}")
}
