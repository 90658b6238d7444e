//! One workflow in memory, with a virtual clock.

use crate::constructs::timer_input;
use crate::error::Error;
use crate::ledger::{Ledger, REDELIVERY};
use goconductor_saga::{
    Due, Event, Expressions, Failure, Input, Json, Kind, Outcome, OwedKey, Plan, Side, StartWorkflow, State,
    Status, StepIndex, Timestamp, WorkflowId, decide, evolve, start, transition,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The id of a simulated workflow, unless the start sets another.
const WORKFLOW: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
/// The virtual time of the start: 2026-01-01T00:00:00Z.
const STARTED_AT: Timestamp = Timestamp(1_767_225_600_000_000);
/// The time after which the start of an attempt is recorded.
const START_GRACE: Duration = Duration::from_millis(200);
/// More locks than one request has, so that the tokens of later requests are higher.
const MAX_LOCKS: u64 = 1000;
/// The executor in the history.
const EXECUTOR: &str = "simulator";

/// Limits of a simulation.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of events of a workflow.
    pub events: u64,
    /// Maximum number of deliveries and reports, those without an event included.
    pub turns: u64,
    /// Maximum virtual time.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: 100_000, turns: 400_000, time: Duration::from_secs(100 * 366 * 86_400) }
    }
}

/// The start of a simulated workflow.
#[derive(Debug, Clone, Default)]
pub struct SimulatedStart {
    /// The id. Delays of retries depend on it. `None` means a fixed id.
    pub id: Option<Uuid>,
    /// The input.
    pub input: Json,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The virtual time of the start. `None` means 2026-01-01T00:00:00Z.
    pub at: Option<Timestamp>,
}

/// A command that was delivered to a participant.
#[derive(Debug, Clone)]
pub struct SimulatedCall {
    /// The step.
    pub step: StepIndex,
    /// The name of the step.
    pub name: String,
    /// The side of the step.
    pub side: Side,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The service.
    pub service: String,
    /// The operation.
    pub operation: String,
    /// The idempotency key.
    pub key: String,
    /// The input of the participant.
    pub input: Arc<Json>,
    /// How long the attempt may take.
    pub timeout: Duration,
    /// Whether the call asks for the outcome of an earlier attempt, and does not act.
    pub is_probe: bool,
}

/// The response of a participant, or its absence.
#[derive(Debug, Clone, PartialEq)]
pub enum SimulatedResponse {
    /// The participant reports an outcome.
    Outcome(Outcome),
    /// The participant does not respond before the deadline.
    TimedOut,
    /// The executor of the attempt stops, so that nothing is reported and the command is delivered again.
    Lost,
}

/// The next activity of a simulation.
#[derive(Debug, Clone)]
pub enum NextActivity {
    /// A participant is called. Pass its response to [`Simulation::respond`].
    Call(Box<SimulatedCall>),
    /// Nothing happens without an input: the workflow is in error, is paused, or waits for a signal.
    Idle,
    /// The workflow has a final status.
    Ended,
}

/// An attempt in flight.
#[derive(Debug, Clone)]
struct SimulatedAttempt {
    step: StepIndex,
    side: Side,
    attempt: u32,
    started_at: Timestamp,
    deadline: Timestamp,
    recorded: bool,
    reports_at: Timestamp,
    outcome: Outcome,
    /// Whether the outcome is reported twice.
    twice: bool,
}

/// One workflow in memory.
#[derive(Debug)]
pub struct Simulation {
    plan: Arc<Plan>,
    expressions: Arc<dyn Expressions>,
    limits: Limits,
    started_at: Timestamp,
    now: Timestamp,
    state: State,
    history: Vec<Event>,
    ledger: Ledger,
    attempts: Vec<SimulatedAttempt>,
    transitions: u64,
    turns: u64,
}

impl Simulation {
    /// Starts a workflow.
    #[must_use]
    pub fn start(
        plan: Arc<Plan>,
        expressions: Arc<dyn Expressions>,
        begin: SimulatedStart,
        limits: Limits,
    ) -> Self {
        let now = begin.at.unwrap_or(STARTED_AT);
        let request = StartWorkflow {
            id: WorkflowId(begin.id.unwrap_or(WORKFLOW)),
            namespace: "default".to_owned(),
            input: begin.input,
            labels: begin.labels,
            actor: None,
            trace: None,
        };
        let (events, state) = start(&plan, expressions.as_ref(), &request, now);
        let mut simulation = Self {
            plan: Arc::clone(&plan),
            expressions,
            limits,
            started_at: now,
            now,
            state: state.clone(),
            history: Vec::new(),
            ledger: Ledger::default(),
            attempts: Vec::new(),
            transitions: 1,
            turns: 0,
        };
        let change = transition(&plan, None, events, state);
        simulation.ledger.apply(change.ledger, now);
        simulation.history = change.events;
        simulation
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Returns the events, in order.
    #[must_use]
    pub fn history(&self) -> &[Event] {
        &self.history
    }

    /// Returns the virtual time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now.since(self.started_at)
    }

    /// Returns the virtual time of the start.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Returns the number of transitions, the start included.
    #[must_use]
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Submits an input, such as a cancel. Returns whether the rules accepted it.
    ///
    /// # Errors
    /// Returns [`Error::Limit`] if the history is too long.
    pub fn submit(&mut self, input: &Input) -> Result<bool, Error> {
        let decided = decide(&self.plan, self.expressions.as_ref(), &self.state, input, self.now);
        let Ok((events, after)) = decided else { return Ok(false) };
        let change = transition(&self.plan, Some(&self.state), events, after);
        self.ledger.apply(change.ledger, self.now);
        self.history.extend(change.events);
        self.state = change.state;
        self.transitions = self.transitions.saturating_add(1);
        check("events", self.state.seq, self.limits.events)?;
        Ok(true)
    }

    /// Advances the workflow to the next call of a participant, or until nothing happens any more.
    ///
    /// # Errors
    /// Returns [`Error::Limit`] if a limit was reached, and [`Error::DuplicateAccepted`] if a repeated outcome changed
    /// the workflow.
    pub fn advance(&mut self) -> Result<NextActivity, Error> {
        loop {
            self.turns = self.turns.saturating_add(1);
            check("deliveries", self.turns, self.limits.turns)?;
            if self.state.phase.is_final() {
                return Ok(NextActivity::Ended);
            }
            let row = self.ledger.first();
            let attempt = self.first_attempt();
            let (at, row) = match (attempt, row) {
                (None, None) => return Ok(NextActivity::Idle),
                (Some((at, _)), Some((due, _))) if at <= due => (at, None),
                (Some((at, _)), None) => (at, None),
                (_, Some((due, key))) => (due, Some(key)),
            };
            self.now = self.now.max(at);
            let seconds = |time: Duration| time.as_secs();
            check("seconds of virtual time", seconds(self.elapsed()), seconds(self.limits.time))?;
            match (row, attempt) {
                (Some(key), _) => {
                    if let Some(call) = self.deliver(key)? {
                        return Ok(NextActivity::Call(Box::new(call)));
                    }
                }
                (None, Some((_, position))) => self.advance_attempt(position)?,
                (None, None) => return Ok(NextActivity::Idle),
            }
        }
    }

    /// Records the response to a call. It arrives `after` the delivery, but not after the deadline.
    pub fn respond(&mut self, call: &SimulatedCall, response: SimulatedResponse, after: Duration) {
        let (step, side, number) = (call.step, call.side, call.attempt);
        let position = self
            .attempts
            .iter()
            .position(|each| each.step == step && each.side == side && each.attempt == number);
        let Some(position) = position else { return };
        match response {
            SimulatedResponse::Lost => {
                self.attempts.remove(position);
                self.ledger.delay(&OwedKey::Command(step, side), self.now.after(REDELIVERY));
            }
            // The attempt ends at its deadline anyway.
            SimulatedResponse::TimedOut => {}
            SimulatedResponse::Outcome(outcome) => {
                if let Some(attempt) = self.attempts.get_mut(position) {
                    let at = attempt.started_at.after(after);
                    if at < attempt.deadline {
                        attempt.reports_at = at;
                        attempt.outcome = outcome;
                    }
                }
            }
        }
    }

    /// Lets the outcome of a call be reported twice. The rules must ignore the second report.
    pub fn report_twice(&mut self, call: &SimulatedCall) {
        let same = |each: &&mut SimulatedAttempt| {
            each.step == call.step && each.side == call.side && each.attempt == call.attempt
        };
        if let Some(attempt) = self.attempts.iter_mut().find(same) {
            attempt.twice = true;
        }
    }

    /// Loses everything that is not durable: the live state and the attempts in flight. The state is rebuilt from the
    /// history.
    ///
    /// # Errors
    /// Returns [`Error::Recovery`] if the rebuilt state differs.
    pub fn crash(&mut self) -> Result<(), Error> {
        self.verify()?;
        self.attempts.clear();
        self.ledger.rebuild(&self.plan, &self.state, self.now);
        Ok(())
    }

    /// Checks that the state is the fold of the history and that the ledger has what the state owes.
    ///
    /// # Errors
    /// Returns [`Error::Recovery`] if one of them differs.
    pub fn verify(&self) -> Result<(), Error> {
        let rebuilt = self.history.iter().fold(None, evolve);
        if rebuilt.as_ref() != Some(&self.state) || !self.ledger.agrees_with(&self.plan, &self.state) {
            return Err(Error::Recovery(self.state.seq));
        }
        Ok(())
    }

    /// Returns the steps that may have had an effect which remains, although the workflow did not complete.
    #[must_use]
    pub fn standing(&self) -> Vec<StepIndex> {
        if self.state.status() == Status::Completed {
            return Vec::new();
        }
        let steps = (0u32..).map(StepIndex).zip(&self.plan.definition().steps).zip(&self.state.steps);
        let stands = steps.filter(|((_, definition), step)| {
            // A step with `compensate: none` declares that there is nothing to undo.
            let has_effect = definition.compensate.is_some() || definition.kind != Kind::Compensatable;
            has_effect && step.may_have_happened() && !step.is_compensated()
        });
        stands.map(|((index, _), _)| index).collect()
    }

    /// Returns the attempt with the next event, and its time.
    fn first_attempt(&self) -> Option<(Timestamp, usize)> {
        let times = self.attempts.iter().enumerate().map(|(position, each)| (each.next_at(), position));
        times.min()
    }

    fn advance_attempt(&mut self, position: usize) -> Result<(), Error> {
        let Some(attempt) = self.attempts.get_mut(position) else { return Ok(()) };
        if attempt.next_at() < attempt.reports_at {
            attempt.recorded = true;
            let input = attempt.started(true);
            self.submit(&input)?;
            return Ok(());
        }
        let attempt = self.attempts.remove(position);
        let input = Input::ReportOutcome {
            step: attempt.step,
            side: attempt.side,
            attempt: attempt.attempt,
            started_at: attempt.started_at,
            deadline: attempt.deadline,
            outcome: attempt.outcome,
        };
        self.submit(&input)?;
        if attempt.twice && self.submit(&input)? {
            let name = self.plan.step(attempt.step).map_or_else(String::new, |step| step.name.clone());
            return Err(Error::DuplicateAccepted(name));
        }
        Ok(())
    }

    /// Delivers a row that is due. Returns the call if it is a command that is sent.
    fn deliver(&mut self, key: OwedKey) -> Result<Option<SimulatedCall>, Error> {
        let OwedKey::Command(step, side) = key else {
            return self.fire(key).map(|()| None);
        };
        let (attempt, withdraw) =
            self.ledger.get(&key).map_or((0, false), |row| (row.owed.attempt, row.owed.due == Due::Withdraw));
        let deliveries = self.ledger.deliver(&key);
        if deliveries > 0 {
            let timeout = self.plan.step(step).map_or(Duration::ZERO, |step| step.attempt_timeout(side));
            let doubt_until = self.now.after(timeout);
            self.submit(&Input::LoseAttempt { step, side, attempt, doubt_until })?;
            return Ok(None);
        }
        if withdraw {
            self.submit(&Input::WithdrawCommand { step, attempt })?;
            return Ok(None);
        }
        self.send(step, side, attempt)
    }

    fn fire(&mut self, key: OwedKey) -> Result<(), Error> {
        // A timer that is refused is tried again later.
        self.ledger.delay(&key, self.now.after(REDELIVERY));
        if let OwedKey::Timer(timer) = key {
            let input = timer_input(&self.state, timer, self.state.seq.saturating_mul(MAX_LOCKS));
            self.submit(&input)?;
        }
        Ok(())
    }

    fn send(&mut self, step: StepIndex, side: Side, number: u32) -> Result<Option<SimulatedCall>, Error> {
        let plan = Arc::clone(&self.plan);
        let definition = plan.step(step);
        let timeout = plan.attempt_timeout(&self.state, step, side, self.now).unwrap_or_default();
        let (Some(definition), Some(action)) = (definition, plan.command_action(&self.state, step, side))
        else {
            return Ok(None);
        };
        let started_at = self.now;
        let deadline = started_at.after(timeout);
        let mut attempt = SimulatedAttempt {
            step,
            side,
            attempt: number,
            started_at,
            deadline,
            recorded: false,
            reports_at: deadline,
            outcome: timed_out(),
            twice: false,
        };
        if side == Side::Execute && definition.timeout.start_is_recorded_first() {
            attempt.recorded = true;
            if !self.submit(&attempt.started(false))? {
                self.ledger.release(&OwedKey::Command(step, side), Some(self.now.after(REDELIVERY)));
                return Ok(None);
            }
        }
        let input = match plan.command_input(&self.state, step, side, self.expressions.as_ref()) {
            Ok(input) => input,
            Err(error) => {
                let failure = Failure::of("INPUT_EXPRESSION_FAILED", error.to_string());
                attempt.reports_at = self.now;
                attempt.outcome = Outcome::Refused { failure };
                self.attempts.push(attempt);
                return Ok(None);
            }
        };
        self.attempts.push(attempt);
        Ok(Some(SimulatedCall {
            step,
            name: definition.name.clone(),
            side,
            attempt: number,
            service: action.service().unwrap_or_default().to_owned(),
            operation: action.operation().unwrap_or_default().to_owned(),
            key: self.state.idempotency_key(&plan, step, side),
            input,
            timeout,
            is_probe: side == Side::Execute
                && self.state.step(step).is_some_and(|step| step.probes.is_some()),
        }))
    }
}

impl SimulatedAttempt {
    /// Returns when the attempt is recorded as started, or else when it reports.
    fn next_at(&self) -> Timestamp {
        let grace = self.started_at.after(START_GRACE);
        if self.recorded { self.reports_at } else { self.reports_at.min(grace) }
    }

    fn started(&self, sent: bool) -> Input {
        Input::StartAttempt {
            step: self.step,
            side: self.side,
            attempt: self.attempt,
            started_at: self.started_at,
            deadline: self.deadline,
            executor: EXECUTOR.to_owned(),
            sent,
            trace: None,
        }
    }
}

/// The outcome of an attempt that no participant responded to.
fn timed_out() -> Outcome {
    let failure = Failure::of("TIMED_OUT", "the participant did not respond before the deadline");
    Outcome::Unknown { failure, not_before: None, answered: false }
}

fn check(what: &'static str, value: u64, limit: u64) -> Result<(), Error> {
    if value > limit { Err(Error::Limit { what, limit }) } else { Ok(()) }
}
