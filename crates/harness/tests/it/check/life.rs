//! The life of a workflow under the real rules: a store, a queue that loses and repeats messages, executors that die and
//! lag, participants that answer anything, late or never, and operators. Every event agrees with the guarantees.

use super::graphs::{self, Literal};
use super::noise::Noise;
use goconductor_harness::check::EffectKind;
use goconductor_saga::{
    Due, Event, Failure, Input, Json, LedgerChange, Outcome, Owed, OwedKey, Phase, Plan, Refusal,
    RollbackCause, Side, StartWorkflow, State, Status, StepIndex, StepStatus, Timestamp, WorkflowId, decide,
    start, transition,
};
use std::collections::{BTreeMap, VecDeque};

/// The redelivery delay of a command, longer than any attempt.
const REDELIVERY: i64 = 5_000_000;
/// The age above which the state in a message is not trusted and the store is read.
const STALE: i64 = 250_000;
/// More turns than any workflow needs once nothing fails.
const TURNS: usize = 4000;
/// The number of turns in which everything may fail.
const BAD_TURNS: usize = 100;

/// A request as its participant received it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) at: i64,
    pub(crate) step: StepIndex,
    pub(crate) side: Side,
    pub(crate) attempt: u32,
    pub(crate) effect: Option<EffectKind>,
}

struct Row {
    owed: Owed,
    deliveries: u32,
    due_at: i64,
}

#[derive(Clone)]
struct Message {
    step: StepIndex,
    side: Side,
    attempt: u32,
    redelivery: u32,
    published_at: i64,
}

/// The result of a request at its participant.
#[derive(Clone, Copy)]
enum Landing {
    Act,
    Refuse,
    Nothing,
}

/// An attempt in flight.
struct Attempt {
    message: Message,
    started_at: i64,
    deadline: i64,
    lands: Option<(i64, Landing)>,
    /// The report and its time, or `None` if the executor died.
    answer: Option<(i64, Outcome)>,
    /// Whether the executor lags and does not extend the redelivery of its command.
    lags: bool,
}

pub(crate) struct Life {
    pub(crate) plan: Plan,
    pub(crate) events: Vec<Event>,
    pub(crate) calls: Vec<Call>,
    pub(crate) state: State,
    noise: Noise,
    now: i64,
    memories: VecDeque<State>,
    ledger: BTreeMap<OwedKey, Row>,
    queue: Vec<Message>,
    attempts: Vec<Attempt>,
    /// The number of times that all executors died.
    deaths: u32,
    /// Whether the completed workflow was rolled back.
    reopened: bool,
    bad: bool,
}

impl Life {
    /// Runs the workflow to its end, or to an error that stays.
    pub(crate) fn live(seed: u64, id: WorkflowId, definition: &str, input: &Json, begun: i64) -> Self {
        let mut noise = Noise(seed);
        let plan = graphs::random(&mut noise, definition);
        let begin = StartWorkflow {
            id,
            namespace: "default".to_owned(),
            input: input.clone(),
            labels: BTreeMap::new(),
            actor: None,
            trace: None,
        };
        let (events, state) = start(&plan, &Literal, &begin, Timestamp(begun));
        let mut life = Self {
            plan,
            events: Vec::new(),
            calls: Vec::new(),
            state: state.clone(),
            noise,
            now: begun,
            memories: VecDeque::new(),
            ledger: BTreeMap::new(),
            queue: Vec::new(),
            attempts: Vec::new(),
            deaths: 0,
            reopened: false,
            bad: true,
        };
        life.write(None, events, state);
        life.run();
        life.land_all();
        life
    }

    /// The ledger in the form of a store.
    pub(crate) fn rows(&self) -> Vec<String> {
        self.ledger.keys().map(ToString::to_string).collect()
    }

    fn run(&mut self) {
        let is_left_in_error = self.noise.once_in(2);
        for turn in 0..TURNS {
            self.bad = turn < BAD_TURNS;
            if self.rolls_back_completed() {
                continue;
            }
            if self.state.phase.is_final() {
                return;
            }
            if self.bad && self.noise.once_in(16) {
                self.fault();
            } else if self.bad && self.noise.once_in(25) {
                self.operator();
            } else if self.state.paused && (!self.bad || self.is_idle()) {
                self.submit(&Input::Resume { actor: None, reason: None }, false);
            } else if self.is_idle() {
                assert_eq!(self.state.status(), Status::Error, "the workflow is stuck");
                if is_left_in_error {
                    return;
                }
                self.help();
            } else {
                self.turn();
            }
        }
        panic!("the workflow did not end in {TURNS} turns: {:?}", self.state.status());
    }

    /// Sometimes rolls back a completed workflow, at most once. Returns whether it has no longer ended.
    fn rolls_back_completed(&mut self) -> bool {
        if self.state.phase != Phase::Completed || self.reopened || !self.noise.once_in(4) {
            return false;
        }
        self.reopened = true;
        self.submit(&Input::RollBack { cause: RollbackCause::Operator, actor: None, reason: None }, false);
        !self.state.phase.is_final()
    }

    fn is_idle(&self) -> bool {
        let waits = |row: &Row| !matches!(row.owed.due, Due::Held);
        self.queue.is_empty() && self.attempts.is_empty() && !self.ledger.values().any(waits)
    }

    fn turn(&mut self) {
        match self.noise.below(8) {
            0..=2 => self.duties(),
            3..=5 if !self.queue.is_empty() => {
                let at = self.noise.below(self.queue.len());
                let message = self.queue.remove(at);
                self.take(message);
            }
            _ => self.pass_time(),
        }
    }

    fn pass_time(&mut self) {
        let attempts = self.attempts.iter().flat_map(|each| {
            [each.lands.map(|(at, _)| at), each.answer.as_ref().map(|(at, _)| *at)].into_iter().flatten()
        });
        let rows =
            self.ledger.values().filter(|row| !matches!(row.owed.due, Due::Held)).map(|row| row.due_at);
        let next = attempts.chain(rows).filter(|at| *at > self.now).min().unwrap_or(self.now + 1000);
        self.now = next + if self.noise.once_in(4) { self.noise.micros(50) } else { 1 };
        self.land();
        self.answers_come();
    }

    /// Delivers requests to their participants in order of time.
    fn land(&mut self) {
        let now = self.now;
        let mut landing = Vec::new();
        for each in &mut self.attempts {
            if let Some((at, what)) = each.lands.take_if(|(at, _)| *at <= now) {
                landing.push((at, what, each.message.clone()));
            }
        }
        landing.sort_by_key(|(at, ..)| *at);
        for (at, what, Message { step, side, attempt, .. }) in landing {
            let effect = self.effect(step, side, what);
            self.calls.push(Call { at, step, side, attempt, effect });
        }
    }

    /// Behaves like an inbox: it recognises a repeated key, and records the compensation of a step that was not executed, so
    /// that the step can no longer be executed.
    fn effect(&self, step: StepIndex, side: Side, what: Landing) -> Option<EffectKind> {
        let was = |side: Side, effects: &[EffectKind]| {
            self.calls.iter().any(|call| {
                call.step == step
                    && call.side == side
                    && call.effect.is_some_and(|effect| effects.contains(&effect))
            })
        };
        match (what, side) {
            (Landing::Nothing, _) => None,
            (Landing::Refuse, _) => Some(EffectKind::Refused),
            (Landing::Act, Side::Execute) if was(Side::Execute, &[EffectKind::Applied]) => {
                Some(EffectKind::Duplicate)
            }
            (Landing::Act, Side::Execute) if was(Side::Compensate, &[EffectKind::Null]) => {
                Some(EffectKind::Refused)
            }
            (Landing::Act, Side::Execute) => Some(EffectKind::Applied),
            (Landing::Act, Side::Compensate)
                if was(Side::Compensate, &[EffectKind::Applied, EffectKind::Null]) =>
            {
                Some(EffectKind::Duplicate)
            }
            (Landing::Act, Side::Compensate) if was(Side::Execute, &[EffectKind::Applied]) => {
                Some(EffectKind::Applied)
            }
            (Landing::Act, Side::Compensate) => Some(EffectKind::Null),
        }
    }

    /// Delivers the requests that arrive after the end.
    fn land_all(&mut self) {
        let last = self.attempts.iter().filter_map(|each| each.lands.map(|(at, _)| at)).max();
        self.now = self.now.max(last.unwrap_or_default());
        self.land();
    }

    fn answers_come(&mut self) {
        let is_due = |each: &Attempt, now| each.answer.as_ref().is_some_and(|(at, _)| *at <= now);
        while let Some(at) = self.attempts.iter().position(|each| is_due(each, self.now)) {
            let each = self.attempts.remove(at);
            let Message { step, side, attempt, .. } = each.message;
            let (started_at, deadline) = (Timestamp(each.started_at), Timestamp(each.deadline));
            let (_, outcome) = each.answer.clone().unwrap();
            if each.lands.is_some() {
                // The request still arrives, but no process waits for its response.
                self.attempts.push(Attempt { answer: None, ..each });
            }
            let lags = self.bad;
            self.submit(&Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome }, lags);
        }
        self.attempts.retain(|each| each.answer.is_some() || each.lands.is_some());
    }

    /// Claims due rows and handles them.
    fn duties(&mut self) {
        let under_way: Vec<OwedKey> = self
            .attempts
            .iter()
            .filter(|each| each.answer.is_some() && !each.lags)
            .map(|each| OwedKey::Command(each.message.step, each.message.side))
            .collect();
        let waiting: Vec<OwedKey> =
            self.queue.iter().map(|message| OwedKey::Command(message.step, message.side)).collect();
        let mut news = Vec::new();
        for (key, row) in &mut self.ledger {
            if row.due_at > self.now || row.owed.due == Due::Held {
                continue;
            }
            if under_way.contains(key) || (row.deliveries > 0 && waiting.contains(key)) {
                row.due_at = self.now + REDELIVERY;
                continue;
            }
            match (*key, row.owed.due) {
                (OwedKey::Timer(timer), _) => {
                    row.due_at = self.now + REDELIVERY;
                    news.push(Input::FireTimer { timer });
                }
                (OwedKey::Command(step, _), Due::Withdraw) if row.deliveries == 0 => {
                    news.push(Input::WithdrawCommand { step, attempt: row.owed.attempt });
                }
                (OwedKey::Command(step, side), _) => {
                    let (attempt, redelivery) = (row.owed.attempt, row.deliveries);
                    self.queue.push(Message { step, side, attempt, redelivery, published_at: self.now });
                    row.deliveries += 1;
                    row.due_at = self.now + REDELIVERY;
                }
            }
        }
        for input in news {
            self.submit(&input, self.bad);
        }
    }

    /// Accepts a command in an executor.
    fn take(&mut self, message: Message) {
        let Message { step, side, attempt, redelivery, published_at } = message;
        let old = redelivery > 0 || self.now - published_at > STALE;
        let known = if old { &self.state } else { self.memories.back().unwrap_or(&self.state) };
        let this = known.steps[step.at()].clone();
        let open = this.side_status(side).is_some_and(StepStatus::is_open)
            && this.progress(side).attempt() == attempt;
        if known.phase.is_final() || !open {
            return;
        }
        let running = this.progress(side).running.is_some();
        let rolling =
            known.phase == Phase::RollingBack || (known.rollback_pending && this.doubt_until.is_none());
        let paused = known.paused;
        if redelivery > 0 {
            let doubt_until = Timestamp(self.now).after(self.plan.step(step).unwrap().attempt_timeout(side));
            self.submit(&Input::LoseAttempt { step, side, attempt, doubt_until }, self.bad);
        } else if side == Side::Execute && rolling && !running {
            self.submit(&Input::WithdrawCommand { step, attempt }, self.bad);
        } else if paused && !running {
            self.release(step, side, attempt);
        } else {
            self.send(message);
        }
    }

    /// Releases a command that was accepted and certainly not sent.
    fn release(&mut self, step: StepIndex, side: Side, attempt: u32) {
        let row = self.ledger.get_mut(&OwedKey::Command(step, side));
        if let Some(row) = row.filter(|row| row.owed.attempt == attempt) {
            row.deliveries = row.deliveries.saturating_sub(1);
            row.due_at = row.due_at.min(self.now);
        }
    }

    fn send(&mut self, message: Message) {
        let (step, side) = (message.step, message.side);
        let of = self.plan.step(step).unwrap();
        let recorded_first = of.timeouts(side).start_is_recorded_first();
        let started_at = self.now;
        let deadline = Timestamp(started_at).after(of.attempt_timeout(side)).0;
        if recorded_first {
            let seq = self.state.seq;
            let input = self.started(&message, deadline, false);
            self.submit(&input, false);
            if self.state.seq == seq {
                return self.release(step, side, message.attempt);
            }
        }
        let (landing, outcome) = self.behaviour(step, side);
        let longest = usize::try_from((deadline - started_at) / 1000).unwrap();
        let is_unknown = matches!(outcome, Outcome::Unknown { .. });
        let within = if is_unknown && self.noise.once_in(2) { longest } else { 5 };
        // Some requests are delayed beyond their timeout.
        let held_up = if is_unknown && self.noise.once_in(2) { self.noise.micros(8000) } else { 0 };
        let lands_at = started_at + held_up + self.noise.micros(within);
        let answered = match &outcome {
            Outcome::Unknown { .. } if self.noise.once_in(2) => deadline,
            // A connection can break before the participant handles the request.
            Outcome::Unknown { .. } => started_at + self.noise.micros(20),
            Outcome::Done { .. }
            | Outcome::OutputRejected { .. }
            | Outcome::NotSent { .. }
            | Outcome::Retryable { .. }
            | Outcome::Refused { .. } => lands_at + self.noise.micros(5),
        };
        let lags = self.bad && self.noise.once_in(8);
        let lands = landing.map(|landing| (lands_at, landing));
        let answer = Some((answered.min(deadline), outcome));
        if self.noise.once_in(3) {
            let input = self.started(&message, deadline, true);
            self.submit(&input, self.bad);
        }
        self.attempts.push(Attempt { message, started_at, deadline, lands, answer, lags });
    }

    fn started(&mut self, message: &Message, deadline: i64, sent: bool) -> Input {
        Input::StartAttempt {
            step: message.step,
            side: message.side,
            attempt: message.attempt,
            started_at: Timestamp(self.now),
            deadline: Timestamp(deadline),
            executor: format!("executor-{}-{}", self.deaths, self.noise.below(2)),
            sent,
            trace: None,
        }
    }

    /// The effect at the participant, and the outcome that the executor receives.
    fn behaviour(&mut self, step: StepIndex, side: Side) -> (Option<Landing>, Outcome) {
        let failure = Failure::of("AS_ASKED", "as asked");
        let done = Outcome::Done { output: Json::from(format!("{}-{}", step.0, side.as_str())) };
        if !self.bad {
            return (Some(Landing::Act), done);
        }
        let unknown = Outcome::Unknown { failure: failure.clone(), not_before: None, answered: false };
        match self.noise.below(12) {
            0..=4 => (Some(Landing::Act), done),
            5..=7 => (Some(Landing::Act), unknown),
            8 => (self.noise.once_in(2).then_some(Landing::Nothing), unknown),
            9 => (
                self.noise.once_in(2).then_some(Landing::Nothing),
                Outcome::Retryable { failure, not_before: Some(Timestamp(self.now + 30_000)) },
            ),
            10 if side == Side::Execute || self.noise.once_in(3) => {
                (Some(Landing::Refuse), Outcome::Refused { failure })
            }
            _ => (Some(Landing::Act), done),
        }
    }

    fn fault(&mut self) {
        match self.noise.below(5) {
            0 if !self.queue.is_empty() => {
                let at = self.noise.below(self.queue.len());
                self.queue.remove(at);
            }
            1 if !self.queue.is_empty() => {
                let mut again = self.noise.pick(&self.queue).unwrap().clone();
                again.redelivery = again.redelivery.max(1);
                self.queue.push(again);
            }
            2 => {
                // All executors die, and all responses are lost.
                self.attempts.iter_mut().for_each(|each| each.answer = None);
                self.attempts.retain(|each| each.lands.is_some());
                self.queue.clear();
                self.memories.clear();
                self.deaths += 1;
            }
            _ => self.now += self.noise.micros(500),
        }
    }

    fn operator(&mut self) {
        let reason = Some("test".to_owned());
        let input = match self.noise.below(6) {
            0 | 1 => Input::Cancel { actor: None, reason },
            2 => Input::Pause { actor: None, reason },
            3 | 4 => Input::Resume { actor: None, reason },
            _ if self.noise.once_in(6) => Input::Terminate { actor: None, reason: "test".to_owned() },
            _ => return self.help(),
        };
        self.submit(&input, false);
    }

    /// Resolves one of the steps that need an operator.
    fn help(&mut self) {
        let needs = |step: &StepIndex| self.state.steps[step.at()].needs_operator(self.state.phase);
        let Some(step) = (0u32..).map(StepIndex).take(self.state.steps.len()).find(needs) else { return };
        let (actor, reason) = (None, "test".to_owned());
        let input = match self.noise.below(4) {
            0 | 1 => Input::RetryStep { step, actor, reason: None },
            2 => Input::SkipStep { step, actor, reason },
            _ => Input::CompleteStep { step, output: Json::Null, actor, reason },
        };
        self.submit(&input, false);
    }

    /// Decides from the cached state, if necessary from the stored state, and commits.
    fn submit(&mut self, input: &Input, may_lag: bool) {
        let mut base = self.state.clone();
        if may_lag && !self.memories.is_empty() && self.noise.once_in(3) {
            base = self.memories[self.noise.below(self.memories.len())].clone();
        }
        loop {
            let fresh = base.seq == self.state.seq;
            match decide(&self.plan, &Literal, &base, input, Timestamp(self.now)) {
                Ok((events, after)) if fresh => return self.write(Some(&base), events, after),
                Err(Refusal::Final(_) | Refusal::Stale | Refusal::Conflict(_) | Refusal::UnknownStep)
                    if fresh =>
                {
                    return;
                }
                Ok(_) | Err(_) => base = self.state.clone(),
            }
        }
    }

    fn write(&mut self, before: Option<&State>, events: Vec<Event>, after: State) {
        let change = transition(&self.plan, before, events, after);
        for change in &change.ledger {
            match change {
                LedgerChange::Settle(key) => {
                    self.ledger.remove(key);
                }
                LedgerChange::Issue(owed) => {
                    let row = Row { due_at: self.due_at(owed), owed: owed.clone(), deliveries: 0 };
                    self.ledger.insert(owed.key, row);
                }
                LedgerChange::Change(owed) => {
                    let due_at = self.due_at(owed);
                    let row = self.ledger.get_mut(&owed.key).unwrap();
                    let held = |due: Due| matches!(due, Due::Held);
                    if row.deliveries == 0 || held(owed.due) || held(row.owed.due) {
                        row.due_at = due_at;
                    }
                    row.owed = owed.clone();
                }
            }
        }
        self.events.extend(change.events);
        self.memories.push_back(self.state.clone());
        if self.memories.len() > 4 {
            self.memories.pop_front();
        }
        self.state = change.state;
    }

    fn due_at(&self, owed: &Owed) -> i64 {
        match owed.due {
            Due::At(at) => at.0,
            Due::Held => i64::MAX,
            Due::Withdraw => self.now,
        }
    }
}
