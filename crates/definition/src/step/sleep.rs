//! The step `sleep`, and the times of waits.

use super::{ActionStep, Body};
use crate::fields::{At, FieldReader, Fields, duration};
use crate::problem::{EXPRESSION, WAIT};
use crate::settings::CompensateKey;
use crate::template::condition;
use goconductor_saga::{Action, FailurePolicy, Join, Kind, Retry, Timeouts, Timestamp, WaitTime};

/// Settings of a step that has a participant. A wait has none.
const SETTINGS_OF_COMMANDS: &[&str] = &["kind", "input", "compensate", "retry", "lock"];

impl FieldReader {
    pub(super) fn sleep<'a>(&mut self, fields: &Fields<'a>, at: &At<'a>) -> Option<Body<'a>> {
        self.refuse_settings_of_commands(fields, "sleep");
        if let Some(timeout) = fields.get("timeout") {
            let problem = timeout.problem(WAIT, "`timeout` is not a setting of `sleep`");
            self.push(problem.hint("remove it: the sleep itself has a duration"));
        }
        let text = self.text(at)?;
        let (time, expressions) = if text.trim_start().starts_with("${") {
            self.wait_expression(at, text)?
        } else {
            (self.literal_wait(at, text)?, Vec::new())
        };
        Some(self.wait(fields, Action::Sleep { time }, expressions))
    }

    /// Returns the body of a step that waits. It has no effect, so it needs no compensation.
    pub(super) fn wait<'a>(
        &mut self,
        fields: &Fields<'a>,
        action: Action,
        expressions: Vec<(String, At<'a>)>,
    ) -> Body<'a> {
        let joins = [("all", Join::All), ("any", Join::Any), ("settled", Join::Settled)];
        let join = fields.get("join").and_then(|at| self.choice(&at, &joins));
        Body::Step(Box::new(ActionStep {
            action,
            kind: Kind::Compensatable,
            join: join.unwrap_or_default(),
            input: None,
            compensate: Some(CompensateKey::None),
            retry: Retry::default(),
            timeout: Timeouts::default(),
            failure: FailurePolicy { on_error: self.on_error(fields), ..FailurePolicy::default() },
            expressions,
            lock: None,
            for_each: None,
        }))
    }

    pub(super) fn refuse_settings_of_commands(&mut self, fields: &Fields<'_>, action: &str) {
        self.refuse_doubt_settings(fields, action);
        for key in SETTINGS_OF_COMMANDS {
            if let Some(at) = fields.get(key) {
                let detail = format!("`{key}` is not a setting of `{action}`, which calls no service");
                self.push(at.problem(WAIT, detail).hint("remove it: there is nothing to retry or to undo"));
            }
        }
    }

    /// Reads an expression whose value is a duration or a time.
    pub(super) fn wait_expression<'a>(
        &mut self,
        at: &At<'a>,
        text: &str,
    ) -> Option<(WaitTime, Vec<(String, At<'a>)>)> {
        match condition(text) {
            Ok(expression) => {
                Some((WaitTime::Expression(expression.clone()), vec![(expression, at.clone())]))
            }
            Err(_) => {
                self.push(at.problem(EXPRESSION, "a duration or a time must be a single expression"));
                None
            }
        }
    }

    pub(super) fn literal_wait(&mut self, at: &At<'_>, text: &str) -> Option<WaitTime> {
        if let Some(time) = time(text) {
            return Some(WaitTime::Time(time));
        }
        match duration(text) {
            Ok(duration) => Some(WaitTime::Duration(duration)),
            Err(detail) => {
                let problem = at.problem(WAIT, detail);
                self.push(problem.hint(
                    "a wait is a duration such as 30s, a time such as 2030-01-31T12:00:00Z, or an expression `${…}`",
                ));
                None
            }
        }
    }
}

/// Reads a time: RFC 3339 with an offset.
fn time(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|time| Timestamp(time.as_microsecond()))
}

/// Reads the text of a duration or of a time that an expression returned.
pub(crate) fn wait_time(text: &str) -> Option<WaitTime> {
    time(text).map(WaitTime::Time).or_else(|| crate::duration::parse(text).ok().map(WaitTime::Duration))
}
