//! One workflow in memory, with a virtual clock.

use crate::attempt::{SimulatedAttempt, timed_out};
use crate::call::{Limits, NextActivity, SimulatedCall, SimulatedResponse, SimulatedStart};
use crate::constructs::timer_input;
use crate::error::Error;
use crate::ledger::{Ledger, REDELIVERY};
use goconductor_saga::{
    Due, Event, Expressions, Failure, Input, Kind, Outcome, OwedKey, Plan, RulesVersion, Side, StartChild,
    StartWorkflow, State, Status, StepIndex, TimerKind, Timestamp, WorkflowId, decide, evolve, start,
    start_child, transition,
};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The id of a simulated workflow, unless the start sets another.
const WORKFLOW: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
/// The virtual time of the start: 2026-01-01T00:00:00Z.
const STARTED_AT: Timestamp = Timestamp(1_767_225_600_000_000);
/// More locks than one request has, so that the tokens of later requests are higher.
const MAX_LOCKS: u64 = 1000;

/// The workflow that has the step whose elements another workflow runs, as it was when they began.
#[derive(Debug, Clone)]
pub(crate) struct ElementOwner {
    pub(crate) plan: Arc<Plan>,
    pub(crate) state: Arc<State>,
}

/// A workflow that runs elements of a step.
#[derive(Debug)]
pub(crate) struct ElementRun {
    pub(crate) step: StepIndex,
    pub(crate) attempt: u32,
    pub(crate) simulation: Box<Simulation>,
}

/// The result of one turn of a simulation.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It did something that needs no driver.
    Went,
    Stopped(NextActivity),
}

/// The next event of a simulation.
#[derive(Debug)]
enum NextEvent {
    /// The turn of a member, by its position.
    Member(usize),
    /// The next event of an attempt, by its position.
    Attempt(usize),
    /// The delivery of a row.
    Row(OwedKey),
}

/// One workflow in memory.
#[derive(Debug)]
pub struct Simulation {
    pub(crate) plan: Arc<Plan>,
    pub(crate) expressions: Arc<dyn Expressions>,
    limits: Limits,
    started_at: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) state: State,
    history: Vec<Event>,
    pub(crate) ledger: Ledger,
    pub(crate) attempts: Vec<SimulatedAttempt>,
    /// The workflows that run elements of steps.
    pub(crate) members: Vec<ElementRun>,
    /// The workflow that has the step, if this one runs elements.
    pub(crate) owner: Option<ElementOwner>,
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
        Self::begun(plan, expressions, limits, (events, state), now)
    }

    /// Starts the workflow that runs elements of a step.
    pub(crate) fn start_nested(
        parent: &Self,
        plan: Arc<Plan>,
        begin: &StartWorkflow,
        child: StartChild,
        owner: ElementOwner,
    ) -> Self {
        let (expressions, now) = (Arc::clone(&parent.expressions), parent.now);
        let rules = RulesVersion::CURRENT;
        let begun = start_child(rules, &plan, expressions.as_ref(), begin, child, now);
        Self { owner: Some(owner), ..Self::begun(plan, expressions, parent.limits, begun, now) }
    }

    fn begun(
        plan: Arc<Plan>,
        expressions: Arc<dyn Expressions>,
        limits: Limits,
        (events, state): (Vec<Event>, State),
        now: Timestamp,
    ) -> Self {
        let mut ledger = Ledger::default();
        let change = transition(&plan, None, events, state);
        ledger.apply(change.ledger, now);
        Self {
            plan,
            expressions,
            limits,
            started_at: now,
            now,
            state: change.state,
            history: change.events,
            ledger,
            attempts: Vec::new(),
            members: Vec::new(),
            owner: None,
            transitions: 1,
            turns: 0,
        }
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

    /// Returns the number of events, those of the elements of steps included.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.members().fold(self.state.seq, |sum, member| sum.saturating_add(member.events()))
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
        let decided = self
            .with_expressions(|expressions| decide(&self.plan, expressions, &self.state, input, self.now));
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
            match self.turn()? {
                Turn::Went => {}
                Turn::Stopped(activity) => return Ok(activity),
            }
        }
    }

    /// Does what is due first.
    pub(crate) fn turn(&mut self) -> Result<Turn, Error> {
        self.turns = self.turns.saturating_add(1);
        check("deliveries", self.turns, self.limits.turns)?;
        if self.state.phase.is_final() {
            return Ok(Turn::Stopped(NextActivity::Ended));
        }
        let Some((at, next)) = self.next_event() else { return Ok(Turn::Stopped(NextActivity::Idle)) };
        self.now = self.now.max(at);
        let seconds = |time: Duration| time.as_secs();
        check("seconds of virtual time", seconds(self.elapsed()), seconds(self.limits.time))?;
        match next {
            NextEvent::Member(position) => self.member_turn(position),
            NextEvent::Attempt(position) => self.advance_attempt(position).map(|()| Turn::Went),
            NextEvent::Row(key) => {
                let call = self.deliver(key)?;
                Ok(call.map_or(Turn::Went, |call| Turn::Stopped(NextActivity::Call(Box::new(call)))))
            }
        }
    }

    /// Returns when something happens next without an input.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.next_event().map(|(at, _)| at)
    }

    /// Returns what happens next without an input, and when. Of events at the same time, a member's precedes an attempt's, and
    /// an attempt's that of a row.
    fn next_event(&self) -> Option<(Timestamp, NextEvent)> {
        if self.state.phase.is_final() {
            return None;
        }
        let member = self.first_member().map(|(at, position)| (at, NextEvent::Member(position)));
        let attempt = self.first_attempt().map(|(at, position)| (at, NextEvent::Attempt(position)));
        let row = self.ledger.first().map(|(at, key)| (at, NextEvent::Row(key)));
        // The first of several minima.
        [member, attempt, row].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Records the response to a call. It arrives `after` the delivery, but not after the deadline.
    pub fn respond(&mut self, call: &SimulatedCall, response: SimulatedResponse, after: Duration) {
        if let Some((member, call)) = self.member_of(call) {
            return member.respond(&call, response, after);
        }
        let (step, side, number) = (call.step, call.side, call.attempt);
        let position = self
            .attempts
            .iter()
            .position(|each| each.step == step && each.side == side && each.attempt == number);
        let Some(position) = position else { return };
        match response {
            SimulatedResponse::Lost => {
                let key = match self.attempts.remove(position).is_child {
                    true => OwedKey::Timer(TimerKind::StepChild(step)),
                    false => OwedKey::Command(step, side),
                };
                self.ledger.delay(&key, self.now.after(REDELIVERY));
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
        if let Some((member, call)) = self.member_of(call) {
            return member.report_twice(&call);
        }
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
        self.members_mut().try_for_each(Self::crash)
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
        self.members().try_for_each(Self::verify)
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
        let input = if attempt.is_child {
            self.played_child_ended(attempt.step, attempt.side, attempt.outcome)
        } else {
            Input::ReportOutcome {
                step: attempt.step,
                side: attempt.side,
                attempt: attempt.attempt,
                started_at: attempt.started_at,
                deadline: attempt.deadline,
                outcome: attempt.outcome,
            }
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
        let (step, side) = match key {
            OwedKey::Command(step, side) => (step, side),
            OwedKey::Timer(TimerKind::StepChild(step)) => return self.drive_child(step),
            OwedKey::Timer(_) => return self.fire(key).map(|()| None),
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
            is_child: false,
        };
        if definition.timeouts(side).start_is_recorded_first() {
            attempt.recorded = true;
            if !self.submit(&attempt.started(false))? {
                self.ledger.release(&OwedKey::Command(step, side), Some(self.now.after(REDELIVERY)));
                return Ok(None);
            }
        }
        let input =
            self.with_expressions(|expressions| plan.command_input(&self.state, step, side, expressions));
        let input = match input {
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
            path: Vec::new(),
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

pub(crate) fn check(what: &'static str, value: u64, limit: u64) -> Result<(), Error> {
    if value > limit { Err(Error::Limit { what, limit }) } else { Ok(()) }
}
