//! The step `wait_for_signal`.

use super::Body;
use crate::InputSchema;
use crate::fields::{At, FieldReader, Fields};
use crate::input::SchemaRefusal;
use crate::problem::{LIMIT, WAIT};
use goconductor_saga::{Action, Json, NameKind, OnTimeout, WaitTime};

impl FieldReader {
    pub(super) fn signal<'a>(&mut self, fields: &Fields<'a>, at: &At<'a>) -> Option<Body<'a>> {
        self.refuse_settings_of_commands(fields, "wait_for_signal");
        let timeout = fields.get("timeout").and_then(|at| self.signal_timeout(&at));
        if at.node.text().is_some() {
            let name = self.signal_name(at)?;
            let action =
                Action::Signal { name, limit: timeout, on_timeout: OnTimeout::default(), schema: None };
            return Some(self.wait(fields, action, Vec::new()));
        }
        let inner = self.fields(at, &["signal", "until", "on_timeout", "schema"])?;
        let name = self.required(&inner, "signal").and_then(|at| self.signal_name(&at));
        let until = inner.get("until").and_then(|at| self.until(&at));
        if let (Some(until), true) = (inner.get("until"), fields.get("timeout").is_some()) {
            let problem = until.problem(WAIT, "the wait has two time limits: `until` and `timeout`");
            self.push(problem.hint("remove one of them"));
        }
        let choices = [("fail", OnTimeout::Fail), ("continue", OnTimeout::Continue)];
        let on_timeout = inner.get("on_timeout").and_then(|at| self.choice(&at, &choices));
        if let (Some(at), None, None) = (inner.get("on_timeout"), inner.get("until"), fields.get("timeout")) {
            let problem = at.problem(WAIT, "`on_timeout` has no effect, because the wait has no time limit");
            self.push(problem.hint("add `timeout` to the step, or `until` next to `on_timeout`"));
        }
        let schema = inner.get("schema").and_then(|at| self.payload_schema(&at));
        let (limit, expressions) = until.map_or((timeout, Vec::new()), |(time, all)| (Some(time), all));
        let action =
            Action::Signal { name: name?, limit, on_timeout: on_timeout.unwrap_or_default(), schema };
        Some(self.wait(fields, action, expressions))
    }

    fn signal_name(&mut self, at: &At<'_>) -> Option<String> {
        let text = self.text(at)?;
        match NameKind::Signal.check(text) {
            Ok(()) => Some(text.to_owned()),
            Err(error) => {
                self.push(at.problem(WAIT, error.to_string()));
                None
            }
        }
    }

    fn signal_timeout(&mut self, at: &At<'_>) -> Option<WaitTime> {
        if at.node.text().is_none() {
            let problem = at.problem(WAIT, "the time limit of a signal is one duration");
            self.push(problem.hint("write `timeout: 24h`"));
            return None;
        }
        self.duration(at).map(WaitTime::Duration)
    }

    /// Reads the end of the wait: a duration, a time, or an expression with or without `${ }`.
    fn until<'a>(&mut self, at: &At<'a>) -> Option<(WaitTime, Vec<(String, At<'a>)>)> {
        let text = self.text(at)?;
        match super::sleep::wait_time(text) {
            Some(_) => self.literal_wait(at, text).map(|time| (time, Vec::new())),
            None => self.wait_expression(at, text),
        }
    }

    fn payload_schema(&mut self, at: &At<'_>) -> Option<Json> {
        let schema = at.node.to_json();
        if !schema.is_object() {
            self.wrong_type(at, "an object that is a JSON Schema");
            return None;
        }
        let problem = match InputSchema::check_new(&schema) {
            Ok(()) => return Some(schema),
            Err(SchemaRefusal::Invalid(reason)) => {
                at.problem(WAIT, format!("the value is not a valid JSON Schema: {reason}"))
            }
            Err(SchemaRefusal::Costly(reason)) => at.problem(LIMIT, reason),
        };
        self.push(problem);
        None
    }
}
