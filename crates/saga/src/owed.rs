//! The commands and timers that a state still owes. The dispatch ledger always equals them.

use crate::{
    Action, LockState, OwedKey, Plan, Side, State, StepIndex, StepState, StepStatus, TimerKind, Timestamp,
};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

/// A row that the dispatch ledger must contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// The key of the row.
    pub key: OwedKey,
    /// The open attempt. 0 for a timer, except for that of a child: its number rises with each task of the dispatcher, so
    /// that a new task does not wait for the redelivery of the row.
    pub attempt: u32,
    /// The service whose queue receives the command, or `None` for a timer.
    pub service: Option<String>,
    /// The action of the dispatcher, with its time.
    pub due: Due,
}

/// The action of the dispatcher on a row of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Publishes the command or fires the timer at this time.
    At(Timestamp),
    /// Does nothing, because the workflow is paused.
    Held,
    /// Withdraws the command if it was never sent, and otherwise waits for the end of its attempt.
    Withdraw,
}

/// Returns the commands and timers that are due or in flight, in the order of the steps.
#[must_use]
pub fn owed(plan: &Plan, state: &State) -> Vec<Owed> {
    let mut all = Vec::new();
    if state.phase.is_final() {
        return all;
    }
    if let (Some(deadline), true) = (state.deadline, can_still_time_out(plan, state)) {
        all.push(timer(TimerKind::Workflow, deadline));
    }
    if let Some(lock) = state.lock.as_deref().filter(|lock| !lock.is_held() && state.phase.is_forward()) {
        all.push(lock_wait(state, TimerKind::WorkflowLock, lock));
    }
    for index in (0u32..).map(StepIndex).take(state.steps.len()) {
        owed_by_step(plan, state, index, &mut all);
    }
    all
}

fn can_still_time_out(plan: &Plan, state: &State) -> bool {
    let pivot = plan.pivot().and_then(|index| state.step(index)).map(|step| step.execution);
    // While the time limits are suspended, the deadline is not known. The end of the pause moves it.
    state.phase.is_forward()
        && !state.clocks_stand_still()
        && !state.rollback_pending
        && pivot != Some(StepStatus::Completed)
}

fn timer(kind: TimerKind, at: Timestamp) -> Owed {
    Owed { key: OwedKey::Timer(kind), attempt: 0, service: None, due: Due::At(at) }
}

/// Returns the row of a wait for locks. A paused workflow does not wait: it gave up its place in the queue.
fn lock_wait(state: &State, kind: TimerKind, lock: &LockState) -> Owed {
    let due = if state.paused { Due::Held } else { Due::At(lock.requested_at) };
    Owed { due, ..timer(kind, lock.requested_at) }
}

fn owed_by_step(plan: &Plan, state: &State, index: StepIndex, all: &mut Vec<Owed>) {
    let (Some(definition), Some(step)) = (plan.step(index), state.step(index)) else { return };
    if definition.action.is_wait() {
        if let Some(at) = step.execute.due_at.filter(|_| step.is_waiting())
            && state.phase.is_forward()
            && !state.paused
        {
            all.push(timer(TimerKind::StepWake(index), at));
        }
        return;
    }
    for side in [Side::Execute, Side::Compensate] {
        if !step.side_status(side).is_some_and(StepStatus::is_open) {
            continue;
        }
        if side == Side::Execute
            && let Some(lock) = step.lock.as_deref().filter(|_| step.waits_for_lock())
        {
            all.push(lock_wait(state, TimerKind::StepLock(index), lock));
            continue;
        }
        if definition.action(side).is_some_and(|action| action.child().is_some()) {
            all.push(child_row(state, index, step, side));
            continue;
        }
        let progress = step.progress(side);
        let due_at = progress.due_at.unwrap_or_default();
        let running = progress.running.is_some();
        let withdraw = side == Side::Execute && !state.wants_execute(index);
        // The row tells the executor of an attempt in flight to cancel it.
        let due = if withdraw {
            Due::Withdraw
        } else if running {
            Due::At(due_at)
        } else if state.paused {
            Due::Held
        } else {
            Due::At(due_at)
        };
        let service =
            plan.command_action(state, index, side).and_then(Action::service).map(ToOwned::to_owned);
        all.push(Owed { key: OwedKey::Command(index, side), attempt: progress.attempt(), service, due });
        // A side's limits need timers only between attempts, because the deadline of an attempt is never later
        // than they are.
        if matches!(due, Due::At(_)) && !running {
            match side {
                Side::Execute if state.phase.is_forward() => execute_limits(plan, index, step, all),
                Side::Execute => {}
                Side::Compensate => compensation_limits(plan, index, step, all),
            }
        }
    }
}

/// Adds the timers of an execute that waits for its next attempt.
fn execute_limits(plan: &Plan, index: StepIndex, step: &StepState, all: &mut Vec<Owed>) {
    let progress = &step.execute;
    let from = progress.limits_from().or(progress.due_at).unwrap_or_default();
    let queue = plan.step(index).and_then(|definition| definition.timeout.queue);
    if let (Some(limit), StepStatus::Queued, None) = (queue, step.execution, progress.started_at) {
        all.push(timer(TimerKind::StepQueue(index), from.after(limit)));
    }
    if let (Some(limit), None) = (plan.total_timeout(index, Side::Execute, step.doubt_until), step.probes) {
        all.push(timer(TimerKind::StepTotal(index), from.after(limit)));
    }
}

/// Adds the timers of a compensation that waits for its next attempt. They have the keys of the timers of the execute,
/// because the two sides of a step are never open at the same time.
fn compensation_limits(plan: &Plan, index: StepIndex, step: &StepState, all: &mut Vec<Owed>) {
    let Some(limits) = plan.step(index).and_then(|step| step.compensate.as_ref()).map(|undo| &undo.limits)
    else {
        return;
    };
    let progress = &step.compensate;
    let due_at = progress.due_at.unwrap_or_default();
    if let Some(limit) = limits.queue {
        all.push(timer(TimerKind::StepQueue(index), due_at.after(limit)));
    }
    if let Some(limit) = limits.total {
        all.push(timer(TimerKind::StepTotal(index), progress.limits_from().unwrap_or(due_at).after(limit)));
    }
}

/// Returns the row by which the dispatcher starts, observes, cancels or rolls back a child.
fn child_row(state: &State, index: StepIndex, step: &StepState, side: Side) -> Owed {
    let progress = step.progress(side);
    let due_at = progress.due_at.unwrap_or_default();
    let unwanted = side == Side::Execute && !state.wants_execute(index);
    let (task, due) = match side {
        // The child may have been started although its start was not recorded, so the dispatcher must withdraw it.
        Side::Execute if unwanted => (2, Due::At(due_at.min(progress.queued_at.unwrap_or(due_at)))),
        Side::Execute if state.paused && step.child.is_none() => (1, Due::Held),
        Side::Execute => (1, Due::At(due_at)),
        Side::Compensate if state.paused => (3, Due::Held),
        Side::Compensate => (3, Due::At(due_at)),
    };
    let rounds = step.execute.ended.saturating_add(step.compensate.ended);
    let attempt = rounds.saturating_mul(3).saturating_add(task);
    Owed { key: OwedKey::Timer(TimerKind::StepChild(index)), attempt, service: None, due }
}
