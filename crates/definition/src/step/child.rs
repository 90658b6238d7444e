//! The step `child`.

use super::{ActionStep, Body};
use crate::fields::{At, FieldReader, Fields};
use crate::node::Value;
use crate::problem::{COMPENSATION, PIVOT, VALUE};
use crate::settings::{CompensateAction, CompensateKey, Defaults};
use crate::template::{expressions, template};
use goconductor_saga::{
    Action, Child, CompensationLimits, FailurePolicy, Join, Json, Kind, NameKind, OnError, OnParentClose,
    Retry, Template, Timeouts,
};

/// Settings of a step that the definition of the child states.
const SETTINGS_OF_CHILD: [(&str, &str); 3] = [
    (
        "compensate",
        "its steps declare how they are compensated; use `on_parent_close` to leave the child as it is",
    ),
    ("lock", "set `lock` in the definition of the child"),
    ("timeout", "set `timeout` in the definition of the child"),
];

impl FieldReader {
    pub(super) fn child<'a>(
        &mut self,
        fields: &Fields<'a>,
        at: &At<'a>,
        defaults: &Defaults,
    ) -> Option<Body<'a>> {
        for (key, hint) in SETTINGS_OF_CHILD {
            if let Some(at) = fields.get(key) {
                let detail = format!("`{key}` is not a setting of `child`, which is a workflow of its own");
                self.push(at.problem(VALUE, detail).hint(hint));
            }
        }
        let kinds =
            [("compensatable", Kind::Compensatable), ("pivot", Kind::Pivot), ("retriable", Kind::Retriable)];
        let kind = fields.get("kind").and_then(|at| self.choice(&at, &kinds));
        let kind = kind.unwrap_or(Kind::Compensatable);
        self.refuse_doubt_settings(fields, "child");
        let on_error = self.on_error(fields);
        if let (Some(at), OnError::Continue, Kind::Pivot) = (fields.get("on_error"), on_error, kind) {
            let problem = at.problem(PIVOT, "a pivot that failed cannot be passed over");
            self.push(problem.hint("remove `on_error`, or set it to `pause`"));
        }
        let child = self.declared_child(at, kind, defaults);
        let joins = [("all", Join::All), ("any", Join::Any), ("settled", Join::Settled)];
        let join = fields.get("join").and_then(|at| self.choice(&at, &joins));
        // A child that was rolled back has retried its steps. Only after the pivot is there no other way than another child.
        let base = match kind {
            Kind::Compensatable | Kind::Pivot => Retry { max_attempts: Some(1), ..Retry::default() },
            Kind::Retriable => Retry::default(),
        };
        let retry = fields.get("retry").and_then(|at| self.retry(&at, &base));
        let child = child?;
        let id_at = at.entries().unwrap_or_default().into_iter().find(|(entry, _)| entry.key == "id");
        let named = id_at.into_iter().flat_map(|(_, at)| {
            let texts = child.id.iter().flat_map(expressions);
            texts.map(move |text| (text.to_owned(), at.clone())).collect::<Vec<_>>()
        });
        let named: Vec<_> = named.collect();
        let compensate = if kind == Kind::Compensatable && child.on_parent_close == OnParentClose::Compensate
        {
            let action = Action::Child(child.clone());
            CompensateKey::Action(Box::new(CompensateAction {
                action,
                input: None,
                retry: None,
                timeout: None,
                limits: CompensationLimits::default(),
                when: None,
            }))
        } else {
            CompensateKey::None
        };
        Some(Body::Step(Box::new(ActionStep {
            action: Action::Child(child),
            kind,
            join: join.unwrap_or_default(),
            input: fields.get("input"),
            compensate: Some(compensate),
            retry: retry.unwrap_or(base),
            timeout: Timeouts::default(),
            expressions: named,
            lock: None,
            for_each: None,
            failure: FailurePolicy { on_error, ..FailurePolicy::default() },
        })))
    }

    /// Reads the child itself: the name of its definition, or an object.
    fn declared_child(&mut self, at: &At<'_>, kind: Kind, defaults: &Defaults) -> Option<Child> {
        // A step that is never compensated has nothing to roll back, but a child in flight is cancelled.
        let default = match kind {
            Kind::Compensatable => OnParentClose::Compensate,
            Kind::Pivot | Kind::Retriable => OnParentClose::Cancel,
        };
        if at.node.text().is_some() {
            let workflow = self.definition_name(at)?;
            return Some(Child { workflow, version: None, id: None, on_parent_close: default });
        }
        let inner = self.fields(at, &["workflow", "version", "id", "on_parent_close"])?;
        let workflow = self.required(&inner, "workflow").and_then(|at| self.definition_name(&at));
        let version = inner.get("version").and_then(|at| self.definition_version(&at));
        let id = inner.get("id").and_then(|at| self.child_id(&at));
        let closes = [OnParentClose::Compensate, OnParentClose::Cancel, OnParentClose::Abandon];
        let closes = closes.map(|close| (close.as_str(), close));
        let close_at = inner.get("on_parent_close");
        let close = close_at.as_ref().and_then(|at| self.choice(at, &closes));
        match (&close_at, close) {
            (Some(at), Some(OnParentClose::Compensate)) if kind != Kind::Compensatable => {
                let problem = at.problem(PIVOT, "a pivot or a retriable step is never compensated");
                self.push(problem.hint("use `on_parent_close: cancel` or `abandon`, or remove `kind`"));
            }
            (Some(at), Some(OnParentClose::Cancel | OnParentClose::Abandon))
                if kind == Kind::Compensatable && defaults.compensation_required =>
            {
                let detail = "a completed child would stand, which the definition refuses with `compensation: required`";
                self.push(at.problem(COMPENSATION, detail).hint("use `on_parent_close: compensate`"));
            }
            (_, _) => {}
        }
        Some(Child { workflow: workflow?, version, id, on_parent_close: close.unwrap_or(default) })
    }

    /// Reads the id of the child: a text with expressions.
    fn child_id(&mut self, at: &At<'_>) -> Option<Template> {
        self.text(at)?;
        let template = template(self, at);
        if matches!(template, Template::Value(Json::String(_))) {
            let problem = at.problem(VALUE, "the id of the child would be the same in every workflow");
            self.push(problem.hint("refer to the input, such as `invoice/${ input.order }`"));
            return None;
        }
        Some(template)
    }

    fn definition_name(&mut self, at: &At<'_>) -> Option<String> {
        let text = self.text(at)?;
        match NameKind::Definition.check(text) {
            Ok(()) => Some(text.to_owned()),
            Err(error) => {
                self.push(at.problem(VALUE, error.to_string()));
                None
            }
        }
    }

    fn definition_version(&mut self, at: &At<'_>) -> Option<u32> {
        let number = match &at.node.value {
            Value::Scalar(Json::Number(number)) => number.as_u64(),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => {
                self.wrong_type(at, "the number of a version");
                return None;
            }
        };
        let version = number.and_then(|number| u32::try_from(number).ok()).filter(|version| *version > 0);
        if version.is_none() {
            self.push(at.problem(VALUE, "a version is a whole number from 1"));
        }
        version
    }
}
