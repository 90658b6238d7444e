//! Decisions: the events that follow from an input.

mod advance;
mod attempt;
mod child;
mod compensation;
mod lock;
mod migrate;
mod operator;
mod probe;
mod refusal;
mod rerun;
mod start;
mod wait;

use crate::evolve::apply;
use crate::{
    ChildEnd, Due, Event, EventKind, Expressions, Failure, Json, Owed, OwedKey, Parent, Phase, Plan,
    RollbackCause, Side, State, StepIndex, StepStatus, TimerKind, Timestamp, TraceContext, WorkflowId, owed,
};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

pub use migrate::{MigrateWorkflow, MigrationChanges, migrate};
pub use refusal::{Refusal, RerunRefusal};
pub use start::{start, start_by, start_child};

/// The start of a workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct StartWorkflow {
    /// The id of the new workflow.
    pub id: WorkflowId,
    /// The namespace of the workflow.
    pub namespace: String,
    /// The input.
    pub input: Json,
    /// Labels. They override the labels of the definition.
    pub labels: BTreeMap<String, String>,
    /// The person who starts the workflow.
    pub actor: Option<String>,
    /// The span that starts the workflow.
    pub trace: Option<Arc<TraceContext>>,
}

/// The start of a workflow as a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartChild {
    /// The step that starts the child.
    pub parent: Parent,
    /// Whether the parent rolls back before the child started. The child then ends at once, without a step. It occupies
    /// the idempotency key, so that a delayed start finds it and cannot begin.
    pub withdrawn: bool,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The attempt succeeded.
    Done {
        /// The output of the participant.
        output: Json,
    },
    /// The attempt had no effect and may be retried.
    Retryable {
        /// The failure.
        failure: Failure,
        /// The earliest time of the next attempt, as requested by the participant.
        not_before: Option<Timestamp>,
    },
    /// The participant reported that it refused and that nothing happened.
    Refused {
        /// The failure.
        failure: Failure,
    },
    /// The attempt may have taken effect.
    Unknown {
        /// The failure.
        failure: Failure,
        /// The earliest time of the next attempt, as requested by the participant.
        not_before: Option<Timestamp>,
        /// Whether the participant itself responded, so that the attempt can no longer take effect.
        answered: bool,
    },
    /// The attempt succeeded, but its output cannot be stored. The step ends in doubt, because a further attempt would
    /// have the same output.
    OutputRejected {
        /// The failure.
        failure: Failure,
    },
    /// The command was not sent, because the executor lacked a resource of its own or was suspended. The attempt does
    /// not count against the limit of the step.
    NotSent {
        /// The failure.
        failure: Failure,
    },
}

/// An input of a workflow.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Records the start of an attempt that takes longer than the start grace, or that is about to be sent.
    StartAttempt {
        /// The step.
        step: StepIndex,
        /// The side of the step.
        side: Side,
        /// The number of the attempt.
        attempt: u32,
        /// When the attempt started.
        started_at: Timestamp,
        /// When the attempt times out.
        deadline: Timestamp,
        /// The executor that runs the attempt.
        executor: String,
        /// Whether the command was already sent. If it was not, the input asks for permission to send it.
        sent: bool,
        /// The span of the attempt.
        trace: Option<Arc<TraceContext>>,
    },
    /// Reports the outcome of an attempt.
    ReportOutcome {
        /// The step.
        step: StepIndex,
        /// The side of the step.
        side: Side,
        /// The number of the attempt.
        attempt: u32,
        /// When the attempt started.
        started_at: Timestamp,
        /// When the attempt times out, or would have timed out.
        deadline: Timestamp,
        /// The outcome.
        outcome: Outcome,
    },
    /// Reports that the executor of an attempt died or lost the command. The command may have been sent.
    LoseAttempt {
        /// The step.
        step: StepIndex,
        /// The side of the step.
        side: Side,
        /// The number of the attempt.
        attempt: u32,
        /// The time until which the attempt can take effect, unless a recorded start states a deadline.
        doubt_until: Timestamp,
    },
    /// Reports that a command to be withdrawn was never sent.
    WithdrawCommand {
        /// The step. Only an execute command can be withdrawn.
        step: StepIndex,
        /// The number of the attempt.
        attempt: u32,
    },
    /// Fires a timer that is due.
    FireTimer {
        /// The timer.
        timer: TimerKind,
    },
    /// Sends a signal.
    Signal {
        /// The name of the signal.
        name: String,
        /// The payload.
        payload: Arc<Json>,
        /// The idempotency key. A signal whose key the workflow remembers changes nothing.
        key: Option<String>,
        /// The person who sends the signal.
        actor: Option<String>,
    },
    /// Reports that all locks of a request are held.
    AcquireLocks {
        /// The timer of the request.
        timer: TimerKind,
        /// The request that the answer belongs to: [`LockState::request`](crate::LockState::request).
        request: u64,
        /// The fencing tokens, in the order of the locks.
        tokens: Vec<u64>,
    },
    /// Requests a rollback.
    Cancel {
        /// The person who requests the change.
        actor: Option<String>,
        /// The reason.
        reason: Option<String>,
    },
    /// Rolls a completed workflow back. Besides a re-run, it is the only input that a workflow with a final status accepts.
    RollBack {
        /// The cause: `Operator`, or `Parent` if the parent of the workflow rolls back.
        cause: RollbackCause,
        /// The person who requests the change.
        actor: Option<String>,
        /// The reason.
        reason: Option<String>,
    },
    /// Executes a step and its dependants again, after their effects were undone.
    Rerun {
        /// The step, or `None` for all steps.
        step: Option<StepIndex>,
        /// Whether the operator states that the effects of the steps stay, so that they are not undone.
        keeps_effects: bool,
        /// The person who requests the change.
        actor: Option<String>,
        /// The reason.
        reason: String,
    },
    /// Records the start of the child workflow of a step.
    ChildStarted {
        /// The step.
        step: StepIndex,
        /// The number of the attempt.
        attempt: u32,
        /// The id of the child.
        child: WorkflowId,
    },
    /// Reports how the child workflow of a step ended, or that it could not be started.
    ChildEnded {
        /// The step.
        step: StepIndex,
        /// The number of the attempt that started the child.
        attempt: u32,
        /// The id of the child, or `None` if it was not started.
        child: Option<WorkflowId>,
        /// The end.
        end: ChildEnd,
    },
    /// Ends the workflow without a rollback.
    Terminate {
        /// The person who requests the change.
        actor: Option<String>,
        /// The reason.
        reason: String,
    },
    /// Pauses the workflow.
    Pause {
        /// The person who requests the change.
        actor: Option<String>,
        /// The reason.
        reason: Option<String>,
    },
    /// Resumes the workflow.
    Resume {
        /// The person who requests the change.
        actor: Option<String>,
        /// The reason.
        reason: Option<String>,
    },
    /// Retries a step now, or its compensation during a rollback.
    RetryStep {
        /// The step.
        step: StepIndex,
        /// The person who requests the change.
        actor: Option<String>,
        /// The reason.
        reason: Option<String>,
    },
    /// Skips a step, or its compensation during a rollback.
    SkipStep {
        /// The step.
        step: StepIndex,
        /// The person who requests the change.
        actor: Option<String>,
        /// The reason.
        reason: String,
    },
    /// Supplies the result of a step, or of its compensation during a rollback.
    CompleteStep {
        /// The step.
        step: StepIndex,
        /// The output. A compensation has none and ignores it.
        output: Json,
        /// The person who requests the change.
        actor: Option<String>,
        /// The reason.
        reason: String,
    },
}

/// Returns the events that follow from an input and the state after them.
///
/// # Errors
/// Returns a [`Refusal`] if the state does not allow the input. The caller keeps the old state.
pub fn decide(
    plan: &Plan,
    expressions: &dyn Expressions,
    state: &State,
    input: &Input,
    now: Timestamp,
) -> Result<(Vec<Event>, State), Refusal> {
    let is_rollback = matches!(input, Input::RollBack { .. }) && state.phase == Phase::Completed;
    let is_rerun = matches!(input, Input::Rerun { .. });
    if state.phase.is_final() && !is_rollback && !is_rerun {
        return Err(Refusal::Final(state.status()));
    }
    let mut decision =
        Decision { plan, expressions, state: state.clone(), events: Vec::new(), now, actor: None };
    decision.apply_input(input)?;
    decision.advance();
    Ok((decision.events, decision.state))
}

/// A decision in progress: the events so far and the state after them.
struct Decision<'a> {
    plan: &'a Plan,
    expressions: &'a dyn Expressions,
    state: State,
    events: Vec<Event>,
    now: Timestamp,
    actor: Option<String>,
}

impl Decision<'_> {
    fn apply_input(&mut self, input: &Input) -> Result<(), Refusal> {
        match input {
            Input::StartAttempt { .. } => self.start_attempt(input),
            Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome } => {
                self.report_outcome(*step, *side, *attempt, (*started_at, *deadline), outcome)
            }
            Input::LoseAttempt { step, side, attempt, doubt_until } => {
                self.lose_attempt(*step, *side, *attempt, *doubt_until)
            }
            Input::WithdrawCommand { step, attempt } => self.withdraw(*step, *attempt),
            Input::FireTimer { timer } => self.fire(*timer),
            Input::Signal { name, payload, key, actor } => {
                self.actor.clone_from(actor);
                self.signal(name, payload, key.as_ref())
            }
            Input::AcquireLocks { timer, request, tokens } => self.locks_acquired(*timer, *request, tokens),
            Input::Cancel { actor, reason } => {
                self.actor.clone_from(actor);
                self.request_rollback(RollbackCause::Cancelled, reason.clone())
            }
            Input::RollBack { cause, actor, reason } => {
                self.actor.clone_from(actor);
                self.roll_back(*cause, reason.clone())
            }
            Input::Rerun { step, keeps_effects, actor, reason } => {
                self.actor.clone_from(actor);
                self.rerun(*step, *keeps_effects, reason)
            }
            Input::ChildStarted { step, attempt, child } => self.child_started(*step, *attempt, *child),
            Input::ChildEnded { step, attempt, child, end } => self.child_ended(*step, *attempt, *child, end),
            Input::Terminate { actor, reason } => {
                self.actor.clone_from(actor);
                self.emit(EventKind::WorkflowTerminated { reason: reason.clone() });
                Ok(())
            }
            Input::Pause { actor, reason } => {
                self.actor.clone_from(actor);
                self.pause(reason.clone())
            }
            Input::Resume { actor, reason } => {
                self.actor.clone_from(actor);
                self.resume(reason.clone())
            }
            Input::RetryStep { step, actor, reason } => {
                self.actor.clone_from(actor);
                self.retry_step(*step, reason.clone())
            }
            Input::SkipStep { step, actor, reason } => {
                self.actor.clone_from(actor);
                self.skip_step(*step, reason)
            }
            Input::CompleteStep { step, output, actor, reason } => {
                self.actor.clone_from(actor);
                self.complete_step(*step, output, reason)
            }
        }
    }

    fn emit(&mut self, kind: EventKind) {
        let event = Event {
            seq: self.state.seq.saturating_add(1),
            time: self.now,
            actor: self.actor.clone(),
            sealed: None,
            kind,
        };
        self.state.seq = event.seq;
        apply(&mut self.state, &event);
        self.events.push(event);
    }

    /// Begins the rollback, or records the request while the pivot is in flight.
    fn request_rollback(&mut self, cause: RollbackCause, reason: Option<String>) -> Result<(), Refusal> {
        if !self.state.phase.is_forward() {
            return Err(Refusal::Conflict("the workflow is already rolling back".to_owned()));
        }
        let pivot = self.plan.pivot().and_then(|index| self.state.step(index)).map(|step| step.execution);
        if pivot == Some(StepStatus::Completed) {
            return Err(Refusal::Conflict(
                "the pivot has completed, so the workflow can no longer roll back".to_owned(),
            ));
        }
        if self.state.rollback_pending {
            return Err(Refusal::Conflict(
                "a rollback was already requested and waits for the outcome of the pivot".to_owned(),
            ));
        }
        self.emit(EventKind::RollbackRequested { cause, reason: reason.clone() });
        if !self.pivot_is_undecided() {
            self.begin_rollback(cause, None, reason);
        }
        Ok(())
    }

    /// Returns whether the outcome of the pivot is needed before a rollback may begin.
    fn pivot_is_undecided(&self) -> bool {
        let pivot = self.plan.pivot().and_then(|index| self.state.step(index)).map(|step| step.execution);
        // A pivot whose child was terminated is in doubt, and only an operator knows its outcome.
        pivot.is_some_and(|status| status.is_open() || status == StepStatus::Unknown)
    }

    fn begin_rollback(&mut self, cause: RollbackCause, step: Option<StepIndex>, reason: Option<String>) {
        // A request from the time when the pivot was in flight is the cause, not the failure of the pivot.
        let cause = if self.state.rollback_pending { self.state.cause.unwrap_or(cause) } else { cause };
        self.emit(EventKind::RollbackStarted { cause, step, reason });
    }

    fn pause(&mut self, reason: Option<String>) -> Result<(), Refusal> {
        if self.state.paused {
            return Err(Refusal::Conflict("the workflow is already paused".to_owned()));
        }
        self.emit(EventKind::WorkflowPaused { reason });
        Ok(())
    }

    fn resume(&mut self, reason: Option<String>) -> Result<(), Refusal> {
        if !self.state.paused {
            return Err(Refusal::Conflict("the workflow is not paused".to_owned()));
        }
        self.emit(EventKind::WorkflowResumed { reason });
        Ok(())
    }

    fn fire(&mut self, timer: TimerKind) -> Result<(), Refusal> {
        match timer {
            TimerKind::Workflow if self.state.rules.pause_stops_clocks() && !self.is_due(timer) => {
                Err(Refusal::Stale)
            }
            TimerKind::Workflow => self
                .request_rollback(
                    RollbackCause::TimedOut,
                    Some("the time limit of the workflow expired".to_owned()),
                )
                .map_err(|_| Refusal::Stale),
            TimerKind::StepQueue(_) | TimerKind::StepTotal(_) | TimerKind::StepWake(_)
                if !self.is_due(timer) =>
            {
                Err(Refusal::Stale)
            }
            TimerKind::StepWake(step) => self.wake(step),
            // The dispatcher acts on the child itself and reports what it finds.
            TimerKind::StepChild(_) => Err(Refusal::Stale),
            TimerKind::StepQueue(step) => match self.side_with_timers(step) {
                Side::Execute => {
                    self.limit_expired(step, "QUEUE_TIMEOUT", "did not start within its queue timeout")
                }
                Side::Compensate => self.compensation_not_started(step),
            },
            TimerKind::StepTotal(step) => match self.side_with_timers(step) {
                Side::Execute => {
                    self.limit_expired(step, "TOTAL_TIMEOUT", "did not succeed within its total timeout")
                }
                Side::Compensate => self.compensation_expired(step),
            },
            TimerKind::WorkflowLock | TimerKind::StepLock(_) => self.lock_wait_expired(timer),
        }
    }

    /// Returns whether a timer is still due. The limit may have been met, restarted or moved since the ledger was read.
    fn is_due(&self, timer: TimerKind) -> bool {
        let mut rows = owed(self.plan, &self.state).into_iter();
        rows.any(|Owed { key, due, .. }| {
            key == OwedKey::Timer(timer) && matches!(due, Due::At(at) if at <= self.now)
        })
    }
}

impl Failure {
    /// Creates a failure of the engine, without details.
    #[must_use]
    pub fn of(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), detail: None }
    }
}
