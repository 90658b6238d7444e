//! The policy for a failed step and for an unknown outcome: `on_error`, `on_unknown` and `probe`.

use crate::fields::{At, FieldReader, Fields};
use crate::problem::{PIVOT, PROBE};
use goconductor_saga::{Action, FailurePolicy, Kind, OnError, OnUnknown};

impl FieldReader {
    /// Reads `on_error`, which every kind of step has.
    pub(super) fn on_error(&mut self, fields: &Fields<'_>) -> OnError {
        let choices =
            [("compensate", OnError::Compensate), ("continue", OnError::Continue), ("pause", OnError::Pause)];
        fields.get("on_error").and_then(|at| self.choice(&at, &choices)).unwrap_or_default()
    }

    /// Reads the policy of a step that runs `action`.
    pub(super) fn failure_policy(
        &mut self,
        fields: &Fields<'_>,
        kind: Option<Kind>,
        action: Option<&Action>,
        default_service: Option<&str>,
    ) -> FailurePolicy {
        let on_error = self.on_error(fields);
        if let (Some(at), OnError::Continue, Some(Kind::Pivot)) = (fields.get("on_error"), on_error, kind) {
            let problem = at.problem(PIVOT, "a pivot that failed cannot be passed over");
            self.push(problem.hint("remove `on_error`, or set it to `pause`"));
        }
        let probe_at = fields.get("probe");
        let probe = probe_at.as_ref().and_then(|at| self.probe(at, action, default_service));
        let choices = [
            ("compensate", OnUnknown::Compensate),
            ("probe", OnUnknown::Probe),
            ("retry", OnUnknown::Retry),
            ("park", OnUnknown::Park),
        ];
        let unknown_at = fields.get("on_unknown");
        let chosen = unknown_at.as_ref().and_then(|at| self.choice(at, &choices));
        if let (Some(at), Some(chosen)) = (&unknown_at, chosen) {
            self.check_on_unknown(at, chosen, kind, probe_at.is_some());
        }
        let default = if probe.is_some() { OnUnknown::Probe } else { OnUnknown::Compensate };
        FailurePolicy { on_error, on_unknown: chosen.unwrap_or(default), probe }
    }

    fn check_on_unknown(&mut self, at: &At<'_>, chosen: OnUnknown, kind: Option<Kind>, has_probe: bool) {
        match (chosen, kind) {
            (OnUnknown::Compensate | OnUnknown::Park, Some(Kind::Pivot)) => {
                let detail = "a pivot in doubt is repeated or probed until its outcome is known";
                self.push(at.problem(PIVOT, detail).hint("set `on_unknown` to `retry` or `probe`"));
            }
            (OnUnknown::Probe, _) if !has_probe => {
                let problem = at.problem(PROBE, "the step has no probe");
                self.push(problem.hint("add `probe: service/action` to the step"));
            }
            (OnUnknown::Compensate | OnUnknown::Retry | OnUnknown::Park, _) if has_probe => {
                let problem = at.problem(PROBE, "the probe of the step would never be used");
                self.push(problem.hint("remove `on_unknown`, or set it to `probe`"));
            }
            (OnUnknown::Compensate | OnUnknown::Probe | OnUnknown::Retry | OnUnknown::Park, _) => {}
        }
    }

    /// Reads the probe. It is a command of the queue of the step, so it belongs to the same service.
    fn probe(
        &mut self,
        at: &At<'_>,
        action: Option<&Action>,
        default_service: Option<&str>,
    ) -> Option<Action> {
        let probe = self.action(at, default_service)?;
        let service = action.and_then(Action::service);
        if service.is_some() && service != probe.service() {
            let detail = "the probe must be an action of the service of the step";
            let problem = at.problem(PROBE, detail);
            self.push(problem.hint(format!("use an action of {}", service.unwrap_or_default())));
            return None;
        }
        Some(probe)
    }

    /// Refuses the settings of doubt on a step that calls no service.
    pub(super) fn refuse_doubt_settings(&mut self, fields: &Fields<'_>, action: &str) {
        for key in ["probe", "on_unknown"] {
            if let Some(at) = fields.get(key) {
                let detail = format!("`{key}` is not a setting of `{action}`, whose outcome is always known");
                self.push(at.problem(PROBE, detail).hint("remove it"));
            }
        }
    }
}
