//! The state `Task`.

use super::AslImporter;
use super::payload::literal_parameter;
use crate::build::kebab;
use crate::call::{CallRequest, http};
use crate::data::StateData;
use crate::json::{entries, expression, list, text};
use crate::path::{PathSegment, select};
use crate::step::{ImportedAction, ImportedStep};
use crate::time::seconds;
use goconductor_saga::Json;
use serde_json::{Map, json};

/// The names of errors that mean every failure.
const EVERY_ERROR: &[&str] = &["States.ALL", "States.TaskFailed", "States.Timeout"];

impl AslImporter {
    pub(super) fn task(
        &mut self,
        path: &str,
        name: &str,
        state: &Json,
        data: &mut StateData,
        steps: &mut Vec<ImportedStep>,
    ) {
        let resource = text(state, "Resource").unwrap_or_default();
        let input = self.input(path, state, data);
        let input = self.parameters(path, state, input);
        self.caught(path, state);
        let (base, waits) = match resource.strip_suffix(".waitForTaskToken") {
            Some(base) => (base, true),
            None => (resource, false),
        };
        let Some((mut step, wrapper)) = self.step(path, name, base, state, &input) else { return };
        self.settings(path, state, &mut step);
        let mut step_name = step.name.clone();
        self.build.push(steps, path, step);
        if waits {
            step_name = self.build.name(&format!("{step_name}_callback"));
            let text = format!(
                "the task token is the id of the workflow: in place of SendTaskSuccess, send the signal {step_name}"
            );
            self.build.lost(path, text);
            steps.push(ImportedStep::new(step_name.clone(), ImportedAction::Signal(json!(step_name))));
        }
        let output = expression(&format!("{}.output", select("steps", &[PathSegment::Field(step_name)])));
        let output = match wrapper.filter(|_| !waits) {
            Some(wrapper) => json!({ wrapper: output }),
            None => output,
        };
        let result = self.selected(path, state, StateData::of(output));
        self.finish(path, state, data, result);
    }

    /// Returns the step, and the field in which the service returns the output.
    fn step(
        &mut self,
        path: &str,
        name: &str,
        resource: &str,
        state: &Json,
        input: &StateData,
    ) -> Option<(ImportedStep, Option<&'static str>)> {
        let last = |arn: &str| arn.split(':').next_back().unwrap_or_default().to_owned();
        if let Some(service) = resource.strip_prefix("arn:aws:states:::") {
            return match service {
                "lambda:invoke" => {
                    let function = literal_parameter(state, "FunctionName").unwrap_or(name);
                    let payload =
                        input.get(&[PathSegment::Field("Payload".to_owned())]).map(|(value, _)| value);
                    let mut step = self.run(path, name, &function_name(function));
                    step.input = payload;
                    Some((step, Some("Payload")))
                }
                "http:invoke" => self.http(path, name, state, input),
                "states:startExecution.sync" | "states:startExecution.sync:2" => {
                    let child = kebab(&last(literal_parameter(state, "StateMachineArn").unwrap_or_default()));
                    if child.is_empty() {
                        self.build.refused(path, "the state machine of the child is known only at run time");
                        return None;
                    }
                    self.build.info(path, format!("import and apply the definition {child} before this one"));
                    let mut step = ImportedStep::new(self.build.name(name), ImportedAction::Child(child));
                    step.input = input.get(&[PathSegment::Field("Input".to_owned())]).map(|(value, _)| value);
                    Some((step, Some("Output")))
                }
                "states:startExecution" => {
                    self.build
                        .refused(path, "an execution that is started and not awaited has no counterpart");
                    None
                }
                service => {
                    let service = service.trim_start_matches("aws-sdk:").trim_end_matches(".sync");
                    self.build.info(path, "the service needs a participant that calls the service of AWS");
                    let mut step = self.run(path, name, service);
                    step.input = self.whole(path, input);
                    Some((step, None))
                }
            };
        }
        let task = if resource.contains(":lambda:") { function_name(resource) } else { last(resource) };
        if task.is_empty() {
            self.build.refused(path, "the task has no resource");
            return None;
        }
        let mut step = self.run(path, name, &task);
        step.input = self.whole(path, input);
        Some((step, None))
    }

    fn run(&mut self, path: &str, name: &str, task: &str) -> ImportedStep {
        let action = self.build.action(task);
        self.build.info(path, format!("the resource {task} is the action {action}"));
        ImportedStep::new(self.build.name(name), ImportedAction::Run(action))
    }

    fn http(
        &mut self,
        path: &str,
        name: &str,
        state: &Json,
        input: &StateData,
    ) -> Option<(ImportedStep, Option<&'static str>)> {
        let (parameters, _) = input.get(&[])?;
        if parameters.get("Authentication").is_some() {
            let text = "the connection is lost: write a header such as `Authorization: secret://name`";
            self.build.lost(&format!("{path}/Parameters/Authentication"), text);
        }
        if parameters.get("QueryParameters").is_some() {
            self.build.lost(&format!("{path}/Parameters/QueryParameters"), "write the query in the URL");
        }
        let request = CallRequest {
            url: text(&parameters, "ApiEndpoint").unwrap_or_default().to_owned(),
            method: text(&parameters, "Method").unwrap_or("GET").to_owned(),
            headers: entries(&parameters, "Headers")
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .collect(),
            body: parameters.get("RequestBody").cloned(),
        };
        let call = http(&mut self.build, path, request)?;
        if state.get("HeartbeatSeconds").is_some() {
            self.build.lost(&format!("{path}/HeartbeatSeconds"), "a call sends no heartbeats");
        }
        Some((ImportedStep::new(self.build.name(name), ImportedAction::Call(call)), Some("ResponseBody")))
    }

    fn settings(&mut self, path: &str, state: &Json, step: &mut ImportedStep) {
        for key in ["TimeoutSecondsPath", "HeartbeatSecondsPath"] {
            if state.get(key).is_some() {
                self.build.lost(&format!("{path}/{key}"), "time limits are literal");
            }
        }
        let attempt = state.get("TimeoutSeconds").and_then(seconds);
        let heartbeat = state.get("HeartbeatSeconds").and_then(seconds);
        let is_run = matches!(step.action, ImportedAction::Run(_));
        if !step.has_attempts() {
            if attempt.is_some() || state.get("Retry").is_some() {
                self.build.lost(path, "a child has the retries and the time limit of its own definition");
            }
            return;
        }
        step.timeout = match (attempt, heartbeat.filter(|_| is_run)) {
            (None, None) => None,
            (Some(attempt), None) => Some(json!(attempt)),
            (None, Some(heartbeat)) => Some(json!({ "heartbeat": heartbeat })),
            (Some(attempt), Some(heartbeat)) => Some(json!({ "attempt": attempt, "heartbeat": heartbeat })),
        };
        let retriers = list(state, "Retry");
        if retriers.len() > 1 {
            self.build
                .lost(&format!("{path}/Retry"), "a step has one policy of retries: the last one is used");
        }
        step.retry = Some(retriers.last().map_or_else(|| json!("none"), |retrier| self.retry(path, retrier)));
    }

    fn retry(&mut self, path: &str, retrier: &Json) -> Json {
        let retries = retrier.get("MaxAttempts").and_then(Json::as_u64).unwrap_or(3);
        if retries == 0 {
            return json!("none");
        }
        let mut retry = Map::new();
        retry.insert("max_attempts".to_owned(), json!(retries + 1));
        let factor = retrier.get("BackoffRate").and_then(Json::as_f64).unwrap_or(2.0);
        let backoff = if factor > 1.0 { "exponential" } else { "fixed" };
        retry.insert("backoff".to_owned(), json!(backoff));
        let initial = retrier.get("IntervalSeconds").and_then(seconds).unwrap_or_else(|| "1s".to_owned());
        retry.insert("initial".to_owned(), json!(initial));
        if factor > 1.0 {
            retry.insert("factor".to_owned(), json!(factor));
        }
        if let Some(max) = retrier.get("MaxDelaySeconds").and_then(seconds) {
            retry.insert("max".to_owned(), json!(max));
        }
        let errors: Vec<&str> = list(retrier, "ErrorEquals").iter().filter_map(Json::as_str).collect();
        if !errors.is_empty() && !errors.iter().any(|error| EVERY_ERROR.contains(error)) {
            let text = "only failures with these codes are retried: the participants must report them";
            self.build.info(&format!("{path}/Retry"), text);
            retry.insert("on".to_owned(), json!(errors));
        }
        Json::Object(retry)
    }
}

/// The name of a function in an ARN, without its alias.
fn function_name(resource: &str) -> String {
    let rest = resource.split_once(":function:").map_or(resource, |(_, rest)| rest);
    rest.split(':').next().unwrap_or_default().to_owned()
}
