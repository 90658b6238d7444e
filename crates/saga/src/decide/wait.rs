//! Steps that wait without a command: `sleep` and `wait_for_signal`.

use super::{Decision, Refusal};
use crate::wait_end::WaitEnd;
use crate::{Action, EventKind, Failure, Json, OnTimeout, Scope, StepIndex, StepStatus};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;

impl Decision<'_> {
    /// Returns the end of a wait that begins now: `None` if the wait has no time limit.
    pub(super) fn wait_end(&self, index: StepIndex) -> Result<Option<WaitEnd>, Failure> {
        let time = match self.plan.step(index).map(|step| &step.action) {
            Some(Action::Sleep { time }) => Some(time),
            Some(Action::Signal { limit, .. }) => limit.as_ref(),
            Some(Action::Run { .. } | Action::Call(_) | Action::Child(_)) | None => None,
        };
        let scope = Scope::new(self.plan, &self.state);
        time.map(|time| time.end(self.expressions, &scope, self.now)).transpose()
    }

    pub(super) fn begin_wait(&mut self, step: StepIndex, end: Option<WaitEnd>) {
        let (until, is_time) = (end.map(|end| end.until), end.is_some_and(|end| end.is_time));
        self.emit(EventKind::StepWaiting { step, until, is_time });
        if let Some(name) = self.signal_name(step) {
            self.deliver(step, &name);
        }
    }

    /// Receives a signal. Delivers it to the step that has waited longest, and otherwise keeps it.
    pub(super) fn signal(
        &mut self,
        name: &str,
        payload: &Arc<Json>,
        key: Option<&String>,
    ) -> Result<(), Refusal> {
        if key.is_some_and(|key| self.state.signals.keys.contains(key)) {
            return Ok(());
        }
        if !self.state.phase.is_forward() {
            return Err(Refusal::Conflict(
                "the workflow rolls back, so no step waits for a signal".to_owned(),
            ));
        }
        if let Some(limit) = self.state.signals.limit(name, payload) {
            return Err(Refusal::SignalLimit(limit));
        }
        self.emit(EventKind::SignalReceived {
            name: name.to_owned(),
            payload: Arc::clone(payload),
            key: key.cloned(),
        });
        let waiting = (0u32..).map(StepIndex).take(self.state.steps.len());
        let first = waiting
            .filter(|step| self.is_waiting(*step) && self.signal_name(*step).as_deref() == Some(name))
            .min_by_key(|step| self.state.step(*step).and_then(|step| step.execute.queued_at));
        if let Some(step) = first {
            self.deliver(step, name);
        }
        Ok(())
    }

    /// Completes a waiting step with the first kept signal of a name, if there is one.
    fn deliver(&mut self, step: StepIndex, name: &str) {
        let Some(kept) = self.state.signals.first(name) else { return };
        let output = Arc::clone(&kept.payload);
        self.emit(EventKind::SignalDelivered { step, name: name.to_owned() });
        self.complete_wait(step, output);
    }

    /// Ends the wait of a step whose time has come.
    pub(super) fn wake(&mut self, step: StepIndex) -> Result<(), Refusal> {
        let definition = self.plan.step(step).ok_or(Refusal::UnknownStep)?;
        match &definition.action {
            Action::Sleep { .. } | Action::Signal { on_timeout: OnTimeout::Continue, .. } => {
                self.complete_wait(step, Arc::new(Json::Null));
                Ok(())
            }
            Action::Signal { name, on_timeout: OnTimeout::Fail, .. } => {
                let message = alloc::format!("the signal {name} did not arrive within the time limit");
                self.end_in_failure(step, 0, None, Failure::of("SIGNAL_TIMEOUT", message));
                self.step_failed(step);
                Ok(())
            }
            Action::Run { .. } | Action::Call(_) | Action::Child(_) => Err(Refusal::Stale),
        }
    }

    fn complete_wait(&mut self, step: StepIndex, output: Arc<Json>) {
        self.emit(EventKind::StepCompleted {
            step,
            attempt: 0,
            started_at: None,
            output,
            reason: None,
            doubt_until: None,
        });
    }

    /// Ends every wait, because the workflow rolls back. A wait has no effect to undo.
    pub(super) fn end_waits(&mut self) {
        if !self.plan.has_waits() {
            return;
        }
        for step in (0u32..).map(StepIndex).take(self.state.steps.len()) {
            let is_open = self.state.step(step).is_some_and(|step| step.execution.is_open());
            if is_open && self.plan.is_wait(step) {
                self.emit(EventKind::StepWithdrawn { step });
            }
        }
    }

    /// Returns whether the step waits without a command.
    pub(super) fn is_waiting(&self, step: StepIndex) -> bool {
        self.plan.is_wait(step)
            && self.state.step(step).is_some_and(|step| step.execution == StepStatus::InProgress)
    }

    fn signal_name(&self, step: StepIndex) -> Option<String> {
        match &self.plan.step(step)?.action {
            Action::Signal { name, .. } => Some(name.clone()),
            Action::Sleep { .. } | Action::Run { .. } | Action::Call(_) | Action::Child(_) => None,
        }
    }
}
