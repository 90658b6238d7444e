//! The rules of locks: requests, tokens, releases, the end of a wait.

use crate::graph::{Literal, definition, of_kind, started, step};
use goconductor_saga::{
    Action, Child, ChildEnd, Due, EventKind, Failure, Input, Json, Kind, LockRelease, LockScope, LockSpec,
    OnError, OnParentClose, OnUnknown, Outcome, OwedKey, Plan, Refusal, RollbackCause, Side, State, Status,
    Step, StepIndex, StepStatus, Template, TimerKind, Timestamp, WorkflowId, claims, decide, evolve, owed,
    transition,
};
use std::time::Duration;

const SECOND: i64 = 1_000_000;
const WORKFLOW: TimerKind = TimerKind::WorkflowLock;

fn lock(key: &str, hold: LockScope) -> LockSpec {
    LockSpec { key: Template::Value(Json::from(key)), shared: false, wait: None, hold }
}

/// Returns the step with a lock.
fn locked(name: &str, on: &[u32], key: &str, hold: LockScope) -> Step {
    Step { lock: Some(lock(key, hold)), ..step(name, on) }
}

/// A workflow with the locks that each of its transitions released.
struct Scenario {
    plan: Plan,
    state: State,
    events: Vec<goconductor_saga::Event>,
    released: Vec<LockRelease>,
    now: i64,
}

impl Scenario {
    fn new(steps: Vec<Step>) -> Self {
        Self::with(Vec::new(), steps)
    }

    fn with(locks: Vec<LockSpec>, steps: Vec<Step>) -> Self {
        let plan = Plan::new(goconductor_saga::Definition { locks, ..definition(steps) }, 1).unwrap();
        let (events, state) = started(&plan);
        Self { plan, state, events, released: Vec::new(), now: 0 }
    }

    fn submit(&mut self, input: &Input) -> Result<(), Refusal> {
        let (events, state) = decide(&self.plan, &Literal, &self.state, input, Timestamp(self.now))?;
        let change = transition(&self.plan, Some(&self.state), events, state);
        self.released.extend(change.locks);
        self.events.extend(change.events);
        self.state = change.state;
        assert_eq!(self.events.iter().fold(None, evolve).as_ref(), Some(&self.state), "the history folds");
        Ok(())
    }

    fn acquire(&mut self, timer: TimerKind, tokens: &[u64]) -> Result<(), Refusal> {
        let request = self.state.lock_of(timer).map_or(0, |lock| lock.request);
        self.submit(&Input::AcquireLocks { timer, request, tokens: tokens.to_vec() })
    }

    fn report(&mut self, step: u32, side: Side, outcome: Outcome) {
        let step = StepIndex(step);
        let attempt = self.state.steps[step.at()].progress(side).attempt();
        let (started_at, deadline) = (Timestamp(self.now), Timestamp(self.now + SECOND));
        self.submit(&Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome }).unwrap();
    }

    fn done(&mut self, step: u32) {
        self.report(step, Side::Execute, Outcome::Done { output: Json::Null });
    }

    fn compensated(&mut self, step: u32) {
        self.report(step, Side::Compensate, Outcome::Done { output: Json::Null });
    }

    fn refused(&mut self, step: u32) {
        self.report(step, Side::Execute, Outcome::Refused { failure: Failure::of("NO", "as asked") });
    }

    fn cancel(&mut self) {
        self.submit(&Input::Cancel { actor: None, reason: None }).unwrap();
    }

    fn statuses(&self) -> Vec<StepStatus> {
        self.state.steps.iter().map(goconductor_saga::StepState::status).collect()
    }

    fn due(&self, key: OwedKey) -> Option<Due> {
        owed(&self.plan, &self.state).into_iter().find(|row| row.key == key).map(|row| row.due)
    }

    /// Returns the keys that the workflow waits for or holds.
    fn claimed(&self) -> Vec<&str> {
        claims(&self.state).flat_map(|claim| claim.locks).map(|lock| lock.key.as_str()).collect()
    }

    fn tokens(&self, step: u32, side: Side) -> Vec<(String, u64)> {
        self.state.lock_tokens(StepIndex(step), side).into_iter().collect()
    }

    fn take_released(&mut self) -> Vec<(TimerKind, Vec<String>)> {
        self.released.drain(..).map(|release| (release.timer, release.keys)).collect()
    }
}

fn of_step(step: u32) -> TimerKind {
    TimerKind::StepLock(StepIndex(step))
}

fn wait(timer: TimerKind) -> OwedKey {
    OwedKey::Timer(timer)
}

fn execute(step: u32) -> OwedKey {
    OwedKey::Command(StepIndex(step), Side::Execute)
}

#[test]
fn step_with_a_lock_sends_nothing_until_it_holds_the_lock() {
    let mut saga = Scenario::new(vec![locked("a", &[], "k", LockScope::Step), step("b", &[0])]);
    assert_eq!(saga.statuses(), [StepStatus::Queued, StepStatus::Pending]);
    assert_eq!((saga.due(execute(0)), saga.due(wait(of_step(0)))), (None, Some(Due::At(Timestamp(0)))));
    assert!(saga.state.steps[0].waits_for_lock());
    saga.now = 5 * SECOND;
    saga.acquire(of_step(0), &[7]).unwrap();
    assert_eq!(saga.due(execute(0)), Some(Due::At(Timestamp(5 * SECOND))));
    assert_eq!(saga.due(wait(of_step(0))), None);
    assert_eq!(saga.tokens(0, Side::Execute), [("k".to_owned(), 7)]);
    assert_eq!(saga.tokens(1, Side::Execute), [], "the lock is that of the other step");
    assert_eq!(saga.acquire(of_step(0), &[8]), Err(Refusal::Stale), "a repeated answer");
    saga.done(0);
    assert_eq!(saga.take_released(), [(of_step(0), vec!["k".to_owned()])]);
    assert_eq!(saga.claimed(), Vec::<&str>::new());
    saga.done(1);
    assert_eq!((saga.state.status(), saga.take_released()), (Status::Completed, vec![]));
}

#[test]
fn lock_is_kept_between_attempts_and_released_after_the_last() {
    let mut only = locked("a", &[], "k", LockScope::Step);
    only.retry.max_attempts = Some(2);
    let mut saga = Scenario::new(vec![only]);
    saga.acquire(of_step(0), &[7]).unwrap();
    let retryable = || Outcome::Retryable { failure: Failure::of("BUSY", "as asked"), not_before: None };
    saga.report(0, Side::Execute, retryable());
    assert_eq!((saga.claimed().len(), saga.take_released()), (1, vec![]));
    saga.report(0, Side::Execute, retryable());
    assert_eq!(saga.take_released(), [(of_step(0), vec!["k".to_owned()])]);
    assert_eq!(saga.state.status(), Status::RolledBack);
}

#[test]
fn locks_of_a_definition_are_acquired_before_the_first_step_and_held_to_the_end() {
    let locks = vec![lock("b", LockScope::Workflow), lock("a", LockScope::Workflow)];
    let mut saga = Scenario::with(locks, vec![step("x", &[]), step("y", &[0])]);
    assert_eq!(saga.statuses(), [StepStatus::Pending, StepStatus::Pending]);
    assert_eq!(saga.claimed(), ["a", "b"], "the keys are sorted");
    assert_eq!(saga.acquire(WORKFLOW, &[7]), Err(Refusal::Stale), "one token is missing");
    saga.acquire(WORKFLOW, &[7, 9]).unwrap();
    assert_eq!(saga.statuses(), [StepStatus::Queued, StepStatus::Pending]);
    assert_eq!(saga.tokens(1, Side::Execute), [("a".to_owned(), 7), ("b".to_owned(), 9)]);
    saga.done(0);
    saga.refused(1);
    assert_eq!(saga.state.status(), Status::RollingBack);
    assert_eq!(saga.tokens(0, Side::Compensate).len(), 2, "a compensation has the tokens, too");
    assert_eq!((saga.claimed().len(), saga.take_released()), (2, vec![]));
    saga.compensated(0);
    assert_eq!(saga.state.status(), Status::RolledBack);
    assert_eq!(saga.take_released(), [(WORKFLOW, vec!["a".to_owned(), "b".to_owned()])]);
}

#[test]
fn equal_keys_of_a_definition_are_one_lock_with_the_stronger_mode() {
    for (modes, expected) in [([true, true], true), ([true, false], false), ([false, true], false)] {
        let locks = modes.map(|shared| LockSpec { shared, ..lock("k", LockScope::Workflow) });
        let saga = Scenario::with(locks.to_vec(), vec![step("a", &[])]);
        let [only] = &saga.state.lock.as_ref().unwrap().locks[..] else { panic!("one lock") };
        assert_eq!(only.shared, expected, "{modes:?}");
    }
}

#[test]
fn lock_with_hold_workflow_is_kept_by_a_step_that_has_settled() {
    let steps = vec![
        locked("a", &[], "k", LockScope::Workflow),
        // The same key again: the workflow already holds it.
        locked("b", &[0], "k", LockScope::Step),
        step("c", &[1]),
    ];
    let mut saga = Scenario::new(steps);
    saga.acquire(of_step(0), &[7]).unwrap();
    saga.done(0);
    assert_eq!(saga.statuses()[1], StepStatus::Queued);
    assert!(saga.due(execute(1)).is_some(), "no further request");
    assert_eq!(saga.tokens(2, Side::Execute), [("k".to_owned(), 7)]);
    saga.done(1);
    saga.cancel();
    assert_eq!(saga.tokens(0, Side::Compensate), [("k".to_owned(), 7)]);
    saga.report(2, Side::Execute, Outcome::Refused { failure: Failure::of("NO", "as asked") });
    saga.compensated(1);
    assert_eq!(saga.take_released(), []);
    saga.compensated(0);
    assert_eq!(saga.take_released(), [(of_step(0), vec!["k".to_owned()])]);
}

#[test]
fn compensation_has_no_token_of_a_lock_that_was_held_for_the_step() {
    let mut saga = Scenario::new(vec![locked("a", &[], "k", LockScope::Step), step("b", &[0])]);
    saga.acquire(of_step(0), &[7]).unwrap();
    saga.done(0);
    saga.refused(1);
    assert_eq!(saga.tokens(0, Side::Compensate), []);
}

/// Returns a workflow whose only step holds the lock `k` and has an unknown outcome until second 1.
fn in_doubt(on_error: OnError, on_unknown: OnUnknown) -> Scenario {
    let mut only = locked("a", &[], "k", LockScope::Step);
    only.retry.max_attempts = Some(1);
    only.failure.on_error = on_error;
    only.failure.on_unknown = on_unknown;
    let mut saga = Scenario::new(vec![only, step("b", &[0])]);
    saga.acquire(of_step(0), &[7]).unwrap();
    let failure = Failure::of("LOST", "as asked");
    saga.report(0, Side::Execute, Outcome::Unknown { failure, not_before: None, answered: false });
    saga
}

#[test]
fn lock_of_a_step_in_doubt_is_kept_until_its_compensation_has_ended() {
    let mut saga = in_doubt(OnError::Compensate, OnUnknown::Compensate);
    assert_eq!(saga.statuses()[0], StepStatus::CompensationQueued);
    assert_eq!(saga.claimed(), ["k"]);
    assert_eq!(saga.take_released(), []);
    assert_eq!(saga.tokens(0, Side::Compensate), [("k".to_owned(), 7)], "the lock is still held");
    saga.now = 2 * SECOND;
    saga.compensated(0);
    assert_eq!(saga.state.status(), Status::RolledBack);
    assert_eq!(saga.take_released(), [(of_step(0), vec!["k".to_owned()])]);
}

#[test]
fn lock_of_a_step_in_doubt_is_released_when_the_workflow_goes_on() {
    let mut saga = in_doubt(OnError::Continue, OnUnknown::Compensate);
    assert_eq!(saga.statuses(), [StepStatus::Unknown, StepStatus::Queued]);
    assert_eq!(saga.take_released(), [(of_step(0), vec!["k".to_owned()])]);

    let mut saga = in_doubt(OnError::Compensate, OnUnknown::Park);
    assert_eq!((saga.state.status(), saga.claimed()), (Status::Error, vec!["k"]));
    let reason = "checked by hand".to_owned();
    saga.submit(&Input::SkipStep { step: StepIndex(0), actor: None, reason }).unwrap();
    assert_eq!(saga.take_released(), [(of_step(0), vec!["k".to_owned()])]);
}

#[test]
fn wait_that_is_too_long_fails_the_step() {
    let mut limited = locked("b", &[0], "k", LockScope::Step);
    limited.lock.as_mut().unwrap().wait = Some(Duration::from_secs(3));
    let mut saga = Scenario::new(vec![step("a", &[]), limited]);
    saga.now = SECOND;
    saga.done(0);
    saga.now = 3 * SECOND;
    let fire = Input::FireTimer { timer: of_step(1) };
    assert_eq!(saga.submit(&fire), Err(Refusal::Stale), "a second is left");
    saga.now = 4 * SECOND;
    saga.submit(&fire).unwrap();
    assert_eq!(saga.statuses(), [StepStatus::CompensationQueued, StepStatus::Failed]);
    assert_eq!(saga.state.error.as_ref().unwrap().code, "LOCK_TIMEOUT");
    assert_eq!(saga.take_released(), [(of_step(1), vec!["k".to_owned()])], "its place in the queue");
    assert_eq!(saga.acquire(of_step(1), &[7]), Err(Refusal::Stale), "the answer is too late");
}

#[test]
fn wait_for_the_locks_of_a_definition_that_is_too_long_ends_the_workflow() {
    let limited = LockSpec { wait: Some(Duration::from_secs(3)), ..lock("k", LockScope::Workflow) };
    let mut saga = Scenario::with(vec![limited], vec![step("a", &[])]);
    saga.now = 3 * SECOND;
    saga.submit(&Input::FireTimer { timer: WORKFLOW }).unwrap();
    assert_eq!((saga.state.status(), saga.state.cause), (Status::RolledBack, Some(RollbackCause::TimedOut)));
    assert_eq!(saga.state.error.as_ref().unwrap().code, "LOCK_TIMEOUT");
    assert_eq!(saga.statuses(), [StepStatus::Pending]);
    assert_eq!(saga.take_released(), [(WORKFLOW, vec!["k".to_owned()])]);
}

#[test]
fn cancel_withdraws_a_step_that_waits_for_a_lock() {
    let mut saga = Scenario::new(vec![step("a", &[]), locked("b", &[0], "k", LockScope::Workflow)]);
    saga.done(0);
    saga.cancel();
    assert_eq!(saga.statuses(), [StepStatus::CompensationQueued, StepStatus::Pending]);
    assert_eq!(saga.take_released(), [(of_step(1), vec!["k".to_owned()])]);
    saga.compensated(0);
    assert_eq!(saga.state.status(), Status::RolledBack);
}

#[test]
fn cancel_withdraws_a_pivot_that_waits_for_a_lock() {
    let pivot = of_kind(locked("b", &[0], "k", LockScope::Step), Kind::Pivot);
    let mut saga = Scenario::new(vec![step("a", &[]), pivot]);
    saga.done(0);
    saga.cancel();
    assert_eq!(
        (saga.state.status(), saga.state.cause),
        (Status::RollingBack, Some(RollbackCause::Cancelled))
    );
    assert_eq!(saga.statuses(), [StepStatus::CompensationQueued, StepStatus::Pending]);
}

#[test]
fn paused_workflow_gives_up_its_place_and_keeps_its_locks() {
    let mut limited = locked("b", &[0], "m", LockScope::Step);
    limited.lock.as_mut().unwrap().wait = Some(Duration::from_secs(3));
    let mut saga = Scenario::new(vec![locked("a", &[], "k", LockScope::Workflow), limited]);
    saga.acquire(of_step(0), &[7]).unwrap();
    saga.done(0);
    let request = saga.state.lock_of(of_step(1)).unwrap().request;
    saga.now = 2 * SECOND;
    saga.submit(&Input::Pause { actor: None, reason: None }).unwrap();
    assert_eq!(saga.claimed(), ["k"]);
    assert_eq!(saga.take_released(), [(of_step(1), vec!["m".to_owned()])]);
    assert_eq!(saga.due(wait(of_step(1))), Some(Due::Held));
    assert_eq!(saga.acquire(of_step(1), &[8]), Err(Refusal::Stale));
    saga.now = 60 * SECOND;
    saga.submit(&Input::Resume { actor: None, reason: None }).unwrap();
    assert_eq!(saga.due(wait(of_step(1))), Some(Due::At(Timestamp(60 * SECOND))));
    let answer = Input::AcquireLocks { timer: of_step(1), request, tokens: vec![8] };
    assert_eq!(saga.submit(&answer), Err(Refusal::Stale), "an answer from before the pause");
    saga.now = 61 * SECOND - 1;
    let fire = Input::FireTimer { timer: of_step(1) };
    assert_eq!(saga.submit(&fire), Err(Refusal::Stale), "a second was left before the pause");
    saga.acquire(of_step(1), &[9]).unwrap();
    assert_eq!(saga.tokens(1, Side::Execute), [("k".to_owned(), 7), ("m".to_owned(), 9)]);
}

#[test]
fn keys_out_of_order_fail_the_step() {
    // The parser refuses these definitions. The rules refuse them as well, because a deadlock would be silent.
    let cases = [
        (("k", LockScope::Workflow, false), ("j", LockScope::Step, false), Some("LOCK_ORDER")),
        (("k", LockScope::Workflow, false), ("j", LockScope::Workflow, false), Some("LOCK_ORDER")),
        (("k", LockScope::Workflow, true), ("k", LockScope::Step, false), Some("LOCK_ORDER")),
        (("k", LockScope::Workflow, true), ("k", LockScope::Step, true), None),
        (("k", LockScope::Workflow, false), ("k", LockScope::Step, true), None),
        (("k", LockScope::Workflow, false), ("l", LockScope::Step, false), None),
        (("k", LockScope::Step, false), ("j", LockScope::Workflow, false), None),
    ];
    for (first, second, expected) in cases {
        let spec = |(key, hold, shared)| LockSpec { shared, ..lock(key, hold) };
        let steps = vec![
            Step { lock: Some(spec(first)), ..step("a", &[]) },
            Step { lock: Some(spec(second)), ..step("b", &[0]) },
        ];
        let mut saga = Scenario::new(steps);
        saga.acquire(of_step(0), &[7]).unwrap();
        saga.done(0);
        let code = saga.state.error.as_ref().map(|error| error.code.as_str());
        assert_eq!(code, expected, "{first:?} then {second:?}");
    }
}

#[test]
fn request_that_is_held_to_the_end_does_not_overtake_another_one() {
    // Two branches: the one with the lower key still waits.
    let steps = vec![locked("a", &[], "k", LockScope::Step), locked("b", &[], "l", LockScope::Workflow)];
    let saga = Scenario::new(steps);
    assert_eq!(saga.state.error.as_ref().map(|error| error.code.as_str()), Some("LOCK_ORDER"));
}

#[test]
fn key_that_is_not_valid_fails_the_step() {
    let cases = [
        (Template::Value(Json::Null), "INVALID_LOCK_KEY"),
        (Template::Value(Json::from("")), "INVALID_LOCK_KEY"),
        (Template::Value(Json::from("a\u{7}")), "INVALID_LOCK_KEY"),
        (Template::List(vec![]), "INVALID_LOCK_KEY"),
        (Template::Expression("error".to_owned()), "LOCK_EXPRESSION_FAILED"),
    ];
    for (key, code) in cases {
        let spec = LockSpec { key: key.clone(), ..lock("", LockScope::Step) };
        let saga = Scenario::new(vec![Step { lock: Some(spec.clone()), ..step("a", &[]) }]);
        assert_eq!(saga.state.error.as_ref().unwrap().code, code, "{key:?}");
        let saga = Scenario::with(vec![spec], vec![step("a", &[])]);
        assert_eq!(saga.state.error.as_ref().unwrap().code, code, "{key:?} of the definition");
        assert_eq!(saga.state.status(), Status::RolledBack);
    }
    let number = LockSpec { key: Template::Value(Json::from(7)), ..lock("", LockScope::Step) };
    assert_eq!(Scenario::new(vec![Step { lock: Some(number), ..step("a", &[]) }]).claimed(), ["7"]);
}

#[test]
fn operator_who_retries_a_step_requests_its_lock_again() {
    let retriable = of_kind(locked("b", &[0], "k", LockScope::Step), Kind::Retriable);
    let mut saga = Scenario::new(vec![of_kind(step("a", &[]), Kind::Pivot), retriable]);
    saga.done(0);
    saga.acquire(of_step(1), &[7]).unwrap();
    saga.refused(1);
    assert_eq!(saga.state.status(), Status::Error);
    assert_eq!(saga.take_released(), [(of_step(1), vec!["k".to_owned()])]);
    saga.submit(&Input::RetryStep { step: StepIndex(1), actor: None, reason: None }).unwrap();
    assert_eq!((saga.due(execute(1)), saga.claimed()), (None, vec!["k"]));
    saga.acquire(of_step(1), &[9]).unwrap();
    assert_eq!(saga.tokens(1, Side::Execute), [("k".to_owned(), 9)]);
    saga.done(1);
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn terminated_workflow_releases_everything() {
    let steps = vec![step("a", &[]), locked("b", &[], "m", LockScope::Step)];
    let mut saga = Scenario::with(vec![lock("k", LockScope::Workflow)], steps);
    saga.acquire(WORKFLOW, &[7]).unwrap();
    saga.submit(&Input::Terminate { actor: None, reason: "enough".to_owned() }).unwrap();
    assert!(saga.events.last().unwrap().kind.ends());
    let released = [(WORKFLOW, vec!["k".to_owned()]), (of_step(1), vec!["m".to_owned()])];
    assert_eq!(saga.take_released(), released);
}

#[test]
fn pivot_in_doubt_is_not_rolled_back_by_a_definition_with_locks() {
    let child =
        Child { workflow: "c".to_owned(), version: None, id: None, on_parent_close: OnParentClose::Cancel };
    let pivot = Step { action: Action::Child(child), ..of_kind(step("b", &[0]), Kind::Pivot) };
    let mut saga = Scenario::new(vec![locked("a", &[], "k", LockScope::Step), pivot]);
    saga.acquire(of_step(0), &[7]).unwrap();
    saga.done(0);
    let end = ChildEnd::Terminated { failure: Failure::of("TERMINATED", "as asked"), in_doubt: true };
    let child = Some(WorkflowId(uuid::Uuid::from_u128(2)));
    saga.submit(&Input::ChildEnded { step: StepIndex(1), attempt: 1, child, end }).unwrap();
    saga.cancel();
    assert!(saga.state.rollback_pending, "the cancel waits for the outcome of the pivot");
    assert_eq!((saga.state.status(), saga.statuses()[1]), (Status::Error, StepStatus::Unknown));
}

#[test]
fn definition_without_locks_has_no_events_about_locks() {
    let mut saga = Scenario::new(vec![step("a", &[]), step("b", &[0])]);
    saga.done(0);
    saga.done(1);
    let about_locks = |kind: &EventKind| {
        matches!(
            kind,
            EventKind::LocksRequested { .. }
                | EventKind::LocksAcquired { .. }
                | EventKind::LocksFailed { .. }
        )
    };
    assert!(!saga.events.iter().any(|event| about_locks(&event.kind)));
    assert!(!serde_json::to_string(&saga.state).unwrap().contains("lock"));
}

#[test]
fn keys_of_the_ledger_are_read_as_they_are_written() {
    for (timer, text) in [(WORKFLOW, "timer/lock"), (of_step(3), "3/timer/lock")] {
        let key = wait(timer);
        assert_eq!((key.to_string().as_str(), text.parse()), (text, Ok(key)));
    }
}
