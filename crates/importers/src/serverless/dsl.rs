//! The DSL 1.0 of Serverless Workflow: a list of tasks.

use super::{ServerlessImporter, output};
use crate::build::kebab;
use crate::call::{CallRequest, http};
use crate::data::StateData;
use crate::flow::{Block, StateTransition, StructuredFlow, structure};
use crate::json::{entries, list, text};
use crate::step::{ImportedAction, ImportedStep, ImportedWorkflow};
use crate::time::{iso, object};
use crate::{ImportProblem, Note};
use goconductor_saga::Json;
use serde_json::{Map, json};
use std::collections::BTreeMap;

/// Maximum nesting depth of tasks.
const MAX_DEPTH: usize = 15;

/// A task with its name.
type Named<'a> = (&'a str, &'a Json);

/// Reads a workflow.
pub(super) fn read(document: &Json) -> Result<(ImportedWorkflow, Vec<Note>), ImportProblem> {
    let about = document.get("document").unwrap_or(&Json::Null);
    let name = text(about, "name").unwrap_or("workflow");
    let mut importer = ServerlessImporter::new(document, name);
    if document.get("schedule").is_some() {
        importer.build.lost("schedule", "write the schedule as `schedule` of the definition");
    }
    let mut data = StateData::input();
    let steps = importer.tasks("do", list(document, "do"), &mut data)?;
    let output = data.get(&[]).filter(|(value, changed)| !changed && *value != json!("${ input }"));
    let schema =
        document.get("input").and_then(|input| input.get("schema")).and_then(|schema| schema.get("document"));
    let workflow = ImportedWorkflow {
        name: importer.build.definition.clone(),
        title: text(about, "title").map(str::to_owned),
        description: text(about, "summary").map(str::to_owned),
        input: schema.cloned(),
        timeout: document.get("timeout").and_then(|timeout| timeout.get("after")).and_then(duration),
        steps,
        output: output.map(|(value, _)| value),
    };
    Ok((workflow, importer.build.notes))
}

impl ServerlessImporter<'_> {
    pub(super) fn tasks(
        &mut self,
        path: &str,
        tasks: &[Json],
        data: &mut StateData,
    ) -> Result<Vec<ImportedStep>, ImportProblem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let text = format!("tasks are nested more than {MAX_DEPTH} levels deep: split the workflow up");
            return Err(ImportProblem::new(path, text));
        }
        let named: Vec<Named<'_>> = tasks
            .iter()
            .filter_map(Json::as_object)
            .filter_map(|task| task.iter().next().map(|(name, task)| (name.as_str(), task)))
            .collect();
        if named.is_empty() {
            return Err(ImportProblem::new(path, "the list of tasks is empty"));
        }
        let StructuredFlow { blocks, loops, states } = structure(transitions(path, &named)?, 0)?;
        self.build.count(path, states)?;
        for (from, to) in loops {
            let name = |number: usize| named.get(number).map_or("", |(name, _)| *name);
            let text = format!("the transition back to {} is a loop, which has no counterpart", name(to));
            self.build.refused(&format!("{path}/{}", name(from)), text);
        }
        let steps = self.blocks(path, &named, &blocks, data)?;
        self.depth -= 1;
        Ok(steps)
    }

    fn blocks(
        &mut self,
        path: &str,
        named: &[Named<'_>],
        blocks: &[Block],
        data: &mut StateData,
    ) -> Result<Vec<ImportedStep>, ImportProblem> {
        let mut steps = Vec::new();
        for block in blocks {
            let Some((name, task)) = named.get(block.state) else { continue };
            let at = format!("{path}/{name}");
            if task.get("switch").is_some() {
                let (mut branches, mut ends) = (Vec::new(), Vec::new());
                let cases = cases(task);
                for (number, inner_blocks) in block.branches.iter().enumerate() {
                    let source = cases.get(number).and_then(|(_, case)| text(case, "when"));
                    let when = match source.map(|source| self.condition(source, data).ok_or(source)) {
                        None => None,
                        Some(Ok(when)) => Some(when),
                        Some(Err(source)) => {
                            let text = format!(
                                "the condition `{source}` has no counterpart: those below it are taken in place of the branch"
                            );
                            self.build.refused(&at, text);
                            continue;
                        }
                    };
                    let mut inner = data.clone();
                    branches.push((when, self.blocks(path, named, inner_blocks, &mut inner)?));
                    ends.push(inner);
                }
                match StateData::join(&ends) {
                    Some(joined) => *data = joined,
                    None => self.build.lost(
                        &at,
                        "the branches end with different documents: the tasks below receive that of before",
                    ),
                }
                self.build.push_switch(&mut steps, name, branches);
                continue;
            }
            self.single(&at, name, task, data, &mut steps)?;
        }
        Ok(steps)
    }

    fn single(
        &mut self,
        path: &str,
        name: &str,
        task: &Json,
        data: &mut StateData,
        steps: &mut Vec<ImportedStep>,
    ) -> Result<(), ImportProblem> {
        let from = task.get("input").and_then(|input| input.get("from"));
        let input = self.filtered(&format!("{path}/input"), from, data.clone());
        self.build.lost_keys(
            path,
            task,
            &[("export", "the context of a workflow is lost: use the outputs of steps")],
        );
        let begin = steps.len();
        let result = self.body(path, name, task, &input, steps)?;
        if let Some(source) = text(task, "if") {
            match (self.condition(source, &input), steps.get_mut(begin..)) {
                (Some(when), Some(added)) => added.iter_mut().for_each(|step| step.when = Some(when.clone())),
                (_, _) => self
                    .build
                    .lost(&format!("{path}/if"), format!("the condition `{source}` has no counterpart")),
            }
        }
        let timeout = task.get("timeout").and_then(|timeout| timeout.get("after")).and_then(duration);
        for step in steps.get_mut(begin..).unwrap_or_default() {
            if let (Some(timeout), None, true) = (&timeout, &step.timeout, step.has_attempts()) {
                step.timeout = Some(json!(timeout));
            }
        }
        if let Some(result) = result {
            let source = task.get("output").and_then(|output| output.get("as"));
            let filtered = self.filtered(&format!("{path}/output"), source, result);
            *data = self.build.bounded(path, filtered);
        }
        Ok(())
    }

    /// Adds the steps of a task. Returns its output, or `None` if it is the input.
    fn body(
        &mut self,
        path: &str,
        name: &str,
        task: &Json,
        input: &StateData,
        steps: &mut Vec<ImportedStep>,
    ) -> Result<Option<StateData>, ImportProblem> {
        if let Some(function) = text(task, "call") {
            return Ok(self.call(path, name, function, task, input, steps));
        }
        if let Some(values) = task.get("set") {
            return Ok(Some(StateData::of(self.template(path, values, input))));
        }
        if let Some(wait) = task.get("wait") {
            match duration(wait) {
                Some(duration) => {
                    steps.push(ImportedStep::new(self.build.name(name), ImportedAction::Sleep(duration)))
                }
                None => self.build.refused(path, "the time of the wait has no counterpart"),
            }
            return Ok(None);
        }
        if let Some(listen) = task.get("listen") {
            return Ok(self.listen(path, name, listen, steps));
        }
        if let Some(workflow) = task.get("run").and_then(|run| run.get("workflow")) {
            let child = kebab(text(workflow, "name").unwrap_or_default());
            self.build.info(path, format!("import and apply the definition {child} before this one"));
            let mut step = ImportedStep::new(self.build.name(name), ImportedAction::Child(child));
            step.input = workflow.get("input").map(|value| self.template(path, value, input));
            let result = output(&step.name);
            self.build.push(steps, path, step);
            return Ok(Some(result));
        }
        if let Some(fork) = task.get("fork") {
            return self.fork(path, name, fork, input, steps).map(Some);
        }
        if let Some(inner) = task.get("do").and_then(Json::as_array).filter(|_| task.get("for").is_none()) {
            let mut data = input.clone();
            steps.extend(self.tasks(path, inner, &mut data)?);
            return Ok(Some(data));
        }
        if let (Some(each), Some(inner)) = (task.get("for"), task.get("do").and_then(Json::as_array)) {
            return self.each(path, task, (each, inner), input, steps).map(|()| None);
        }
        if let Some(inner) = task.get("try").and_then(Json::as_array) {
            return self.attempt(path, task, inner, input, steps).map(Some);
        }
        if let Some(error) = task.get("raise").and_then(|raise| raise.get("error")) {
            let cause = error
                .as_str()
                .or_else(|| text(error, "title"))
                .or_else(|| text(error, "type"))
                .unwrap_or(name);
            self.fail(path, name, cause, steps);
            return Ok(None);
        }
        let kind = ["emit", "run"].into_iter().find(|kind| task.get(kind).is_some()).unwrap_or("the task");
        self.build.refused(path, format!("{kind} has no counterpart"));
        Ok(None)
    }

    fn call(
        &mut self,
        path: &str,
        name: &str,
        function: &str,
        task: &Json,
        input: &StateData,
        steps: &mut Vec<ImportedStep>,
    ) -> Option<StateData> {
        let none = json!({});
        let with = task.get("with").unwrap_or(&none);
        let mut step = match function {
            "http" => {
                let endpoint = with.get("endpoint").unwrap_or(&none);
                let source = endpoint.as_str().or_else(|| text(endpoint, "uri")).unwrap_or_default();
                let url = self.url(path, source, input);
                self.build.lost_keys(
                    path,
                    with,
                    &[("query", "write the query in the URL"), ("output", "the output is the body")],
                );
                let headers = entries(with, "headers");
                let headers = headers
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), self.template(path, value, input)));
                let headers = headers.collect();
                let body = with.get("body").map(|body| self.template(path, body, input));
                let method = text(with, "method").unwrap_or("GET").to_owned();
                let call = http(&mut self.build, path, CallRequest { url, method, headers, body })?;
                ImportedStep::new(self.build.name(name), ImportedAction::Call(call))
            }
            "grpc" => {
                let Some(call) = self.grpc(path, with, input) else {
                    self.build.refused(
                        path,
                        "a call of grpc without a literal server and method has no counterpart",
                    );
                    return None;
                };
                ImportedStep::new(self.build.name(name), ImportedAction::Call(call))
            }
            "asyncapi" | "mcp" | "a2a" => {
                self.build.refused(path, format!("a call of {function} has no counterpart"));
                return None;
            }
            _ => {
                let target = openapi(function, with).unwrap_or_else(|| function.to_owned());
                let target = self.build.action(&target);
                self.build.info(path, format!("the function {function} is the action {target}"));
                let mut step = ImportedStep::new(self.build.name(name), ImportedAction::Run(target));
                let arguments =
                    if function == "openapi" { with.get("parameters").unwrap_or(&none) } else { with };
                step.input = Some(self.template(path, arguments, input));
                step
            }
        };
        step.retry = Some(json!("none"));
        let result = output(&step.name);
        self.build.push(steps, path, step);
        Some(result)
    }

    /// A unary call of gRPC. Returns `None` if its server or its method is known only at run time.
    fn grpc(&mut self, path: &str, with: &Json, input: &StateData) -> Option<Json> {
        let service = with.get("service")?;
        let is_literal = |text: &&str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let literal = |value, key| text(value, key).filter(is_literal);
        let (name, host) = (literal(service, "name")?, literal(service, "host")?);
        let method = literal(with, "method").filter(|method| !method.contains(['.', '-']))?;
        let target = match service.get("port").and_then(Json::as_u64) {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let text = "the credentials are lost: write metadata such as `Authorization: secret://name`";
        self.build.lost_keys(path, service, &[("authentication", text)]);
        self.build
            .info(path, "the types are read by reflection: write a `descriptor_set` if the server has none");
        let none = json!({});
        let message = self.template(path, with.get("arguments").unwrap_or(&none), input);
        Some(
            json!({ "grpc": { "target": target, "method": format!("{name}/{method}"), "message": message } }),
        )
    }

    /// A URL with the variables `{name}` of its template.
    fn url(&mut self, path: &str, source: &str, input: &StateData) -> String {
        if super::expression(source).is_some() {
            let value = self.template(path, &json!(source), input);
            return value.as_str().unwrap_or_default().to_owned();
        }
        let mut url = String::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((variable, after)) = after.split_once('}') else { break };
            let value = self.template(path, &json!(format!("${{ .{variable} }}")), input);
            url.push_str(before);
            url.push_str(value.as_str().unwrap_or_default());
            rest = after;
        }
        url.push_str(rest);
        url
    }

    fn listen(
        &mut self,
        path: &str,
        name: &str,
        listen: &Json,
        steps: &mut Vec<ImportedStep>,
    ) -> Option<StateData> {
        let to = listen.get("to").unwrap_or(&Json::Null);
        let filters: Vec<&Json> = match to.get("one") {
            Some(one) => vec![one],
            None => list(to, "all").iter().collect(),
        };
        if filters.is_empty() {
            self.build.refused(path, "a wait for the first of several events has no counterpart");
            return None;
        }
        let mut events = Vec::new();
        for filter in &filters {
            let kind = filter.get("with").and_then(|with| text(with, "type")).unwrap_or(name);
            let step = if filters.len() == 1 { name.to_owned() } else { format!("{name} {kind}") };
            let payload = self.signal(path, &step, kind, None, steps);
            events.extend(payload.get(&[]).map(|(value, _)| value));
        }
        Some(StateData::of(Json::Array(events)))
    }

    fn fork(
        &mut self,
        path: &str,
        name: &str,
        fork: &Json,
        input: &StateData,
        steps: &mut Vec<ImportedStep>,
    ) -> Result<StateData, ImportProblem> {
        if crate::json::flag(fork, "compete") {
            self.build
                .lost(path, "the step after the block waits for all branches, and not for the first one");
        }
        let (mut branches, mut outputs) = (Vec::new(), Vec::new());
        for branch in list(fork, "branches") {
            let mut data = input.clone();
            branches.push(self.tasks(path, std::slice::from_ref(branch), &mut data)?);
            outputs.push(data.get(&[]).map_or(Json::Null, |(value, _)| value));
        }
        self.build.push_parallel(steps, name, branches);
        Ok(StateData::of(Json::Array(outputs)))
    }

    fn attempt(
        &mut self,
        path: &str,
        task: &Json,
        inner: &[Json],
        input: &StateData,
        steps: &mut Vec<ImportedStep>,
    ) -> Result<StateData, ImportProblem> {
        let catch = task.get("catch").unwrap_or(&Json::Null);
        if catch.get("do").is_some() {
            let text = "a failure rolls the workflow back in place of continuing with the tasks of `catch`";
            self.build.lost(&format!("{path}/catch"), text);
        }
        let mut data = input.clone();
        let mut added = self.tasks(path, inner, &mut data)?;
        if let Some(retry) = catch.get("retry").and_then(Json::as_object) {
            let retry = retry_policy(&Json::Object(retry.clone()));
            for step in added.iter_mut().filter(|step| step.has_attempts()) {
                step.retry = Some(retry.clone());
            }
            self.build.info(path, "each step of the block is retried, and not the block as a whole");
        }
        steps.extend(added);
        Ok(data)
    }
}

fn cases(task: &Json) -> Vec<Named<'_>> {
    let cases = list(task, "switch").iter().filter_map(Json::as_object);
    cases.filter_map(|case| case.iter().next().map(|(name, case)| (name.as_str(), case))).collect()
}

/// The transitions between the tasks of a list.
fn transitions(path: &str, named: &[Named<'_>]) -> Result<Vec<StateTransition>, ImportProblem> {
    let numbers: BTreeMap<&str, usize> =
        named.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
    let target = |at: usize, then: Option<&str>| match then {
        None | Some("continue") => Ok(Some(at + 1).filter(|next| *next < named.len())),
        Some("end" | "exit") => Ok(None),
        Some(name) => numbers.get(name).copied().map(Some).ok_or_else(|| {
            ImportProblem::new(format!("{path}/{name}"), "a transition leads to a task that does not exist")
        }),
    };
    let mut next = Vec::new();
    for (at, (_, task)) in named.iter().enumerate() {
        if task.get("raise").is_some() {
            next.push(StateTransition::Stop);
        } else if task.get("switch").is_some() {
            let cases = cases(task);
            let mut targets = Vec::new();
            for (_, case) in &cases {
                targets.push(target(at, text(case, "then"))?);
            }
            if cases.iter().all(|(_, case)| case.get("when").is_some()) {
                targets.push(target(at, text(task, "then"))?);
            }
            next.push(StateTransition::Choice(targets));
        } else {
            next.push(StateTransition::To(target(at, text(task, "then"))?));
        }
    }
    Ok(next)
}

fn duration(value: &Json) -> Option<String> {
    match value.as_str() {
        Some(text) => iso(text),
        None => object(value),
    }
}

/// `openapi` as the name of its document and its operation.
fn openapi(function: &str, with: &Json) -> Option<String> {
    let operation = text(with, "operationId").filter(|_| function == "openapi")?;
    let endpoint = with.get("document")?.get("endpoint")?;
    let endpoint = endpoint.as_str().or_else(|| text(endpoint, "uri"))?;
    super::action::operation_name(&format!("{endpoint}#{operation}"))
}

fn retry_policy(policy: &Json) -> Json {
    let mut retry = Map::new();
    let limit =
        policy.get("limit").and_then(|limit| limit.get("attempt")).and_then(|attempt| attempt.get("count"));
    if let Some(count) = limit.and_then(Json::as_u64) {
        retry.insert("max_attempts".to_owned(), json!(count + 1));
    }
    let backoff =
        policy.get("backoff").and_then(Json::as_object).and_then(|backoff| backoff.keys().next().cloned());
    let backoff = match backoff.as_deref() {
        Some("exponential") => "exponential",
        Some("linear") => "linear",
        Some(_) | None => "fixed",
    };
    retry.insert("backoff".to_owned(), json!(backoff));
    if let Some(delay) = policy.get("delay").and_then(duration) {
        retry.insert("initial".to_owned(), json!(delay));
    }
    Json::Object(retry)
}
