//! The tasks `SWITCH` and `DECISION`.

use super::ConductorImporter;
use super::reference::{TaskScope, whole};
use crate::condition::translate;
use crate::json::{entries, list, quoted, text};
use crate::path::{PathSegment, parse};
use crate::step::ImportedStep;
use goconductor_saga::Json;

/// How the case of a decision is determined.
enum Choice {
    /// The value of an expression is the name of the case.
    Value(String),
    /// A condition, and the names of the cases if it is true and if it is false.
    Either(String, String, String),
}

impl ConductorImporter {
    pub(super) fn decision(
        &mut self,
        path: &str,
        reference: &str,
        task: &Json,
        scope: &mut TaskScope,
        steps: &mut Vec<ImportedStep>,
    ) {
        let Some(choice) = self.choice(task, scope) else {
            let text = "the expression of the decision is not a simple one, so its branches are not imported";
            self.build.refused(path, text);
            return;
        };
        let before = scope.clone();
        let mut branches = Vec::new();
        for (case, tasks) in entries(task, "decisionCases") {
            let when = match &choice {
                Choice::Value(value) => equals(value, case),
                Choice::Either(condition, yes, _) if yes == case => condition.clone(),
                Choice::Either(condition, _, no) if no == case => format!("!({condition})"),
                Choice::Either(..) => {
                    self.build.lost(path, format!("the case {case} is never chosen"));
                    continue;
                }
            };
            let mut inner = before.clone();
            let tasks = tasks.as_array().map_or(&[][..], Vec::as_slice);
            branches.push((Some(when), self.tasks(tasks, &mut inner)));
            scope.extend(inner);
        }
        let mut inner = before;
        let default = self.tasks(list(task, "defaultCase"), &mut inner);
        scope.extend(inner);
        branches.push((None, default));
        self.build.push_switch(steps, reference, branches);
    }

    fn choice(&self, task: &Json, scope: &TaskScope) -> Option<Choice> {
        let resolve = |path: &[PathSegment]| self.parameter(task, scope, path);
        let by_value = |name: &str| resolve(&[PathSegment::Field(name.to_owned())]);
        if let Some(name) = text(task, "caseValueParam").filter(|name| !name.is_empty()) {
            return by_value(name).map(Choice::Value);
        }
        let source = text(task, "expression").or_else(|| text(task, "caseExpression"))?.trim();
        if text(task, "evaluatorType") == Some("value-param") {
            return by_value(source).map(Choice::Value);
        }
        if let Some(path) = parse(source) {
            return resolve(&path).map(Choice::Value);
        }
        let (condition, cases) = source.split_once('?')?;
        let (yes, no) = cases.split_once(':')?;
        let condition = translate(condition, resolve)?;
        Some(Choice::Either(condition, case(yes)?, case(no)?))
    }

    /// The expression of a parameter of the task.
    fn parameter(&self, task: &Json, scope: &TaskScope, path: &[PathSegment]) -> Option<String> {
        let [PathSegment::Field(name), rest @ ..] = path else { return None };
        let value = task.get("inputParameters")?.get(name)?.as_str()?;
        scope.cel(whole(value)?).map(|cel| crate::path::select(&cel, rest))
    }
}

/// The condition of a case. The names of cases are texts, and the value can be a boolean or a number.
fn equals(value: &str, case: &str) -> String {
    let literal = quoted(case);
    match case {
        "true" | "false" => format!("{value} == {case} || {value} == {literal}"),
        _ if case.parse::<f64>().is_ok() => format!("string({value}) == {literal}"),
        _ => format!("{value} == {literal}"),
    }
}

fn case(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches(';').trim_end();
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains(['\'', '"', '?', ':'])).then(|| inner.to_owned())
}
