//! How to handle a command: by the state of its workflow.

use super::{AttemptContext, LOAD_RETRY_DELAY, Received, Runner};
use goconductor_queue::Topic;
use goconductor_saga::{Input, Plan, Side, State, StepState, StepStatus, Timestamp};
use goconductor_transition::{Command, Error};
use std::sync::Arc;
use std::time::Duration;

/// The state of a workflow is read before a command runs that was queued for longer than this, because the workflow
/// may have been paused or cancelled. It exceeds the usual time in the queue, so that the usual command needs no read.
const STALE_AFTER: Duration = Duration::from_millis(250);

/// How to handle a command.
pub(super) enum Disposition {
    /// Run an attempt.
    Run(Box<AttemptContext>),
    /// Submit this input in place of an attempt.
    Submit(Input),
    /// Return the command to the ledger, which delivers it again.
    Release,
    /// Drop the command; the reason is a label of a metric.
    Drop(&'static str),
    /// Store the command as a dead letter: it names something that does not exist.
    DeadLetter(&'static str),
}

impl Runner {
    /// Returns the state of the workflow that a command needs. Returns `None` if there is none: the command was stored as
    /// a dead letter, or the ledger will redeliver it.
    pub(super) async fn current_state(
        &self,
        command: &Command,
        topic: &Topic,
        received: Received,
    ) -> Option<Arc<State>> {
        match self.load_state(command, received).await {
            Ok(state) => Some(state),
            Err(error) => {
                self.without_state(command, topic, error).await;
                None
            }
        }
    }

    /// Handles a command whose workflow was not loaded. The ledger redelivers the command of a workflow, but not one that
    /// names no workflow. The command was acknowledged, so it must not be forgotten before it is known which one it is.
    async fn without_state(&self, command: &Command, topic: &Topic, mut error: Error) {
        while error.is_retryable() {
            tracing::warn!(workflow = %command.id, %error, "executor failed to load a workflow; retrying");
            // Cancel-safe: nothing is lost by an early wake-up.
            tokio::select! {
                () = self.give_up.cancelled() => return,
                () = tokio::time::sleep(LOAD_RETRY_DELAY) => {}
            }
            match self.engine.load(command.id).await {
                // The state is too late for this attempt. The ledger redelivers the command.
                Ok(_) => return,
                Err(next) => error = next,
            }
        }
        if matches!(error, Error::NoSuchWorkflow) {
            self.dead_letter(command, topic, "no such workflow").await;
        } else {
            tracing::warn!(workflow = %command.id, %error, "executor failed to load a workflow; the ledger will redeliver the command");
        }
    }

    /// Returns the state that is recent enough for a command.
    async fn load_state(&self, command: &Command, received: Received) -> Result<Arc<State>, Error> {
        // The publisher's clock may be ahead of this one, so the age is the difference in either direction.
        let age = received.at.since(command.published_at).max(command.published_at.since(received.at));
        let state = match &command.state {
            _ if command.redelivery > 0 || age > STALE_AFTER => {
                self.engine.load(command.id).await.map(|loaded| Arc::new(loaded.state))
            }
            // The state inside a duplicate of a command that finished here is stale.
            Some(state) if !self.in_flight.finished_recently(&command.row()) => {
                let state = self.engine.open_state(state).await?;
                Ok(self.engine.adopt(&state))
            }
            Some(_) | None => self.engine.cached_or_load(command.id).await,
        }?;
        if state.seq < command.seq {
            return Ok(Arc::new(self.engine.load(command.id).await?.state));
        }
        Ok(state)
    }

    pub(super) async fn decide_disposition(
        &self,
        command: &Command,
        state: Arc<State>,
        received: Received,
    ) -> Result<Disposition, Error> {
        let plan = self.engine.plan_of(&state).await?;
        if state.step(command.step).is_none() {
            return Ok(Disposition::DeadLetter("the workflow has no such step"));
        }
        let Some(step) = open_step(&state, command) else {
            let ended = state.phase.is_final();
            return Ok(Disposition::Drop(if ended { "ended" } else { "settled" }));
        };
        let running = step.progress(command.side).running.is_some();
        if command.redelivery > 0 {
            return Ok(Disposition::Submit(lose_attempt(command, &plan, received.at)));
        }
        if running {
            // The start of the attempt is recorded, so this is a duplicate of a command in flight elsewhere.
            return Ok(Disposition::Drop("under_way"));
        }
        if command.side == Side::Execute && !state.wants_execute(command.step) {
            return Ok(Disposition::Submit(Input::WithdrawCommand {
                step: command.step,
                attempt: command.attempt,
            }));
        }
        if state.paused {
            return Ok(Disposition::Release);
        }
        Ok(Disposition::Run(Box::new(AttemptContext { plan, state })))
    }
}

/// Returns the step of a command if the command's attempt has not settled.
fn open_step<'a>(state: &'a State, command: &Command) -> Option<&'a StepState> {
    if state.phase.is_final() {
        return None;
    }
    let step = state.step(command.step)?;
    let open = step.side_status(command.side).is_some_and(StepStatus::is_open);
    (open && step.progress(command.side).attempt() == command.attempt).then_some(step)
}

fn lose_attempt(command: &Command, plan: &Plan, now: Timestamp) -> Input {
    let timeout = plan.step(command.step).map(|step| step.attempt_timeout(command.side)).unwrap_or_default();
    Input::LoseAttempt {
        step: command.step,
        side: command.side,
        attempt: command.attempt,
        doubt_until: now.after(timeout),
    }
}
