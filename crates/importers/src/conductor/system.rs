//! The tasks `HTTP`, `SUB_WORKFLOW` and `WAIT`.

use super::ConductorImporter;
use super::reference::{TaskScope, whole};
use crate::build::kebab;
use crate::call::{CallRequest, http, secret};
use crate::json::{entries, text};
use crate::step::{ImportedAction, ImportedStep};
use crate::time::{time, words};
use goconductor_saga::Json;
use serde_json::json;

impl ConductorImporter {
    pub(super) fn http(
        &mut self,
        path: &str,
        reference: &str,
        task: &Json,
        scope: &mut TaskScope,
        steps: &mut Vec<ImportedStep>,
    ) {
        let parameters = task.get("inputParameters").unwrap_or(&Json::Null);
        // Newer releases have the request in the parameters themselves.
        let request = parameters.get("http_request").unwrap_or(parameters);
        self.build.lost_keys(
            path,
            request,
            &[
                ("connectionTimeOut", "the time limit of the connection is part of `timeout`"),
                ("readTimeOut", "the time limit of the response is part of `timeout`"),
            ],
        );
        let url = request.get("uri").or_else(|| request.get("url")).unwrap_or(&Json::Null);
        let url = self.template(path, url, scope);
        let mut headers = Vec::new();
        for (name, value) in entries(request, "headers") {
            let reference =
                value.as_str().and_then(whole).and_then(|text| text.strip_prefix("workflow.secrets."));
            let value = match reference.and_then(secret) {
                Some(secret) => Json::String(secret),
                None => self.template(path, value, scope),
            };
            headers.push((name.to_owned(), value));
        }
        for name in ["accept", "contentType"] {
            if let Some(value) = text(request, name) {
                let header = if name == "accept" { "Accept" } else { "Content-Type" };
                headers.push((header.to_owned(), json!(value)));
            }
        }
        let body = request.get("body").map(|body| self.template(path, body, scope));
        let method = text(request, "method").unwrap_or("GET").to_owned();
        let url = url.as_str().unwrap_or_default().to_owned();
        let Some(call) = http(&mut self.build, path, CallRequest { url, method, headers, body }) else {
            return;
        };
        let step = ImportedStep::new(self.build.name(reference), ImportedAction::Call(call));
        scope.add_http(reference);
        self.finish(path, reference, task, step, scope, steps);
    }

    pub(super) fn sub_workflow(
        &mut self,
        path: &str,
        reference: &str,
        task: &Json,
        scope: &mut TaskScope,
        steps: &mut Vec<ImportedStep>,
    ) {
        let parameter = task.get("subWorkflowParam").unwrap_or(&Json::Null);
        let name = text(parameter, "name").filter(|name| !name.contains("${")).map(kebab);
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            self.build.refused(path, "the definition of the child is known only at run time");
            return;
        };
        if parameter.get("version").is_some() {
            self.build.lost(
                path,
                format!("the child {name} follows its newest version: versions have other numbers here"),
            );
        }
        self.build.info(path, format!("import and apply the definition {name} before this one"));
        let mut step = ImportedStep::new(self.build.name(reference), ImportedAction::Child(name));
        step.input = task.get("inputParameters").map(|input| self.template(path, input, scope));
        self.finish(path, reference, task, step, scope, steps);
    }

    pub(super) fn wait(
        &mut self,
        path: &str,
        reference: &str,
        task: &Json,
        scope: &mut TaskScope,
        steps: &mut Vec<ImportedStep>,
    ) {
        let parameters = task.get("inputParameters").unwrap_or(&Json::Null);
        let (value, read): (_, fn(&str) -> Option<String>) =
            match (text(parameters, "duration"), text(parameters, "until")) {
                (Some(duration), _) => (duration, words),
                (None, Some(until)) => (until, time),
                (None, None) => {
                    self.signal(path, reference, scope, steps);
                    return;
                }
            };
        let time = match whole(value) {
            Some(inner) => scope.cel(inner).map(|cel| format!("${{ {cel} }}")),
            None => read(value),
        };
        let Some(time) = time else {
            self.build.refused(path, format!("the wait `{value}` is neither a duration nor a time"));
            return;
        };
        let step = ImportedStep::new(self.build.name(reference), ImportedAction::Sleep(time));
        self.finish(path, reference, task, step, scope, steps);
    }

    pub(super) fn signal(
        &mut self,
        path: &str,
        reference: &str,
        scope: &mut TaskScope,
        steps: &mut Vec<ImportedStep>,
    ) {
        let name = self.build.name(reference);
        self.build.info(path, format!("the step waits for the signal {name}"));
        scope.add(reference, &name);
        let step = ImportedStep::new(name.clone(), ImportedAction::Signal(Json::String(name)));
        self.build.push(steps, path, step);
    }
}
