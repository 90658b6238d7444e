//! Steps that wait for a time or a signal, one test for each rule.

use crate::graph::{Literal, definition, of_kind, plan, started, step};
use goconductor_saga::{
    Action, Due, Event, EventKind, Input, Json, Kind, OnTimeout, Outcome, OwedKey, Phase, Plan, Refusal,
    RulesVersion, Side, State, Status, Step, StepIndex, StepStatus, Template, TimerKind, Timestamp, WaitTime,
    decide, evolve, owed,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const SECOND: i64 = 1_000_000;

pub(crate) fn waiting(name: &str, on: &[u32], action: Action) -> Step {
    Step { action, compensate: None, ..step(name, on) }
}

pub(crate) fn sleep(seconds: u64) -> Action {
    Action::Sleep { time: WaitTime::Duration(Duration::from_secs(seconds)) }
}

pub(crate) fn signal(name: &str, limit: Option<u64>, on_timeout: OnTimeout) -> Action {
    let limit = limit.map(|seconds| WaitTime::Duration(Duration::from_secs(seconds)));
    Action::Signal { name: name.to_owned(), limit, on_timeout, schema: None }
}

struct Saga {
    plan: Plan,
    state: State,
    events: Vec<Event>,
    now: i64,
}

impl Saga {
    fn new(steps: Vec<Step>) -> Self {
        let plan = plan(steps);
        let (events, state) = started(&plan);
        Self { plan, state, events, now: 0 }
    }

    fn submit(&mut self, input: &Input) -> Result<(), Refusal> {
        let (events, state) = decide(&self.plan, &Literal, &self.state, input, Timestamp(self.now))?;
        self.events.extend(events);
        self.state = state;
        // Recovery from every prefix of the history gives the live state.
        assert_eq!(self.events.iter().fold(None, evolve).as_ref(), Some(&self.state));
        Ok(())
    }

    fn send(&mut self, name: &str, payload: Json) -> Result<(), Refusal> {
        let payload = Arc::new(payload);
        self.submit(&Input::Signal { name: name.to_owned(), payload, key: None, actor: None })
    }

    fn done(&mut self, at: u32) {
        let (step, side) = (StepIndex(at), Side::Execute);
        let attempt = self.state.steps[step.at()].execute.attempt();
        let (started_at, deadline) = (Timestamp(self.now), Timestamp(self.now + SECOND));
        let outcome = Outcome::Done { output: Json::Null };
        self.submit(&Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome }).unwrap();
    }

    fn wake(&mut self, at: u32) -> Result<(), Refusal> {
        self.submit(&Input::FireTimer { timer: TimerKind::StepWake(StepIndex(at)) })
    }

    /// Returns when the wait of a step ends, in seconds.
    fn due(&self, at: u32) -> Option<i64> {
        let key = OwedKey::Timer(TimerKind::StepWake(StepIndex(at)));
        owed(&self.plan, &self.state).into_iter().find(|row| row.key == key).and_then(|row| match row.due {
            Due::At(at) => Some(at.0 / SECOND),
            Due::Held | Due::Withdraw => None,
        })
    }

    fn statuses(&self) -> Vec<StepStatus> {
        self.state.steps.iter().map(goconductor_saga::StepState::status).collect()
    }
}

#[test]
fn sleep_ends_when_its_timer_is_due() {
    let mut saga = Saga::new(vec![waiting("nap", &[], sleep(60)), step("b", &[0])]);
    assert_eq!((saga.state.status(), saga.statuses()[0]), (Status::InProgress, StepStatus::InProgress));
    assert_eq!((saga.due(0), saga.wake(0)), (Some(60), Err(Refusal::Stale)));
    saga.now = 60 * SECOND;
    saga.wake(0).unwrap();
    assert_eq!(saga.statuses(), [StepStatus::Completed, StepStatus::Queued]);
    assert_eq!(saga.wake(0), Err(Refusal::Stale), "a timer that fires twice changes nothing");
    assert_eq!(owed(&saga.plan, &saga.state).len(), 1, "only the command is owed");
}

#[test]
fn pause_stops_the_clock_of_a_duration_and_not_of_a_time() {
    let until = Action::Sleep { time: WaitTime::Time(Timestamp(60 * SECOND)) };
    let mut saga = Saga::new(vec![
        waiting("nap", &[], sleep(60)),
        waiting("until", &[], until),
        waiting("go", &[], signal("go", Some(60), OnTimeout::Fail)),
    ]);
    saga.now = 20 * SECOND;
    saga.submit(&Input::Pause { actor: None, reason: None }).unwrap();
    assert_eq!([saga.due(0), saga.due(1), saga.due(2)], [None; 3]);
    saga.now = 100 * SECOND;
    assert_eq!(saga.wake(1), Err(Refusal::Stale), "nothing begins in a pause");
    saga.submit(&Input::Resume { actor: None, reason: None }).unwrap();
    assert_eq!([saga.due(0), saga.due(1), saga.due(2)], [Some(140), Some(60), Some(140)]);
    saga.wake(1).unwrap();
}

#[test]
fn rollback_ends_a_wait_at_once() {
    for action in [sleep(60), signal("go", None, OnTimeout::Fail)] {
        let mut saga = Saga::new(vec![step("a", &[]), waiting("wait", &[0], action), step("c", &[1])]);
        saga.done(0);
        saga.submit(&Input::Cancel { actor: None, reason: None }).unwrap();
        assert_eq!(
            saga.statuses(),
            [StepStatus::CompensationQueued, StepStatus::Pending, StepStatus::Pending]
        );
        assert_eq!(saga.due(1), None);
        assert!(matches!(saga.send("go", Json::Null), Err(Refusal::Conflict(_))));
        let (step, side, attempt) = (StepIndex(0), Side::Compensate, 1);
        let (started_at, deadline) = (Timestamp(0), Timestamp(SECOND));
        let outcome = Outcome::Done { output: Json::Null };
        saga.submit(&Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome }).unwrap();
        assert_eq!(saga.state.status(), Status::RolledBack);
        assert_eq!(saga.send("go", Json::Null), Err(Refusal::Final(Status::RolledBack)));
    }
}

#[test]
fn signal_completes_the_step_that_waits_for_it() {
    let mut saga = Saga::new(vec![waiting("approval", &[], signal("approve", None, OnTimeout::Fail))]);
    assert_eq!((saga.due(0), saga.statuses()), (None, vec![StepStatus::InProgress]));
    saga.send("other", json!(1)).unwrap();
    assert_eq!(saga.statuses(), [StepStatus::InProgress]);
    saga.send("approve", json!({"by": "ada"})).unwrap();
    assert_eq!(saga.state.steps[0].output.as_deref(), Some(&json!({"by": "ada"})));
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn early_signals_are_kept_and_delivered_in_order() {
    let wait = || signal("go", None, OnTimeout::Fail);
    let mut saga = Saga::new(vec![
        step("a", &[]),
        waiting("x", &[0], wait()),
        waiting("y", &[1], wait()),
        step("b", &[2]),
    ]);
    saga.send("go", json!(1)).unwrap();
    saga.send("go", json!(2)).unwrap();
    assert_eq!(saga.state.signals.kept.len(), 2);
    saga.done(0);
    let outputs: Vec<_> = saga.state.steps.iter().map(|step| step.output.as_deref().cloned()).collect();
    assert_eq!(outputs, [Some(Json::Null), Some(json!(1)), Some(json!(2)), None]);
    assert!(saga.state.signals.kept.is_empty());
    assert_eq!(saga.state.signals.last["go"], Arc::new(json!(2)));
}

#[test]
fn expired_limit_of_a_signal_fails_the_step_or_continues() {
    for (on_timeout, expected) in [
        (OnTimeout::Fail, [StepStatus::CompensationQueued, StepStatus::Failed]),
        (OnTimeout::Continue, [StepStatus::Completed, StepStatus::Completed]),
    ] {
        let mut saga =
            Saga::new(vec![step("a", &[]), waiting("go", &[0], signal("go", Some(5), on_timeout))]);
        saga.done(0);
        saga.now = 5 * SECOND;
        saga.wake(1).unwrap();
        assert_eq!(saga.statuses(), expected);
    }
}

#[test]
fn signal_that_expires_after_the_pivot_waits_for_an_operator() {
    let mut saga = Saga::new(vec![
        of_kind(step("p", &[]), Kind::Pivot),
        waiting("go", &[0], signal("go", Some(5), OnTimeout::Fail)),
    ]);
    saga.done(0);
    saga.now = 5 * SECOND;
    saga.wake(1).unwrap();
    assert_eq!((saga.state.status(), saga.statuses()[1]), (Status::Error, StepStatus::Failed));
    saga.submit(&Input::RetryStep { step: StepIndex(1), actor: None, reason: None }).unwrap();
    assert_eq!((saga.state.status(), saga.due(1)), (Status::InProgress, Some(10)), "the wait begins again");
    saga.send("go", Json::Null).unwrap();
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn operator_ends_a_wait_by_a_skip_or_a_completion() {
    let (actor, reason) = (Some("ada".to_owned()), "enough".to_owned());
    let step = StepIndex(0);
    for input in [
        Input::SkipStep { step, actor: actor.clone(), reason: reason.clone() },
        Input::CompleteStep { step, output: json!(7), actor: actor.clone(), reason },
    ] {
        let mut saga = Saga::new(vec![waiting("nap", &[], sleep(60))]);
        let retry = Input::RetryStep { step, actor: actor.clone(), reason: None };
        assert!(matches!(saga.submit(&retry), Err(Refusal::Conflict(_))));
        saga.submit(&input).unwrap();
        assert_eq!(saga.state.phase, Phase::Completed);
    }
}

#[test]
fn repeated_signal_with_the_same_key_changes_nothing() {
    let mut saga = Saga::new(vec![step("a", &[])]);
    for _ in 0..2 {
        let (name, payload) = ("go".to_owned(), Arc::new(json!(1)));
        saga.submit(&Input::Signal { name, payload, key: Some("k".to_owned()), actor: None }).unwrap();
    }
    assert_eq!(saga.state.signals.kept.len(), 1);
}

#[test]
fn number_and_size_of_kept_signals_are_limited() {
    let mut saga = Saga::new(vec![step("a", &[])]);
    for number in 0..goconductor_saga::MAX_KEPT_SIGNALS {
        saga.send("go", json!(number)).unwrap();
    }
    assert!(matches!(saga.send("go", json!(0)), Err(Refusal::SignalLimit(_))));

    let mut saga = Saga::new(vec![step("a", &[])]);
    let large = Json::String("x".repeat(goconductor_saga::MAX_SIGNAL_BYTES / 3));
    saga.send("go", large.clone()).unwrap();
    assert!(matches!(saga.send("go", large), Err(Refusal::SignalLimit(_))));
}

#[test]
fn later_signal_does_not_change_the_input_of_a_further_attempt() {
    let mut reader = step("a", &[]);
    reader.input = Some(Template::Expression("signals".to_owned()));
    let mut saga = Saga::new(vec![reader.clone()]);
    saga.send("go", json!(1)).unwrap();
    assert_eq!(saga.state.steps[0].signals, Some(BTreeMap::new()), "those of the time when it was queued");
    assert!(saga.plan.required_rules() > RulesVersion::FIRST, "an earlier release does not know signals");
    reader.input = Some(Template::Expression("input.signals".to_owned()));
    let of_field = Saga::new(vec![reader]);
    assert_eq!(of_field.state.steps[0].signals, None);
    assert_eq!(of_field.plan.required_rules(), RulesVersion::FIRST);
}

#[test]
fn workflow_without_waits_has_the_state_that_it_had_before() {
    let definition = definition(vec![step("a", &[])]);
    let text = serde_json::to_string(&definition).unwrap();
    assert!(!text.contains("signal") && !text.contains("sleep"));
    let saga = Saga::new(vec![step("a", &[])]);
    assert!(!serde_json::to_string(&saga.state).unwrap().contains("signals"));
    assert_eq!(saga.plan.required_rules(), RulesVersion::FIRST);
    let waits = plan(vec![waiting("nap", &[], sleep(1))]);
    assert!(waits.required_rules() > RulesVersion::FIRST && waits.required_rules() <= RulesVersion::CURRENT);
    assert!(saga.events.iter().all(|event| !matches!(event.kind, EventKind::StepWaiting { .. })));
}
