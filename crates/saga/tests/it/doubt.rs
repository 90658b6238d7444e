//! Probes and the policies of failures, one test for each rule.

use crate::graph::{Literal, definition, of_kind, started, step, tries};
use goconductor_saga::{
    Action, Due, Event, EventKind, Failure, FailurePolicy, Input, Json, Kind, OnError, OnUnknown, Outcome,
    OwedKey, Plan, Refusal, RollbackOrder, Side, State, Status, Step, StepIndex, StepStatus, Timestamp,
    decide, evolve, owed,
};
use serde_json::json;
use std::time::Duration;

const SECOND: i64 = 1_000_000;

fn probed(step: Step) -> Step {
    let probe = Some(Action::Run { service: step.name.clone(), action: "find".to_owned() });
    Step {
        failure: FailurePolicy { on_error: OnError::Compensate, on_unknown: OnUnknown::Probe, probe },
        ..step
    }
}

fn on_error(step: Step, on_error: OnError) -> Step {
    Step { failure: FailurePolicy { on_error, ..FailurePolicy::default() }, ..step }
}

fn on_unknown(step: Step, on_unknown: OnUnknown) -> Step {
    Step { failure: FailurePolicy { on_unknown, ..FailurePolicy::default() }, ..step }
}

struct Saga {
    plan: Plan,
    state: State,
    events: Vec<Event>,
    now: i64,
}

impl Saga {
    fn new(steps: Vec<Step>) -> Self {
        Self::of(Plan::new(definition(steps), 1).unwrap())
    }

    fn of(plan: Plan) -> Self {
        let (events, state) = started(&plan);
        Self { plan, state, events, now: 0 }
    }

    fn submit(&mut self, input: &Input) -> Result<(), Refusal> {
        let (events, state) = decide(&self.plan, &Literal, &self.state, input, Timestamp(self.now))?;
        self.events.extend(events);
        self.state = state;
        assert_eq!(self.events.iter().fold(None, evolve).as_ref(), Some(&self.state));
        Ok(())
    }

    fn report(&mut self, at: u32, side: Side, outcome: Outcome) {
        let step = StepIndex(at);
        let attempt = self.state.steps[step.at()].progress(side).attempt();
        let (started_at, deadline) = (Timestamp(self.now), Timestamp(self.now + SECOND));
        self.submit(&Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome }).unwrap();
    }

    fn done(&mut self, at: u32) {
        self.report(at, Side::Execute, Outcome::Done { output: Json::Null });
    }

    fn unknown(&mut self, at: u32) {
        let failure = Failure::of("TIMED_OUT", "as asked");
        self.report(at, Side::Execute, Outcome::Unknown { failure, not_before: None, answered: false });
    }

    fn refused(&mut self, at: u32, side: Side) {
        self.report(at, side, Outcome::Refused { failure: Failure::of("NO", "as asked") });
    }

    fn answer(&mut self, at: u32, answer: Json) {
        self.report(at, Side::Execute, Outcome::Done { output: answer });
    }

    fn due(&self, at: u32, side: Side) -> Option<Due> {
        let key = OwedKey::Command(StepIndex(at), side);
        owed(&self.plan, &self.state).into_iter().find(|row| row.key == key).map(|row| row.due)
    }

    fn action(&self, at: u32) -> Option<&str> {
        self.plan.command_action(&self.state, StepIndex(at), Side::Execute)?.operation()
    }

    fn statuses(&self) -> Vec<StepStatus> {
        self.state.steps.iter().map(goconductor_saga::StepState::status).collect()
    }
}

#[test]
fn probe_is_sent_after_the_doubt_and_completes_the_step() {
    let mut saga = Saga::new(vec![probed(tries(step("a", &[]), 1)), step("b", &[0])]);
    assert_eq!(saga.action(0), Some("do"));
    saga.unknown(0);
    assert_eq!(saga.statuses()[0], StepStatus::Retrying);
    assert_eq!(
        saga.due(0, Side::Execute),
        Some(Due::At(Timestamp(SECOND))),
        "no earlier answer proves anything"
    );
    assert_eq!(saga.action(0), Some("find"));
    saga.now = 2 * SECOND;
    saga.answer(0, json!({"outcome": "done", "output": {"id": 7}}));
    assert_eq!(saga.state.steps[0].output.as_deref(), Some(&json!({"id": 7})));
    assert_eq!(saga.statuses(), [StepStatus::Completed, StepStatus::Queued]);
}

#[test]
fn probe_removes_the_doubt_if_nothing_happened() {
    let mut saga = Saga::new(vec![step("z", &[]), probed(tries(step("a", &[0]), 1))]);
    saga.done(0);
    saga.unknown(1);
    saga.now = 2 * SECOND;
    saga.answer(1, json!({"outcome": "not_done"}));
    assert_eq!(saga.statuses(), [StepStatus::CompensationQueued, StepStatus::Failed]);
    assert_eq!((saga.state.steps[1].doubt_until, saga.due(1, Side::Compensate)), (None, None));
}

#[test]
fn probe_without_an_answer_is_repeated_to_the_limit() {
    let mut saga = Saga::new(vec![probed(tries(step("a", &[]), 2))]);
    saga.unknown(0);
    saga.unknown(0);
    saga.now = 3 * SECOND;
    // A refusal of the probe itself says nothing, such as that of a path that does not exist.
    saga.refused(0, Side::Execute);
    assert_eq!((saga.statuses()[0], saga.state.steps[0].probes), (StepStatus::Retrying, Some(1)));
    saga.answer(0, json!({"outcome": "perhaps"}));
    assert_eq!(saga.state.steps[0].execution, StepStatus::Unknown);
    assert_eq!(saga.statuses(), [StepStatus::CompensationQueued]);
}

#[test]
fn lost_probe_leaves_no_further_doubt() {
    let mut saga = Saga::new(vec![probed(tries(step("a", &[]), 1))]);
    saga.unknown(0);
    saga.now = 2 * SECOND;
    let (step, side, attempt) = (StepIndex(0), Side::Execute, 2);
    saga.submit(&Input::LoseAttempt { step, side, attempt, doubt_until: Timestamp(9 * SECOND) }).unwrap();
    assert_eq!(saga.state.steps[0].doubt_until, Some(Timestamp(SECOND)));
}

#[test]
fn pivot_in_doubt_is_probed_until_the_outcome_is_known() {
    let pivot = probed(tries(of_kind(step("p", &[0]), Kind::Pivot), 1));
    let mut saga = Saga::new(vec![step("a", &[]), pivot]);
    saga.done(0);
    saga.unknown(1);
    saga.submit(&Input::Cancel { actor: None, reason: None }).unwrap();
    for _ in 0..20 {
        saga.now += 60 * SECOND;
        assert_eq!(saga.action(1), Some("find"));
        saga.unknown(1);
        assert_eq!(saga.statuses(), [StepStatus::Completed, StepStatus::Retrying]);
    }
    saga.answer(1, json!({"outcome": "not_done"}));
    assert_eq!(saga.statuses(), [StepStatus::CompensationQueued, StepStatus::Failed]);
}

#[test]
fn rollback_withdraws_a_probe_that_was_not_sent() {
    let mut saga = Saga::new(vec![probed(tries(step("a", &[]), 1))]);
    saga.unknown(0);
    saga.submit(&Input::Cancel { actor: None, reason: None }).unwrap();
    assert_eq!(saga.due(0, Side::Execute), Some(Due::Withdraw));
    saga.submit(&Input::WithdrawCommand { step: StepIndex(0), attempt: 2 }).unwrap();
    assert_eq!(saga.statuses(), [StepStatus::CompensationQueued]);
    assert_eq!(saga.due(0, Side::Compensate), Some(Due::At(Timestamp(SECOND))));
}

#[test]
fn expired_limit_of_all_attempts_asks_the_participant() {
    let mut limited = probed(step("a", &[]));
    limited.timeout.total = Some(Duration::from_secs(2));
    let mut saga = Saga::new(vec![limited]);
    saga.unknown(0);
    saga.now = 2 * SECOND;
    let timer = goconductor_saga::TimerKind::StepTotal(StepIndex(0));
    saga.submit(&Input::FireTimer { timer }).unwrap();
    assert_eq!(saga.action(0), Some("find"));
    assert!(owed(&saga.plan, &saga.state).iter().all(|row| matches!(row.key, OwedKey::Command(..))));
}

#[test]
fn failure_with_continue_counts_as_settled() {
    let first = on_error(tries(step("a", &[]), 1), OnError::Continue);
    let mut saga = Saga::new(vec![first, step("b", &[0])]);
    saga.refused(0, Side::Execute);
    assert_eq!(saga.statuses(), [StepStatus::Failed, StepStatus::Queued]);
    assert!(saga.state.steps[0].error.is_some() && saga.state.error.is_none());
    let retry = Input::RetryStep { step: StepIndex(0), actor: None, reason: None };
    assert!(matches!(saga.submit(&retry), Err(Refusal::Conflict(_))));
    saga.done(1);
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn unknown_step_with_continue_is_compensated_in_a_later_rollback() {
    let first = on_error(tries(step("a", &[]), 1), OnError::Continue);
    let mut saga = Saga::new(vec![first, step("b", &[0])]);
    saga.unknown(0);
    assert_eq!(saga.statuses(), [StepStatus::Unknown, StepStatus::Queued]);
    saga.refused(1, Side::Execute);
    assert_eq!(saga.statuses(), [StepStatus::CompensationQueued, StepStatus::Failed]);
}

#[test]
fn pause_and_park_wait_for_an_operator() {
    for (first, unknown) in [
        (on_error(tries(step("a", &[]), 1), OnError::Pause), false),
        (on_error(tries(step("a", &[]), 1), OnError::Pause), true),
        (on_unknown(tries(step("a", &[]), 1), OnUnknown::Park), true),
    ] {
        let mut saga = Saga::new(vec![first, step("b", &[0])]);
        if unknown {
            saga.unknown(0)
        } else {
            saga.refused(0, Side::Execute)
        }
        assert_eq!((saga.state.status(), saga.statuses()[1]), (Status::Error, StepStatus::Pending));
        let (step, actor, reason) = (StepIndex(0), Some("ada".to_owned()), "seen".to_owned());
        saga.submit(&Input::CompleteStep { step, output: Json::Null, actor, reason }).unwrap();
        assert_eq!((saga.state.status(), saga.statuses()[1]), (Status::InProgress, StepStatus::Queued));
    }
}

#[test]
fn doubt_with_retry_is_repeated_beyond_the_limit() {
    let mut saga = Saga::new(vec![on_unknown(tries(step("a", &[]), 1), OnUnknown::Retry)]);
    for _ in 0..5 {
        saga.unknown(0);
        assert_eq!((saga.statuses()[0], saga.action(0)), (StepStatus::Retrying, Some("do")));
    }
    saga.done(0);
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn parallel_compensations_do_not_wait_for_one_another() {
    let mut parallel = definition(vec![step("a", &[]), step("b", &[0]), step("c", &[1])]);
    parallel.rollback.order = RollbackOrder::Parallel;
    let mut saga = Saga::of(Plan::new(parallel, 1).unwrap());
    saga.done(0);
    saga.done(1);
    saga.refused(2, Side::Execute);
    let queued = StepStatus::CompensationQueued;
    assert_eq!(saga.statuses(), [queued, queued, StepStatus::Failed]);
}

#[test]
fn failed_compensation_with_continue_ends_without_an_operator() {
    let mut steps = vec![step("a", &[]), step("b", &[0]), step("c", &[1])];
    for step in &mut steps {
        step.compensate.as_mut().unwrap().retry.max_attempts = Some(1);
    }
    let mut going_on = definition(steps);
    going_on.rollback.continue_on_error = true;
    let mut saga = Saga::of(Plan::new(going_on, 1).unwrap());
    saga.done(0);
    saga.done(1);
    saga.refused(2, Side::Execute);
    saga.refused(1, Side::Compensate);
    assert_eq!(saga.statuses()[..2], [StepStatus::CompensationQueued, StepStatus::CompensationFailed]);
    saga.report(0, Side::Compensate, Outcome::Done { output: Json::Null });
    assert_eq!(saga.state.status(), Status::RolledBack);
}

#[test]
fn retried_compensation_waits_for_the_end_of_the_doubt() {
    let mut saga = {
        let mut steps = vec![tries(step("a", &[]), 1)];
        steps[0].compensate.as_mut().unwrap().when = Some("error".to_owned());
        Saga::new(steps)
    };
    saga.unknown(0);
    assert_eq!(saga.statuses(), [StepStatus::CompensationFailed]);
    for (now, due) in [(SECOND / 2, SECOND), (3 * SECOND, 3 * SECOND)] {
        let mut retried =
            Saga { now, plan: saga.plan.clone(), state: saga.state.clone(), events: saga.events.clone() };
        retried.submit(&Input::RetryStep { step: StepIndex(0), actor: None, reason: None }).unwrap();
        assert_eq!(retried.due(0, Side::Compensate), Some(Due::At(Timestamp(due))));
    }
}

#[test]
fn compensation_whose_condition_is_false_is_not_sent() {
    let mut saga = {
        let mut steps = vec![step("a", &[]), step("b", &[0]), step("c", &[1])];
        steps[1].compensate.as_mut().unwrap().when = Some("false".to_owned());
        Saga::new(steps)
    };
    saga.done(0);
    saga.done(1);
    saga.refused(2, Side::Execute);
    assert_eq!(saga.statuses(), [StepStatus::CompensationQueued, StepStatus::Completed, StepStatus::Failed]);
    let unneeded = |event: &Event| matches!(event.kind, EventKind::CompensationUnneeded { .. });
    assert_eq!(saga.events.iter().filter(|event| unneeded(event)).count(), 1);
}
