//! One command's way: is it still wanted, was it sent before, run it, report how it ended.

use crate::Settings;
use crate::in_flight::InFlight;
use crate::task::{Participant, Task};
use goconductor_saga::{
    Action, Failure, Input, Outcome, Phase, Plan, Refusal, Side, State, StepState, StepStatus, Timestamp,
};
use goconductor_transition::{Command, Conductor, Error, clock};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A first delivery that waited longer than this is looked up before it is run: the workflow may have
/// been paused or cancelled meanwhile. Longer than the usual wait, so the usual case needs no read.
const STALE: Duration = Duration::from_millis(250);
/// Between tries to report an outcome while the store does not answer.
const REPORT_PAUSE: Duration = Duration::from_millis(100);

/// What runs the commands of one service.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) conductor: Arc<Conductor>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) in_flight: Arc<InFlight>,
    /// Cancelled when attempts under way are not awaited any longer.
    pub(crate) give_up: CancellationToken,
}

/// When an attempt was taken on, by both clocks.
#[derive(Clone, Copy)]
struct Taken {
    at: Timestamp,
    instant: Instant,
}

/// What is to be done with a command.
enum Verdict {
    Run(Box<About>),
    Submit(Input),
    Release,
    Drop,
}

/// A command with what it is about.
struct About {
    plan: Arc<Plan>,
    state: Arc<State>,
}

impl Runner {
    /// Sees a command through. Never fails: what goes wrong is left to the ledger.
    pub(crate) async fn see_through(&self, command: Command, participant: Arc<dyn Participant>) {
        let Some(_entry) = self.in_flight.enter(command.row()) else { return };
        let taken = Taken { at: clock::now(), instant: clock::monotonic() };
        let verdict = match self.judge(&command, taken).await {
            Ok(verdict) => verdict,
            Err(error) => {
                tracing::warn!(workflow = %command.id, %error, "a command is left to the ledger");
                return;
            }
        };
        match verdict {
            Verdict::Run(about) => self.run(&command, &about, taken, &*participant).await,
            Verdict::Submit(input) => self.report(&command, input).await,
            Verdict::Release => self.release(&command).await,
            Verdict::Drop => metrics::counter!("goconductor_commands_dropped_total").increment(1),
        }
    }

    async fn judge(&self, command: &Command, taken: Taken) -> Result<Verdict, Error> {
        let waited = taken.at.since(command.published_at);
        let mut state = if command.redelivery > 0 || waited > STALE {
            Arc::new(self.conductor.load(command.id).await?.state)
        } else {
            self.conductor.remembered(command.id).await?
        };
        if state.seq < command.seq {
            state = Arc::new(self.conductor.load(command.id).await?.state);
        }
        let plan = self.conductor.plan_of(&state).await?;
        let Some(step) = open_step(&state, command) else { return Ok(Verdict::Drop) };
        let running = step.progress(command.side).running.is_some();
        if command.redelivery > 0 {
            return Ok(Verdict::Submit(lost(command, &plan, taken.at)));
        }
        if !running && unwanted(&state, step, command.side) {
            return Ok(Verdict::Submit(Input::WithdrawCommand {
                step: command.step,
                attempt: command.attempt,
            }));
        }
        if !running && state.paused {
            return Ok(Verdict::Release);
        }
        Ok(Verdict::Run(Box::new(About { plan, state })))
    }

    async fn run(&self, command: &Command, about: &About, taken: Taken, participant: &dyn Participant) {
        let Some(task) = self.task(command, about, taken).await else { return };
        let labels = [("action", task.action.clone()), ("operation", task.side.as_str().to_owned())];
        let outcome = self.attempt(command, &task, taken, participant, about).await;
        let Some(outcome) = outcome else { return };
        metrics::histogram!("goconductor_attempt_duration_seconds", &labels)
            .record(taken.instant.elapsed().as_secs_f64());
        metrics::counter!("goconductor_attempts_total", "action" => task.action.clone(), "operation" => task.side.as_str(), "outcome" => outcome_name(&outcome)).increment(1);
        let input = Input::ReportOutcome {
            step: command.step,
            side: command.side,
            attempt: command.attempt,
            started_at: taken.at,
            deadline: task.deadline,
            outcome,
        };
        self.report(command, input).await;
    }

    /// The task; none: it has no input, which is reported.
    async fn task(&self, command: &Command, about: &About, taken: Taken) -> Option<Task> {
        let (plan, state) = (&about.plan, &about.state);
        let step = plan.step(command.step)?;
        let Action::Run { action, .. } = step.action(command.side)?;
        let timeout = attempt_time(plan, state, command, taken.at)?;
        let deadline = taken.at.after(timeout);
        let input = match plan.command_input(state, command.step, command.side, self.conductor.expressions())
        {
            Ok(input) => input,
            Err(error) => {
                let failure = Failure::of("INPUT_EXPRESSION_FAILED", error.to_string());
                let outcome = Outcome::Refused { failure };
                let (step, side, attempt) = (command.step, command.side, command.attempt);
                let started_at = taken.at;
                let input = Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome };
                self.report(command, input).await;
                return None;
            }
        };
        Some(Task {
            workflow: command.id,
            step: step.name.clone(),
            side: command.side,
            action: action.clone(),
            attempt: command.attempt,
            idempotency_key: plan.idempotency_key(command.id, command.step, command.side),
            input,
            deadline,
            timeout,
        })
    }

    /// Runs the attempt; none: it was not sent, or was given up at the end of the process.
    async fn attempt(
        &self,
        command: &Command,
        task: &Task,
        taken: Taken,
        participant: &dyn Participant,
        about: &About,
    ) -> Option<Outcome> {
        let first = about.plan.step(command.step).is_some_and(|step| step.timeout.start_is_recorded_first());
        let recorded = first && command.side == Side::Execute;
        if recorded {
            match self.conductor.submit(command.id, self.started(command, task, taken, false)).await {
                Ok(_) => {}
                Err(Error::Refused(Refusal::Conflict(_))) => {
                    self.release(command).await;
                    return None;
                }
                Err(error) => {
                    tracing::debug!(workflow = %command.id, %error, "an attempt was not begun");
                    return None;
                }
            }
        }
        let left = task.timeout.checked_sub(taken.instant.elapsed()).filter(|left| !left.is_zero());
        let Some(left) = left else {
            // This process was held up past the deadline: the command is not sent any more.
            self.release(command).await;
            return None;
        };
        let call = tokio::time::timeout(left, participant.attempt(task));
        tokio::pin!(call);
        // Safe to cancel: only the sleeps are ever dropped, and an attempt that is given up is left to
        // the ledger as one that may have happened.
        let ended = tokio::select! {
            ended = &mut call => ended,
            () = self.give_up.cancelled() => return None,
            () = tokio::time::sleep(self.settings.start_grace), if !recorded => {
                let started = self.conductor.submit(command.id, self.started(command, task, taken, true));
                let (written, ended) = tokio::join!(started, async {
                    tokio::select! {
                        ended = &mut call => Some(ended),
                        () = self.give_up.cancelled() => None,
                    }
                });
                if let Err(error) = written {
                    tracing::debug!(workflow = %command.id, %error, "the start of an attempt was not written");
                }
                ended?
            }
        };
        Some(ended.unwrap_or_else(|_| Outcome::Unknown {
            failure: Failure::of("TIMED_OUT", format!("no answer within {:?}", task.timeout)),
            not_before: None,
        }))
    }

    fn started(&self, command: &Command, task: &Task, taken: Taken, sent: bool) -> Input {
        Input::StartAttempt {
            step: command.step,
            side: command.side,
            attempt: command.attempt,
            started_at: taken.at,
            deadline: task.deadline,
            executor: self.settings.identity.clone(),
            sent,
        }
    }

    /// Hands in news until the store has taken it, or somebody else's news has made it idle.
    async fn report(&self, command: &Command, input: Input) {
        loop {
            match self.conductor.submit(command.id, input.clone()).await {
                Ok(_) => return,
                Err(error) if error.is_retryable() => {
                    tracing::warn!(workflow = %command.id, %error, "an outcome is reported again");
                    // Safe to cancel: what is not reported is left to the ledger.
                    tokio::select! {
                        () = self.give_up.cancelled() => return,
                        () = tokio::time::sleep(REPORT_PAUSE) => {}
                    }
                }
                Err(Error::Refused(refusal)) => {
                    metrics::counter!("goconductor_late_answers_total").increment(1);
                    tracing::debug!(workflow = %command.id, %refusal, "news that came too late");
                    return;
                }
                Err(error) => {
                    tracing::error!(workflow = %command.id, %error, "an outcome can't be recorded");
                    return;
                }
            }
        }
    }

    async fn release(&self, command: &Command) {
        if let Err(error) = self.conductor.store().release(&[command.row()]).await {
            tracing::warn!(workflow = %command.id, %error, "a command waits for its redelivery");
        }
    }
}

fn open_step<'a>(state: &'a State, command: &Command) -> Option<&'a StepState> {
    if state.phase.is_final() {
        return None;
    }
    let step = state.step(command.step)?;
    let open = step.side_status(command.side).is_some_and(StepStatus::is_open);
    (open && step.progress(command.side).attempt() == command.attempt).then_some(step)
}

/// Whether a command that was not sent yet is to be taken back.
fn unwanted(state: &State, step: &StepState, side: Side) -> bool {
    side == Side::Execute
        && (state.phase == Phase::RollingBack || (state.rollback_pending && step.doubt_until.is_none()))
}

fn lost(command: &Command, plan: &Plan, now: Timestamp) -> Input {
    let timeout = plan.step(command.step).map(|step| step.attempt_timeout(command.side)).unwrap_or_default();
    Input::LoseAttempt {
        step: command.step,
        side: command.side,
        attempt: command.attempt,
        doubt_until: now.after(timeout),
    }
}

/// How long this attempt may take: not past the step's limit for all attempts together.
fn attempt_time(plan: &Plan, state: &State, command: &Command, now: Timestamp) -> Option<Duration> {
    let step = plan.step(command.step)?;
    let timeout = step.attempt_timeout(command.side);
    let in_doubt_for_ever = plan.pivot() == Some(command.step)
        && state.step(command.step).is_some_and(|step| step.doubt_until.is_some());
    let total = step.timeout.total.filter(|_| command.side == Side::Execute && !in_doubt_for_ever);
    let last = total.and_then(|total| Some(state.step(command.step)?.execute.queued_at?.after(total)));
    Some(last.map_or(timeout, |last| timeout.min(last.since(now))))
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Retryable { .. } => "retryable",
        Outcome::Refused { .. } => "refused",
        Outcome::Unknown { .. } => "unknown",
    }
}
