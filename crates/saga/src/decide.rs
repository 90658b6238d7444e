//! What follows from some news.

mod advance;
mod attempt;
mod operator;

use crate::evolve::apply;
use crate::{
    Due, Event, EventKind, Expressions, Failure, Json, Owed, OwedKey, Plan, RollbackCause, Side, State,
    Status, StepIndex, StepStatus, TimerKind, Timestamp, WorkflowId, evolve, owed,
};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a workflow is started with.
#[derive(Debug, Clone, PartialEq)]
pub struct StartWorkflow {
    /// The id that it gets.
    pub id: WorkflowId,
    /// Where it lives.
    pub namespace: String,
    /// Its input.
    pub input: Json,
    /// To find it by; the definition's labels come below them.
    pub labels: BTreeMap<String, String>,
    /// Who starts it.
    pub actor: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It succeeded.
    Done {
        /// What the participant answered.
        output: Json,
    },
    /// Nothing happened, and it may be tried again.
    Retryable {
        /// Why.
        failure: Failure,
        /// The participant asked to wait until then.
        not_before: Option<Timestamp>,
    },
    /// The participant says that it refused and that nothing happened.
    Refused {
        /// Why.
        failure: Failure,
    },
    /// Nobody can say whether it happened.
    Unknown {
        /// Why.
        failure: Failure,
        /// The participant asked to wait until then.
        not_before: Option<Timestamp>,
    },
}

/// News about a workflow.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// An attempt takes longer than the start grace, or is about to be sent.
    StartAttempt {
        /// Of which step.
        step: StepIndex,
        /// Of which side.
        side: Side,
        /// Which.
        attempt: u32,
        /// When it started.
        started_at: Timestamp,
        /// When its time is up.
        deadline: Timestamp,
        /// Who runs it.
        executor: String,
        /// Whether it is on its way already, or this asks whether it may be.
        sent: bool,
    },
    /// An attempt ended.
    ReportOutcome {
        /// Of which step.
        step: StepIndex,
        /// Of which side.
        side: Side,
        /// Which.
        attempt: u32,
        /// When it started.
        started_at: Timestamp,
        /// When its time is, or would have been, up.
        deadline: Timestamp,
        /// How it ended.
        outcome: Outcome,
    },
    /// Whoever had the command is gone, or lost it: it may have been sent.
    LoseAttempt {
        /// Of which step.
        step: StepIndex,
        /// Of which side.
        side: Side,
        /// Which.
        attempt: u32,
        /// It may take effect until then, if no start of it is on record that says better.
        doubt_until: Timestamp,
    },
    /// A command that is to be taken back was never sent.
    WithdrawCommand {
        /// Of which step; only an execute is ever taken back.
        step: StepIndex,
        /// Which.
        attempt: u32,
    },
    /// A timer of the ledger is due.
    FireTimer {
        /// Which.
        timer: TimerKind,
    },
    /// Somebody wants it undone.
    Cancel {
        /// Who.
        actor: Option<String>,
        /// Why.
        reason: Option<String>,
    },
    /// An operator ends it without a roll-back.
    Terminate {
        /// Who.
        actor: Option<String>,
        /// Why.
        reason: String,
    },
    /// An operator holds it.
    Pause {
        /// Who.
        actor: Option<String>,
        /// Why.
        reason: Option<String>,
    },
    /// An operator lets it go on.
    Resume {
        /// Who.
        actor: Option<String>,
        /// Why.
        reason: Option<String>,
    },
    /// An operator has a step tried again now; during a roll-back it is the compensation.
    RetryStep {
        /// Which.
        step: StepIndex,
        /// Who.
        actor: Option<String>,
        /// Why.
        reason: Option<String>,
    },
    /// An operator lets a step be; during a roll-back it is the compensation.
    SkipStep {
        /// Which.
        step: StepIndex,
        /// Who.
        actor: Option<String>,
        /// Why.
        reason: String,
    },
    /// An operator gives a step's result by hand; during a roll-back it is the compensation.
    CompleteStep {
        /// Which.
        step: StepIndex,
        /// The result; not looked at for a compensation.
        output: Json,
        /// Who.
        actor: Option<String>,
        /// Why.
        reason: String,
    },
}

/// Why some news changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The workflow has ended.
    #[error("the workflow is {}: nothing can follow", .0.as_str())]
    Final(Status),
    /// It is about an attempt that is settled, or was never issued.
    #[error("that attempt is not open")]
    Stale,
    /// The status does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// No such step.
    #[error("the definition has no such step")]
    UnknownStep,
}

/// The events of a start, and the state after them.
#[must_use]
pub fn start(
    plan: &Plan,
    expressions: &dyn Expressions,
    start: &StartWorkflow,
    now: Timestamp,
) -> (Vec<Event>, State) {
    let definition = plan.definition();
    let mut labels = definition.labels.clone();
    labels.extend(start.labels.clone());
    let first = Event {
        seq: 1,
        time: now,
        actor: start.actor.clone(),
        kind: EventKind::WorkflowStarted {
            id: start.id,
            namespace: start.namespace.clone(),
            definition: definition.name.clone(),
            version: plan.version(),
            steps: u32::try_from(definition.steps.len()).unwrap_or(u32::MAX),
            input: Arc::new(start.input.clone()),
            labels,
            deadline: definition.timeout.map(|limit| now.after(limit)),
        },
    };
    let state = evolve(None, &first);
    // Invariant: `evolve` makes a state of every `WorkflowStarted`.
    #[allow(clippy::expect_used, reason = "states the invariant above")]
    let state = state.expect("a start makes a state");
    let mut decision = Decision { plan, expressions, state, events: alloc::vec![first], now, actor: None };
    decision.advance();
    (decision.events, decision.state)
}

/// What follows from some news: the events, and the state after them.
///
/// # Errors
/// When the state does not allow it; the state is as it was then.
pub fn decide(
    plan: &Plan,
    expressions: &dyn Expressions,
    state: &State,
    input: &Input,
    now: Timestamp,
) -> Result<(Vec<Event>, State), Refusal> {
    if state.phase.is_final() {
        return Err(Refusal::Final(state.status()));
    }
    let mut decision =
        Decision { plan, expressions, state: state.clone(), events: Vec::new(), now, actor: None };
    decision.take(input)?;
    decision.advance();
    Ok((decision.events, decision.state))
}

/// A decision in the making: the state as it stands after the events so far.
struct Decision<'a> {
    plan: &'a Plan,
    expressions: &'a dyn Expressions,
    state: State,
    events: Vec<Event>,
    now: Timestamp,
    actor: Option<String>,
}

impl Decision<'_> {
    fn take(&mut self, input: &Input) -> Result<(), Refusal> {
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
            Input::Cancel { actor, reason } => {
                self.actor.clone_from(actor);
                self.request_rollback(RollbackCause::Cancelled, reason.clone())
            }
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
        let event =
            Event { seq: self.state.seq.saturating_add(1), time: self.now, actor: self.actor.clone(), kind };
        self.state.seq = event.seq;
        apply(&mut self.state, &event);
        self.events.push(event);
    }

    /// Begins the roll-back, or notes that it is wanted while the pivot's answer is awaited.
    fn request_rollback(&mut self, cause: RollbackCause, reason: Option<String>) -> Result<(), Refusal> {
        if !self.state.phase.is_forward() {
            return Err(Refusal::Conflict("the workflow is rolling back already".to_owned()));
        }
        let pivot = self.plan.pivot().and_then(|index| self.state.step(index)).map(|step| step.execution);
        if pivot == Some(StepStatus::Completed) {
            return Err(Refusal::Conflict(
                "the point of no return has passed: what is left is completed, not undone".to_owned(),
            ));
        }
        if self.state.rollback_pending {
            return Err(Refusal::Conflict(
                "a roll-back is asked for already: it waits for the pivot".to_owned(),
            ));
        }
        self.emit(EventKind::RollbackRequested { cause, reason: reason.clone() });
        if !pivot.is_some_and(StepStatus::is_open) {
            self.begin_rollback(cause, None, reason);
        }
        Ok(())
    }

    fn begin_rollback(&mut self, cause: RollbackCause, step: Option<StepIndex>, reason: Option<String>) {
        // What was asked for while the pivot was in flight is why, not that the pivot then failed.
        let cause = if self.state.rollback_pending { self.state.cause.unwrap_or(cause) } else { cause };
        self.emit(EventKind::RollbackStarted { cause, step, reason });
    }

    fn pause(&mut self, reason: Option<String>) -> Result<(), Refusal> {
        if self.state.paused {
            return Err(Refusal::Conflict("the workflow is paused already".to_owned()));
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
            TimerKind::Workflow => {
                // An operator's pause does not stop this clock; a roll-back lets go of the pause.
                self.request_rollback(RollbackCause::TimedOut, Some("its time was up".to_owned()))
                    .map_err(|_| Refusal::Stale)
            }
            TimerKind::StepQueue(_) | TimerKind::StepTotal(_) if !self.is_due(timer) => Err(Refusal::Stale),
            TimerKind::StepQueue(step) => {
                self.time_up(step, "QUEUE_TIMEOUT", "did not start within its time")
            }
            TimerKind::StepTotal(step) => {
                self.time_up(step, "TOTAL_TIMEOUT", "did not succeed within its time")
            }
        }
    }

    /// Whoever fires a step's timer may lag behind: the limit may be met by now, or count anew.
    fn is_due(&self, timer: TimerKind) -> bool {
        let mut rows = owed(self.plan, &self.state).into_iter();
        rows.any(|Owed { key, due, .. }| {
            key == OwedKey::Timer(timer) && matches!(due, Due::At(at) if at <= self.now)
        })
    }
}

impl Failure {
    /// A failure of our own.
    #[must_use]
    pub fn of(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), detail: None }
    }
}
