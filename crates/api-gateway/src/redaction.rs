//! Fields that are masked in responses to callers without the permission `payloads.read`: personal data that they need not
//! see. Without access control, they are masked in all responses.

use crate::api::CallContext;
use crate::view::{EventView, FailureView, SummaryView, WorkflowStepView, WorkflowView};
use goconductor_saga::{Elements, Json};
use goconductor_service_kit::permission::Permission;
use std::borrow::Cow;
use std::sync::Arc;

/// The text in place of a masked value.
const MASK: &str = "***";

/// The paths of masked fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redaction {
    paths: Vec<Vec<Part>>,
}

/// The redaction for callers who may see everything.
static NOTHING: Redaction = Redaction { paths: Vec::new() };

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A key of an object, or the elements of an array, by `*`.
    Name(String),
    /// Any number of levels, before the next part.
    AnyDepth,
}

impl Redaction {
    /// Creates the redaction of paths such as `$.card.number` and `$..token`, which the configuration has checked.
    pub(crate) fn new(paths: &[String]) -> Self {
        let parts = |path: &String| {
            let mut parts = Vec::new();
            for (nth, name) in path.trim_start_matches('$').split('.').enumerate() {
                match (nth, name) {
                    (0, "") => {}
                    (_, "") => parts.push(Part::AnyDepth),
                    (_, name) => parts.push(Part::Name(name.to_owned())),
                }
            }
            parts
        };
        Self { paths: paths.iter().map(parts).collect() }
    }

    /// Returns the redaction of responses to a caller about the namespace of its request.
    pub(crate) fn for_caller(&self, context: &CallContext) -> &Self {
        let sees_all = context.principal.as_ref().is_some_and(|principal| {
            principal.grants.allows(Permission::PayloadsRead, context.namespace.as_str())
        });
        if sees_all { &NOTHING } else { self }
    }

    /// Returns the redaction of responses to a caller about all namespaces.
    pub(crate) fn for_operator(&self, context: &CallContext) -> &Self {
        let sees_all = context
            .principal
            .as_ref()
            .is_some_and(|principal| principal.grants.allows_everywhere(Permission::PayloadsRead));
        if sees_all { &NOTHING } else { self }
    }

    /// Returns whether fields are masked.
    pub(crate) fn masks(&self) -> bool {
        !self.paths.is_empty()
    }

    /// Masks the fields of a message, at any depth: a message contains inputs and outputs. A message that is not JSON is
    /// masked as a whole, because its fields are not known.
    pub(crate) fn message(&self, payload: &[u8]) -> String {
        let text = || String::from_utf8_lossy(payload).into_owned();
        if self.paths.is_empty() {
            return text();
        }
        let Ok(mut value) = goconductor_saga::parse_json(payload) else { return MASK.to_owned() };
        let mut is_masked = false;
        let definition = value.pointer("/state/definition").and_then(Json::as_str).unwrap_or_default();
        let redaction = self.of_definition(definition);
        for path in &redaction.paths {
            let anywhere = at_any_depth(path);
            if matches(&value, &anywhere) {
                mask(&mut value, &anywhere);
                is_masked = true;
            }
        }
        if is_masked { value.to_string() } else { text() }
    }

    /// Returns the redaction of the workflows of a definition. A workflow that runs elements of a step has parts of the
    /// data of its parent at other paths, so that the last names of each path are masked at any depth.
    pub(crate) fn of_definition(&self, definition: &str) -> Cow<'_, Self> {
        if self.paths.is_empty() || Elements::parse(definition).is_none() {
            return Cow::Borrowed(self);
        }
        let anywhere = |path: &Vec<Part>| -> Vec<Part> {
            let is_specific = |part: &Part| matches!(part, Part::Name(name) if name != "*");
            let last = path.iter().rposition(is_specific).unwrap_or_default();
            at_any_depth(path.get(last..).unwrap_or_default())
        };
        Cow::Owned(Self { paths: self.paths.iter().map(anywhere).collect() })
    }

    /// Masks the fields of a workflow.
    pub(crate) fn workflow(&self, view: WorkflowView) -> WorkflowView {
        if self.paths.is_empty() {
            return view;
        }
        self.of_definition(&view.definition).own_workflow(view)
    }

    fn own_workflow(&self, mut view: WorkflowView) -> WorkflowView {
        view.input = self.shared(&view.input);
        view.output = view.output.as_ref().map(|output| self.shared(output));
        self.failure(view.error.as_mut());
        view.steps = view.steps.into_iter().map(|step| self.step(step)).collect();
        view
    }

    /// Masks the fields of a step.
    pub(crate) fn step(&self, mut view: WorkflowStepView) -> WorkflowStepView {
        if self.paths.is_empty() {
            return view;
        }
        view.output = view.output.as_ref().map(|output| self.shared(output));
        self.failure(view.error.as_mut());
        view
    }

    /// Masks the fields of a value at any depth: the input of a step contains inputs and outputs wherever its definition
    /// puts them.
    pub(crate) fn anywhere(&self, value: &Arc<Json>) -> Arc<Json> {
        let mut masked = Arc::clone(value);
        for path in &self.paths {
            let anywhere = at_any_depth(path);
            if matches(&masked, &anywhere) {
                mask(Arc::make_mut(&mut masked), &anywhere);
            }
        }
        masked
    }

    /// Masks the fields of an event.
    pub(crate) fn event(&self, mut view: EventView) -> EventView {
        if self.paths.is_empty() {
            return view;
        }
        for value in ["/input", "/output", "/payload", "/failure/detail"] {
            if let Some(value) = view.detail.pointer_mut(value) {
                self.mask(value);
            }
        }
        view
    }

    /// Masks the fields of a workflow in a list.
    pub(crate) fn summary(&self, mut view: SummaryView) -> SummaryView {
        if !self.paths.is_empty()
            && let Some(detail) = view.error.as_mut().and_then(|error| error.get_mut("detail"))
        {
            self.of_definition(&view.definition).mask(detail);
        }
        view
    }

    fn failure(&self, failure: Option<&mut FailureView>) {
        if let Some(detail) = failure.and_then(|failure| failure.detail.as_mut()) {
            self.mask(detail);
        }
    }

    /// Masks the fields of a value. A value without masked fields is not copied.
    pub(crate) fn shared(&self, value: &Arc<Json>) -> Arc<Json> {
        if self.paths.is_empty() || !self.paths.iter().any(|path| matches(value, path)) {
            return Arc::clone(value);
        }
        let mut masked = Json::clone(value);
        self.mask(&mut masked);
        Arc::new(masked)
    }

    /// Masks the fields of a value in place.
    pub(crate) fn mask(&self, value: &mut Json) {
        for path in &self.paths {
            mask(value, path);
        }
    }
}

/// Returns a path that begins at any depth.
fn at_any_depth(path: &[Part]) -> Vec<Part> {
    std::iter::once(Part::AnyDepth).chain(path.iter().cloned()).collect()
}

fn matches(value: &Json, path: &[Part]) -> bool {
    match path {
        [] => true,
        [Part::AnyDepth, rest @ ..] => {
            matches(value, rest) || children(value).any(|(_, child)| matches(child, path))
        }
        [Part::Name(name), rest @ ..] => {
            children(value).any(|(key, child)| is_named(key, name) && matches(child, rest))
        }
    }
}

fn mask(value: &mut Json, path: &[Part]) {
    match path {
        [] => *value = Json::String(MASK.to_owned()),
        [Part::AnyDepth, rest @ ..] => {
            children_mut(value).for_each(|(_, child)| mask(child, path));
            mask(value, rest);
        }
        [Part::Name(name), rest @ ..] => {
            let named = children_mut(value).filter(|(key, _)| is_named(*key, name));
            named.for_each(|(_, child)| mask(child, rest));
        }
    }
}

/// Returns whether a child has a name. The elements of an array have none.
fn is_named(key: Option<&str>, name: &str) -> bool {
    name == "*" || key == Some(name)
}

type Children<'v, V> = Box<dyn Iterator<Item = (Option<&'v str>, V)> + 'v>;

fn children(value: &Json) -> Children<'_, &Json> {
    match value {
        Json::Array(items) => Box::new(items.iter().map(|item| (None, item))),
        Json::Object(fields) => Box::new(fields.iter().map(|(key, value)| (Some(key.as_str()), value))),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Box::new(std::iter::empty()),
    }
}

fn children_mut(value: &mut Json) -> Children<'_, &mut Json> {
    match value {
        Json::Array(items) => Box::new(items.iter_mut().map(|item| (None, item))),
        Json::Object(fields) => Box::new(fields.iter_mut().map(|(key, value)| (Some(key.as_str()), value))),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn message_is_masked_at_any_depth_or_as_a_whole() {
        let redaction = Redaction::new(&["$.card.number".to_owned()]);
        let message = br#"{"state": {"input": {"card": {"number": "4111", "holder": "Ada"}}}}"#;
        let expected = json!({"state": {"input": {"card": {"number": "***", "holder": "Ada"}}}});
        assert_eq!(redaction.message(message), expected.to_string());
        let of_elements = json!({"state": {"definition": "order/ship[0..1]", "input": [{"number": "4111", "sku": "book"}]}});
        let masked = redaction.message(of_elements.to_string().as_bytes());
        assert!(masked.contains("book") && !masked.contains("4111"), "{masked}");
        assert_eq!(redaction.message(b"{ \"a\": 1 }"), "{ \"a\": 1 }", "nothing is masked");
        assert_eq!(redaction.message(b"4111 \xff"), "***");
        assert_eq!(Redaction::default().message(b"4111"), "4111");
    }

    #[test]
    fn named_fields_are_masked() {
        let redaction = Redaction::new(&["$.card.number", "$..token", "$.items.*.pin"].map(str::to_owned));
        let value = Arc::new(json!({
            "card": {"number": "4111", "holder": "Ada"},
            "number": 1,
            "items": [{"pin": {"a": 1}, "sku": "book"}, {"token": "t"}],
            "deep": {"deeper": [{"token": ["x"]}]},
        }));
        let expected = json!({
            "card": {"number": "***", "holder": "Ada"},
            "number": 1,
            "items": [{"pin": "***", "sku": "book"}, {"token": "***"}],
            "deep": {"deeper": [{"token": "***"}]},
        });
        assert_eq!(*redaction.shared(&value), expected);
        let other = Arc::new(json!({"card": "4111", "items": []}));
        assert!(
            Arc::ptr_eq(&redaction.shared(&other), &other),
            "a value without masked fields is not copied"
        );
        assert!(Arc::ptr_eq(&Redaction::default().shared(&value), &value));
    }

    /// The elements of a list are the input of a workflow of their own, so that the path of the parent does not apply.
    #[test]
    fn fields_are_masked_at_any_depth_in_workflows_that_run_elements() {
        let redaction = Redaction::new(&["$.items.*.card.number", "$.tokens.*"].map(str::to_owned));
        let input =
            Arc::new(json!([{"card": {"number": "4111"}, "sku": "book"}, {"number": 2, "tokens": ["t"]}]));
        let expected =
            json!([{"card": {"number": "***"}, "sku": "book"}, {"number": "***", "tokens": ["***"]}]);
        assert_eq!(*redaction.of_definition("order/ship[0..2]").shared(&input), expected);
        assert!(Arc::ptr_eq(&redaction.of_definition("order").shared(&input), &input));
        assert!(Arc::ptr_eq(&Redaction::default().of_definition("order/ship[0..2]").shared(&input), &input));
    }
}
