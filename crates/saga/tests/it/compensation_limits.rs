//! The limits of a compensation: until an attempt starts, and over all attempts.

use crate::graph::{Literal, definition, started, step};
use goconductor_saga::{
    CompensationLimits, Due, Event, EventKind, Failure, Input, Json, Outcome, OwedKey, Plan, Refusal, Side,
    State, Status, StepIndex, StepStatus, TimerKind, Timestamp, decide, evolve, owed,
};
use serde_json::json;
use std::time::Duration;

const SECOND: i64 = 1_000_000;
const UNDONE: StepIndex = StepIndex(0);
const QUEUE: TimerKind = TimerKind::StepQueue(UNDONE);
const TOTAL: TimerKind = TimerKind::StepTotal(UNDONE);

fn seconds(queue: Option<u64>, total: Option<u64>) -> CompensationLimits {
    let [queue, total] = [queue, total].map(|limit| limit.map(Duration::from_secs));
    CompensationLimits { queue, total, heartbeat: None }
}

/// A workflow of two steps, whose second one was refused at 10 s.
struct Saga {
    plan: Plan,
    state: State,
    events: Vec<Event>,
    now: i64,
}

impl Saga {
    fn new(limits: CompensationLimits, max_attempts: Option<u32>) -> Self {
        Self::with(limits, max_attempts, false)
    }

    fn with(limits: CompensationLimits, max_attempts: Option<u32>, goes_on: bool) -> Self {
        let mut saga = Self::begun(limits, max_attempts, goes_on);
        saga.report(0, Side::Execute, Outcome::Done { output: Json::Null });
        saga.now = 10 * SECOND;
        saga.report(1, Side::Execute, Outcome::Refused { failure: Failure::of("NO", "as asked") });
        saga
    }

    fn begun(limits: CompensationLimits, max_attempts: Option<u32>, goes_on: bool) -> Self {
        let mut steps = vec![step("a", &[]), step("b", &[0])];
        let undo = steps[0].compensate.as_mut().unwrap();
        (undo.limits, undo.retry.max_attempts) = (limits, max_attempts);
        let mut definition = definition(steps);
        definition.rollback.continue_on_error = goes_on;
        let plan = Plan::new(definition, 1).unwrap();
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

    fn busy(&mut self) {
        let failure = Failure::of("BUSY", "as asked");
        self.report(0, Side::Compensate, Outcome::Retryable { failure, not_before: None });
    }

    fn fire(&mut self, timer: TimerKind) -> Result<(), Refusal> {
        self.submit(&Input::FireTimer { timer })
    }

    fn start_attempt(&mut self, attempt: u32) -> Result<(), Refusal> {
        self.submit(&Input::StartAttempt {
            step: UNDONE,
            side: Side::Compensate,
            attempt,
            started_at: Timestamp(self.now),
            deadline: Timestamp(self.now + SECOND),
            executor: "e".to_owned(),
            sent: false,
            trace: None,
        })
    }

    fn pause(&mut self, seconds: i64) {
        self.submit(&Input::Pause { actor: None, reason: None }).unwrap();
        assert_eq!([self.due(QUEUE), self.due(TOTAL)], [None, None], "no clock runs");
        self.now += seconds * SECOND;
        self.submit(&Input::Resume { actor: None, reason: None }).unwrap();
    }

    /// Returns when a timer is due, in microseconds.
    fn due(&self, timer: TimerKind) -> Option<i64> {
        let row = owed(&self.plan, &self.state).into_iter().find(|row| row.key == OwedKey::Timer(timer));
        row.map(|row| match row.due {
            Due::At(at) => at.0,
            Due::Held | Due::Withdraw => panic!("a timer without a time"),
        })
    }

    fn undo(&self) -> StepStatus {
        self.state.steps[0].compensation.unwrap()
    }

    fn code(&self) -> &str {
        &self.state.steps[0].error.as_ref().unwrap().code
    }
}

#[test]
fn compensation_that_no_worker_starts_fails_by_attempts() {
    let mut saga = Saga::new(seconds(Some(3), None), Some(2));
    assert_eq!((saga.due(QUEUE), saga.due(TOTAL)), (Some(13 * SECOND), None));
    saga.now = 12 * SECOND;
    assert_eq!(saga.fire(QUEUE), Err(Refusal::Stale), "the limit has not passed");
    saga.now = 13 * SECOND;
    saga.fire(QUEUE).unwrap();
    assert_eq!((saga.undo(), saga.code()), (StepStatus::CompensationRetrying, "QUEUE_TIMEOUT"));
    assert_eq!(saga.start_attempt(1), Err(Refusal::Stale), "a late worker must not send the attempt");
    // The next attempt may be sent 10 ms later, and waits as long.
    assert_eq!(saga.due(QUEUE), Some(16 * SECOND + 10_000));
    saga.now = 17 * SECOND;
    saga.fire(QUEUE).unwrap();
    assert_eq!((saga.undo(), saga.state.status()), (StepStatus::CompensationFailed, Status::Error));
    assert_eq!(saga.state.steps[0].compensate.ended, 2);
    assert_eq!((saga.due(QUEUE), saga.due(TOTAL)), (None, None));
}

#[test]
fn started_attempt_ends_the_wait_and_a_further_attempt_waits_again() {
    let mut saga = Saga::new(seconds(Some(3), None), None);
    saga.start_attempt(1).unwrap();
    assert_eq!((saga.due(QUEUE), saga.fire(QUEUE)), (None, Err(Refusal::Stale)));
    saga.now = 14 * SECOND;
    saga.busy();
    assert_eq!(saga.due(QUEUE), Some(17 * SECOND + 10_000));
}

#[test]
fn limit_of_all_attempts_ends_the_compensation_between_them() {
    for goes_on in [false, true] {
        let mut saga = Saga::with(seconds(None, Some(5)), None, goes_on);
        saga.now = 14 * SECOND;
        saga.busy();
        assert_eq!((saga.undo(), saga.due(TOTAL)), (StepStatus::CompensationRetrying, Some(15 * SECOND)));
        saga.now = 15 * SECOND;
        saga.fire(TOTAL).unwrap();
        assert_eq!((saga.undo(), saga.code()), (StepStatus::CompensationFailed, "TOTAL_TIMEOUT"));
        let expected = if goes_on { Status::RolledBack } else { Status::Error };
        assert_eq!(saga.state.status(), expected);
    }
}

#[test]
fn last_attempt_is_cut_where_the_limit_ends_and_is_awaited() {
    let mut saga = Saga::new(seconds(None, Some(5)), None);
    saga.now = 14 * SECOND + 400_000;
    let left = saga.plan.attempt_timeout(&saga.state, UNDONE, Side::Compensate, Timestamp(saga.now));
    assert_eq!(left, Some(Duration::from_millis(600)), "an attempt alone has 1 s");
    saga.start_attempt(1).unwrap();
    saga.now = 15 * SECOND;
    assert_eq!((saga.due(TOTAL), saga.fire(TOTAL)), (None, Err(Refusal::Stale)));
    let mut late = Saga {
        plan: saga.plan.clone(),
        state: saga.state.clone(),
        events: saga.events.clone(),
        now: saga.now,
    };
    late.report(0, Side::Compensate, Outcome::Done { output: Json::Null });
    assert_eq!(late.state.status(), Status::RolledBack, "a success counts");
    let failure = Failure::of("TIMED_OUT", "as asked");
    saga.report(0, Side::Compensate, Outcome::Unknown { failure, not_before: None, answered: false });
    assert_eq!((saga.undo(), saga.code()), (StepStatus::CompensationFailed, "TIMED_OUT"));
}

#[test]
fn retry_after_the_limit_is_not_made() {
    let mut saga = Saga::new(seconds(None, Some(5)), None);
    saga.now = 14 * SECOND + 995_000;
    saga.busy();
    assert_eq!((saga.undo(), saga.code()), (StepStatus::CompensationFailed, "BUSY"));
}

#[test]
fn pause_stops_the_clocks_of_a_compensation() {
    let mut saga = Saga::new(seconds(Some(3), Some(5)), None);
    saga.now = 11 * SECOND;
    saga.pause(20);
    assert_eq!((saga.due(QUEUE), saga.due(TOTAL)), (Some(33 * SECOND), Some(35 * SECOND)));
    saga.pause(5);
    assert_eq!((saga.due(QUEUE), saga.due(TOTAL)), (Some(38 * SECOND), Some(40 * SECOND)));
    let command = OwedKey::Command(UNDONE, Side::Compensate);
    let row = owed(&saga.plan, &saga.state).into_iter().find(|row| row.key == command).unwrap();
    assert!(matches!(row.due, Due::At(at) if at.0 <= saga.now), "a pause delays no command that was due");
}

#[test]
fn limits_count_from_the_end_of_the_doubt() {
    let mut saga = Saga::begun(seconds(Some(3), Some(5)), None, false);
    let failure = Failure::of("TIMED_OUT", "as asked");
    let (started_at, deadline) = (Timestamp(0), Timestamp(60 * SECOND));
    let outcome = Outcome::Unknown { failure, not_before: None, answered: false };
    let (step, side) = (UNDONE, Side::Execute);
    saga.submit(&Input::ReportOutcome { step, side, attempt: 1, started_at, deadline, outcome }).unwrap();
    saga.submit(&Input::Cancel { actor: None, reason: None }).unwrap();
    saga.submit(&Input::WithdrawCommand { step, attempt: 2 }).unwrap();
    assert_eq!(saga.undo(), StepStatus::CompensationQueued);
    assert_eq!((saga.due(QUEUE), saga.due(TOTAL)), (Some(63 * SECOND), Some(65 * SECOND)));
    saga.pause(20);
    assert_eq!((saga.due(QUEUE), saga.due(TOTAL)), (Some(63 * SECOND), Some(65 * SECOND)), "no clock ran");
}

#[test]
fn limits_restart_after_an_operators_retry_and_stop_in_a_pause() {
    let mut saga = Saga::new(seconds(None, Some(5)), None);
    saga.now = 15 * SECOND;
    saga.fire(TOTAL).unwrap();
    saga.now = 100 * SECOND;
    saga.submit(&Input::RetryStep { step: UNDONE, actor: None, reason: None }).unwrap();
    assert_eq!((saga.due(TOTAL), saga.fire(TOTAL)), (Some(105 * SECOND), Err(Refusal::Stale)));
    saga.pause(7);
    assert_eq!(saga.due(TOTAL), Some(112 * SECOND));
}

#[test]
fn attempt_that_fails_during_a_pause_has_the_time_that_was_left_before_it() {
    let mut saga = Saga::new(seconds(None, Some(5)), None);
    saga.start_attempt(1).unwrap();
    saga.now = 11 * SECOND;
    saga.submit(&Input::Pause { actor: None, reason: None }).unwrap();
    saga.now = 60 * SECOND;
    saga.busy();
    assert_eq!(saga.undo(), StepStatus::CompensationRetrying);
    saga.submit(&Input::Resume { actor: None, reason: None }).unwrap();
    assert_eq!(saga.due(TOTAL), Some(64 * SECOND));
}

#[test]
fn only_a_compensation_with_a_clock_changes_what_is_stored() {
    let heartbeat = CompensationLimits { heartbeat: Some(Duration::from_secs(1)), ..seconds(None, None) };
    for (limits, limited) in
        [(seconds(None, None), false), (heartbeat, false), (seconds(Some(3), None), true)]
    {
        let mut saga = Saga::new(limits, None);
        saga.pause(5);
        let queued =
            saga.events.iter().find(|event| matches!(event.kind, EventKind::CompensationQueued { .. }));
        let event = serde_json::to_value(queued.unwrap()).unwrap();
        let state = serde_json::to_value(&saga.state).unwrap();
        let progress = &state["steps"][0]["compensate"];
        assert_eq!(event.get("limited"), limited.then_some(&json!(true)), "{event}");
        assert_eq!(progress.get("counted_from").is_some(), limited, "{progress}");
        let due_at = if limited { 15 * SECOND } else { 10 * SECOND };
        assert_eq!(progress["due_at"], json!(due_at), "{progress}");
    }
}
