//! Every graph of up to four steps (five in `scripts/soak`), with every outcome of each step and with a crash at every
//! attempt, run forward and back. A crash after a commit is the fold of the history so far, which must give the live state.
//! A crash before a commit loses an attempt, whose request arrived or not.

use crate::graph::{Literal, plan, step, tries};
use crate::waits::{signal, sleep, waiting};
use goconductor_saga::{
    Action, Due, Failure, FailurePolicy, Input, Json, OnError, OnTimeout, OnUnknown, Outcome, OwedKey, Plan,
    Side, StartWorkflow, State, Status, Step, StepIndex, Timestamp, WorkflowId, decide, evolve, owed, start,
};
use serde_json::json;
use std::collections::BTreeMap;

/// The course of the first attempt of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Done,
    Refused,
    /// The participant acted, and its answer was lost.
    LostAnswer,
    /// The request was lost.
    LostRequest,
}

const SCRIPTS: [Script; 4] = [Script::Done, Script::Refused, Script::LostAnswer, Script::LostRequest];
/// The number of steps, unless `GOCONDUCTOR_TEST_STEPS` overrides it. Four are 287,000 runs, and five are five million,
/// which take some minutes.
const MAX_STEPS: usize = 4;
/// The number of steps from which on only one of several graphs that differ in the order of their steps is run.
const MIN_PRUNED_STEPS: usize = 5;
/// The number of steps up to which crashes are combined with every outcome of each step. In larger graphs, one step at
/// most has another outcome than `Done`.
const MAX_CRASHED_STEPS: usize = 3;
/// More turns than any workflow needs.
const MAX_TURNS: usize = 100;
/// The time after which a command that was taken and not settled is delivered again.
const REDELIVERY: i64 = 5_000_000;

/// The death of the executor during the attempt of a turn.
#[derive(Debug, Clone, Copy)]
struct Crash {
    turn: usize,
    /// Whether the request arrived.
    arrived: bool,
}

fn step_of(flavour: usize, name: &str, on: &[u32]) -> Step {
    let run = tries(step(name, on), 1);
    let policy = |on_error, on_unknown, probe| FailurePolicy { on_error, on_unknown, probe };
    let probe = Some(Action::Run { service: name.to_owned(), action: "find".to_owned() });
    match flavour % 6 {
        0 => run,
        1 => Step { failure: policy(OnError::Compensate, OnUnknown::Probe, probe), ..run },
        2 => waiting(name, on, sleep(1)),
        3 => Step { failure: policy(OnError::Continue, OnUnknown::Compensate, None), ..run },
        4 => waiting(name, on, signal("never", Some(1), OnTimeout::Fail)),
        _ => Step { failure: policy(OnError::Compensate, OnUnknown::Park, None), ..run },
    }
}

struct Saga<'a> {
    plan: &'a Plan,
    state: State,
    recovered: Option<State>,
    now: i64,
    applied: Vec<bool>,
    crash: Option<Crash>,
    turns: usize,
    /// The turns that made an attempt.
    attempts: Vec<usize>,
}

impl<'a> Saga<'a> {
    fn new(plan: &'a Plan, crash: Option<Crash>) -> Self {
        let begin = StartWorkflow {
            id: WorkflowId("018f0000-0000-7000-8000-000000000001".parse().unwrap()),
            namespace: "default".to_owned(),
            input: Json::Null,
            labels: BTreeMap::new(),
            actor: None,
            trace: None,
        };
        let (events, state) = start(plan, &Literal, &begin, Timestamp(0));
        let recovered = events.iter().fold(None, evolve);
        assert_eq!(recovered.as_ref(), Some(&state));
        let applied = vec![false; state.steps.len()];
        Self { plan, state, recovered, now: 0, applied, crash, turns: 0, attempts: Vec::new() }
    }

    fn submit(&mut self, input: &Input) {
        let (events, state) = decide(self.plan, &Literal, &self.state, input, Timestamp(self.now)).unwrap();
        self.recovered = events.iter().fold(self.recovered.take(), evolve);
        assert_eq!(self.recovered.as_ref(), Some(&state), "recovery gives the live state");
        self.state = state;
    }

    /// Acts on the first row of the ledger that is due, at its time. Returns whether there is one.
    fn turn(&mut self, scripts: &[Script]) -> bool {
        let rows = owed(self.plan, &self.state);
        let due = |due: Due| match due {
            Due::At(at) => at.0,
            Due::Withdraw | Due::Held => 0,
        };
        let Some(row) = rows.into_iter().min_by_key(|row| due(row.due)) else { return false };
        self.now = self.now.max(due(row.due));
        match (row.key, row.due) {
            (OwedKey::Timer(timer), _) => self.submit(&Input::FireTimer { timer }),
            (OwedKey::Command(step, Side::Execute), Due::Withdraw) => {
                self.submit(&Input::WithdrawCommand { step, attempt: row.attempt });
            }
            (OwedKey::Command(step, side), _) => {
                self.attempts.push(self.turns);
                match self.crash {
                    Some(crash) if crash.turn == self.turns => {
                        self.lose(step, side, row.attempt, crash.arrived.then_some(scripts));
                        self.turns += 1;
                        return true;
                    }
                    Some(_) | None => {}
                }
                let outcome = self.outcome(step, side, scripts);
                let (started_at, deadline) = (Timestamp(self.now), Timestamp(self.now + 1_000_000));
                let attempt = row.attempt;
                self.submit(&Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome });
            }
        }
        self.turns += 1;
        true
    }

    /// Loses an attempt, whose request arrives if there are scripts. Its command is delivered again.
    fn lose(&mut self, step: StepIndex, side: Side, attempt: u32, scripts: Option<&[Script]>) {
        if let Some(scripts) = scripts {
            self.outcome(step, side, scripts);
        }
        self.now += REDELIVERY;
        let doubt_until = Timestamp(self.now).after(self.plan.step(step).unwrap().attempt_timeout(side));
        self.submit(&Input::LoseAttempt { step, side, attempt, doubt_until });
    }

    fn outcome(&mut self, step: StepIndex, side: Side, scripts: &[Script]) -> Outcome {
        let done = Outcome::Done { output: Json::Null };
        let failure = Failure::of("AS_ASKED", "as asked");
        if side == Side::Compensate {
            for below in self.plan.downstream(step) {
                let undoable = self.plan.step(*below).unwrap().compensate.is_some();
                assert!(
                    !undoable || !self.applied[below.at()],
                    "step {} is undone before {}",
                    step.0,
                    below.0
                );
            }
            self.applied[step.at()] = false;
            return done;
        }
        if self.state.steps[step.at()].probes.is_some() {
            let outcome = if self.applied[step.at()] { "done" } else { "not_done" };
            return Outcome::Done { output: json!({"outcome": outcome}) };
        }
        let script = scripts[step.at()];
        self.applied[step.at()] = matches!(script, Script::Done | Script::LostAnswer);
        match script {
            Script::Done => done,
            Script::Refused => Outcome::Refused { failure },
            Script::LostAnswer | Script::LostRequest => {
                Outcome::Unknown { failure, not_before: None, answered: false }
            }
        }
    }

    /// Checks that the end agrees with the effects.
    fn check(&self, what: impl Fn() -> String) {
        for (index, step) in (0u32..).map(StepIndex).zip(&self.state.steps) {
            let definition = self.plan.step(index).unwrap();
            let applied = self.applied[index.at()];
            match self.state.status() {
                Status::Completed => {
                    let ran = step.tolerated || definition.action.is_wait() || applied;
                    assert!(ran, "{}: completed without step {}", what(), index.0);
                }
                Status::RolledBack => assert!(!applied, "{}: the effect of step {} stands", what(), index.0),
                Status::Error => {
                    let reason = self
                        .state
                        .steps
                        .iter()
                        .any(|step| step.needs_operator(self.state.phase) && step.error.is_some());
                    assert!(reason, "{}: in error without a reason", what());
                }
                other => panic!("{}: ended as {other:?}", what()),
            }
        }
    }
}

fn graph(count: usize, edges: usize, flavour: usize) -> Plan {
    let mut edge = 0;
    let steps = (0..count).map(|at| {
        let on: Vec<u32> = (0..at)
            .filter(|_| {
                edge += 1;
                edges >> (edge - 1) & 1 == 1
            })
            .map(|on| u32::try_from(on).unwrap())
            .collect();
        step_of(flavour + at * (1 + flavour / 6), &format!("s{at}"), &on)
    });
    plan(steps.collect())
}

/// Whether no other order of the steps gives a graph with a smaller number.
fn is_canonical(count: usize, edges: usize) -> bool {
    let index = |from: usize, to: usize| to * (to - 1) / 2 + from;
    let all: Vec<(usize, usize)> = (0..count).flat_map(|to| (0..to).map(move |from| (from, to))).collect();
    let has = |from: usize, to: usize| edges >> index(from, to) & 1 == 1;
    let renumbered = |order: &[usize]| {
        // Edges lead from earlier to later steps, or the order is none.
        let edges = all.iter().filter(|(from, to)| has(*from, *to));
        edges
            .map(|(from, to)| (order[*from], order[*to]))
            .try_fold(0, |sum, (from, to)| (from < to).then(|| sum | 1 << index(from, to)))
    };
    orders(count).iter().filter_map(|order| renumbered(order)).all(|other: usize| edges <= other)
}

/// All orders of `count` steps.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for next in 0..count {
        all = all
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=next).map(move |at| {
                    let mut longer = order.clone();
                    longer.insert(at, next);
                    longer
                })
            })
            .collect();
    }
    all
}

/// The numbers of runs by their end.
#[derive(Default)]
struct Ends(BTreeMap<Status, u64>);

impl Ends {
    fn run(&mut self, plan: &Plan, scripts: &[Script], crash: Option<Crash>, what: &str) -> Vec<usize> {
        let mut saga = Saga::new(plan, crash);
        let turns = (0..MAX_TURNS).take_while(|_| saga.turn(scripts)).count();
        let what = || format!("{what}, {scripts:?}, {crash:?}");
        assert!(turns < MAX_TURNS, "{}: no end", what());
        saga.check(what);
        *self.0.entry(saga.state.status()).or_default() += 1;
        saga.attempts
    }

    /// Runs a graph with every outcome of each step, and with crashes.
    fn run_all(&mut self, count: usize, edges: usize, flavour: usize) {
        let plan = graph(count, edges, flavour);
        let what = format!("{count} steps, edges {edges:b}, flavour {flavour}");
        for number in 0..SCRIPTS.len().pow(u32::try_from(count).unwrap()) {
            let script = |at| SCRIPTS[number / SCRIPTS.len().pow(at) % SCRIPTS.len()];
            let scripts: Vec<Script> = (0..u32::try_from(count).unwrap()).map(script).collect();
            let attempts = self.run(&plan, &scripts, None, &what);
            let others = scripts.iter().filter(|script| **script != Script::Done).count();
            if count > MAX_CRASHED_STEPS && others > 1 {
                continue;
            }
            for turn in attempts {
                for arrived in [true, false] {
                    self.run(&plan, &scripts, Some(Crash { turn, arrived }), &what);
                }
            }
        }
    }
}

#[test]
fn pruned_graphs_are_all_graphs_without_their_order() {
    // The numbers of acyclic graphs of unnumbered nodes: https://oeis.org/A003087
    for (count, expected) in [(1, 1), (2, 2), (3, 6), (4, 31), (5, 302)] {
        let edges = 0..1_usize << (count * (count - 1) / 2);
        assert_eq!(edges.filter(|edges| is_canonical(count, *edges)).count(), expected, "{count} steps");
    }
}

#[test]
fn every_small_graph_ends_with_every_outcome_and_crash() {
    let steps = std::env::var("GOCONDUCTOR_TEST_STEPS").ok().and_then(|text| text.parse().ok());
    let mut graphs = Vec::new();
    for count in 1..=steps.unwrap_or(MAX_STEPS) {
        let edges = (0..1_usize << (count * (count - 1) / 2))
            .filter(|edges| count < MIN_PRUNED_STEPS || is_canonical(count, *edges));
        graphs.extend(edges.flat_map(|edges| (0..12).map(move |flavour| (count, edges, flavour))));
    }
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    let ends = std::thread::scope(|scope| {
        let run_lane = |lane: usize| {
            let mut ends = Ends::default();
            for (count, edges, flavour) in graphs.iter().skip(lane).step_by(lanes) {
                ends.run_all(*count, *edges, *flavour);
            }
            ends.0
        };
        let running: Vec<_> = (0..lanes).map(|lane| scope.spawn(move || run_lane(lane))).collect();
        let mut ends: BTreeMap<Status, u64> = BTreeMap::new();
        for lane in running {
            for (status, count) in lane.join().unwrap() {
                *ends.entry(status).or_default() += count;
            }
        }
        ends
    });
    println!("{} graphs: {ends:?}", graphs.len());
    let expected = [Status::Completed, Status::RolledBack, Status::Error];
    assert!(expected.iter().all(|status| ends.get(status).is_some_and(|count| *count > 1000)), "{ends:?}");
}
