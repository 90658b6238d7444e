//! The locks that a workflow waits for or holds.
//!
//! A workflow requests a lock when it needs it, and an answer from outside states the fencing token. The
//! claims of a state follow from the state alone, as the ledger does: [`claims`] returns them, and a transition
//! releases the difference.

use crate::{KeyLock, LockScope, LockState, Side, State, StepIndex, StepState, StepStatus, TimerKind};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The keys that one request of a workflow waits for or holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockClaim<'a> {
    /// The timer of the wait, which identifies the request in its workflow.
    pub timer: TimerKind,
    /// The locks, by ascending key.
    pub locks: &'a [KeyLock],
}

/// A release of locks, which the commit of a transition carries out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRelease {
    /// The timer of the request whose locks are released.
    pub timer: TimerKind,
    /// The keys.
    pub keys: Vec<String>,
}

/// Returns the requests whose locks a state waits for or holds. A paused workflow gives up its place in every queue,
/// so that it does not delay others, and keeps the locks that it holds.
pub fn claims(state: &State) -> impl Iterator<Item = LockClaim<'_>> {
    let is_live = move |lock: &&LockState| {
        !state.phase.is_final() && (lock.is_held() || (!state.paused && state.phase.is_forward()))
    };
    let of_workflow = state.lock.as_deref().map(|lock| (TimerKind::WorkflowLock, lock));
    let of_steps = (0u32..)
        .map(StepIndex)
        .zip(&state.steps)
        .filter_map(|(index, step)| Some((TimerKind::StepLock(index), step.lock.as_deref()?)));
    of_workflow
        .into_iter()
        .chain(of_steps)
        .filter(move |(_, lock)| is_live(lock))
        .map(|(timer, lock)| LockClaim { timer, locks: &lock.locks })
}

/// Returns the locks that a transition releases: the claims before it that do not exist after it. A step that runs again
/// requests its lock again, possibly with another key, so another request is another claim.
#[must_use]
pub(crate) fn released(before: &State, after: &State) -> Vec<LockRelease> {
    let request = |state: &State, timer| state.lock_of(timer).map(|lock| lock.request);
    let kept: Vec<(TimerKind, Option<u64>)> =
        claims(after).map(|claim| (claim.timer, request(after, claim.timer))).collect();
    claims(before)
        .filter(|claim| !kept.contains(&(claim.timer, request(before, claim.timer))))
        .map(|claim| LockRelease {
            timer: claim.timer,
            keys: claim.locks.iter().map(|lock| lock.key.clone()).collect(),
        })
        .collect()
}

impl StepState {
    /// Returns whether the step is ready and waits for its lock. No command was issued then.
    #[must_use]
    pub fn waits_for_lock(&self) -> bool {
        self.execution.is_open() && self.lock.as_deref().is_some_and(|lock| !lock.is_held())
    }
}

impl State {
    /// Returns the locks of a request.
    #[must_use]
    pub fn lock_of(&self, timer: TimerKind) -> Option<&LockState> {
        match timer {
            TimerKind::WorkflowLock => self.lock.as_deref(),
            TimerKind::StepLock(step) => self.step(step)?.lock.as_deref(),
            TimerKind::Workflow
            | TimerKind::StepQueue(_)
            | TimerKind::StepTotal(_)
            | TimerKind::StepWake(_)
            | TimerKind::StepChild(_) => None,
        }
    }

    /// Returns the locks that a request waits for, or `None` if it waits for none.
    #[must_use]
    pub fn lock_wait(&self, timer: TimerKind) -> Option<&LockState> {
        let waits = self.phase.is_forward() && !self.paused;
        self.lock_of(timer).filter(|lock| waits && !lock.is_held())
    }

    /// Returns the owner of the locks of a request: the workflow for a definition, and one of its steps otherwise.
    /// Operators see it, and can release a lock by it.
    #[must_use]
    pub fn lock_owner(&self, timer: TimerKind) -> String {
        let mut owner = alloc::format!("workflow/{}", self.id);
        match timer {
            TimerKind::StepLock(step) => owner.push_str(&alloc::format!("/{}", step.0)),
            TimerKind::WorkflowLock
            | TimerKind::Workflow
            | TimerKind::StepQueue(_)
            | TimerKind::StepTotal(_)
            | TimerKind::StepWake(_)
            | TimerKind::StepChild(_) => {}
        }
        owner
    }

    /// Returns the fencing tokens, by key, that the participant of one side of a step receives: those of the locks that
    /// the workflow holds until its end, and at the execute side that of the step itself.
    ///
    /// A compensation receives the token of a lock that was held for the step only if the step is in doubt, because the
    /// lock is still held. Otherwise others may have held it since, and a participant would refuse the token.
    #[must_use]
    pub fn lock_tokens(&self, index: StepIndex, side: Side) -> BTreeMap<String, u64> {
        let of_steps = (0u32..).map(StepIndex).zip(&self.steps).filter_map(|(each, step)| {
            let lock = step.lock.as_deref()?;
            let is_own = each == index && (side == Side::Execute || step.execution == StepStatus::Unknown);
            let applies = lock.hold == LockScope::Workflow || is_own;
            applies.then_some(lock)
        });
        let all = self.lock.as_deref().into_iter().chain(of_steps).filter(|lock| lock.is_held());
        all.flat_map(|lock| &lock.locks).filter_map(|lock| Some((lock.key.clone(), lock.token?))).collect()
    }

    /// Returns the locks that are held, or will be held, until the workflow ends, except those of `own`.
    pub(crate) fn locks_to_the_end(&self, own: TimerKind) -> impl Iterator<Item = &KeyLock> {
        let of_steps = (0u32..).map(StepIndex).zip(&self.steps).filter_map(move |(index, step)| {
            let lock = step.lock.as_deref()?;
            (lock.hold == LockScope::Workflow && TimerKind::StepLock(index) != own).then_some(lock)
        });
        let of_workflow = self.lock.as_deref().filter(|_| own != TimerKind::WorkflowLock);
        of_workflow.into_iter().chain(of_steps).flat_map(|lock| &lock.locks)
    }
}
