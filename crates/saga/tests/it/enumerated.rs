//! Every graph of up to four steps, with every outcome of each step, run forward and back without faults of the
//! environment. A crash after a commit is the fold of the history so far, which must give the live state.

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
/// The number of steps, unless `GOCONDUCTOR_TEST_STEPS` overrides it. Five take some minutes.
const MAX_STEPS: usize = 4;

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
}

impl<'a> Saga<'a> {
    fn new(plan: &'a Plan) -> Self {
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
        Self { plan, state, recovered, now: 0, applied }
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
                let outcome = self.outcome(step, side, scripts);
                let (started_at, deadline) = (Timestamp(self.now), Timestamp(self.now + 1_000_000));
                let attempt = row.attempt;
                self.submit(&Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome });
            }
        }
        true
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
    fn check(&self, what: &str) {
        for (index, step) in (0u32..).map(StepIndex).zip(&self.state.steps) {
            let definition = self.plan.step(index).unwrap();
            let applied = self.applied[index.at()];
            match self.state.status() {
                Status::Completed => {
                    let ran = step.tolerated || definition.action.is_wait() || applied;
                    assert!(ran, "{what}: completed without step {}", index.0);
                }
                Status::RolledBack => assert!(!applied, "{what}: the effect of step {} stands", index.0),
                Status::Error => {
                    let reason = self
                        .state
                        .steps
                        .iter()
                        .any(|step| step.needs_operator(self.state.phase) && step.error.is_some());
                    assert!(reason, "{what}: in error without a reason");
                }
                other => panic!("{what}: ended as {other:?}"),
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

#[test]
fn every_small_graph_ends_with_every_outcome() {
    let mut ends: BTreeMap<Status, u64> = BTreeMap::new();
    let steps = std::env::var("GOCONDUCTOR_TEST_STEPS").ok().and_then(|text| text.parse().ok());
    for count in 1..=steps.unwrap_or(MAX_STEPS) {
        for edges in 0..1_usize << (count * (count - 1) / 2) {
            for flavour in 0..12 {
                let plan = graph(count, edges, flavour);
                for number in 0..SCRIPTS.len().pow(u32::try_from(count).unwrap()) {
                    let script = |at| SCRIPTS[number / SCRIPTS.len().pow(at) % SCRIPTS.len()];
                    let scripts: Vec<Script> = (0..u32::try_from(count).unwrap()).map(script).collect();
                    let mut saga = Saga::new(&plan);
                    let turns = (0..100).take_while(|_| saga.turn(&scripts)).count();
                    let what = format!("{count} steps, edges {edges:b}, flavour {flavour}, {scripts:?}");
                    assert!(turns < 100, "{what}: no end");
                    saga.check(&what);
                    *ends.entry(saga.state.status()).or_default() += 1;
                }
            }
        }
    }
    let expected = [Status::Completed, Status::RolledBack, Status::Error];
    assert!(expected.iter().all(|status| ends.get(status).is_some_and(|count| *count > 1000)), "{ends:?}");
}
