//! References to inputs and outputs: `${workflow.input.a}`, `${task.output.b}`.

use crate::json::{expression, literal};
use crate::path::{PathSegment, parse, select};
use goconductor_saga::Json;
use std::collections::{BTreeMap, BTreeSet};

/// The tasks to which a task may refer.
#[derive(Debug, Clone, Default)]
pub(super) struct TaskScope {
    /// The names of steps by the reference names of tasks.
    steps: BTreeMap<String, String>,
    /// The tasks whose output is below `response.body`.
    http: BTreeSet<String>,
    joins: BTreeSet<String>,
    /// The loops over lists that surround the task.
    loops: BTreeSet<String>,
}

impl TaskScope {
    pub(super) fn add(&mut self, reference: &str, step: &str) {
        self.steps.insert(reference.to_owned(), step.to_owned());
    }

    pub(super) fn add_http(&mut self, reference: &str) {
        self.http.insert(reference.to_owned());
    }

    pub(super) fn add_join(&mut self, reference: &str) {
        self.joins.insert(reference.to_owned());
    }

    pub(super) fn add_loop(&mut self, reference: &str) {
        self.loops.insert(reference.to_owned());
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.steps.extend(other.steps);
        self.http.extend(other.http);
        self.joins.extend(other.joins);
    }

    /// Translates a text. Returns the template, and the references without a counterpart.
    pub(super) fn text<'a>(&self, text: &'a str) -> (Json, Vec<&'a str>) {
        let mut unknown = Vec::new();
        if let Some(inner) = whole(text) {
            let found = self.cel(inner);
            if found.is_none() {
                unknown.push(inner);
            }
            return (found.map_or(Json::Null, |cel| expression(&cel)), unknown);
        }
        let mut template = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((inner, after)) = after.split_once('}') else { break };
            template.push_str(&literal(before));
            match self.cel(inner) {
                Some(cel) => template.push_str(&format!("${{ {cel} }}")),
                None => unknown.push(inner),
            }
            rest = after;
        }
        template.push_str(&literal(rest));
        (Json::String(template), unknown)
    }

    /// Translates a reference without its braces.
    pub(super) fn cel(&self, reference: &str) -> Option<String> {
        let path = parse(&format!("$.{}", reference.trim()))?;
        let (PathSegment::Field(root), rest) = path.split_first()? else { return None };
        let field =
            |segment: &PathSegment, name: &str| matches!(segment, PathSegment::Field(text) if text == name);
        if root == "workflow" {
            return match rest {
                [first, rest @ ..] if field(first, "input") => Some(select("input", rest)),
                [first] if field(first, "workflowId") => Some("workflow.id".to_owned()),
                [first] if field(first, "workflowType") => Some("workflow.definition".to_owned()),
                [first] if field(first, "version") => Some("workflow.version".to_owned()),
                _ => None,
            };
        }
        let [first, rest @ ..] = rest else { return None };
        if !field(first, "output") {
            return None;
        }
        if self.loops.contains(root) {
            return match rest {
                [first, rest @ ..] if field(first, "loopItem") => Some(select("item", rest)),
                [first] if field(first, "loopIndex") => Some("index".to_owned()),
                _ => None,
            };
        }
        if self.joins.contains(root) {
            let [PathSegment::Field(inner), rest @ ..] = rest else { return None };
            return self.output(inner, rest);
        }
        self.output(root, rest)
    }

    fn output(&self, task: &str, path: &[PathSegment]) -> Option<String> {
        let step = self.steps.get(task)?;
        let base = format!("{}.output", select("steps", &[PathSegment::Field(step.clone())]));
        if !self.http.contains(task) {
            return Some(select(&base, path));
        }
        match path {
            [PathSegment::Field(response), PathSegment::Field(body), rest @ ..]
                if response == "response" && body == "body" =>
            {
                Some(select(&base, rest))
            }
            _ => None,
        }
    }
}

/// The reference of a text that is only one.
pub(super) fn whole(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("${")?.strip_suffix('}')?;
    (!inner.contains(['{', '}'])).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_translated() {
        let mut scope = TaskScope::default();
        scope.add("charge_ref", "charge_ref");
        scope.add("get", "get");
        scope.add_http("get");
        scope.add_join("join");
        for (text, expected) in [
            ("${workflow.input.order.id}", json!("${ input.order.id }")),
            ("${charge_ref.output.items[0].id}", json!("${ steps.charge_ref.output.items[0].id }")),
            ("${get.output.response.body.price}", json!("${ steps.get.output.price }")),
            ("${join.output.charge_ref.id}", json!("${ steps.charge_ref.output.id }")),
            (
                "Order ${workflow.input.id} of ${workflow.workflowId}",
                json!("Order ${ input.id } of ${ workflow.id }"),
            ),
            ("$5", json!("$5")),
        ] {
            assert_eq!(scope.text(text), (expected, Vec::new()), "{text}");
        }
        assert_eq!(scope.text("${workflow.variables.a}"), (Json::Null, vec!["workflow.variables.a"]));
        assert_eq!(scope.text("${later.output.a}"), (Json::Null, vec!["later.output.a"]));
    }
}
