//! Actions of states: functions, sub-flows, and where their results go.

use super::{ServerlessImporter, expression, output};
use crate::build::kebab;
use crate::data::StateData;
use crate::json::{list, text};
use crate::path::parse;
use crate::step::{ImportedAction, ImportedStep};
use crate::time::iso;
use goconductor_saga::Json;
use serde_json::{Map, json};

impl ServerlessImporter<'_> {
    /// Adds the step of an action. `only` states that it is the only one of its state, whose name it gets.
    pub(super) fn action(
        &mut self,
        state: &str,
        action: &Json,
        only: bool,
        data: &mut StateData,
        steps: &mut Vec<ImportedStep>,
    ) {
        let label = text(action, "name").or_else(|| function_name(action)).unwrap_or("action");
        let path = format!("{state}/{label}");
        let raw = if only { state } else { label };
        let Some(mut step) = self.action_step(&path, raw, action, data) else { return };
        if let Some(source) = text(action, "condition") {
            match self.condition(source, data) {
                Some(when) => step.when = Some(when),
                None => self.build.lost(
                    &format!("{path}/condition"),
                    format!("the condition `{source}` has no counterpart"),
                ),
            }
        }
        self.build.lost_keys(&path, action, &[("sleep", "pauses of an action are lost: add a `sleep`")]);
        if step.has_attempts() {
            step.retry = Some(self.retry(text(action, "retryRef")));
        }
        let result = output(&step.name);
        self.build.push(steps, &path, step);
        let filter = action.get("actionDataFilter");
        self.stored(&format!("{path}/actionDataFilter"), filter, ("results", result), data);
    }

    pub(super) fn action_step(
        &mut self,
        path: &str,
        raw: &str,
        action: &Json,
        data: &StateData,
    ) -> Option<ImportedStep> {
        if let Some(flow) = action.get("subFlowRef") {
            let child = flow.as_str().or_else(|| text(flow, "workflowId")).map(kebab).unwrap_or_default();
            self.build.info(path, format!("import and apply the definition {child} before this one"));
            let mut step = ImportedStep::new(self.build.name(raw), ImportedAction::Child(child));
            step.input = self.state_data(path, data);
            return Some(step);
        }
        let Some(function) = function_name(action) else {
            self.build.refused(path, "an action that produces an event has no counterpart: use a step");
            return None;
        };
        let declared =
            list(self.document, "functions").iter().find(|each| text(each, "name") == Some(function));
        let kind = declared.and_then(|declared| text(declared, "type")).unwrap_or("rest");
        if matches!(kind, "expression" | "graphql" | "odata") {
            self.build.refused(path, format!("a function of the type {kind} has no counterpart"));
            return None;
        }
        let operation = declared.and_then(|declared| text(declared, "operation"));
        let target = operation.and_then(operation_name).unwrap_or_else(|| function.to_owned());
        let target = self.build.action(&target);
        self.build.info(path, format!("the function {function} is the action {target}"));
        let mut step = ImportedStep::new(self.build.name(raw), ImportedAction::Run(target));
        let arguments = action.get("functionRef").and_then(|function| function.get("arguments"));
        step.input = match arguments {
            Some(arguments) => Some(self.template(&format!("{path}/arguments"), arguments, data)),
            None => Some(json!({})),
        };
        Some(step)
    }

    fn state_data(&mut self, path: &str, data: &StateData) -> Option<Json> {
        let (value, changed) = data.get(&[])?;
        if changed {
            self.build
                .lost(path, "the input of the workflow is below `input`, because objects are not merged");
        }
        (value != json!("${ input }")).then_some(value)
    }

    /// Puts a result into the document of the state, by its filter.
    pub(super) fn stored(
        &mut self,
        path: &str,
        filter: Option<&Json>,
        (key, result): (&str, StateData),
        data: &mut StateData,
    ) {
        let uses = filter.and_then(|filter| filter.get("useResults").or_else(|| filter.get("useData")));
        if uses.and_then(Json::as_bool) == Some(false) {
            return;
        }
        let selected = self.filtered(path, filter.and_then(|filter| filter.get(key)), result);
        let place = filter.and_then(|filter| text(filter, "toStateData"));
        let segments = place.and_then(|place| parse(expression(place).unwrap_or(place)));
        match segments.filter(|segments| !segments.is_empty()) {
            Some(segments) => match data.clone().with(&segments, selected) {
                Some(changed) => *data = changed,
                None => self.build.lost(path, "the place of the result has no counterpart"),
            },
            None => {
                let text = "a result without `toStateData` is not merged into the data of the workflow: name its place, or \
                            refer to the output of the step";
                self.build.lost(path, text);
            }
        }
    }

    /// The policy of retries. An action without one is not repeated.
    fn retry(&mut self, name: Option<&str>) -> Json {
        let declared = list(self.document, "retries").iter().find(|each| text(each, "name") == name);
        let Some(declared) = declared.filter(|_| name.is_some()) else { return json!("none") };
        let mut retry = Map::new();
        let attempts = declared.get("maxAttempts");
        let attempts = attempts.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
        if let Some(attempts) = attempts {
            retry.insert("max_attempts".to_owned(), json!(attempts.max(1)));
        }
        let multiplier = declared.get("multiplier");
        let multiplier = multiplier.and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()));
        let factor = multiplier.filter(|factor| (1.0..=1000.0).contains(factor) && *factor > 1.0);
        retry.insert("backoff".to_owned(), json!(if factor.is_some() { "exponential" } else { "fixed" }));
        if let Some(delay) = text(declared, "delay").and_then(iso) {
            retry.insert("initial".to_owned(), json!(delay));
        }
        if let Some(factor) = factor {
            retry.insert("factor".to_owned(), json!(factor));
        }
        if let Some(max) = text(declared, "maxDelay").and_then(iso) {
            retry.insert("max".to_owned(), json!(max));
        }
        Json::Object(retry)
    }
}

fn function_name(action: &Json) -> Option<&str> {
    let function = action.get("functionRef")?;
    function.as_str().or_else(|| text(function, "refName"))
}

/// `https://host/payments.json#charge` as `payments/charge`: the file is the service, and the fragment the action.
pub(super) fn operation_name(operation: &str) -> Option<String> {
    let (document, fragment) = operation.split_once('#')?;
    let (rest, file) = document.rsplit_once('/').unwrap_or(("", document));
    let stem = file.split('.').next().unwrap_or(file);
    let host = rest.split_once("://").and_then(|(_, rest)| rest.split(['.', ':', '/']).next());
    // A file with a name that every service uses says nothing about the service.
    let stem = match host.filter(|host| !host.is_empty()) {
        Some(host) if matches!(stem, "api" | "openapi" | "swagger") => host,
        Some(_) | None => stem,
    };
    // A service of gRPC is named before its method.
    match fragment.split_once('#') {
        Some((service, method)) => Some(format!("{service}/{method}")),
        None => Some(format!("{stem}/{fragment}")),
    }
}
