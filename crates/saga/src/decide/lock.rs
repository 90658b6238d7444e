//! Decisions about semantic locks: requests, answers, the end of a wait.

use super::{Decision, Refusal};
use crate::{
    EventKind, Failure, Json, KeyLock, LockKey, LockScope, LockSpec, LockState, RollbackCause, Scope,
    StepIndex, StepStatus, TimerKind, Timestamp,
};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The lock of a step that is ready.
pub(super) enum StepLock {
    /// The step has no lock, or the workflow already holds it until its end.
    NotNeeded,
    /// The step must wait for the lock.
    Wanted(KeyLock),
}

impl Decision<'_> {
    /// Requests the locks of the definition. Returns whether the steps may begin: all locks are held.
    pub(super) fn holds_workflow_locks(&mut self) -> bool {
        let specs = &self.plan.definition().locks;
        if specs.is_empty() {
            return true;
        }
        if let Some(lock) = &self.state.lock {
            return lock.is_held();
        }
        let mut locks: Vec<KeyLock> = Vec::with_capacity(specs.len());
        for spec in specs {
            match self.rendered(spec) {
                Ok(lock) => locks.push(lock),
                Err(failure) => {
                    self.workflow_locks_failed(failure);
                    return false;
                }
            }
        }
        locks.sort_by(|a, b| a.key.cmp(&b.key));
        // Two templates can have the same value. The exclusive one includes the shared one.
        locks.dedup_by(|later, kept| {
            let is_same = later.key == kept.key;
            if is_same {
                kept.shared &= later.shared;
            }
            is_same
        });
        // A re-run after the pivot must not end in a rollback, so it waits without a time limit.
        let wait = specs.iter().filter_map(|spec| spec.wait).min().filter(|_| !self.is_past_pivot());
        let until = wait.map(|wait| self.now.after(wait));
        let (step, hold, keeps_signals) = (None, LockScope::Workflow, false);
        self.emit(EventKind::LocksRequested { step, locks, hold, until, keeps_signals });
        false
    }

    fn is_past_pivot(&self) -> bool {
        let pivot = self.plan.pivot().and_then(|index| self.state.step(index));
        pivot.is_some_and(|step| step.execution == StepStatus::Completed)
    }

    /// Returns the lock that a ready step needs, or why it can never get it.
    pub(super) fn wanted_lock(&self, index: StepIndex) -> Result<StepLock, Failure> {
        let Some(spec) = self.plan.step(index).and_then(|step| step.lock.as_ref()) else {
            return Ok(StepLock::NotNeeded);
        };
        let wanted = self.rendered(spec)?;
        let own = TimerKind::StepLock(index);
        for held in self.state.locks_to_the_end(own) {
            if held.key < wanted.key {
                continue;
            }
            let includes = held.key == wanted.key && (wanted.shared || !held.shared);
            if includes && held.token.is_some() {
                return Ok(StepLock::NotNeeded);
            }
            return Err(out_of_order(&wanted, held));
        }
        if spec.hold == LockScope::Workflow {
            // A request of another step of this workflow must not be overtaken.
            let mut steps = (0u32..).map(StepIndex).zip(&self.state.steps).filter(|(each, _)| *each != index);
            let overtaken = steps.find_map(|(_, step)| {
                let lock = step.lock.as_deref().filter(|lock| !lock.is_held())?;
                lock.locks.iter().find(|other| other.key <= wanted.key)
            });
            if let Some(other) = overtaken {
                return Err(out_of_order(&wanted, other));
            }
        }
        Ok(StepLock::Wanted(wanted))
    }

    /// Requests the lock of a step.
    pub(super) fn request_lock(&mut self, step: StepIndex, lock: KeyLock, keeps_signals: bool) {
        let spec = self.plan.step(step).and_then(|step| step.lock.as_ref());
        let hold = spec.map(|spec| spec.hold).unwrap_or_default();
        let until = spec.and_then(|spec| spec.wait).map(|wait| self.now.after(wait));
        let (step, locks) = (Some(step), alloc::vec![lock]);
        self.emit(EventKind::LocksRequested { step, locks, hold, until, keeps_signals });
    }

    /// Requests the lock of a step that an operator retries, unless the step still holds it.
    pub(super) fn request_lock_again(&mut self, step: StepIndex) {
        if self.state.step(step).is_none_or(|state| state.lock.is_some()) {
            return;
        }
        match self.wanted_lock(step) {
            Ok(StepLock::NotNeeded) => {}
            Ok(StepLock::Wanted(lock)) => self.request_lock(step, lock, false),
            Err(failure) => {
                let ended = self.state.step(step).map_or(0, |state| state.execute.ended);
                self.end_in_failure(step, ended, None, failure);
                self.step_failed(step);
            }
        }
    }

    /// Records that the locks of a request are held.
    pub(super) fn locks_acquired(
        &mut self,
        timer: TimerKind,
        request: u64,
        tokens: &[u64],
    ) -> Result<(), Refusal> {
        let lock = self.state.lock_wait(timer).ok_or(Refusal::Stale)?;
        if lock.request != request || lock.locks.len() != tokens.len() {
            return Err(Refusal::Stale);
        }
        let step = match timer {
            TimerKind::StepLock(step) => Some(step),
            TimerKind::WorkflowLock
            | TimerKind::Workflow
            | TimerKind::StepQueue(_)
            | TimerKind::StepTotal(_)
            | TimerKind::StepWake(_)
            | TimerKind::StepChild(_) => None,
        };
        self.emit(EventKind::LocksAcquired { step, tokens: tokens.to_vec() });
        Ok(())
    }

    /// Ends the wait of a request whose time is over.
    pub(super) fn lock_wait_expired(&mut self, timer: TimerKind) -> Result<(), Refusal> {
        let lock = self.state.lock_wait(timer).ok_or(Refusal::Stale)?;
        if lock.until.is_none_or(|until| until > self.now) {
            return Err(Refusal::Stale);
        }
        let failure = lock_timeout(lock, self.now);
        match timer {
            TimerKind::StepLock(step) => {
                let ended = self.state.step(step).map_or(0, |state| state.execute.ended);
                self.end_in_failure(step, ended, None, failure);
                self.step_failed(step);
            }
            TimerKind::WorkflowLock
            | TimerKind::Workflow
            | TimerKind::StepQueue(_)
            | TimerKind::StepTotal(_)
            | TimerKind::StepWake(_)
            | TimerKind::StepChild(_) => self.workflow_locks_failed(failure),
        }
        Ok(())
    }

    /// Withdraws the steps that wait for a lock and are no longer wanted. Their commands were never issued.
    pub(super) fn withdraw_lock_waits(&mut self) {
        if self.state.phase.is_final() {
            return;
        }
        let unwanted: Vec<StepIndex> = (0u32..)
            .map(StepIndex)
            .zip(&self.state.steps)
            .filter(|(index, step)| step.waits_for_lock() && !self.state.wants_execute(*index))
            .map(|(index, _)| index)
            .collect();
        for step in unwanted {
            match self.state.step(step).filter(|state| state.has_ended_attempts()) {
                Some(state) => {
                    let failure = state.error.clone().unwrap_or_else(|| {
                        Failure::of("WITHDRAWN", "the workflow began to roll back before another attempt")
                    });
                    let ended = state.execute.ended;
                    self.end_in_failure(step, ended, None, failure);
                }
                None => self.emit(EventKind::StepWithdrawn { step }),
            }
        }
        if self.state.phase.is_forward() && self.state.rollback_pending && !self.pivot_is_undecided() {
            self.begin_rollback(RollbackCause::Cancelled, None, None);
        }
    }

    fn workflow_locks_failed(&mut self, failure: Failure) {
        let reason = Some(failure.message.clone());
        let cause =
            if failure.code == "LOCK_TIMEOUT" { RollbackCause::TimedOut } else { RollbackCause::StepFailed };
        self.emit(EventKind::LocksFailed { failure });
        self.begin_rollback(cause, None, reason);
    }

    fn rendered(&self, spec: &LockSpec) -> Result<KeyLock, Failure> {
        let scope = Scope::new(self.plan, &self.state);
        let rendered = spec.key.render(self.expressions, &scope);
        let value = rendered.map_err(|error| Failure::of("LOCK_EXPRESSION_FAILED", error.to_string()))?;
        let invalid = |reason: &str| Failure::of("INVALID_LOCK_KEY", reason);
        let key = key_text(value)
            .ok_or_else(|| invalid("the key of a lock must be a text, a number or a boolean"))?;
        LockKey::check(&key).map_err(|error| invalid(&error.to_string()))?;
        Ok(KeyLock { key, shared: spec.shared, token: None })
    }
}

/// The failure of a request that could deadlock. Applied definitions are checked, so it is not expected.
fn out_of_order(wanted: &KeyLock, held: &KeyLock) -> Failure {
    let message = format!(
        "lock {} cannot be requested while the workflow holds or awaits lock {}: keys must be requested in ascending \
         order",
        wanted.key, held.key
    );
    Failure::of("LOCK_ORDER", message)
}

fn lock_timeout(lock: &LockState, now: Timestamp) -> Failure {
    let keys: Vec<&str> = lock.locks.iter().map(|lock| lock.key.as_str()).collect();
    let waited = now.since(lock.requested_at);
    Failure::of("LOCK_TIMEOUT", format!("lock {} was not free within {waited:?}", keys.join(", ")))
}

/// Returns the text of a rendered key. A number or a boolean is shown as in JSON.
fn key_text(value: Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text),
        other @ (Json::Number(_) | Json::Bool(_)) => Some(other.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
