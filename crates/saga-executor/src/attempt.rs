//! One command's way: is it still wanted, was it sent before, run it, report how it ended.

use crate::Settings;
use crate::in_flight::InFlight;
use crate::room::{Entered, Room};
use crate::task::{Participant, Pulse, Task};
use goconductor_queue::{Message, Topic};
use goconductor_saga::{
    Action, Failure, Input, Outcome, Plan, Refusal, Side, State, StepState, StepStatus, Timestamp,
};
use goconductor_store::DeadLetter;
use goconductor_transition::{Command, Engine, Error, clock};
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
    pub(crate) engine: Arc<Engine>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) in_flight: Arc<InFlight>,
    /// Cancelled when attempts under way are not awaited any longer.
    pub(crate) give_up: CancellationToken,
}

/// When a command was taken on, by both clocks. Before it was acknowledged: whoever is paused in between
/// finds its time used up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    at: Timestamp,
    instant: Instant,
}

impl Taken {
    /// It is taken on now.
    pub(crate) fn now() -> Self {
        Self { at: clock::now(), instant: clock::monotonic() }
    }
}

/// What is to be done with a command.
enum Verdict {
    Run(Box<About>),
    Submit(Input),
    Release,
    /// It is refused; why is counted.
    Drop(&'static str),
    /// It names what does not exist.
    DeadLetter(&'static str),
}

/// A command with what it is about.
struct About {
    plan: Arc<Plan>,
    state: Arc<State>,
}

impl About {
    /// What the service is asked to do.
    fn action(&self, command: &Command) -> Option<&str> {
        let Action::Run { action, .. } = self.plan.step(command.step)?.action(command.side)?;
        Some(action)
    }
}

impl Runner {
    /// Sees a command through. Never fails: what goes wrong is left to the ledger.
    pub(crate) async fn see_through(
        &self,
        command: Command,
        topic: &Topic,
        mut taken: Taken,
        participant: Arc<dyn Participant>,
        mut room: Room,
    ) {
        let Some(entry) = self.in_flight.enter(command.row()) else {
            refuse(&command, "under_way");
            return;
        };
        let verdict = loop {
            let verdict = match self.judge(&command, taken).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    tracing::warn!(workflow = %command.id, %error, "a command is left to the ledger");
                    return;
                }
            };
            let Verdict::Run(about) = &verdict else { break verdict };
            let Some(action) = about.action(&command) else { break verdict };
            match room.enter(action, &entry.cancelled).await {
                Entered::Free => break verdict,
                // Its time begins now, and it may not be wanted any more.
                Entered::Waited => taken = Taken::now(),
                Entered::Left => break Verdict::Release,
            }
        };
        match verdict {
            Verdict::Run(about) => {
                let cancelled = entry.cancelled.clone();
                self.run(&command, &about, taken, cancelled, &*participant).await;
            }
            Verdict::Submit(input) => self.report(&command, input).await,
            Verdict::Release => self.release(&command).await,
            Verdict::Drop(why) => refuse(&command, why),
            Verdict::DeadLetter(why) => self.bury(&command, topic, why).await,
        }
    }

    async fn judge(&self, command: &Command, taken: Taken) -> Result<Verdict, Error> {
        // By the publisher's clock, which may be ahead of ours.
        let age = taken.at.since(command.published_at).max(command.published_at.since(taken.at));
        let state = match &command.state {
            _ if command.redelivery > 0 || age > STALE => {
                self.engine.load(command.id).await.map(|loaded| Arc::new(loaded.state))
            }
            // A copy of what has just ended here must not be taken for new.
            Some(state) if !self.in_flight.ended_lately(&command.row()) => Ok(self.engine.adopt(state)),
            Some(_) | None => self.engine.cached_or_load(command.id).await,
        };
        let mut state = match state {
            Ok(state) => state,
            Err(Error::NoSuchWorkflow) => return Ok(Verdict::DeadLetter("no such workflow")),
            Err(error) => return Err(error),
        };
        if state.seq < command.seq {
            state = Arc::new(self.engine.load(command.id).await?.state);
        }
        let plan = self.engine.plan_of(&state).await?;
        if state.step(command.step).is_none() {
            return Ok(Verdict::DeadLetter("the workflow has no such step"));
        }
        let Some(step) = open_step(&state, command) else {
            let ended = state.phase.is_final();
            return Ok(Verdict::Drop(if ended { "ended" } else { "settled" }));
        };
        let running = step.progress(command.side).running.is_some();
        if command.redelivery > 0 {
            return Ok(Verdict::Submit(lost(command, &plan, taken.at)));
        }
        if running {
            // Its start is on record, so this is a copy: the first is under way elsewhere.
            return Ok(Verdict::Drop("under_way"));
        }
        if command.side == Side::Execute && !state.wants_execute(command.step) {
            return Ok(Verdict::Submit(Input::WithdrawCommand {
                step: command.step,
                attempt: command.attempt,
            }));
        }
        if state.paused {
            return Ok(Verdict::Release);
        }
        Ok(Verdict::Run(Box::new(About { plan, state })))
    }

    async fn run(
        &self,
        command: &Command,
        about: &About,
        taken: Taken,
        cancelled: CancellationToken,
        participant: &dyn Participant,
    ) {
        let Some(task) = self.task(command, about, taken, cancelled).await else { return };
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
    async fn task(
        &self,
        command: &Command,
        about: &About,
        taken: Taken,
        cancelled: CancellationToken,
    ) -> Option<Task> {
        let (plan, state) = (&about.plan, &about.state);
        let step = plan.step(command.step)?;
        let Action::Run { action, .. } = step.action(command.side)?;
        let timeout = plan.attempt_timeout(state, command.step, command.side, taken.at)?;
        let deadline = taken.at.after(timeout);
        let input = match plan.command_input(state, command.step, command.side, self.engine.expressions()) {
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
            pulse: step.timeout.heartbeat.filter(|_| command.side == Side::Execute).map(Pulse::of),
            cancelled,
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
            match self.engine.submit(command.id, self.started(command, task, taken, false)).await {
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
            if recorded {
                let failure = Failure::of("NOT_SENT", "the executor was held up past the deadline");
                return Some(Outcome::Retryable { failure, not_before: None });
            }
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
                let started = self.engine.submit(command.id, self.started(command, task, taken, true));
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
            match self.engine.submit(command.id, input.clone()).await {
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

    /// Keeps a command that names what does not exist, for a person to look at.
    async fn bury(&self, command: &Command, topic: &Topic, reason: &str) {
        let letter = dead_letter(topic, &command.message(None), reason);
        if let Err(error) = self.engine.store().put_dead_letters(&[letter]).await {
            tracing::error!(workflow = %command.id, reason, %error, "a dead letter could not be kept");
        }
    }

    async fn release(&self, command: &Command) {
        if let Err(error) = self.engine.store().release(&[command.row()]).await {
            tracing::warn!(workflow = %command.id, %error, "a command waits for its redelivery");
        }
    }
}

fn refuse(command: &Command, reason: &'static str) {
    metrics::counter!("goconductor_commands_refused_total", "reason" => reason).increment(1);
    tracing::debug!(workflow = %command.id, reason, "a command is not acted on");
}

/// A message that nobody can act on, named by what it holds, so that copies are kept once.
pub(crate) fn dead_letter(topic: &Topic, message: &Message, reason: &str) -> DeadLetter {
    metrics::counter!("goconductor_dead_letters_total").increment(1);
    tracing::warn!(%topic, reason, "a message goes to the dead letters");
    let mut name = blake3::Hasher::new();
    for part in [topic.to_string().as_bytes(), message.key.as_bytes(), &message.payload] {
        name.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes()).update(part);
    }
    DeadLetter {
        id: name.finalize().to_hex().as_str().chars().take(32).collect(),
        topic: topic.to_string(),
        key: message.key.clone(),
        payload: message.payload.to_vec(),
        reason: reason.to_owned(),
        at: clock::now(),
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

fn lost(command: &Command, plan: &Plan, now: Timestamp) -> Input {
    let timeout = plan.step(command.step).map(|step| step.attempt_timeout(command.side)).unwrap_or_default();
    Input::LoseAttempt {
        step: command.step,
        side: command.side,
        attempt: command.attempt,
        doubt_until: now.after(timeout),
    }
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Retryable { .. } => "retryable",
        Outcome::Refused { .. } => "refused",
        Outcome::Unknown { .. } => "unknown",
    }
}
