//! The rules one by one, as a reader of the semantics would try them.

use crate::checks::{self, Effect, Evidence};
use crate::graph::{Literal, definition, of_kind, plan, step, tries};
use StepStatus::{
    Compensated, CompensationFailed, CompensationQueued, Completed, Failed, Pending, Queued, Retrying,
    Skipped, Unknown,
};
use goconductor_saga::{
    Condition, Event, EventKind, Failure, Input, Join, Json, Kind, Outcome, OwedKey, Phase, Plan, Refusal,
    RollbackCause, Side, StartWorkflow, State, Status, StepIndex, StepStatus, TimerKind, Timestamp,
    WorkflowId, decide, owed, start,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// A workflow that is told things, in seconds.
struct Told {
    plan: Plan,
    state: State,
    events: Vec<Event>,
    effects: Vec<Effect>,
    now: i64,
}

fn failure(code: &str) -> Failure {
    Failure::of(code, "as asked")
}

impl Told {
    fn new(plan: Plan) -> Self {
        let begin = StartWorkflow {
            id: WorkflowId("018f0000-0000-7000-8000-000000000001".parse().unwrap()),
            namespace: "default".to_owned(),
            input: Json::Null,
            labels: BTreeMap::new(),
            actor: None,
        };
        let (events, state) = start(&plan, &Literal, &begin, Timestamp(0));
        Self { plan, state, events, effects: Vec::new(), now: 0 }
    }

    fn tell(&mut self, input: &Input) -> Result<(), Refusal> {
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
        self.tell(&Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome })
    }

    fn done(&mut self, name: &str) {
        self.report(name, Side::Execute, Outcome::Done { output: Json::Null }).unwrap();
    }

    fn undone(&mut self, name: &str) {
        self.report(name, Side::Compensate, Outcome::Done { output: Json::Null }).unwrap();
    }

    fn refuses(&mut self, name: &str) {
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
            Outcome::Unknown { failure: failure("TIMED_OUT"), not_before: None },
        )
        .unwrap();
    }

    fn cancel(&mut self) -> Result<(), Refusal> {
        self.tell(&Input::Cancel { actor: Some("ada".to_owned()), reason: None })
    }

    fn statuses(&self) -> Vec<StepStatus> {
        self.state.steps.iter().map(goconductor_saga::StepState::status).collect()
    }

    /// The times at which commands are due, by step and side.
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
fn a_list_runs_in_its_order_to_its_end() {
    let mut told = Told::new(list(&["a", "b"]));
    assert_eq!((told.state.status(), told.statuses()), (Status::Queued, vec![Queued, Pending]));
    told.done("a");
    assert_eq!((told.state.status(), told.statuses()), (Status::InProgress, vec![Completed, Queued]));
    told.done("b");
    assert_eq!((told.state.status(), told.statuses()), (Status::Completed, vec![Completed, Completed]));
    assert_eq!(told.cancel(), Err(Refusal::Final(Status::Completed)));
    assert!(owed(&told.plan, &told.state).is_empty());
}

#[test]
fn joins_and_skips_as_a_table() {
    // `a` completes or is skipped, `b` is skipped; what becomes of `c`, which waits for both?
    for (a, join, expected) in [
        ("true", Join::All, Queued),
        ("false", Join::All, Skipped),
        ("true", Join::Any, Queued),
        ("false", Join::Any, Skipped),
        ("false", Join::Settled, Queued),
        ("true", Join::Settled, Queued),
    ] {
        let c = joined(step("c", &[0, 1]), join);
        let mut told = Told::new(plan(vec![when(step("a", &[]), a), when(step("b", &[]), "false"), c]));
        if a == "true" {
            told.done("a");
        }
        assert_eq!(told.statuses()[2], expected, "a when {a}, join {join:?}");
    }
}

#[test]
fn join_any_starts_at_the_first_and_the_end_waits_for_all() {
    let c = joined(step("c", &[0, 1]), Join::Any);
    let mut told = Told::new(plan(vec![step("a", &[]), step("b", &[]), c]));
    told.done("b");
    assert_eq!(told.statuses(), [Queued, Completed, Queued]);
    told.done("c");
    assert_eq!(told.state.status(), Status::InProgress);
    told.done("a");
    assert_eq!(told.state.status(), Status::Completed);
}

#[test]
fn a_skip_goes_down_the_list_and_all_skipped_is_completed() {
    let told = Told::new(plan(vec![when(step("a", &[]), "false"), step("b", &[0]), step("c", &[1])]));
    assert_eq!((told.state.status(), told.statuses()), (Status::Completed, vec![Skipped, Skipped, Skipped]));
}

#[test]
fn a_condition_without_a_value_fails_the_step_and_rolls_back() {
    for expression in ["error", "no boolean"] {
        let mut told = Told::new(plan(vec![step("a", &[]), when(step("b", &[0]), expression)]));
        told.done("a");
        assert_eq!(told.statuses(), [CompensationQueued, Failed], "{expression}");
        assert_eq!(told.state.error.as_ref().unwrap().code, "CONDITION_FAILED");
    }
}

#[test]
fn retryable_ends_are_tried_again_up_to_the_limit() {
    let mut told = Told::new(plan(vec![tries(step("a", &[]), 3)]));
    told.retryable("a");
    assert_eq!(told.statuses(), [Retrying]);
    assert_eq!(told.due("a", Side::Execute), Some(goconductor_saga::Due::At(Timestamp(10_000))));
    told.now = 10_000;
    told.retryable("a");
    assert_eq!(
        told.due("a", Side::Execute),
        Some(goconductor_saga::Due::At(Timestamp(30_000))),
        "the delay doubles"
    );
    told.retryable("a");
    assert_eq!((told.state.status(), told.statuses()), (Status::RolledBack, vec![Failed]));
    assert_eq!(told.state.cause, Some(RollbackCause::StepFailed));
}

#[test]
fn a_participants_wish_to_wait_is_honoured() {
    let mut told = Told::new(plan(vec![step("a", &[])]));
    let not_before = Some(Timestamp(7_000_000));
    told.report("a", Side::Execute, Outcome::Retryable { failure: failure("BUSY"), not_before }).unwrap();
    assert_eq!(told.due("a", Side::Execute), Some(goconductor_saga::Due::At(Timestamp(7_000_000))));
}

#[test]
fn codes_say_what_is_tried_again() {
    let mut only = step("a", &[]);
    only.retry.on = vec!["BUSY".to_owned()];
    let mut not = step("b", &[]);
    not.retry.not_on = vec!["BUSY".to_owned()];
    let mut told = Told::new(plan(vec![only, not]));
    told.retryable("a");
    assert_eq!(told.statuses(), [Retrying, Queued]);
    told.retryable("b");
    assert_eq!(told.statuses()[1], Failed);
}

#[test]
fn a_refusal_is_clean_and_is_not_undone() {
    let mut told = Told::new(list(&["a", "b"]));
    told.done("a");
    told.refuses("b");
    assert_eq!(told.statuses(), [CompensationQueued, Failed]);
    told.undone("a");
    assert_eq!((told.state.status(), told.statuses()), (Status::RolledBack, vec![Compensated, Failed]));
}

#[test]
fn doubt_is_undone_and_never_before_its_time_is_up() {
    let mut told = Told::new(plan(vec![tries(step("a", &[]), 1)]));
    told.unknown("a");
    assert_eq!(told.state.steps[0].execution, Unknown);
    assert_eq!(told.due("a", Side::Compensate), Some(goconductor_saga::Due::At(Timestamp(1_000_000))));
}

#[test]
fn a_later_refusal_does_not_take_doubt_away_and_neither_does_a_loss() {
    let mut told = Told::new(plan(vec![step("a", &[])]));
    told.unknown("a");
    told.refuses("a");
    assert_eq!(
        (told.state.steps[0].execution, told.state.steps[0].compensation),
        (Unknown, Some(CompensationQueued))
    );

    let mut told = Told::new(plan(vec![step("a", &[])]));
    let (step, side) = (told.index("a"), Side::Execute);
    told.tell(&Input::LoseAttempt { step, side, attempt: 1, doubt_until: Timestamp(5) }).unwrap();
    assert_eq!(told.statuses(), [Retrying]);
    told.refuses("a");
    assert_eq!(told.state.steps[0].execution, Unknown);
}

#[test]
fn a_success_after_doubt_is_a_success() {
    let mut told = Told::new(plan(vec![step("a", &[])]));
    told.unknown("a");
    told.done("a");
    assert_eq!(told.state.status(), Status::Completed);
}

#[test]
fn a_diamond_is_undone_in_reverse_and_its_branches_side_by_side() {
    let steps = vec![step("a", &[]), step("b", &[0]), step("c", &[0]), step("d", &[1, 2]), step("e", &[3])];
    let mut told = Told::new(plan(steps));
    for name in ["a", "b", "c", "d"] {
        told.done(name);
    }
    told.refuses("e");
    assert_eq!(told.statuses(), [Completed, Completed, Completed, CompensationQueued, Failed]);
    told.undone("d");
    assert_eq!(told.statuses(), [Completed, CompensationQueued, CompensationQueued, Compensated, Failed]);
    told.undone("c");
    assert_eq!(told.statuses()[0], Completed, "b is not undone yet");
    told.undone("b");
    told.undone("a");
    assert_eq!(told.state.status(), Status::RolledBack);
}

#[test]
fn a_branch_in_flight_is_awaited_and_its_late_success_undone() {
    let steps = vec![step("a", &[]), step("slow", &[0]), step("b", &[0])];
    let mut told = Told::new(plan(steps));
    told.done("a");
    told.refuses("b");
    assert_eq!(told.statuses(), [Completed, Queued, Failed], "nothing is undone above what is in flight");
    told.done("slow");
    assert_eq!(told.statuses(), [Completed, CompensationQueued, Failed]);
    told.undone("slow");
    told.undone("a");
    assert_eq!(told.state.status(), Status::RolledBack);
}

#[test]
fn a_settled_branch_does_not_wait_for_an_unrelated_one_in_flight() {
    let mut told = Told::new(plan(vec![step("a", &[]), step("slow", &[]), step("b", &[0])]));
    told.done("a");
    told.refuses("b");
    assert_eq!(told.statuses(), [CompensationQueued, Queued, Failed]);
}

#[test]
fn what_was_never_sent_is_taken_back_and_not_undone() {
    let mut told = Told::new(plan(vec![step("a", &[]), step("b", &[])]));
    told.refuses("a");
    assert_eq!(told.due("b", Side::Execute), Some(goconductor_saga::Due::Withdraw));
    let step = told.index("b");
    told.tell(&Input::WithdrawCommand { step, attempt: 1 }).unwrap();
    assert_eq!(told.state.status(), Status::RolledBack);
    assert!(!told.has(|kind| matches!(kind, EventKind::CompensationQueued { .. })));
}

#[test]
fn nothing_to_undo_is_not_undone() {
    let mut quiet = step("quiet", &[0]);
    quiet.compensate = None;
    let mut told = Told::new(plan(vec![step("a", &[]), quiet, step("b", &[1])]));
    told.done("a");
    told.done("quiet");
    told.refuses("b");
    assert_eq!(told.statuses(), [CompensationQueued, Completed, Failed]);
    told.undone("a");
    assert_eq!(told.state.status(), Status::RolledBack);
}

#[test]
fn a_pivot_that_refused_rolls_back_and_one_that_completed_never() {
    let pivot = || of_kind(step("p", &[0]), Kind::Pivot);
    let mut told = Told::new(plan(vec![step("a", &[]), pivot()]));
    told.done("a");
    told.refuses("p");
    assert_eq!(told.statuses(), [CompensationQueued, Failed]);

    let after = tries(of_kind(step("r", &[1]), Kind::Retriable), 2);
    let mut told = Told::new(plan(vec![step("a", &[]), pivot(), after]));
    told.done("a");
    told.done("p");
    assert!(matches!(told.cancel(), Err(Refusal::Conflict(_))));
    told.retryable("r");
    told.retryable("r");
    assert_eq!((told.state.status(), told.statuses()), (Status::Error, vec![Completed, Completed, Failed]));
    let step = told.index("r");
    told.tell(&Input::RetryStep { step, actor: None, reason: None }).unwrap();
    told.done("r");
    assert_eq!(told.state.status(), Status::Completed);
}

#[test]
fn a_pivot_in_doubt_is_asked_beyond_its_limit_and_a_cancel_waits() {
    let mut told = Told::new(plan(vec![step("a", &[]), tries(of_kind(step("p", &[0]), Kind::Pivot), 1)]));
    told.done("a");
    told.unknown("p");
    told.refuses("p");
    assert_eq!(told.statuses(), [Completed, Retrying], "a refusal does not end the doubt");
    told.cancel().unwrap();
    assert_eq!(told.state.status(), Status::InProgress);
    assert!(told.due("p", Side::Execute).is_some_and(|due| matches!(due, goconductor_saga::Due::At(_))));
    told.done("p");
    assert_eq!((told.state.status(), told.state.cause), (Status::Completed, None));
    assert!(told.has(|kind| matches!(kind, EventKind::RollbackRefused { .. })));
}

#[test]
fn a_cancel_while_a_clean_pivot_is_in_flight_follows_its_answer() {
    let pivot = || plan(vec![step("a", &[]), of_kind(step("p", &[0]), Kind::Pivot)]);
    let mut told = Told::new(pivot());
    told.done("a");
    told.cancel().unwrap();
    told.refuses("p");
    assert_eq!((told.state.cause, told.state.phase), (Some(RollbackCause::Cancelled), Phase::RollingBack));
    let mut told = Told::new(pivot());
    told.done("a");
    told.cancel().unwrap();
    told.done("p");
    assert_eq!(told.state.status(), Status::Completed);
}

#[test]
fn nothing_overtakes_the_pivot() {
    let pivot = joined(of_kind(step("p", &[0, 1]), Kind::Pivot), Join::Any);
    let after = joined(of_kind(step("r", &[0, 2]), Kind::Retriable), Join::Any);
    let mut told = Told::new(plan(vec![step("a", &[]), step("b", &[]), pivot, after]));
    told.done("a");
    assert_eq!(told.statuses(), [Completed, Queued, Pending, Pending]);
    told.done("b");
    assert_eq!(told.statuses(), [Completed, Completed, Queued, Pending]);
    told.done("p");
    assert_eq!(told.statuses()[3], Queued);
}

#[test]
fn a_cancel_undoes_what_was_done() {
    let mut told = Told::new(list(&["a", "b"]));
    told.done("a");
    told.cancel().unwrap();
    assert_eq!(
        (told.state.status(), told.state.cause),
        (Status::RollingBack, Some(RollbackCause::Cancelled))
    );
    assert_eq!(told.events.last().unwrap().actor.as_deref(), Some("ada"));
    assert!(matches!(told.cancel(), Err(Refusal::Conflict(_))));
    told.refuses("b");
    told.undone("a");
    assert_eq!(told.state.status(), Status::RolledBack);
}

#[test]
fn a_pause_issues_nothing_new_and_what_is_under_way_is_heard() {
    let mut told = Told::new(list(&["a", "b", "c"]));
    told.done("a");
    let pause = Input::Pause { actor: None, reason: None };
    told.tell(&pause).unwrap();
    assert_eq!(told.state.status(), Status::Paused);
    assert_eq!(told.due("b", Side::Execute), Some(goconductor_saga::Due::Held));
    told.done("b");
    assert_eq!(told.statuses(), [Completed, Completed, Pending]);
    assert!(matches!(told.tell(&pause), Err(Refusal::Conflict(_))));
    told.tell(&Input::Resume { actor: None, reason: None }).unwrap();
    assert_eq!(told.statuses()[2], Queued);
}

#[test]
fn a_termination_undoes_nothing_and_ends_everything() {
    let mut told = Told::new(list(&["a", "b"]));
    told.done("a");
    told.tell(&Input::Terminate { actor: None, reason: "enough".to_owned() }).unwrap();
    assert_eq!((told.state.status(), told.statuses()), (Status::Terminated, vec![Completed, Queued]));
    assert!(owed(&told.plan, &told.state).is_empty());
    assert_eq!(
        told.report("b", Side::Execute, Outcome::Done { output: Json::Null }),
        Err(Refusal::Final(Status::Terminated))
    );
}

#[test]
fn a_compensation_that_fails_is_an_error_and_the_rest_is_undone() {
    let mut steps = vec![step("a", &[]), step("b", &[]), step("c", &[0, 1])];
    steps[1].compensate.as_mut().unwrap().retry.max_attempts = Some(2);
    let mut told = Told::new(plan(steps));
    told.done("a");
    told.done("b");
    told.refuses("c");
    for _ in 0..2 {
        told.report("b", Side::Compensate, Outcome::Retryable { failure: failure("BUSY"), not_before: None })
            .unwrap();
    }
    told.undone("a");
    assert_eq!(
        (told.state.status(), told.statuses()),
        (Status::Error, vec![Compensated, CompensationFailed, Failed])
    );
    let step = told.index("b");
    told.tell(&Input::RetryStep { step, actor: None, reason: None }).unwrap();
    assert_eq!(told.state.steps[1].compensation, Some(CompensationQueued));
    told.undone("b");
    assert_eq!(told.state.status(), Status::RolledBack);
}

#[test]
fn an_operator_skips_or_completes_a_stuck_compensation() {
    for complete in [true, false] {
        let mut told = Told::new(list(&["a", "b"]));
        told.done("a");
        told.refuses("b");
        told.report("a", Side::Compensate, Outcome::Refused { failure: failure("NO") }).unwrap();
        assert_eq!(told.state.status(), Status::Error);
        let (step, actor, reason) = (told.index("a"), Some("ada".to_owned()), "by hand".to_owned());
        told.tell(&if complete {
            Input::CompleteStep { step, output: Json::Null, actor, reason }
        } else {
            Input::SkipStep { step, actor, reason }
        })
        .unwrap();
        assert_eq!(told.state.status(), Status::RolledBack);
    }
}

#[test]
fn times_that_are_up() {
    let mut limited = definition(vec![step("a", &[]), step("b", &[0])]);
    limited.timeout = Some(Duration::from_secs(5));
    let mut told = Told::new(Plan::new(limited, 1).unwrap());
    told.done("a");
    told.tell(&Input::FireTimer { timer: TimerKind::Workflow }).unwrap();
    assert_eq!((told.state.status(), told.state.cause), (Status::RollingBack, Some(RollbackCause::TimedOut)));

    let mut slow = step("a", &[]);
    slow.timeout.queue = Some(Duration::from_secs(1));
    slow.timeout.total = Some(Duration::from_secs(2));
    for (timer, code) in [
        (TimerKind::StepQueue(StepIndex(0)), "QUEUE_TIMEOUT"),
        (TimerKind::StepTotal(StepIndex(0)), "TOTAL_TIMEOUT"),
    ] {
        let mut told = Told::new(plan(vec![slow.clone()]));
        assert_eq!(told.tell(&Input::FireTimer { timer }), Err(Refusal::Stale), "its time is not up");
        told.now = 2_000_000;
        told.tell(&Input::FireTimer { timer }).unwrap();
        assert_eq!((told.statuses(), told.state.error.as_ref().unwrap().code.as_str()), (vec![Failed], code));
    }
}

#[test]
fn limits_count_anew_after_an_operators_retry() {
    let mut after = of_kind(step("r", &[0]), Kind::Retriable);
    after.timeout.total = Some(Duration::from_secs(2));
    let mut told = Told::new(plan(vec![of_kind(step("p", &[]), Kind::Pivot), after]));
    told.done("p");
    told.now = 2_000_000;
    let timer = TimerKind::StepTotal(told.index("r"));
    told.tell(&Input::FireTimer { timer }).unwrap();
    assert_eq!(told.state.status(), Status::Error);
    told.now = 9_000_000;
    let step = told.index("r");
    told.tell(&Input::RetryStep { step, actor: None, reason: None }).unwrap();
    assert_eq!(told.tell(&Input::FireTimer { timer }), Err(Refusal::Stale));
    told.done("r");
    assert_eq!(told.state.status(), Status::Completed);
}

#[test]
fn a_skipped_step_whose_undo_fails_is_an_error() {
    let mut told = Told::new(list(&["a", "b"]));
    told.unknown("a");
    let (step, actor, reason) = (told.index("a"), Some("ada".to_owned()), "by hand".to_owned());
    told.tell(&Input::SkipStep { step, actor, reason }).unwrap();
    told.refuses("b");
    told.report("a", Side::Compensate, Outcome::Refused { failure: failure("NO") }).unwrap();
    assert_eq!(told.state.status(), Status::Error);
}

#[test]
fn news_of_what_is_over_changes_nothing() {
    let mut told = Told::new(list(&["a", "b"]));
    told.done("a");
    let (step, outcome) = (told.index("a"), Outcome::Refused { failure: failure("NO") });
    let (side, started_at, deadline) = (Side::Execute, Timestamp(0), Timestamp(1));
    let before = told.state.clone();
    let late = Input::ReportOutcome { step, side, attempt: 1, started_at, deadline, outcome };
    assert_eq!(told.tell(&late), Err(Refusal::Stale));
    assert_eq!(told.state, before);
}

/// What a step of a small graph answers, the same at every attempt but the last.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Done,
    Refused,
    Unknown,
    Lost,
}

/// Every graph of up to four steps, every combination of answers, both orders in which what is due is
/// looked at: each ends, and every promise holds.
#[test]
fn every_small_graph_ends() {
    const ANSWERS: [Answer; 4] = [Answer::Done, Answer::Refused, Answer::Unknown, Answer::Lost];
    let mut seen = 0;
    for count in 1..=4_u32 {
        let pairs: Vec<(u32, u32)> = (0..count).flat_map(|to| (0..to).map(move |from| (from, to))).collect();
        for edges in 0..1_usize << pairs.len() {
            let steps = (0..count).map(|to| {
                let on = pairs.iter().enumerate().filter(|(bit, pair)| edges >> bit & 1 == 1 && pair.1 == to);
                tries(step(&format!("s{to}"), &on.map(|(_, pair)| pair.0).collect::<Vec<_>>()), 1)
            });
            let plan = plan(steps.collect());
            for answers in 0..4_usize.pow(count) {
                let answer = |at: usize| ANSWERS[answers / 4_usize.pow(u32::try_from(at).unwrap()) % 4];
                for last_first in [false, true] {
                    run_small(&plan, answer, last_first);
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 2 * (4 + 2 * 16 + 8 * 64 + 64 * 256));
}

fn run_small(plan: &Plan, answer: impl Fn(usize) -> Answer, last_first: bool) {
    let mut told = Told::new(plan.clone());
    while !told.state.phase.is_final() {
        let rows = owed(plan, &told.state);
        let row = if last_first { rows.last() } else { rows.first() };
        let row = row.unwrap_or_else(|| panic!("nothing is owed: {:?}", told.events));
        let OwedKey::Command(step, side) = row.key else { panic!("no timers here") };
        told.now += 2_000_000;
        let name = plan.step(step).unwrap().name.clone();
        match (side, answer(step.at())) {
            (Side::Compensate, _) => told.undone(&name),
            (Side::Execute, Answer::Done) => told.done(&name),
            (Side::Execute, Answer::Refused) => told.refuses(&name),
            (Side::Execute, Answer::Unknown) => told.unknown(&name),
            (Side::Execute, Answer::Lost) => {
                let (attempt, doubt_until) = (row.attempt, Timestamp(told.now));
                told.tell(&Input::LoseAttempt { step, side, attempt, doubt_until }).unwrap();
            }
        }
    }
    let journal: Vec<String> =
        told.events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    let evidence = Evidence { plan, journal: &journal, state: &told.state, effects: &told.effects };
    checks::all(&evidence).unwrap_or_else(|wrong| panic!("{wrong}\n{}", journal.join("\n")));
}
