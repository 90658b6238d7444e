//! Writes a definition as YAML in blocks, with the keys in the canonical order.

use crate::Source;
use crate::step::{ImportedAction, ImportedStep, ImportedWorkflow, Undo};
use goconductor_saga::Json;

/// The comment above a step whose compensation is not known.
const UNDECLARED: &str = "# declare how this step is undone";

pub(crate) fn definition(workflow: &ImportedWorkflow, source: Source) -> String {
    let mut out = YamlWriter { text: String::new() };
    out.line(0, &format!("# Imported from {}.", title_of(source)));
    out.field(0, "workflow", &Json::from(workflow.name.as_str()));
    out.optional(0, "title", workflow.title.as_deref());
    out.optional(0, "description", workflow.description.as_deref());
    if let Some(input) = &workflow.input {
        out.field(0, "input", input);
    }
    out.optional(0, "timeout", workflow.timeout.as_deref());
    out.line(0, "steps:");
    out.steps(2, &workflow.steps);
    if let Some(output) = &workflow.output {
        out.field(0, "output", output);
    }
    out.text
}

fn title_of(source: Source) -> &'static str {
    match source {
        Source::Conductor => "Conductor",
        Source::Asl => "Amazon States Language",
        Source::ServerlessWorkflow => "Serverless Workflow",
    }
}

struct YamlWriter {
    text: String,
}

impl YamlWriter {
    fn line(&mut self, indent: usize, text: &str) {
        self.text.push_str(&" ".repeat(indent));
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn optional(&mut self, indent: usize, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.field(indent, key, &Json::from(value));
        }
    }

    fn field(&mut self, indent: usize, key: &str, value: &Json) {
        let is_plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
            && !["true", "false", "null"].contains(&key.to_ascii_lowercase().as_str());
        let key = if is_plain { key.to_owned() } else { scalar(&Json::from(key)) };
        match flat(value) {
            Some(value) => self.line(indent, &format!("{key}: {value}")),
            None => {
                self.line(indent, &format!("{key}:"));
                self.value(indent + 2, value);
            }
        }
    }

    /// Writes an object or a list with members.
    fn value(&mut self, indent: usize, value: &Json) {
        if let Some(object) = value.as_object() {
            object.iter().for_each(|(key, value)| self.field(indent, key, value));
        }
        for item in value.as_array().into_iter().flatten() {
            match flat(item) {
                Some(item) => self.line(indent, &format!("- {item}")),
                None => {
                    let start = self.text.len() + indent;
                    self.value(indent + 2, item);
                    self.dash(start);
                }
            }
        }
    }

    /// Replaces the space at a position by the dash of a list item.
    fn dash(&mut self, at: usize) {
        if self.text.get(at..).is_some_and(|rest| rest.starts_with(' ')) {
            self.text.replace_range(at..=at, "-");
        }
    }

    fn steps(&mut self, indent: usize, steps: &[ImportedStep]) {
        for step in steps {
            let start = self.text.len() + indent;
            self.step(indent + 2, step);
            self.dash(start);
        }
    }

    fn step(&mut self, indent: usize, step: &ImportedStep) {
        self.field(indent, "name", &Json::from(step.name.as_str()));
        self.optional(indent, "title", step.title.as_deref());
        self.optional(indent, "when", step.when.as_deref());
        if let Some(each) = &step.for_each {
            self.field(indent, "for_each", each);
        }
        match &step.action {
            ImportedAction::Run(action) => self.field(indent, "run", &Json::from(action.as_str())),
            ImportedAction::Call(call) => self.field(indent, "call", call),
            ImportedAction::Child(workflow) => self.field(indent, "child", &Json::from(workflow.as_str())),
            ImportedAction::Sleep(time) => self.field(indent, "sleep", &Json::from(time.as_str())),
            ImportedAction::Signal(signal) => self.field(indent, "wait_for_signal", signal),
            ImportedAction::Parallel(branches) => {
                self.line(indent, "parallel:");
                for (name, steps) in branches {
                    self.line(indent + 2, &format!("{name}:"));
                    self.steps(indent + 4, steps);
                }
            }
            ImportedAction::Switch(branches) => self.switch(indent, branches),
        }
        for (key, value) in [("input", &step.input), ("timeout", &step.timeout), ("retry", &step.retry)] {
            if let Some(value) = value {
                self.field(indent, key, value);
            }
        }
        if step.continues {
            self.line(indent, "on_error: continue");
        }
        match &step.undo {
            Undo::NotASetting => {}
            Undo::Declared(compensate) => self.field(indent, "compensate", compensate),
            Undo::Undeclared => {
                self.line(indent, UNDECLARED);
                self.line(indent, "compensate: none");
            }
        }
    }

    fn switch(&mut self, indent: usize, branches: &[(Option<String>, Vec<ImportedStep>)]) {
        self.line(indent, "switch:");
        for (when, steps) in branches {
            let start = self.text.len() + indent + 2;
            self.optional(indent + 4, "when", when.as_deref());
            self.line(indent + 4, "steps:");
            self.steps(indent + 6, steps);
            self.dash(start);
        }
    }
}

/// The text of a value on one line, or `None` for an object or a list with members.
fn flat(value: &Json) -> Option<String> {
    if let Some(object) = value.as_object() {
        return object.is_empty().then(|| "{}".to_owned());
    }
    match value.as_array() {
        Some(items) => items.is_empty().then(|| "[]".to_owned()),
        None => Some(scalar(value)),
    }
}

fn scalar(value: &Json) -> String {
    let Some(text) = value.as_str() else { return value.to_string() };
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-/.".contains(&byte))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    let is_duration = goconductor_definition::duration::parse(text).is_ok();
    if is_plain || is_duration {
        return text.to_owned();
    }
    // A JSON string is a double-quoted scalar, except for characters that YAML does not print.
    let mut quoted = String::new();
    for c in Json::from(text).to_string().chars() {
        match u32::from(c) {
            code @ (0x7f..=0x9f | 0x2028 | 0x2029 | 0xfeff) => quoted.push_str(&format!("\\u{code:04x}")),
            _ => quoted.push(c),
        }
    }
    quoted
}
