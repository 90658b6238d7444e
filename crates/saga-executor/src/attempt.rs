//! The life of one command: check that it is still needed and was not sent before, run the attempt, report the
//! outcome.

mod disposition;

use crate::concurrency::{Acquired, Permits};
use crate::in_flight::{InFlight, InFlightGuard};
use crate::metrics;
use crate::settings::Settings;
use crate::spans;
use crate::task::{DeadlineOutcome, Heartbeat, Participant, Task, TaskCall};
use disposition::Disposition;
use goconductor_queue::{Message, Topic};
use goconductor_saga::{Action, Failure, Input, Outcome, Plan, Refusal, Side, State, Timestamp};
use goconductor_store::DeadLetter;
use goconductor_telemetry::trace;
use goconductor_transition::trace::stored;
use goconductor_transition::{Command, Engine, Error, clock};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// The delay between attempts to report an outcome while the store is unavailable.
const REPORT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// The delay between attempts to load a workflow, or to store a dead letter, while the store is unavailable.
const LOAD_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The delay before a command is tried again that could not be sent, because this process lacked a resource.
const SHORTAGE_RETRY_DELAY: Duration = Duration::from_millis(500);
/// The minimum interval between warnings about a lack of resources.
const SHORTAGE_WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Runs the commands of an executor.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) engine: Arc<Engine>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) in_flight: Arc<InFlight>,
    /// Cancelled when shutdown no longer waits for attempts in flight.
    pub(crate) give_up: CancellationToken,
    /// When a lack of resources was last logged.
    pub(crate) shortage_logged: Mutex<Option<Instant>>,
}

/// The time at which a command was received, by both clocks.
///
/// It is read before the command is acknowledged. If the process is paused in between, the pause counts against the
/// attempt's timeout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    at: Timestamp,
    instant: Instant,
}

impl Received {
    pub(crate) fn now() -> Self {
        Self { at: clock::now(), instant: clock::monotonic() }
    }
}

/// The end of an attempt.
struct Ended {
    outcome: Outcome,
    /// Whether the start of the attempt was recorded.
    recorded: bool,
}

/// A command, and what it needs until its end.
struct CommandCall<'a> {
    command: Command,
    topic: &'a Topic,
    participant: Arc<dyn Participant>,
    guard: InFlightGuard,
}

/// The workflow that a command belongs to.
struct AttemptContext {
    plan: Arc<Plan>,
    state: Arc<State>,
}

impl AttemptContext {
    /// Returns the service of the command.
    fn service(&self, command: &Command) -> &str {
        let action = self.plan.command_action(&self.state, command.step, command.side);
        action.and_then(Action::service).unwrap_or_default()
    }

    /// Returns the action that the service must perform.
    fn action(&self, command: &Command) -> Option<&str> {
        self.plan.command_action(&self.state, command.step, command.side)?.operation()
    }
}

impl Runner {
    /// Handles a command. It returns no error: a command that cannot be handled now is redelivered by the ledger.
    pub(crate) async fn handle(
        &self,
        command: Command,
        topic: &Topic,
        received: Received,
        participant: Arc<dyn Participant>,
        permits: Permits,
    ) {
        let span = tracing::debug_span!(
            "command",
            workflow = %command.id,
            step = command.step.0,
            side = command.side.as_str(),
            attempt = command.attempt,
            namespace = permits.namespace(),
        );
        let handled = async {
            let Some(guard) = self.in_flight.track(command.row()) else {
                count_refused(&command, "under_way");
                return;
            };
            // The span of the command needs the state: it is a child of the span that started the workflow.
            let Some(state) = self.current_state(&command, topic, received).await else { return };
            let span = spans::command(self.engine.queue().system(), topic, &command, &state);
            let call = CommandCall { command, topic, participant, guard };
            self.handle_command(call, state, received, permits).instrument(span).await;
        };
        handled.instrument(span).await;
    }

    async fn handle_command(
        &self,
        call: CommandCall<'_>,
        mut state: Arc<State>,
        mut received: Received,
        mut permits: Permits,
    ) {
        let CommandCall { command, topic, participant, guard } = call;
        loop {
            let disposition = match self.decide_disposition(&command, state, received).await {
                Ok(disposition) => disposition,
                Err(error) => {
                    tracing::warn!(workflow = %command.id, %error, "executor failed to load a workflow; the ledger will redeliver the command");
                    return;
                }
            };
            let context = match disposition {
                Disposition::Run(context) => context,
                Disposition::Submit(input) => return self.report(&command, input).await,
                Disposition::Release => return self.release(&command).await,
                Disposition::Drop(reason) => return count_refused(&command, reason),
                Disposition::DeadLetter(reason) => return self.dead_letter(&command, topic, reason).await,
            };
            let acquired = match context.action(&command) {
                Some(action) => permits.acquire_action(action, &guard.cancelled).await,
                None => Acquired::Immediately,
            };
            let may_send = match acquired {
                Acquired::Immediately => {
                    let cancelled = guard.cancelled.clone();
                    if self.run(&command, &context, received, cancelled, &*participant).await {
                        return;
                    }
                    self.resource_may_be_free(&permits, &guard.cancelled).await
                }
                Acquired::AfterWait => true,
                Acquired::Cancelled => false,
            };
            if !may_send {
                return self.release(&command).await;
            }
            // The attempt's timeout starts now, and the workflow may have changed.
            received = Received::now();
            let Some(current) = self.current_state(&command, topic, received).await else { return };
            state = current;
        }
    }

    /// Waits before a command is tried again that was not sent. Returns `false` if the command is no longer needed or
    /// the lane stops.
    async fn resource_may_be_free(&self, permits: &Permits, cancelled: &CancellationToken) -> bool {
        // Cancel-safe: all arms only wait.
        tokio::select! {
            () = cancelled.cancelled() => false,
            () = permits.stopped() => false,
            () = tokio::time::sleep(SHORTAGE_RETRY_DELAY) => true,
        }
    }

    /// Logs a command that was not sent, but not each of many.
    fn log_shortage(&self, command: &Command, failure: &Failure) {
        let now = clock::monotonic();
        let mut logged = self.shortage_logged.lock();
        if logged.is_some_and(|at| now.saturating_duration_since(at) < SHORTAGE_WARN_INTERVAL) {
            return;
        }
        *logged = Some(now);
        let (code, reason) = (&failure.code, &failure.message);
        tracing::warn!(workflow = %command.id, code, reason, "executor failed to send commands for lack of a resource of its own; they wait and do not count as attempts");
    }

    /// Runs an attempt and reports its outcome. Returns `false` if the command was not sent and nothing was recorded.
    async fn run(
        &self,
        command: &Command,
        context: &AttemptContext,
        received: Received,
        cancelled: CancellationToken,
        participant: &dyn Participant,
    ) -> bool {
        let Some(mut task) = self.task(command, context, received, cancelled).await else { return true };
        let span = tracing::debug_span!("attempt", step = task.step, action = task.action);
        spans::begin_attempt(&mut task, context.service(command), &context.state);
        let attempt = self.attempt(command, &task, received, participant, context);
        let ended = attempt.instrument(task.span.clone()).instrument(span).await;
        spans::end_attempt(&task, ended.as_ref().map(|ended| &ended.outcome));
        let Some(Ended { outcome, recorded }) = ended else { return true };
        if let Outcome::NotSent { failure } = &outcome {
            self.log_shortage(command, failure);
            if !recorded {
                return false;
            }
        }
        let (action, operation) = (task.action.clone(), task.side.as_str());
        let duration = metrics::ATTEMPT_DURATION.with([action.clone().into(), operation.into()]);
        // Recorded within the span, so that an exemplar has its ids.
        task.span.in_scope(|| duration.record(received.instant.elapsed().as_secs_f64()));
        metrics::ATTEMPTS
            .with([action.into(), operation.into(), spans::outcome_name(&outcome).into()])
            .increment(1);
        let input = Input::ReportOutcome {
            step: command.step,
            side: command.side,
            attempt: command.attempt,
            started_at: received.at,
            deadline: task.deadline,
            outcome,
        };
        self.report(command, input).await;
        true
    }

    /// Creates the task of an attempt. Returns `None` if its input cannot be computed, and reports that.
    async fn task(
        &self,
        command: &Command,
        context: &AttemptContext,
        received: Received,
        cancelled: CancellationToken,
    ) -> Option<Task> {
        let (plan, state) = (&context.plan, &context.state);
        let step = plan.step(command.step)?;
        let step_action = plan.command_action(state, command.step, command.side)?;
        let action = step_action.operation()?;
        let call = step_action.call().cloned();
        let call = call.map(|call| TaskCall { namespace: state.namespace.clone(), call });
        let timeout = plan.attempt_timeout(state, command.step, command.side, received.at)?;
        let deadline = received.at.after(timeout);
        // Without an answer, the process shuts down, and the command is delivered again.
        let payload_slot = self.engine.payload_slot();
        let (index, side) = (command.step, command.side);
        let input = self.engine.command_input(plan, state, index, side, &payload_slot).await.ok()?;
        let input = match input {
            Ok(input) => input,
            Err(error) => {
                let failure = Failure::of("INPUT_EXPRESSION_FAILED", error.to_string());
                let outcome = Outcome::Refused { failure };
                let (step, side, attempt) = (command.step, command.side, command.attempt);
                let started_at = received.at;
                let input = Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome };
                self.report(command, input).await;
                return None;
            }
        };
        let lock_tokens = self.engine.lock_tokens(plan, state, command.step, command.side).await.ok()?;
        let heartbeat = step.timeouts(command.side).heartbeat;
        Some(Task {
            workflow: state.known_id(),
            rules: state.rules,
            step: step.name.clone(),
            side: command.side,
            is_probe: command.side == Side::Execute && state.step(command.step)?.probes.is_some(),
            action: action.to_owned(),
            call,
            attempt: command.attempt,
            idempotency_key: state.idempotency_key(plan, command.step, command.side),
            input,
            payload_slot,
            lock_tokens,
            deadline,
            timeout,
            heartbeat: heartbeat.map(Heartbeat::new),
            cancelled,
            at_deadline: DeadlineOutcome::default(),
            span: tracing::Span::none(),
            trace: None,
        })
    }

    /// Runs the attempt. Returns `None` if the command was returned to the ledger, or if shutdown gave the attempt up
    /// and its outcome is unknown.
    async fn attempt(
        &self,
        command: &Command,
        task: &Task,
        received: Received,
        participant: &dyn Participant,
        context: &AttemptContext,
    ) -> Option<Ended> {
        let step = context.plan.step(command.step);
        let mut recorded = step.is_some_and(|step| step.timeouts(command.side).start_is_recorded_first());
        if recorded && !self.record_start(command, task, received).await {
            return None;
        }
        let left = task.timeout.checked_sub(received.instant.elapsed()).filter(|left| !left.is_zero());
        let Some(left) = left else {
            // The process was paused past the deadline, so the command must not be sent.
            if recorded {
                let failure = Failure::of("NOT_SENT", "the executor was paused past the deadline");
                return Some(Ended { outcome: Outcome::NotSent { failure }, recorded });
            }
            self.release(command).await;
            return None;
        };
        let call = tokio::time::timeout(left, participant.attempt(task));
        tokio::pin!(call);
        // Cancel-safe: only the sleeps are dropped. The ledger treats an attempt that was given up as one that may
        // have taken effect.
        let ended = tokio::select! {
            ended = &mut call => Some(ended),
            () = self.give_up.cancelled() => None,
            () = tokio::time::sleep(self.settings.start_grace), if !recorded => {
                recorded = true;
                let started = self.engine.submit_apart(command.id, self.started(command, task, received, true));
                let (written, ended) = tokio::join!(started, async {
                    tokio::select! {
                        ended = &mut call => Some(ended),
                        () = self.give_up.cancelled() => None,
                    }
                });
                if let Err(error) = written {
                    tracing::debug!(workflow = %command.id, %error, "executor failed to record the start of an attempt");
                }
                ended
            }
        };
        let outcome = match ended {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => task.at_deadline.pass().unwrap_or_else(|| Outcome::Unknown {
                failure: Failure::of("TIMED_OUT", format!("no response within {:?}", task.timeout)),
                not_before: None,
                answered: false,
            }),
            None => task.at_deadline.pass()?,
        };
        Some(Ended { outcome, recorded })
    }

    /// Records the start of an attempt before the command is sent. Returns whether it was recorded.
    async fn record_start(&self, command: &Command, task: &Task, received: Received) -> bool {
        match self.engine.submit_apart(command.id, self.started(command, task, received, false)).await {
            Ok(_) => true,
            Err(Error::Refused(Refusal::Conflict(_))) => {
                self.release(command).await;
                false
            }
            Err(error) => {
                tracing::debug!(workflow = %command.id, %error, "executor did not start an attempt");
                false
            }
        }
    }

    fn started(&self, command: &Command, task: &Task, received: Received, sent: bool) -> Input {
        Input::StartAttempt {
            step: command.step,
            side: command.side,
            attempt: command.attempt,
            started_at: received.at,
            deadline: task.deadline,
            executor: self.settings.identity.clone(),
            sent,
            trace: trace::context_of(&task.span).map(stored),
        }
    }

    /// Submits an input until it is committed or refused. It is refused if another input has settled the attempt.
    async fn report(&self, command: &Command, mut input: Input) {
        loop {
            // A large output is stored once, and only the reference to it is repeated.
            let submitted = match self.engine.store_values(command.id, &mut input).await {
                Ok(()) => self.engine.submit_stored(command.id, input.clone()).await.map(drop),
                Err(error) => Err(error),
            };
            match submitted {
                Ok(()) => return,
                Err(error) if error.is_retryable() => {
                    tracing::warn!(workflow = %command.id, %error, "executor failed to report an outcome; retrying");
                    // Cancel-safe: the ledger redelivers a command whose outcome was not reported.
                    tokio::select! {
                        () = self.give_up.cancelled() => return,
                        () = tokio::time::sleep(REPORT_RETRY_DELAY) => {}
                    }
                }
                Err(Error::Refused(refusal)) => {
                    metrics::LATE_RESULTS.increment(1);
                    tracing::debug!(workflow = %command.id, %refusal, "outcome arrived after the attempt had ended");
                    return;
                }
                Err(error) => {
                    tracing::error!(workflow = %command.id, %error, "executor failed to record an outcome");
                    return;
                }
            }
        }
    }

    /// Stores a command that names something that does not exist, for an operator.
    async fn dead_letter(&self, command: &Command, topic: &Topic, reason: &str) {
        let letter = [to_dead_letter(topic, &command.message(None), reason)];
        // The command was acknowledged, and no row of the ledger stands for it: nothing else would report it.
        while let Err(error) = self.engine.store().put_dead_letters(&letter).await {
            if !error.is_retryable() {
                tracing::error!(workflow = %command.id, reason, %error, "executor failed to store a dead letter");
                return;
            }
            tracing::warn!(workflow = %command.id, reason, %error, "executor failed to store a dead letter; retrying");
            // Cancel-safe: a sleep has no state.
            tokio::select! {
                () = self.give_up.cancelled() => return,
                () = tokio::time::sleep(LOAD_RETRY_DELAY) => {}
            }
        }
    }

    async fn release(&self, command: &Command) {
        if let Err(error) = self.engine.store().release(&[command.row()]).await {
            tracing::warn!(workflow = %command.id, %error, "executor failed to release a command; its redelivery time must expire first");
        }
    }
}

fn count_refused(command: &Command, reason: &'static str) {
    metrics::COMMANDS_REFUSED.with([reason.into()]).increment(1);
    tracing::debug!(workflow = %command.id, reason, "executor dropped a command");
}

/// Converts a message to a dead letter. Its id is a digest of its content, so that duplicates are stored once.
pub(crate) fn to_dead_letter(topic: &Topic, message: &Message, reason: &str) -> DeadLetter {
    metrics::DEAD_LETTERS.increment(1);
    tracing::warn!(%topic, reason, "executor dead-lettered a message");
    let mut digest = blake3::Hasher::new();
    for part in [topic.to_string().as_bytes(), message.key.as_bytes(), &message.payload] {
        digest.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes()).update(part);
    }
    DeadLetter {
        id: digest.finalize().to_hex().as_str().chars().take(32).collect(),
        topic: topic.to_string(),
        key: message.key.clone(),
        payload: message.payload.to_vec(),
        reason: reason.to_owned(),
        at: clock::now(),
    }
}
