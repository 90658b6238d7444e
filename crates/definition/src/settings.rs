//! The settings of a step: action, retry, timeouts, compensation.

use crate::fields::{At, FieldReader, Fields};
use crate::node::Value;
use crate::problem::{TYPE, VALUE};
use goconductor_saga::{
    Action, Backoff, CompensationLimits, Json, NameKind, Retry, RollbackOrder, RollbackPolicy, ServiceName,
    Timeouts,
};
use std::time::Duration;

/// The keys of a timeout in its long form.
const TIMEOUTS: &[&str] = &["attempt", "queue", "total", "heartbeat"];

/// The settings of steps that declare none of their own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defaults {
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout: Option<Timeouts>,
    pub(crate) service: Option<String>,
    pub(crate) compensation_retry: Option<Retry>,
    pub(crate) compensation_timeout: Option<Duration>,
    pub(crate) compensation_required: bool,
    pub(crate) rollback: RollbackPolicy,
}

/// The `compensate` key of a step.
#[derive(Debug, Clone)]
pub(crate) enum CompensateKey<'a> {
    /// `none`: the step has nothing to undo.
    None,
    Action(Box<CompensateAction<'a>>),
}

/// A compensation action and its settings.
#[derive(Debug, Clone)]
pub(crate) struct CompensateAction<'a> {
    pub(crate) action: Action,
    pub(crate) input: Option<At<'a>>,
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) limits: CompensationLimits,
    /// The condition of the compensation.
    pub(crate) when: Option<(String, At<'a>)>,
}

impl FieldReader {
    pub(crate) fn defaults(&mut self, fields: &Fields<'_>) -> Defaults {
        let mut defaults = Defaults::default();
        if let Some(at) = fields.get("defaults")
            && let Some(inner) = self.fields(&at, &["retry", "timeout", "service"])
        {
            defaults.retry = inner.get("retry").and_then(|at| self.retry(&at, &Retry::default()));
            defaults.timeout = inner.get("timeout").and_then(|at| self.timeouts(&at, &Timeouts::default()));
            defaults.service = inner.get("service").and_then(|at| self.service_name(&at));
        }
        if let Some(at) = fields.get("compensation") {
            self.compensation_defaults(&at, &mut defaults);
        }
        defaults
    }

    fn compensation_defaults(&mut self, at: &At<'_>, defaults: &mut Defaults) {
        if let Some(text) = at.node.text() {
            if text == "required" {
                defaults.compensation_required = true;
            } else {
                self.push(at.problem(VALUE, format!("`{text}` is not valid: use `required` or an object")));
            }
            return;
        }
        let Some(inner) = self.fields(at, &["order", "on_error", "retry", "timeout", "required"]) else {
            return;
        };
        let orders = [("reverse", RollbackOrder::Reverse), ("parallel", RollbackOrder::Parallel)];
        let order = inner.get("order").and_then(|at| self.choice(&at, &orders));
        let choices = [("pause", false), ("continue", true)];
        let on_error = inner.get("on_error").and_then(|at| self.choice(&at, &choices));
        defaults.rollback = RollbackPolicy {
            order: order.unwrap_or_default(),
            continue_on_error: on_error.unwrap_or_default(),
        };
        defaults.compensation_retry =
            inner.get("retry").and_then(|at| self.retry(&at, &Retry::of_compensation()));
        defaults.compensation_timeout = inner.get("timeout").and_then(|at| self.duration(&at));
        if let Some(required) = inner.get("required") {
            match &required.node.value {
                Value::Scalar(Json::Bool(value)) => defaults.compensation_required = *value,
                Value::Scalar(_) | Value::List(_) | Value::Map(_) => self.wrong_type(&required, "a boolean"),
            }
        }
    }

    fn service_name(&mut self, at: &At<'_>) -> Option<String> {
        let text = self.text(at)?;
        match ServiceName::check(text) {
            Ok(()) => Some(text.to_owned()),
            Err(error) => {
                self.push(at.problem(VALUE, error.to_string()));
                None
            }
        }
    }

    /// Reads `service/action`, or an action of the default service.
    pub(crate) fn action(&mut self, at: &At<'_>, default_service: Option<&str>) -> Option<Action> {
        let text = self.text(at)?;
        let (service, action) = match (text.split_once('/'), default_service) {
            (Some((service, action)), _) => (service, action),
            (None, Some(service)) => (service, text),
            (None, None) => {
                self.push(at.problem(VALUE, format!("`{text}` has no service: use the form service/action")));
                return None;
            }
        };
        if let Err(error) = ServiceName::check(service) {
            self.push(at.problem(VALUE, error.to_string()));
            return None;
        }
        if let Err(error) = NameKind::Action.check(action) {
            self.push(at.problem(VALUE, error.to_string()));
            return None;
        }
        Some(Action::Run { service: service.to_owned(), action: action.to_owned() })
    }

    pub(crate) fn retry(&mut self, at: &At<'_>, base: &Retry) -> Option<Retry> {
        match &at.node.value {
            Value::Scalar(Json::String(word)) if word == "none" => {
                return Some(Retry { max_attempts: Some(1), ..base.clone() });
            }
            Value::Scalar(Json::String(word)) if word == "forever" => {
                return Some(Retry { max_attempts: None, ..base.clone() });
            }
            Value::Scalar(Json::Number(_)) => {
                return self.count(at).map(|max| Retry { max_attempts: Some(max), ..base.clone() });
            }
            Value::Map(_) => {}
            Value::Scalar(_) | Value::List(_) => {
                self.push(at.problem(TYPE, "expected `none`, `forever`, a number of attempts or an object"));
                return None;
            }
        }
        let known = ["max_attempts", "backoff", "initial", "max", "factor", "jitter", "on", "not_on"];
        let fields = self.fields(at, &known)?;
        let mut retry = base.clone();
        if let Some(max) = fields.get("max_attempts") {
            retry.max_attempts =
                if max.node.text() == Some("unlimited") { None } else { Some(self.count(&max)?) };
        }
        if let Some(initial) = fields.get("initial") {
            retry.initial = self.duration(&initial)?;
        }
        if let Some(max) = fields.get("max") {
            retry.max = self.duration(&max)?;
        }
        retry.backoff = self.backoff(&fields, &retry)?;
        if let Some(jitter) = fields.get("jitter") {
            retry.jitter = self.number(&jitter, 0.0, 1.0)?;
        }
        let mut codes =
            |key: &str| fields.get(key).map(|at| self.texts(&at).into_iter().map(|(text, _)| text).collect());
        retry.on = codes("on").unwrap_or_default();
        retry.not_on = codes("not_on").unwrap_or_default();
        // An `initial` above the default `max` is intended, so it raises `max`.
        if retry.initial > retry.max {
            if let Some(max) = fields.get("max") {
                self.push(max.problem(VALUE, "`max` must not be shorter than `initial`"));
                return None;
            }
            retry.max = retry.initial;
        }
        Some(retry)
    }

    fn backoff(&mut self, fields: &Fields<'_>, retry: &Retry) -> Option<Backoff> {
        let factor = match fields.get("factor") {
            Some(at) => Some(self.number(&at, 1.0, 1000.0)?),
            None => None,
        };
        let exponential = Backoff::Exponential { factor: factor.unwrap_or(2.0) };
        match fields.get("backoff") {
            None if factor.is_some() => Some(exponential),
            None => Some(retry.backoff),
            Some(at) => {
                let backoff = self.choice(
                    &at,
                    &[("exponential", exponential), ("linear", Backoff::Linear), ("fixed", Backoff::Fixed)],
                )?;
                if let (Some(factor), Backoff::Linear | Backoff::Fixed) = (fields.get("factor"), backoff) {
                    let problem = factor.problem(VALUE, "`factor` is a setting of `backoff: exponential`");
                    self.push(problem.hint("remove `factor` or `backoff`"));
                }
                Some(backoff)
            }
        }
    }

    pub(crate) fn timeouts(&mut self, at: &At<'_>, base: &Timeouts) -> Option<Timeouts> {
        if at.node.text().is_some() {
            return self.duration(at).map(|attempt| Timeouts { attempt, ..base.clone() });
        }
        let fields = self.fields(at, TIMEOUTS)?;
        let mut timeouts = base.clone();
        if let Some(attempt) = fields.get("attempt") {
            timeouts.attempt = self.duration(&attempt)?;
        }
        if let Some(queue) = fields.get("queue") {
            timeouts.queue = Some(self.duration(&queue)?);
        }
        if let Some(total) = fields.get("total") {
            timeouts.total = Some(self.duration(&total)?);
        }
        if let Some(heartbeat) = fields.get("heartbeat") {
            timeouts.heartbeat = Some(self.duration(&heartbeat)?);
        }
        Some(timeouts)
    }

    /// Reads the timeout of a compensation: the limit of one attempt, if it is set, and the other limits.
    fn compensation_timeouts(&mut self, at: &At<'_>) -> Option<(Option<Duration>, CompensationLimits)> {
        if at.node.text().is_some() {
            return self.duration(at).map(|attempt| (Some(attempt), CompensationLimits::default()));
        }
        let fields = self.fields(at, TIMEOUTS)?;
        let attempt = fields.get("attempt").and_then(|at| self.duration(&at));
        let queue = fields.get("queue").and_then(|at| self.duration(&at));
        let total = fields.get("total").and_then(|at| self.duration(&at));
        let heartbeat = fields.get("heartbeat").and_then(|at| self.duration(&at));
        Some((attempt, CompensationLimits { queue, total, heartbeat }))
    }

    pub(crate) fn compensate_key<'a>(
        &mut self,
        at: &At<'a>,
        service: Option<&str>,
    ) -> Option<CompensateKey<'a>> {
        match &at.node.value {
            Value::Scalar(Json::String(word)) if word == "none" => return Some(CompensateKey::None),
            Value::Scalar(Json::String(_)) => {
                let action = self.action(at, service)?;
                return Some(CompensateKey::Action(Box::new(CompensateAction {
                    action,
                    input: None,
                    retry: None,
                    timeout: None,
                    limits: CompensationLimits::default(),
                    when: None,
                })));
            }
            Value::Map(_) => {}
            Value::Scalar(_) | Value::List(_) => {
                self.push(
                    at.problem(TYPE, "expected `none`, service/action or an object with `run` or `call`"),
                );
                return None;
            }
        }
        let fields = self.fields(at, &["run", "input", "retry", "timeout", "when", "call"])?;
        let (action, input) = match fields.get("call") {
            Some(call) => self.compensating_call(&fields, &call),
            None => {
                let run = self.required(&fields, "run")?;
                (self.action(&run, service), fields.get("input"))
            }
        };
        let retry = fields.get("retry").and_then(|at| self.retry(&at, &Retry::of_compensation()));
        let timeouts = fields.get("timeout").and_then(|at| self.compensation_timeouts(&at));
        let (timeout, limits) = timeouts.unwrap_or_default();
        Some(CompensateKey::Action(Box::new(CompensateAction {
            action: action?,
            input,
            retry,
            timeout,
            limits,
            when: fields.get("when").and_then(|at| self.condition(&at)),
        })))
    }
}
