//! The rules of semantics.md, one test for each.

use crate::checks::{self, Effect, Evidence};
use crate::graph::{Literal, definition, of_kind, plan, started, step, tries};
use StepStatus::{
    Compensated, CompensationFailed, CompensationQueued, Completed, Failed, Pending, Queued, Retrying,
    Skipped, Unknown,
};
use goconductor_saga::{
    Condition, Event, EventKind, Failure, Input, Join, Json, Kind, Outcome, OwedKey, Phase, Plan, Refusal,
    RollbackCause, RulesVersion, Side, State, Status, StepIndex, StepStatus, TimerKind, Timestamp, decide,
    evolve, owed,
};
use std::time::Duration;

/// A workflow that receives inputs one by one, at times that the test sets.
struct Scenario {
    plan: Plan,
    state: State,
    events: Vec<Event>,
    effects: Vec<Effect>,
    now: i64,
}

fn failure(code: &str) -> Failure {
    Failure::of(code, "as asked")
}

impl Scenario {
    fn new(plan: Plan) -> Self {
        let (events, state) = started(&plan);
        Self { plan, state, events, effects: Vec::new(), now: 0 }
    }

    fn submit(&mut self, input: &Input) -> Result<(), Refusal> {
        let (events, state) = decide(&self.plan, &Literal, &self.state, input, Timestamp(self.now))?;
        self.events.extend(events);
        self.state = state;
        Ok(())
    }

    fn index(&self, name: &str) -> StepIndex {
        self.plan.step_named(name).unwrap()
    }

    fn report(&mut self, name: &str, side: Side, outcome: Outcome) -> Result<(), Refusal> {
        let step = self.index(name);
        let attempt = self.state.steps[step.at()].progress(side).attempt();
        let (started_at, deadline) = (Timestamp(self.now), Timestamp(self.now + 1_000_000));
        if matches!(outcome, Outcome::Done { .. } | Outcome::Unknown { .. }) {
            let before = |side: Side| self.effects.iter().any(|each| each.step == step && each.side == side);
            let applied = !before(side) && (side == Side::Execute || before(Side::Execute));
            self.effects.push(Effect { step, side, applied });
        }
        self.submit(&Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome })
    }

    fn done(&mut self, name: &str) {
        self.report(name, Side::Execute, Outcome::Done { output: Json::Null }).unwrap();
    }

    fn compensated(&mut self, name: &str) {
        self.report(name, Side::Compensate, Outcome::Done { output: Json::Null }).unwrap();
    }

    fn refused(&mut self, name: &str) {
        self.report(name, Side::Execute, Outcome::Refused { failure: failure("NO") }).unwrap();
    }

    fn retryable(&mut self, name: &str) {
        self.report(name, Side::Execute, Outcome::Retryable { failure: failure("BUSY"), not_before: None })
            .unwrap();
    }

    fn unknown(&mut self, name: &str) {
        self.report(
            name,
            Side::Execute,
            Outcome::Unknown { failure: failure("TIMED_OUT"), not_before: None, answered: false },
        )
        .unwrap();
    }

    /// Reports an attempt of unknown outcome that the participant itself answered.
    fn answered(&mut self, name: &str) {
        let failure = failure("HTTP_500");
        self.report(name, Side::Execute, Outcome::Unknown { failure, not_before: None, answered: true })
            .unwrap();
    }

    fn pause(&mut self) {
        self.submit(&Input::Pause { actor: None, reason: None }).unwrap();
    }

    fn resume(&mut self) {
        self.submit(&Input::Resume { actor: None, reason: None }).unwrap();
    }

    fn fire(&mut self, timer: TimerKind) -> Result<(), Refusal> {
        self.submit(&Input::FireTimer { timer })
    }

    /// Returns when a timer is due, in microseconds.
    fn timer(&self, timer: TimerKind) -> Option<i64> {
        let mut rows = owed(&self.plan, &self.state).into_iter();
        rows.find(|row| row.key == OwedKey::Timer(timer)).and_then(|row| match row.due {
            goconductor_saga::Due::At(at) => Some(at.0),
            goconductor_saga::Due::Held | goconductor_saga::Due::Withdraw => None,
        })
    }

    /// Turns the workflow into one that a release without a version of the rules started.
    fn with_first_rules(mut self) -> Self {
        let first = self.events.first_mut().unwrap();
        let EventKind::WorkflowStarted { rules, .. } = &mut first.kind else { panic!("no start") };
        *rules = RulesVersion::FIRST;
        self.state = self.events.iter().fold(None, evolve).unwrap();
        self
    }

    fn cancel(&mut self) -> Result<(), Refusal> {
        self.submit(&Input::Cancel { actor: Some("ada".to_owned()), reason: None })
    }

    fn statuses(&self) -> Vec<StepStatus> {
        self.state.steps.iter().map(goconductor_saga::StepState::status).collect()
    }

    /// Returns when the command of a step and side is due.
    fn due(&self, name: &str, side: Side) -> Option<goconductor_saga::Due> {
        let key = OwedKey::Command(self.index(name), side);
        owed(&self.plan, &self.state).into_iter().find(|row| row.key == key).map(|row| row.due)
    }

    fn has(&self, wanted: impl Fn(&EventKind) -> bool) -> bool {
        self.events.iter().any(|event| wanted(&event.kind))
    }
}

fn list(names: &[&str]) -> Plan {
    let steps = (0u32..).zip(names).map(|(at, name)| {
        let on: Vec<u32> = at.checked_sub(1).into_iter().collect();
        step(name, &on)
    });
    plan(steps.collect())
}

fn when(mut step: goconductor_saga::Step, expression: &str) -> goconductor_saga::Step {
    step.when.push(Condition { expression: expression.to_owned(), holds: true });
    step
}

fn joined(mut step: goconductor_saga::Step, join: Join) -> goconductor_saga::Step {
    step.join = join;
    step
}

#[test]
fn list_of_steps_runs_in_order_and_completes() {
    let mut saga = Scenario::new(list(&["a", "b"]));
    assert_eq!((saga.state.status(), saga.statuses()), (Status::Queued, vec![Queued, Pending]));
    saga.done("a");
    assert_eq!((saga.state.status(), saga.statuses()), (Status::InProgress, vec![Completed, Queued]));
    saga.done("b");
    assert_eq!((saga.state.status(), saga.statuses()), (Status::Completed, vec![Completed, Completed]));
    assert_eq!(saga.cancel(), Err(Refusal::Final(Status::Completed)));
    assert!(owed(&saga.plan, &saga.state).is_empty());
}

#[test]
fn join_decides_whether_a_step_runs_after_skipped_dependencies() {
    // Step `a` completes or is skipped, and `b` is skipped. Step `c` depends on both.
    for (a, join, expected) in [
        ("true", Join::All, Queued),
        ("false", Join::All, Skipped),
        ("true", Join::Any, Queued),
        ("false", Join::Any, Skipped),
        ("false", Join::Settled, Queued),
        ("true", Join::Settled, Queued),
    ] {
        let c = joined(step("c", &[0, 1]), join);
        let mut saga = Scenario::new(plan(vec![when(step("a", &[]), a), when(step("b", &[]), "false"), c]));
        if a == "true" {
            saga.done("a");
        }
        assert_eq!(saga.statuses()[2], expected, "a when {a}, join {join:?}");
    }
}

#[test]
fn step_is_skipped_only_with_the_steps_that_the_text_names() {
    // Step `b` follows `a`, which is skipped. `c` follows `b`.
    for (skipped_with, expected) in [
        (Some(vec![]), [Skipped, Queued]),
        (Some(vec![StepIndex(0)]), [Skipped, Skipped]),
        (None, [Skipped, Skipped]),
    ] {
        for join in [Join::All, Join::Any] {
            let mut b = joined(step("b", &[0]), join);
            b.skipped_with.clone_from(&skipped_with);
            let saga = Scenario::new(plan(vec![when(step("a", &[]), "false"), b]));
            assert_eq!(saga.statuses(), expected, "{skipped_with:?}, join {join:?}");
        }
    }
    // The branch of a block that is skipped with `a` is skipped to its end.
    let mut c = step("c", &[1]);
    c.skipped_with = Some(vec![StepIndex(0)]);
    let saga = Scenario::new(plan(vec![when(step("a", &[]), "false"), step("b", &[0]), c]));
    assert_eq!(saga.statuses(), [Skipped, Skipped, Skipped]);
}

#[test]
fn join_any_starts_after_the_first_completion_and_the_workflow_waits_for_all() {
    let c = joined(step("c", &[0, 1]), Join::Any);
    let mut saga = Scenario::new(plan(vec![step("a", &[]), step("b", &[]), c]));
    saga.done("b");
    assert_eq!(saga.statuses(), [Queued, Completed, Queued]);
    saga.done("c");
    assert_eq!(saga.state.status(), Status::InProgress);
    saga.done("a");
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn workflow_whose_steps_are_all_skipped_completes() {
    let saga = Scenario::new(plan(vec![when(step("a", &[]), "false"), step("b", &[0]), step("c", &[1])]));
    assert_eq!((saga.state.status(), saga.statuses()), (Status::Completed, vec![Skipped, Skipped, Skipped]));
}

#[test]
fn condition_that_cannot_be_evaluated_fails_the_step_and_rolls_back() {
    for expression in ["error", "no boolean"] {
        let mut saga = Scenario::new(plan(vec![step("a", &[]), when(step("b", &[0]), expression)]));
        saga.done("a");
        assert_eq!(saga.statuses(), [CompensationQueued, Failed], "{expression}");
        assert_eq!(saga.state.error.as_ref().unwrap().code, "CONDITION_FAILED");
    }
}

#[test]
fn retryable_failure_is_retried_up_to_the_attempt_limit() {
    let mut saga = Scenario::new(plan(vec![tries(step("a", &[]), 3)]));
    saga.retryable("a");
    assert_eq!(saga.statuses(), [Retrying]);
    assert_eq!(saga.due("a", Side::Execute), Some(goconductor_saga::Due::At(Timestamp(10_000))));
    saga.now = 10_000;
    saga.retryable("a");
    assert_eq!(
        saga.due("a", Side::Execute),
        Some(goconductor_saga::Due::At(Timestamp(30_000))),
        "the delay doubles"
    );
    saga.retryable("a");
    assert_eq!((saga.state.status(), saga.statuses()), (Status::RolledBack, vec![Failed]));
    assert_eq!(saga.state.cause, Some(RollbackCause::StepFailed));
}

#[test]
fn requested_retry_time_is_honored() {
    let mut saga = Scenario::new(plan(vec![step("a", &[])]));
    let not_before = Some(Timestamp(7_000_000));
    saga.report("a", Side::Execute, Outcome::Retryable { failure: failure("BUSY"), not_before }).unwrap();
    assert_eq!(saga.due("a", Side::Execute), Some(goconductor_saga::Due::At(Timestamp(7_000_000))));
}

#[test]
fn retry_policy_selects_failures_by_code() {
    let mut only = step("a", &[]);
    only.retry.on = vec!["BUSY".to_owned()];
    let mut not = step("b", &[]);
    not.retry.not_on = vec!["BUSY".to_owned()];
    let mut saga = Scenario::new(plan(vec![only, not]));
    saga.retryable("a");
    assert_eq!(saga.statuses(), [Retrying, Queued]);
    saga.retryable("b");
    assert_eq!(saga.statuses()[1], Failed);
}

#[test]
fn refused_step_is_not_compensated() {
    let mut saga = Scenario::new(list(&["a", "b"]));
    saga.done("a");
    saga.refused("b");
    assert_eq!(saga.statuses(), [CompensationQueued, Failed]);
    saga.compensated("a");
    assert_eq!((saga.state.status(), saga.statuses()), (Status::RolledBack, vec![Compensated, Failed]));
}

#[test]
fn step_in_doubt_is_compensated_after_its_deadline() {
    let mut saga = Scenario::new(plan(vec![tries(step("a", &[]), 1)]));
    saga.unknown("a");
    assert_eq!(saga.state.steps[0].execution, Unknown);
    assert_eq!(saga.due("a", Side::Compensate), Some(goconductor_saga::Due::At(Timestamp(1_000_000))));
}

#[test]
fn refusal_after_an_unknown_or_lost_attempt_leaves_the_step_in_doubt() {
    let mut saga = Scenario::new(plan(vec![step("a", &[])]));
    saga.unknown("a");
    saga.refused("a");
    assert_eq!(
        (saga.state.steps[0].execution, saga.state.steps[0].compensation),
        (Unknown, Some(CompensationQueued))
    );

    let mut saga = Scenario::new(plan(vec![step("a", &[])]));
    let (step, side) = (saga.index("a"), Side::Execute);
    saga.submit(&Input::LoseAttempt { step, side, attempt: 1, doubt_until: Timestamp(5) }).unwrap();
    assert_eq!(saga.statuses(), [Retrying]);
    saga.refused("a");
    assert_eq!(saga.state.steps[0].execution, Unknown);
}

#[test]
fn success_after_doubt_completes_the_step() {
    let mut saga = Scenario::new(plan(vec![step("a", &[])]));
    saga.unknown("a");
    saga.done("a");
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn diamond_is_compensated_in_reverse_with_parallel_branches() {
    let steps = vec![step("a", &[]), step("b", &[0]), step("c", &[0]), step("d", &[1, 2]), step("e", &[3])];
    let mut saga = Scenario::new(plan(steps));
    for name in ["a", "b", "c", "d"] {
        saga.done(name);
    }
    saga.refused("e");
    assert_eq!(saga.statuses(), [Completed, Completed, Completed, CompensationQueued, Failed]);
    saga.compensated("d");
    assert_eq!(saga.statuses(), [Completed, CompensationQueued, CompensationQueued, Compensated, Failed]);
    saga.compensated("c");
    assert_eq!(saga.statuses()[0], Completed, "b is not compensated yet");
    saga.compensated("b");
    saga.compensated("a");
    assert_eq!(saga.state.status(), Status::RolledBack);
}

#[test]
fn rollback_waits_for_a_branch_in_flight_and_compensates_its_late_success() {
    let steps = vec![step("a", &[]), step("slow", &[0]), step("b", &[0])];
    let mut saga = Scenario::new(plan(steps));
    saga.done("a");
    saga.refused("b");
    assert_eq!(
        saga.statuses(),
        [Completed, Queued, Failed],
        "no step upstream of one in flight is compensated"
    );
    saga.done("slow");
    assert_eq!(saga.statuses(), [Completed, CompensationQueued, Failed]);
    saga.compensated("slow");
    saga.compensated("a");
    assert_eq!(saga.state.status(), Status::RolledBack);
}

#[test]
fn settled_branch_rolls_back_while_an_unrelated_branch_is_in_flight() {
    let mut saga = Scenario::new(plan(vec![step("a", &[]), step("slow", &[]), step("b", &[0])]));
    saga.done("a");
    saga.refused("b");
    assert_eq!(saga.statuses(), [CompensationQueued, Queued, Failed]);
}

#[test]
fn command_that_was_never_sent_is_withdrawn_and_not_compensated() {
    let mut saga = Scenario::new(plan(vec![step("a", &[]), step("b", &[])]));
    saga.refused("a");
    assert_eq!(saga.due("b", Side::Execute), Some(goconductor_saga::Due::Withdraw));
    let step = saga.index("b");
    saga.submit(&Input::WithdrawCommand { step, attempt: 1 }).unwrap();
    assert_eq!(saga.state.status(), Status::RolledBack);
    assert!(!saga.has(|kind| matches!(kind, EventKind::CompensationQueued { .. })));
}

#[test]
fn step_without_a_compensation_is_not_compensated() {
    let mut quiet = step("quiet", &[0]);
    quiet.compensate = None;
    let mut saga = Scenario::new(plan(vec![step("a", &[]), quiet, step("b", &[1])]));
    saga.done("a");
    saga.done("quiet");
    saga.refused("b");
    assert_eq!(saga.statuses(), [CompensationQueued, Completed, Failed]);
    saga.compensated("a");
    assert_eq!(saga.state.status(), Status::RolledBack);
}

#[test]
fn refused_pivot_rolls_back_and_completed_pivot_does_not() {
    let pivot = || of_kind(step("p", &[0]), Kind::Pivot);
    let mut saga = Scenario::new(plan(vec![step("a", &[]), pivot()]));
    saga.done("a");
    saga.refused("p");
    assert_eq!(saga.statuses(), [CompensationQueued, Failed]);

    let after = tries(of_kind(step("r", &[1]), Kind::Retriable), 2);
    let mut saga = Scenario::new(plan(vec![step("a", &[]), pivot(), after]));
    saga.done("a");
    saga.done("p");
    assert!(matches!(saga.cancel(), Err(Refusal::Conflict(_))));
    saga.retryable("r");
    saga.retryable("r");
    assert_eq!((saga.state.status(), saga.statuses()), (Status::Error, vec![Completed, Completed, Failed]));
    let step = saga.index("r");
    saga.submit(&Input::RetryStep { step, actor: None, reason: None }).unwrap();
    saga.done("r");
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn pivot_in_doubt_is_retried_beyond_its_limit_and_a_cancel_waits() {
    let mut saga = Scenario::new(plan(vec![step("a", &[]), tries(of_kind(step("p", &[0]), Kind::Pivot), 1)]));
    saga.done("a");
    saga.unknown("p");
    saga.refused("p");
    assert_eq!(saga.statuses(), [Completed, Retrying], "a refusal does not end the doubt");
    saga.cancel().unwrap();
    assert_eq!(saga.state.status(), Status::InProgress);
    assert!(saga.due("p", Side::Execute).is_some_and(|due| matches!(due, goconductor_saga::Due::At(_))));
    saga.done("p");
    assert_eq!((saga.state.status(), saga.state.cause), (Status::Completed, None));
    assert!(saga.has(|kind| matches!(kind, EventKind::RollbackRefused { .. })));
}

#[test]
fn cancel_during_a_pivot_in_flight_follows_the_outcome_of_the_pivot() {
    let pivot = || plan(vec![step("a", &[]), of_kind(step("p", &[0]), Kind::Pivot)]);
    let mut saga = Scenario::new(pivot());
    saga.done("a");
    saga.cancel().unwrap();
    saga.refused("p");
    assert_eq!((saga.state.cause, saga.state.phase), (Some(RollbackCause::Cancelled), Phase::RollingBack));
    let mut saga = Scenario::new(pivot());
    saga.done("a");
    saga.cancel().unwrap();
    saga.done("p");
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn no_step_overtakes_the_pivot() {
    let pivot = joined(of_kind(step("p", &[0, 1]), Kind::Pivot), Join::Any);
    let after = joined(of_kind(step("r", &[0, 2]), Kind::Retriable), Join::Any);
    let mut saga = Scenario::new(plan(vec![step("a", &[]), step("b", &[]), pivot, after]));
    saga.done("a");
    assert_eq!(saga.statuses(), [Completed, Queued, Pending, Pending]);
    saga.done("b");
    assert_eq!(saga.statuses(), [Completed, Completed, Queued, Pending]);
    saga.done("p");
    assert_eq!(saga.statuses()[3], Queued);
}

#[test]
fn cancelled_workflow_compensates_completed_steps() {
    let mut saga = Scenario::new(list(&["a", "b"]));
    saga.done("a");
    saga.cancel().unwrap();
    assert_eq!(
        (saga.state.status(), saga.state.cause),
        (Status::RollingBack, Some(RollbackCause::Cancelled))
    );
    assert_eq!(saga.events.last().unwrap().actor.as_deref(), Some("ada"));
    assert!(matches!(saga.cancel(), Err(Refusal::Conflict(_))));
    saga.refused("b");
    saga.compensated("a");
    assert_eq!(saga.state.status(), Status::RolledBack);
}

#[test]
fn paused_workflow_issues_no_command_and_accepts_outcomes() {
    let mut saga = Scenario::new(list(&["a", "b", "c"]));
    saga.done("a");
    let pause = Input::Pause { actor: None, reason: None };
    saga.submit(&pause).unwrap();
    assert_eq!(saga.state.status(), Status::Paused);
    assert_eq!(saga.due("b", Side::Execute), Some(goconductor_saga::Due::Held));
    saga.done("b");
    assert_eq!(saga.statuses(), [Completed, Completed, Pending]);
    assert!(matches!(saga.submit(&pause), Err(Refusal::Conflict(_))));
    saga.submit(&Input::Resume { actor: None, reason: None }).unwrap();
    assert_eq!(saga.statuses()[2], Queued);
}

#[test]
fn clocks_stand_still_while_a_workflow_is_paused() {
    const SECOND: i64 = 1_000_000;
    let mut slow = step("a", &[]);
    (slow.timeout.queue, slow.timeout.total) = (Some(Duration::from_secs(3)), Some(Duration::from_secs(4)));
    let mut limited = definition(vec![slow]);
    limited.timeout = Some(Duration::from_secs(10));
    let limits = |saga: &Scenario| {
        let [queue, total] = [TimerKind::StepQueue(StepIndex(0)), TimerKind::StepTotal(StepIndex(0))];
        [TimerKind::Workflow, queue, total].map(|timer| saga.timer(timer).map(|at| at / SECOND))
    };
    let paused = |saga: Scenario| {
        let mut saga = saga;
        saga.now = SECOND;
        saga.pause();
        saga.now = 20 * SECOND;
        saga
    };
    let plan = Plan::new(limited, 1).unwrap();
    let mut saga = paused(Scenario::new(plan.clone()));
    assert_eq!(limits(&saga), [None, None, None], "no clock runs");
    assert_eq!(saga.fire(TimerKind::Workflow), Err(Refusal::Stale));
    // A second pause of 5 s follows the first of 19 s.
    saga.resume();
    assert_eq!(limits(&saga), [Some(29), Some(22), Some(23)]);
    saga.pause();
    saga.now = 25 * SECOND;
    saga.resume();
    assert_eq!(limits(&saga), [Some(34), Some(27), Some(28)]);
    let queued_at = saga.state.steps[0].execute.queued_at;
    assert_eq!(queued_at, Some(Timestamp(0)), "the history keeps when the step was queued");
    saga.now = 34 * SECOND;
    saga.fire(TimerKind::Workflow).unwrap();
    assert_eq!((saga.state.status(), saga.state.cause), (Status::RollingBack, Some(RollbackCause::TimedOut)));

    // A workflow that an earlier release started times out as that release promised.
    let mut saga = paused(Scenario::new(plan).with_first_rules());
    assert_eq!(limits(&saga), [Some(10), None, None]);
    saga.fire(TimerKind::Workflow).unwrap();
    assert_eq!(saga.state.cause, Some(RollbackCause::TimedOut));
}

#[test]
fn attempt_that_fails_during_a_pause_has_the_time_that_was_left_before_it() {
    let mut limited = step("a", &[]);
    limited.timeout.total = Some(Duration::from_secs(4));
    let mut saga = Scenario::new(plan(vec![limited]));
    saga.now = 1_000_000;
    saga.pause();
    saga.now = 60_000_000;
    saga.retryable("a");
    assert_eq!(saga.statuses(), [Retrying]);
    let left = saga.plan.attempt_timeout(&saga.state, StepIndex(0), Side::Execute, Timestamp(saga.now));
    assert_eq!(left, Some(Duration::from_secs(1)), "the attempt's own limit is shorter than the 3 s left");
    saga.resume();
    assert_eq!(saga.timer(TimerKind::StepTotal(StepIndex(0))), Some(63_000_000));
}

#[test]
fn rollback_waits_while_a_workflow_is_paused() {
    let mut saga = Scenario::new(list(&["a", "b"]));
    saga.done("a");
    saga.pause();
    saga.refused("b");
    assert_eq!((saga.state.status(), saga.statuses()), (Status::Paused, vec![Completed, Failed]));
    assert!(owed(&saga.plan, &saga.state).is_empty(), "no compensation begins");
    saga.resume();
    assert_eq!(saga.statuses(), [CompensationQueued, Failed]);
}

#[test]
fn answered_attempt_of_unknown_outcome_is_compensated_at_once() {
    let of = || Scenario::new(plan(vec![tries(step("a", &[]), 1)]));
    let due = |saga: &Scenario| saga.due("a", Side::Compensate);
    let at = |micros| Some(goconductor_saga::Due::At(Timestamp(micros)));
    let mut saga = of();
    saga.now = 7;
    saga.answered("a");
    assert_eq!((saga.state.steps[0].execution, due(&saga)), (Unknown, at(7)));
    // A workflow that an earlier release started waits for the deadline.
    let mut saga = of().with_first_rules();
    saga.now = 7;
    saga.answered("a");
    assert_eq!((saga.state.steps[0].execution, due(&saga)), (Unknown, at(1_000_007)));
}

#[test]
fn answered_attempt_does_not_end_the_doubt_of_an_earlier_one() {
    let mut saga = Scenario::new(plan(vec![tries(step("a", &[]), 2)]));
    saga.unknown("a");
    saga.now = 20_000;
    saga.answered("a");
    assert_eq!(saga.due("a", Side::Compensate), Some(goconductor_saga::Due::At(Timestamp(1_000_000))));
}

#[test]
fn command_that_was_not_sent_does_not_count_as_an_attempt() {
    let mut steps = vec![tries(step("a", &[]), 2), tries(step("b", &[0]), 1)];
    steps[0].retry.on = vec!["BUSY".to_owned()];
    steps[0].compensate.as_mut().unwrap().retry.max_attempts = Some(1);
    let mut saga = Scenario::new(plan(steps));
    let not_sent = |saga: &mut Scenario, side| {
        saga.report("a", side, Outcome::NotSent { failure: failure("NOT_SENT") }).unwrap();
    };
    for _ in 0..5 {
        not_sent(&mut saga, Side::Execute);
        assert_eq!(saga.statuses(), [Retrying, Pending]);
        assert_eq!(saga.due("a", Side::Execute), Some(goconductor_saga::Due::At(Timestamp(1_000_000))));
    }
    saga.retryable("a");
    assert_eq!(saga.statuses(), [Retrying, Pending], "one attempt is left");
    saga.done("a");
    saga.refused("b");
    not_sent(&mut saga, Side::Compensate);
    saga.compensated("a");
    assert_eq!(saga.state.status(), Status::RolledBack);
}

#[test]
fn step_whose_output_cannot_be_stored_ends_in_doubt_without_another_attempt() {
    let mut saga = Scenario::new(list(&["a", "b"]));
    let failure = failure("STATE_TOO_LARGE");
    saga.report("a", Side::Execute, Outcome::OutputRejected { failure }).unwrap();
    assert_eq!(saga.state.steps[0].execution, Unknown);
    assert_eq!(saga.due("a", Side::Compensate), Some(goconductor_saga::Due::At(Timestamp(0))));
    saga.compensated("a");
    assert_eq!((saga.state.status(), saga.statuses()), (Status::RolledBack, vec![Compensated, Pending]));
}

#[test]
fn terminated_workflow_compensates_nothing_and_accepts_no_outcome() {
    let mut saga = Scenario::new(list(&["a", "b"]));
    saga.done("a");
    saga.submit(&Input::Terminate { actor: None, reason: "enough".to_owned() }).unwrap();
    assert_eq!((saga.state.status(), saga.statuses()), (Status::Terminated, vec![Completed, Queued]));
    assert!(owed(&saga.plan, &saga.state).is_empty());
    assert_eq!(
        saga.report("b", Side::Execute, Outcome::Done { output: Json::Null }),
        Err(Refusal::Final(Status::Terminated))
    );
}

#[test]
fn failed_compensation_is_an_error_and_other_steps_are_compensated() {
    let mut steps = vec![step("a", &[]), step("b", &[]), step("c", &[0, 1])];
    steps[1].compensate.as_mut().unwrap().retry.max_attempts = Some(2);
    let mut saga = Scenario::new(plan(steps));
    saga.done("a");
    saga.done("b");
    saga.refused("c");
    for _ in 0..2 {
        saga.report("b", Side::Compensate, Outcome::Retryable { failure: failure("BUSY"), not_before: None })
            .unwrap();
    }
    saga.compensated("a");
    assert_eq!(
        (saga.state.status(), saga.statuses()),
        (Status::Error, vec![Compensated, CompensationFailed, Failed])
    );
    let step = saga.index("b");
    saga.submit(&Input::RetryStep { step, actor: None, reason: None }).unwrap();
    assert_eq!(saga.state.steps[1].compensation, Some(CompensationQueued));
    saga.compensated("b");
    assert_eq!(saga.state.status(), Status::RolledBack);
}

#[test]
fn operator_can_skip_or_complete_a_failed_compensation() {
    for complete in [true, false] {
        let mut saga = Scenario::new(list(&["a", "b"]));
        saga.done("a");
        saga.refused("b");
        saga.report("a", Side::Compensate, Outcome::Refused { failure: failure("NO") }).unwrap();
        assert_eq!(saga.state.status(), Status::Error);
        let (step, actor, reason) = (saga.index("a"), Some("ada".to_owned()), "by hand".to_owned());
        saga.submit(&if complete {
            Input::CompleteStep { step, output: Json::Null, actor, reason }
        } else {
            Input::SkipStep { step, actor, reason }
        })
        .unwrap();
        assert_eq!(saga.state.status(), Status::RolledBack);
    }
}

#[test]
fn expired_timers_end_the_workflow_or_the_step() {
    let mut limited = definition(vec![step("a", &[]), step("b", &[0])]);
    limited.timeout = Some(Duration::from_secs(5));
    let mut saga = Scenario::new(Plan::new(limited, 1).unwrap());
    saga.done("a");
    assert_eq!(saga.fire(TimerKind::Workflow), Err(Refusal::Stale), "the deadline has not passed");
    saga.now = 5_000_000;
    saga.fire(TimerKind::Workflow).unwrap();
    assert_eq!((saga.state.status(), saga.state.cause), (Status::RollingBack, Some(RollbackCause::TimedOut)));

    let mut slow = step("a", &[]);
    slow.timeout.queue = Some(Duration::from_secs(1));
    slow.timeout.total = Some(Duration::from_secs(2));
    for (timer, code) in [
        (TimerKind::StepQueue(StepIndex(0)), "QUEUE_TIMEOUT"),
        (TimerKind::StepTotal(StepIndex(0)), "TOTAL_TIMEOUT"),
    ] {
        let mut saga = Scenario::new(plan(vec![slow.clone()]));
        assert_eq!(saga.submit(&Input::FireTimer { timer }), Err(Refusal::Stale), "the timer is not due");
        saga.now = 2_000_000;
        saga.submit(&Input::FireTimer { timer }).unwrap();
        assert_eq!((saga.statuses(), saga.state.error.as_ref().unwrap().code.as_str()), (vec![Failed], code));
    }
}

#[test]
fn limits_restart_after_an_operators_retry() {
    let mut after = of_kind(step("r", &[0]), Kind::Retriable);
    after.timeout.total = Some(Duration::from_secs(2));
    let mut saga = Scenario::new(plan(vec![of_kind(step("p", &[]), Kind::Pivot), after]));
    saga.done("p");
    saga.now = 2_000_000;
    let timer = TimerKind::StepTotal(saga.index("r"));
    saga.submit(&Input::FireTimer { timer }).unwrap();
    assert_eq!(saga.state.status(), Status::Error);
    saga.now = 9_000_000;
    let step = saga.index("r");
    saga.submit(&Input::RetryStep { step, actor: None, reason: None }).unwrap();
    assert_eq!(saga.submit(&Input::FireTimer { timer }), Err(Refusal::Stale));
    saga.done("r");
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn skipped_step_whose_compensation_fails_is_an_error() {
    let mut saga = Scenario::new(list(&["a", "b"]));
    saga.unknown("a");
    let (step, actor, reason) = (saga.index("a"), Some("ada".to_owned()), "by hand".to_owned());
    saga.submit(&Input::SkipStep { step, actor, reason }).unwrap();
    saga.refused("b");
    saga.report("a", Side::Compensate, Outcome::Refused { failure: failure("NO") }).unwrap();
    assert_eq!(saga.state.status(), Status::Error);
}

#[test]
fn outcome_of_a_settled_attempt_changes_nothing() {
    let mut saga = Scenario::new(list(&["a", "b"]));
    saga.done("a");
    let (step, outcome) = (saga.index("a"), Outcome::Refused { failure: failure("NO") });
    let (side, started_at, deadline) = (Side::Execute, Timestamp(0), Timestamp(1));
    let before = saga.state.clone();
    let late = Input::ReportOutcome { step, side, attempt: 1, started_at, deadline, outcome };
    assert_eq!(saga.submit(&late), Err(Refusal::Stale));
    assert_eq!(saga.state, before);
}

/// The outcome of a step in a small graph.
#[derive(Debug, Clone, Copy)]
enum Script {
    Done,
    Refused,
    Unknown,
    Lost,
}

/// Runs every graph of up to four steps with every combination of outcomes, and with due commands in both
/// orders. Each run must end and keep every promise.
#[test]
fn every_small_graph_ends_and_keeps_every_promise() {
    const SCRIPTS: [Script; 4] = [Script::Done, Script::Refused, Script::Unknown, Script::Lost];
    let mut runs = 0;
    for count in 1..=4_u32 {
        let pairs: Vec<(u32, u32)> = (0..count).flat_map(|to| (0..to).map(move |from| (from, to))).collect();
        for edges in 0..1_usize << pairs.len() {
            let steps = (0..count).map(|to| {
                let on = pairs.iter().enumerate().filter(|(bit, pair)| edges >> bit & 1 == 1 && pair.1 == to);
                tries(step(&format!("s{to}"), &on.map(|(_, pair)| pair.0).collect::<Vec<_>>()), 1)
            });
            let plan = plan(steps.collect());
            for scripts in 0..4_usize.pow(count) {
                let script = |at: usize| SCRIPTS[scripts / 4_usize.pow(u32::try_from(at).unwrap()) % 4];
                for last_first in [false, true] {
                    run_small(&plan, script, last_first);
                    runs += 1;
                }
            }
        }
    }
    assert_eq!(runs, 2 * (4 + 2 * 16 + 8 * 64 + 64 * 256));
}

fn run_small(plan: &Plan, script: impl Fn(usize) -> Script, last_first: bool) {
    let mut saga = Scenario::new(plan.clone());
    while !saga.state.phase.is_final() {
        let rows = owed(plan, &saga.state);
        let row = if last_first { rows.last() } else { rows.first() };
        let row = row.unwrap_or_else(|| panic!("the ledger is empty before the end: {:?}", saga.events));
        let OwedKey::Command(step, side) = row.key else { panic!("unexpected timer") };
        saga.now += 2_000_000;
        let name = plan.step(step).unwrap().name.clone();
        match (side, script(step.at())) {
            (Side::Compensate, _) => saga.compensated(&name),
            (Side::Execute, Script::Done) => saga.done(&name),
            (Side::Execute, Script::Refused) => saga.refused(&name),
            (Side::Execute, Script::Unknown) => saga.unknown(&name),
            (Side::Execute, Script::Lost) => {
                let (attempt, doubt_until) = (row.attempt, Timestamp(saga.now));
                saga.submit(&Input::LoseAttempt { step, side, attempt, doubt_until }).unwrap();
            }
        }
    }
    let journal: Vec<String> =
        saga.events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    let evidence = Evidence { plan, journal: &journal, state: &saga.state, effects: &saga.effects };
    checks::all(&evidence).unwrap_or_else(|wrong| panic!("{wrong}\n{}", journal.join("\n")));
}
