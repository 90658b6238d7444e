//! A simulated environment of the rules: a store, a queue that loses, duplicates and reorders messages, executors
//! that die or lag, participants with arbitrary outcomes, and operators.
//!
//! A run depends only on its seed. A [`Mutant`] breaks one promise on purpose, and the checks must detect it.

mod child;

use crate::checks::{self, Effect, Evidence};
use crate::graph::{self, Literal};
use crate::noise::Noise;
use child::ChildRun;
use goconductor_saga::{
    Action, Due, Event, Failure, Input, Json, LedgerChange, Outcome, Owed, OwedKey, Phase, Plan, Refusal,
    RollbackCause, Side, State, Status, StepIndex, StepStatus, TimerKind, Timestamp, decide, evolve, owed,
    transition,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The time after which a delivered command is due again, longer than any attempt.
const REDELIVERY: i64 = 5_000_000;
/// The age from which a message is decided by the stored state and not by a cached one.
const STALE: i64 = 250_000;
/// Maximum turns of a world, far more than any world needs once no fault occurs.
const TURNS: usize = 4000;
/// Turns in which faults occur.
const FAULTY_TURNS: usize = 120;

/// The promise that a world breaks on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    None,
    /// A row of the ledger is sometimes lost.
    ForgetsLedgerRow,
    /// A commit does not compare `seq`.
    IgnoresSeq,
    /// An event is sometimes not written.
    LosesEvent,
    /// An unknown outcome is reported as a failure without effect.
    SwallowsDoubt,
    /// A redelivered command is sent as if it had never been sent.
    ForgetsLostAttempts,
    /// A compensation is sent at once, although an execute may still take effect.
    CompensatesEarly,
    /// Compensations do not wait for one another.
    CompensatesInParallel,
    /// A pivot in doubt ends like any other step.
    GivesUpPivot,
    /// A child that was withdrawn before its start leaves no record, so that a delayed start begins it.
    ForgetsWithdrawnChildren,
}

/// A row of the ledger.
struct Row {
    owed: Owed,
    deliveries: u32,
    due_at: i64,
}

/// A command in the queue.
#[derive(Clone)]
struct Message {
    step: StepIndex,
    side: Side,
    attempt: u32,
    redelivery: u32,
    published_at: i64,
}

/// An attempt in flight.
struct Run {
    message: Message,
    started_at: i64,
    deadline: i64,
    /// When the participant acts, if it receives the request.
    acts_at: Option<i64>,
    /// When the outcome is reported, and the outcome. `None` once the executor is dead.
    report: Option<(i64, Outcome)>,
    /// Whether the executor lags and sends no heartbeat for the attempt.
    lags: bool,
}

pub(crate) struct World {
    plan: Plan,
    /// The plan that decisions use. It differs from `plan` only for a mutant.
    rules: Plan,
    mutant: Mutant,
    noise: Noise,
    now: i64,
    journal: Vec<String>,
    /// The stored state.
    state: State,
    /// Earlier states, from which a lagging process decides.
    cached_states: VecDeque<State>,
    ledger: BTreeMap<OwedKey, Row>,
    queue: Vec<Message>,
    runs: Vec<Run>,
    effects: Vec<Effect>,
    children: Vec<ChildRun>,
    /// Starts of children, by step and attempt, that a stalled process has yet to make.
    delayed_starts: Vec<(StepIndex, u32)>,
    /// Whether the completed workflow was rolled back.
    reopened: bool,
    faulty: bool,
    /// The state that the stored events fold to.
    recovered: Option<State>,
}

/// The end of a world.
pub(crate) struct Ended {
    pub(crate) status: Status,
    pub(crate) events: usize,
    pub(crate) needed_operator: bool,
}

/// Runs a world. Returns the first violation, with the seed.
pub(crate) fn run(seed: u64, mutant: Mutant) -> Result<Ended, String> {
    let mut noise = Noise(seed);
    let plan = graph::random(&mut noise);
    let mut world = World::new(plan, mutant, noise);
    let ended = world.run();
    let checked = ended.and_then(|ended| {
        let evidence = Evidence {
            plan: &world.plan,
            journal: &world.journal,
            state: &world.state,
            effects: &world.effects,
        };
        checks::all(&evidence).map(|()| ended)
    });
    checked.map_err(|wrong| format!("seed {seed}: {wrong}\n{}", world.journal.join("\n")))
}

impl World {
    pub(crate) fn new(plan: Plan, mutant: Mutant, noise: Noise) -> Self {
        let (events, state) = graph::started(&plan);
        let mut world = Self {
            rules: match mutant {
                Mutant::CompensatesInParallel => graph::without_edges(&plan),
                Mutant::GivesUpPivot => graph::without_pivot(&plan),
                _ => plan.clone(),
            },
            plan,
            mutant,
            noise,
            now: 0,
            journal: Vec::new(),
            state: state.clone(),
            cached_states: VecDeque::new(),
            ledger: BTreeMap::new(),
            queue: Vec::new(),
            runs: Vec::new(),
            effects: Vec::new(),
            children: Vec::new(),
            delayed_starts: Vec::new(),
            reopened: false,
            faulty: true,
            recovered: None,
        };
        world.write(None, events, state).unwrap();
        world
    }

    fn run(&mut self) -> Result<Ended, String> {
        let mut needed_operator = false;
        for turn in 0..TURNS {
            self.faulty = turn < FAULTY_TURNS;
            if self.state.phase.is_final() {
                if self.rolls_back_completed()? {
                    continue;
                }
                self.children_agree()?;
                return Ok(self.ended(needed_operator));
            }
            if self.faulty && self.noise.once_in(6) {
                self.fault()?;
                continue;
            }
            if self.faulty && self.noise.once_in(25) {
                self.operator()?;
                continue;
            }
            if self.state.paused && (!self.faulty || self.is_idle()) {
                self.submit(&Input::Resume { actor: None, reason: None }, false)?;
                continue;
            }
            if self.is_idle() && self.signal_waiting()? {
                continue;
            }
            if self.is_idle() {
                if self.state.status() != Status::Error {
                    return Err(format!(
                        "T4: the ledger is empty, and the status is {:?}",
                        self.state.status()
                    ));
                }
                needed_operator = true;
                self.help()?;
                continue;
            }
            self.turn()?;
        }
        Err(format!("T4: the workflow has not ended after {TURNS} turns: {:?}", self.state.status()))
    }

    fn ended(&self, needed_operator: bool) -> Ended {
        Ended { status: self.state.status(), events: self.journal.len(), needed_operator }
    }

    /// Sends a signal that a step waits for. Returns whether there is one.
    fn signal_waiting(&mut self) -> Result<bool, String> {
        let waiting = self.plan.definition().steps.iter().zip(&self.state.steps);
        let name = waiting.filter(|(_, step)| step.is_waiting()).find_map(|(step, _)| match &step.action {
            Action::Signal { name, .. } => Some(name.clone()),
            _ => None,
        });
        let Some(name) = name else { return Ok(false) };
        let payload = std::sync::Arc::new(Json::Null);
        self.submit(&Input::Signal { name, payload, key: None, actor: None }, false)?;
        Ok(true)
    }

    /// Sometimes rolls back a completed workflow, at most once. Returns whether it has no longer ended.
    fn rolls_back_completed(&mut self) -> Result<bool, String> {
        if self.state.phase != Phase::Completed || self.reopened || !self.noise.once_in(4) {
            return Ok(false);
        }
        self.reopened = true;
        self.submit(&Input::RollBack { cause: RollbackCause::Operator, actor: None, reason: None }, false)?;
        Ok(!self.state.phase.is_final())
    }

    /// Returns whether nothing can happen without an operator.
    fn is_idle(&self) -> bool {
        let waits = |row: &Row| !matches!(row.owed.due, Due::Held);
        self.queue.is_empty() && self.runs.is_empty() && !self.ledger.values().any(waits)
    }

    fn turn(&mut self) -> Result<(), String> {
        match self.noise.below(4) {
            0 => self.poll_ledger(),
            1 if !self.queue.is_empty() => {
                let at = self.noise.below(self.queue.len());
                let message = self.queue.remove(at);
                self.receive(message)
            }
            _ => self.pass_time(),
        }
    }

    /// Advances the clock to the next event, or a little beyond it.
    fn pass_time(&mut self) -> Result<(), String> {
        let runs =
            self.runs.iter().flat_map(|run| [run.acts_at, run.report.as_ref().map(|(at, _)| *at)]).flatten();
        let rows =
            self.ledger.values().filter(|row| !matches!(row.owed.due, Due::Held)).map(|row| row.due_at);
        let next = runs.chain(rows).filter(|at| *at > self.now).min().unwrap_or(self.now + 1000);
        self.now = next + if self.noise.once_in(4) { self.noise.micros(50) } else { 0 };
        self.participants_act();
        self.children_act()?;
        self.report_outcomes()
    }

    fn participants_act(&mut self) {
        let now = self.now;
        let mut acting: Vec<(i64, StepIndex, Side)> = Vec::new();
        for run in &mut self.runs {
            if let Some(at) = run.acts_at.filter(|at| *at <= now) {
                run.acts_at = None;
                acting.push((at, run.message.step, run.message.side));
            }
        }
        acting.sort_by_key(|(at, ..)| *at);
        for (_, step, side) in acting {
            let done = |side: Side| {
                self.effects.iter().any(|each| each.step == step && each.side == side && each.applied)
            };
            // The participant recognizes a duplicate by its key, and ignores the compensation of an execute that
            // never arrived.
            let applied = !done(side) && (side == Side::Execute || done(Side::Execute));
            self.effects.push(Effect { step, side, applied });
        }
    }

    fn report_outcomes(&mut self) -> Result<(), String> {
        while let Some(at) =
            self.runs.iter().position(|run| run.report.as_ref().is_some_and(|(at, _)| *at <= self.now))
        {
            let run = self.runs.remove(at);
            let Some((_, outcome)) = run.report else { continue };
            if let Some(acts_at) = run.acts_at {
                // The request is still in transit. It arrives although no caller waits for it.
                self.runs.push(Run {
                    report: None,
                    acts_at: Some(acts_at),
                    message: run.message.clone(),
                    ..run
                });
            }
            let Message { step, side, attempt, .. } = run.message;
            let (started_at, deadline) = (Timestamp(run.started_at), Timestamp(run.deadline));
            self.submit(
                &Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome },
                self.faulty,
            )?;
        }
        // Of an executor that died, only the requests in transit remain.
        self.runs.retain(|run| run.report.is_some() || run.acts_at.is_some());
        Ok(())
    }

    /// Claims the due rows of the ledger and acts on them.
    fn poll_ledger(&mut self) -> Result<(), String> {
        let in_flight: Vec<OwedKey> = self
            .runs
            .iter()
            .filter(|run| run.report.is_some() && !run.lags)
            .map(|run| OwedKey::Command(run.message.step, run.message.side))
            .collect();
        // A command that still waits in the queue is not lost.
        let queued: Vec<OwedKey> =
            self.queue.iter().map(|message| OwedKey::Command(message.step, message.side)).collect();
        let (mut inputs, mut due_children) = (Vec::new(), Vec::new());
        let next_check = self.next_check().0;
        for (key, row) in &mut self.ledger {
            if row.due_at > self.now || row.owed.due == Due::Held {
                continue;
            }
            if in_flight.contains(key) || (row.deliveries > 0 && queued.contains(key)) {
                row.due_at = self.now + REDELIVERY;
                continue;
            }
            match (*key, row.owed.due) {
                (OwedKey::Timer(TimerKind::StepChild(step)), _) => {
                    row.due_at = next_check;
                    due_children.push(step);
                }
                (OwedKey::Timer(timer), _) => {
                    row.due_at = self.now + REDELIVERY;
                    inputs.push(match self.state.lock_wait(timer) {
                        // No other workflow wants the locks of a world, so they are free unless the wait is over.
                        Some(lock) if lock.until.is_none_or(|until| until.0 > self.now) => {
                            let tokens = (1..).take(lock.locks.len()).collect();
                            Input::AcquireLocks { timer, request: lock.request, tokens }
                        }
                        Some(_) | None => Input::FireTimer { timer },
                    });
                }
                (OwedKey::Command(step, _), Due::Withdraw) if row.deliveries == 0 => {
                    inputs.push(Input::WithdrawCommand { step, attempt: row.owed.attempt });
                }
                (OwedKey::Command(step, side), _) => {
                    let (attempt, redelivery) = (row.owed.attempt, row.deliveries);
                    self.queue.push(Message { step, side, attempt, redelivery, published_at: self.now });
                    row.deliveries += 1;
                    row.due_at = self.now + REDELIVERY;
                }
            }
        }
        for input in inputs {
            self.submit(&input, self.faulty)?;
        }
        due_children.into_iter().try_for_each(|step| self.drive_child(step))
    }

    /// An executor receives a command.
    fn receive(&mut self, message: Message) -> Result<(), String> {
        let Message { step, side, attempt, redelivery, published_at } = message;
        let known =
            if redelivery > 0 || self.now - published_at > STALE { &self.state } else { self.cached() };
        let timeout = self.plan.step(step).unwrap().attempt_timeout(side);
        let this = known.steps[step.at()].clone();
        let open = this.side_status(side).is_some_and(StepStatus::is_open)
            && this.progress(side).attempt() == attempt;
        if known.phase.is_final() || !open {
            return Ok(());
        }
        let running = this.progress(side).running.is_some();
        let wanted = side == Side::Compensate || known.wants_execute(step);
        if redelivery > 0 && self.mutant != Mutant::ForgetsLostAttempts {
            let doubt_until = Timestamp(self.now).after(timeout);
            return self.submit(&Input::LoseAttempt { step, side, attempt, doubt_until }, self.faulty);
        }
        if !wanted && !running {
            return self.submit(&Input::WithdrawCommand { step, attempt }, self.faulty);
        }
        if known.paused && !running {
            self.release(step, side, attempt);
            return Ok(());
        }
        self.send(message, timeout)
    }

    /// Releases a command that was received and certainly not sent.
    fn release(&mut self, step: StepIndex, side: Side, attempt: u32) {
        let row = self.ledger.get_mut(&OwedKey::Command(step, side));
        // The row of another attempt is not that of this command.
        if let Some(row) = row.filter(|row| row.owed.attempt == attempt) {
            row.deliveries = row.deliveries.saturating_sub(1);
            row.due_at = row.due_at.min(self.now);
        }
    }

    fn send(&mut self, message: Message, timeout: Duration) -> Result<(), String> {
        let Message { step, side, attempt, .. } = message;
        let deadline = Timestamp(self.now).after(timeout).0;
        let (started_at, of) = (self.now, self.plan.step(step).unwrap());
        if of.timeouts(side).start_is_recorded_first() {
            let input = self.started(&message, deadline, false);
            if !self.accepted(&input)? {
                self.release(step, side, attempt);
                return Ok(());
            }
        }
        let (acts, outcome) = self.behaviour(step, side);
        let longest = usize::try_from((deadline - started_at) / 1000).unwrap();
        let within = if self.noise.once_in(2) { 5 } else { longest };
        let acts_at = acts.then(|| started_at + self.noise.micros(within));
        let reported_at = match &outcome {
            Outcome::Unknown { answered: true, .. } => acts_at.unwrap_or(started_at) + self.noise.micros(5),
            Outcome::Unknown { .. } if self.noise.once_in(2) => deadline,
            // A broken connection is reported at once, even if the participant performs the request.
            Outcome::Unknown { .. } => started_at + self.noise.micros(20),
            Outcome::Done { .. }
            | Outcome::OutputRejected { .. }
            | Outcome::NotSent { .. }
            | Outcome::Retryable { .. }
            | Outcome::Refused { .. } => acts_at.unwrap_or(started_at) + self.noise.micros(5),
        };
        let lags = self.faulty && self.noise.once_in(8);
        let run = Run {
            message,
            started_at,
            deadline,
            acts_at,
            report: Some((reported_at.min(deadline), outcome)),
            lags,
        };
        if self.noise.once_in(3) && attempt > 0 {
            let input = self.started(&run.message, deadline, true);
            self.submit(&input, self.faulty)?;
        }
        self.runs.push(run);
        Ok(())
    }

    fn started(&self, message: &Message, deadline: i64, sent: bool) -> Input {
        Input::StartAttempt {
            step: message.step,
            side: message.side,
            attempt: message.attempt,
            started_at: Timestamp(self.now),
            deadline: Timestamp(deadline),
            executor: "e".to_owned(),
            sent,
            trace: None,
        }
    }

    /// Returns whether the participant acts, and the outcome that the executor receives.
    fn behaviour(&mut self, step: StepIndex, side: Side) -> (bool, Outcome) {
        let failure = Failure::of("AS_ASKED", "as asked");
        let done = Outcome::Done { output: Json::Null };
        if side == Side::Execute && self.state.steps[step.at()].probes.is_some() {
            return (false, self.probed(step));
        }
        let before = self.effects.iter().any(|each| each.step == step && each.side == side && each.applied);
        if !self.faulty {
            return (true, done);
        }
        let unknown = Outcome::Unknown { failure: failure.clone(), not_before: None, answered: false };
        let unknown = match self.mutant {
            Mutant::SwallowsDoubt => Outcome::Retryable { failure: failure.clone(), not_before: None },
            _ => unknown,
        };
        match self.noise.below(10) {
            0..=3 => (true, done),
            4 | 5 => (true, unknown),
            6 if self.noise.once_in(4) => (false, Outcome::NotSent { failure }),
            6 => (false, unknown),
            7 => (false, Outcome::Retryable { failure, not_before: Some(Timestamp(self.now + 30_000)) }),
            // Not every participant honors the key: it may refuse an operation that it performed before.
            8 if before || side == Side::Execute || self.noise.once_in(3) => {
                (false, Outcome::Refused { failure })
            }
            // The participant responded, so the operation is over.
            9 if self.noise.once_in(2) => match self.mutant {
                Mutant::SwallowsDoubt => (true, Outcome::Retryable { failure, not_before: None }),
                _ => (true, Outcome::Unknown { failure, not_before: None, answered: true }),
            },
            _ => (true, done),
        }
    }

    /// Returns the answer of the participant to a probe.
    fn probed(&mut self, step: StepIndex) -> Outcome {
        let took =
            self.effects.iter().any(|each| each.step == step && each.side == Side::Execute && each.applied);
        let failure = Failure::of("AS_ASKED", "as asked");
        if self.faulty && self.noise.once_in(3) {
            return match self.noise.below(4) {
                0 => Outcome::Unknown { failure, not_before: None, answered: true },
                1 => Outcome::Refused { failure },
                2 => Outcome::Done { output: serde_json::json!({"outcome": "unknown"}) },
                _ => Outcome::Retryable { failure, not_before: None },
            };
        }
        let outcome = if took { "done" } else { "not_done" };
        Outcome::Done { output: serde_json::json!({"outcome": outcome, "output": null}) }
    }

    fn fault(&mut self) -> Result<(), String> {
        match self.noise.below(5) {
            0 if !self.queue.is_empty() => {
                let at = self.noise.below(self.queue.len());
                self.queue.remove(at);
            }
            1 if !self.queue.is_empty() => {
                // The queue marks a duplicate as a redelivery.
                let mut again = self.noise.pick(&self.queue).clone();
                again.redelivery = again.redelivery.max(1);
                self.queue.push(again);
            }
            2 => {
                // The process dies: outcomes are lost, and the state is reloaded.
                self.runs.iter_mut().for_each(|run| run.report = None);
                self.runs.retain(|run| run.acts_at.is_some());
                self.queue.clear();
                self.cached_states.clear();
                self.state = serde_json::from_str(&serde_json::to_string(&self.state).unwrap()).unwrap();
            }
            3 => self.now += self.noise.micros(500),
            _ => {
                // A duplicate outcome, or the outcome of an attempt that has settled.
                let step = StepIndex(u32::try_from(self.noise.below(self.state.steps.len())).unwrap());
                let side = *self.noise.pick(&[Side::Execute, Side::Compensate]);
                let attempt = u32::try_from(self.noise.below(3)).unwrap();
                let open = self.state.steps[step.at()].progress(side).attempt();
                if attempt != open {
                    let (started_at, deadline) = (Timestamp(self.now), Timestamp(self.now));
                    let outcome = Outcome::Done { output: Json::Null };
                    self.submit(
                        &Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome },
                        true,
                    )?;
                }
            }
        }
        Ok(())
    }

    fn operator(&mut self) -> Result<(), String> {
        let input = match self.noise.below(6) {
            0 | 1 => Input::Cancel { actor: None, reason: None },
            2 => Input::Pause { actor: None, reason: None },
            3 => Input::Resume { actor: None, reason: None },
            4 => {
                let name = (*self.noise.pick(&["x", "y"])).to_owned();
                let payload = std::sync::Arc::new(Json::Null);
                Input::Signal { name, payload, key: None, actor: None }
            }
            _ if self.noise.once_in(6) => Input::Terminate { actor: None, reason: "test".to_owned() },
            _ => return self.help(),
        };
        self.submit(&input, false)
    }

    /// An operator continues one of the steps in error.
    fn help(&mut self) -> Result<(), String> {
        let in_error: Vec<StepIndex> = (0u32..)
            .map(StepIndex)
            .zip(&self.state.steps)
            .filter(|(_, step)| step.needs_operator(self.state.phase))
            .map(|(index, _)| index)
            .collect();
        let Some(&step) = in_error.first() else {
            return if self.state.status() == Status::Error {
                Err("T4: the workflow is in error, and no step is".to_owned())
            } else {
                Ok(())
            };
        };
        if self.state.steps[step.at()].error.is_none() {
            return Err("T4: a step is in error without a failure".to_owned());
        }
        let actor = Some("op".to_owned());
        let input = match self.noise.below(3) {
            0 => Input::RetryStep { step, actor, reason: None },
            1 => Input::SkipStep { step, actor, reason: "test".to_owned() },
            _ => Input::CompleteStep { step, output: Json::Null, actor, reason: "test".to_owned() },
        };
        self.submit(&input, false)
    }

    /// Returns the most recent cached state, which may be older than the stored one.
    fn cached(&self) -> &State {
        self.cached_states.back().unwrap_or(&self.state)
    }

    fn accepted(&mut self, input: &Input) -> Result<bool, String> {
        let seq = self.state.seq;
        self.submit(input, false)?;
        Ok(self.state.seq > seq)
    }

    /// Decides from a cached state or, on a conflict or a refusal, from the stored state, and commits.
    fn submit(&mut self, input: &Input, may_lag: bool) -> Result<(), String> {
        let mut base = self.state.clone();
        if may_lag && !self.cached_states.is_empty() && self.noise.once_in(3) {
            base = self.cached_states[self.noise.below(self.cached_states.len())].clone();
        }
        loop {
            let fresh = base.seq == self.state.seq;
            let rules = match self.mutant {
                Mutant::CompensatesInParallel if base.phase != Phase::RollingBack => &self.plan,
                _ => &self.rules,
            };
            match decide(rules, &Literal, &base, input, Timestamp(self.now)) {
                Ok((events, after)) => {
                    if fresh || self.mutant == Mutant::IgnoresSeq {
                        return self.write(Some(&base), events, after);
                    }
                }
                Err(
                    Refusal::Final(_)
                    | Refusal::Stale
                    | Refusal::Conflict(_)
                    | Refusal::SignalLimit(_)
                    | Refusal::UnknownStep,
                ) if fresh => {
                    return Ok(());
                }
                Err(_) => {}
            }
            base = self.state.clone();
        }
    }

    fn write(&mut self, before: Option<&State>, events: Vec<Event>, after: State) -> Result<(), String> {
        let change = transition(&self.plan, before, events, after);
        for event in &change.events {
            if self.mutant == Mutant::LosesEvent && self.noise.once_in(20) {
                continue;
            }
            let line = serde_json::to_string(event).unwrap();
            self.recovered = evolve(self.recovered.take(), &serde_json::from_str(&line).unwrap());
            self.journal.push(line);
        }
        if self.mutant == Mutant::None && self.recovered.as_ref() != Some(&change.state) {
            return Err("T2: recovery from the history so far does not give the live state".to_owned());
        }
        for change in &change.ledger {
            match change {
                LedgerChange::Settle(key) => {
                    self.ledger.remove(key);
                }
                LedgerChange::Issue(owed) => {
                    self.ledger.insert(
                        owed.key,
                        Row { due_at: self.due_at(owed), owed: owed.clone(), deliveries: 0 },
                    );
                }
                LedgerChange::Change(owed) => {
                    let due_at = self.due_at(owed);
                    if let Some(row) = self.ledger.get_mut(&owed.key) {
                        // A delivered command keeps its redelivery time, unless a pause begins or ends.
                        let held = |due: Due| matches!(due, Due::Held);
                        if row.deliveries == 0 || held(owed.due) || held(row.owed.due) {
                            row.due_at = due_at;
                        }
                        row.owed = owed.clone();
                    }
                }
            }
        }
        if self.mutant == Mutant::ForgetsLedgerRow && self.noise.once_in(20) {
            self.ledger.pop_first();
        }
        self.cached_states.push_back(self.state.clone());
        if self.cached_states.len() > 4 {
            self.cached_states.pop_front();
        }
        self.state = change.state;
        self.ledger_is_owed()
    }

    fn due_at(&self, owed: &Owed) -> i64 {
        match owed.due {
            Due::At(at) if self.mutant == Mutant::CompensatesEarly => at.0.min(self.now),
            Due::At(at) => at.0,
            Due::Held => i64::MAX,
            Due::Withdraw => self.now,
        }
    }

    /// Checks T15: the ledger equals what is owed.
    fn ledger_is_owed(&self) -> Result<(), String> {
        let actual: Vec<&Owed> = self.ledger.values().map(|row| &row.owed).collect();
        let mut expected: Vec<Owed> = owed(&self.plan, &self.state);
        expected.sort_by_key(|owed| owed.key);
        if actual.iter().copied().eq(expected.iter()) {
            return Ok(());
        }
        Err(format!("T15: the ledger contains {actual:?}, but {expected:?} is owed"))
    }
}
