//! The rollback of completed workflows, and the rules of child workflows.

use crate::graph::{Literal, of_kind, plan, step, tries};
use goconductor_saga::{
    Action, Child, ChildEnd, Compensation, Due, EventKind, Failure, FailurePolicy, Input, Json, Kind,
    OnError, OnParentClose, Outcome, OwedKey, Parent, Plan, Refusal, RollbackCause, RulesVersion, Side,
    StartChild, StartWorkflow, State, Status, Step, StepIndex, StepStatus, TimerKind, Timestamp, WorkflowId,
    child_key, decide, owed, start, start_child,
};
use std::collections::BTreeMap;

fn id(number: u128) -> WorkflowId {
    WorkflowId(uuid::Uuid::from_u128(number))
}

fn begin() -> StartWorkflow {
    StartWorkflow {
        id: id(1),
        namespace: "default".to_owned(),
        input: Json::Null,
        labels: BTreeMap::new(),
        actor: None,
        trace: None,
    }
}

fn child(name: &str, on: &[u32], on_parent_close: OnParentClose) -> Step {
    let child = Child { workflow: "child".to_owned(), version: None, id: None, on_parent_close };
    let of_run = step(name, on);
    let compensate = (on_parent_close == OnParentClose::Compensate)
        .then(|| Compensation { action: Action::Child(child.clone()), ..of_run.compensate.clone().unwrap() });
    tries(Step { action: Action::Child(child), compensate, ..of_run }, 1)
}

struct Scenario {
    plan: Plan,
    state: State,
    now: i64,
}

impl Scenario {
    fn new(steps: Vec<Step>) -> Self {
        let plan = plan(steps);
        let (_, state) = start(&plan, &Literal, &begin(), Timestamp(0));
        Self { plan, state, now: 0 }
    }

    fn submit(&mut self, input: &Input) -> Result<(), Refusal> {
        self.now += 1000;
        let (_, state) = decide(&self.plan, &Literal, &self.state, input, Timestamp(self.now))?;
        self.state = state;
        Ok(())
    }

    fn report(&mut self, step: u32, side: Side) {
        let step = StepIndex(step);
        let attempt = self.state.step(step).unwrap().progress(side).attempt();
        let (started_at, deadline) = (Timestamp(self.now), Timestamp(self.now + 1_000_000));
        let outcome = Outcome::Done { output: Json::Null };
        self.submit(&Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome }).unwrap();
    }

    fn started(&mut self, step: u32, child: WorkflowId) -> Result<(), Refusal> {
        let step = StepIndex(step);
        let attempt = self.state.step(step).unwrap().execute.attempt();
        self.submit(&Input::ChildStarted { step, attempt, child })
    }

    fn ended(&mut self, step: u32, child: WorkflowId, end: ChildEnd) -> Result<(), Refusal> {
        let step = StepIndex(step);
        let attempt = self.state.step(step).unwrap().execute.attempt();
        self.submit(&Input::ChildEnded { step, attempt, child: Some(child), end })
    }

    fn cancel(&mut self) {
        self.submit(&Input::Cancel { actor: None, reason: None }).unwrap();
    }

    fn roll_back(&mut self) -> Result<(), Refusal> {
        let cause = RollbackCause::Operator;
        self.submit(&Input::RollBack { cause, actor: Some("ada".to_owned()), reason: None })
    }

    fn step(&self, step: u32) -> StepStatus {
        self.state.steps[step as usize].status()
    }

    /// Returns the row of a child: its number, and when it is due unless it is held.
    fn row(&self, step: u32) -> Option<(u32, Option<i64>)> {
        let key = OwedKey::Timer(TimerKind::StepChild(StepIndex(step)));
        owed(&self.plan, &self.state).into_iter().find(|row| row.key == key).map(|row| {
            let at = match row.due {
                Due::At(at) => Some(at.0),
                Due::Held | Due::Withdraw => None,
            };
            (row.attempt, at)
        })
    }
}

fn failure() -> Failure {
    Failure::of("OUT_OF_STOCK", "no book is left")
}

fn completed() -> ChildEnd {
    ChildEnd::Completed { output: serde_json::json!({"room": 7}).into() }
}

#[test]
fn completed_workflow_rolls_back_in_reverse_order() {
    let mut saga = Scenario::new(vec![step("a", &[]), step("b", &[0])]);
    assert!(matches!(saga.roll_back(), Err(Refusal::Conflict(reason)) if reason.contains("cancel")));
    saga.report(0, Side::Execute);
    saga.report(1, Side::Execute);
    assert_eq!(saga.state.status(), Status::Completed);
    assert!(matches!(
        saga.submit(&Input::Cancel { actor: None, reason: None }),
        Err(Refusal::Final(Status::Completed))
    ));
    saga.roll_back().unwrap();
    assert_eq!((saga.state.status(), saga.state.cause), (Status::RollingBack, Some(RollbackCause::Operator)));
    assert_eq!((saga.state.ended_at, &saga.state.output), (None, &None));
    assert!(matches!(saga.roll_back(), Err(Refusal::Conflict(reason)) if reason.contains("already")));
    assert_eq!((saga.step(0), saga.step(1)), (StepStatus::Completed, StepStatus::CompensationQueued));
    saga.report(1, Side::Compensate);
    saga.report(0, Side::Compensate);
    assert_eq!(saga.state.status(), Status::RolledBack);
    assert!(saga.state.ended_at.is_some());
    assert_eq!(saga.roll_back(), Err(Refusal::Final(Status::RolledBack)));
}

#[test]
fn workflow_past_its_pivot_does_not_roll_back() {
    let steps = vec![step("a", &[]), of_kind(step("b", &[0]), Kind::Pivot)];
    let mut saga = Scenario::new(steps);
    saga.report(0, Side::Execute);
    saga.report(1, Side::Execute);
    assert!(matches!(saga.roll_back(), Err(Refusal::Conflict(reason)) if reason.contains("`b`")));
}

#[test]
fn step_follows_the_end_of_its_child() {
    let doubt = |in_doubt| ChildEnd::Terminated { failure: failure(), in_doubt };
    let table = [
        (completed(), StepStatus::Completed, Status::Completed),
        (ChildEnd::RolledBack { failure: failure() }, StepStatus::Failed, Status::RolledBack),
        (ChildEnd::Refused { failure: failure() }, StepStatus::Failed, Status::RolledBack),
        (doubt(false), StepStatus::Failed, Status::RolledBack),
        // Its effects may stand, so the rollback tries to undo them.
        (doubt(true), StepStatus::CompensationQueued, Status::RollingBack),
        (
            ChildEnd::OutputRejected { failure: failure() },
            StepStatus::CompensationQueued,
            Status::RollingBack,
        ),
    ];
    for (end, of_step, of_workflow) in table {
        for is_recorded in [true, false] {
            let mut saga = Scenario::new(vec![child("a", &[], OnParentClose::Compensate)]);
            assert_eq!(saga.row(0), Some((1, Some(0))));
            if is_recorded {
                saga.started(0, id(7)).unwrap();
                assert_eq!(saga.step(0), StepStatus::InProgress);
                assert_eq!(saga.started(0, id(7)), Err(Refusal::Stale));
                assert_eq!(saga.ended(0, id(8), end.clone()), Err(Refusal::Stale), "another child");
            }
            saga.ended(0, id(7), end.clone()).unwrap();
            assert_eq!((saga.step(0), saga.state.status()), (of_step, of_workflow), "{end:?}");
            assert_eq!(saga.state.steps[0].child, Some(id(7)));
        }
    }
}

#[test]
fn rollback_undoes_the_child_before_the_steps_above_it() {
    let steps = vec![step("a", &[]), child("b", &[0], OnParentClose::Compensate), step("c", &[1])];
    let mut saga = Scenario::new(steps);
    saga.report(0, Side::Execute);
    saga.ended(1, id(7), completed()).unwrap();
    saga.cancel();
    saga.submit(&Input::WithdrawCommand { step: StepIndex(2), attempt: 1 }).unwrap();
    assert_eq!(saga.step(1), StepStatus::CompensationQueued);
    assert_eq!(saga.row(1).map(|(number, _)| number), Some(6), "a new row, which is due at once");
    assert_eq!(saga.ended(1, id(7), completed()), Err(Refusal::Stale), "a late notification");
    assert_eq!(saga.step(0), StepStatus::Completed);
    saga.ended(1, id(7), ChildEnd::RolledBack { failure: failure() }).unwrap();
    assert_eq!((saga.step(1), saga.step(0)), (StepStatus::Compensated, StepStatus::CompensationQueued));
}

#[test]
fn child_that_cannot_be_rolled_back_needs_an_operator() {
    for end in [
        ChildEnd::Refused { failure: failure() },
        ChildEnd::Terminated { failure: failure(), in_doubt: true },
    ] {
        let steps = vec![child("a", &[], OnParentClose::Compensate), step("b", &[0])];
        let mut saga = Scenario::new(steps);
        saga.ended(0, id(7), completed()).unwrap();
        saga.cancel();
        saga.submit(&Input::WithdrawCommand { step: StepIndex(1), attempt: 1 }).unwrap();
        saga.ended(0, id(7), end).unwrap();
        assert_eq!((saga.step(0), saga.state.status()), (StepStatus::CompensationFailed, Status::Error));
        let (step, actor) = (StepIndex(0), Some("ada".to_owned()));
        saga.submit(&Input::RetryStep { step, actor, reason: None }).unwrap();
        assert_eq!(saga.row(0).map(|(number, _)| number), Some(9));
        saga.ended(0, id(7), ChildEnd::RolledBack { failure: failure() }).unwrap();
        assert_eq!(saga.state.status(), Status::RolledBack);
    }
}

#[test]
fn retry_does_not_lose_a_child_that_a_rollback_must_undo() {
    let policy = FailurePolicy { on_error: OnError::Pause, ..FailurePolicy::default() };
    let paused = Step { failure: policy, ..child("a", &[], OnParentClose::Compensate) };
    let mut saga = Scenario::new(vec![paused]);
    saga.ended(0, id(7), ChildEnd::OutputRejected { failure: failure() }).unwrap();
    assert_eq!((saga.step(0), saga.state.status()), (StepStatus::Unknown, Status::Error));
    let retry = Input::RetryStep { step: StepIndex(0), actor: None, reason: None };
    assert!(matches!(saga.submit(&retry), Err(Refusal::Conflict(_))));
    saga.cancel();
    assert_eq!((saga.step(0), saga.state.steps[0].child), (StepStatus::CompensationQueued, Some(id(7))));
    saga.ended(0, id(7), ChildEnd::RolledBack { failure: failure() }).unwrap();
    assert_eq!(saga.state.status(), Status::RolledBack);
}

#[test]
fn running_child_settles_before_the_rollback_goes_on() {
    for (close, end, expected) in [
        (OnParentClose::Compensate, ChildEnd::RolledBack { failure: failure() }, StepStatus::Failed),
        (OnParentClose::Compensate, completed(), StepStatus::CompensationQueued),
        (OnParentClose::Cancel, completed(), StepStatus::Completed),
        (OnParentClose::Abandon, ChildEnd::Abandoned, StepStatus::Skipped),
    ] {
        let mut saga = Scenario::new(vec![step("a", &[]), child("b", &[0], close)]);
        saga.report(0, Side::Execute);
        saga.started(1, id(7)).unwrap();
        assert_eq!(saga.ended(1, id(7), ChildEnd::Abandoned), Err(Refusal::Stale));
        saga.cancel();
        assert_eq!(saga.row(1).map(|(number, _)| number), Some(2));
        assert_eq!(saga.step(0), StepStatus::Completed, "the rollback waits for the child");
        saga.ended(1, id(7), end).unwrap();
        assert_eq!(saga.step(1), expected, "{close:?}");
    }
}

#[test]
fn child_that_did_not_start_is_withdrawn() {
    let mut saga = Scenario::new(vec![child("a", &[], OnParentClose::Compensate)]);
    saga.cancel();
    saga.submit(&Input::WithdrawCommand { step: StepIndex(0), attempt: 1 }).unwrap();
    assert_eq!((saga.step(0), saga.state.status()), (StepStatus::Pending, Status::RolledBack));

    let parent =
        Parent { id: id(1), step: StepIndex(0), attempt: 1, depth: 1, elements_of: None, generation: 0 };
    let (events, state) = start_child(
        RulesVersion::CURRENT,
        &plan(vec![step("a", &[])]),
        &Literal,
        &begin(),
        StartChild { parent, withdrawn: true },
        Timestamp(0),
    );
    assert!(!events.iter().any(|event| matches!(event.kind, EventKind::StepQueued { .. })));
    assert_eq!((state.status(), state.cause), (Status::RolledBack, Some(RollbackCause::Parent)));
    assert_eq!(state.parent, Some(parent));
    assert!(state.has_ended_untouched());
}

#[test]
fn paused_parent_starts_no_child_and_records_the_end_of_one() {
    let mut saga = Scenario::new(vec![child("a", &[], OnParentClose::Compensate), step("b", &[0])]);
    saga.submit(&Input::Pause { actor: None, reason: None }).unwrap();
    assert_eq!(saga.row(0), Some((1, None)));
    saga.submit(&Input::Resume { actor: None, reason: None }).unwrap();
    saga.started(0, id(7)).unwrap();
    saga.submit(&Input::Pause { actor: None, reason: None }).unwrap();
    assert!(matches!(saga.row(0), Some((1, Some(_)))));
    saga.ended(0, id(7), completed()).unwrap();
    assert_eq!((saga.step(0), saga.step(1)), (StepStatus::Completed, StepStatus::Pending));
}

#[test]
fn each_attempt_has_a_child_and_a_key_of_its_own() {
    let mut saga = Scenario::new(vec![tries(child("a", &[], OnParentClose::Compensate), 2)]);
    let key = saga.plan.idempotency_key(id(1), StepIndex(0), Side::Execute);
    assert_eq!(child_key(&key, 1), format!("{}/a/execute", id(1)));
    assert_eq!(child_key(&key, 2), format!("{}/a/execute/2", id(1)));
    saga.started(0, id(7)).unwrap();
    saga.ended(0, id(7), ChildEnd::RolledBack { failure: failure() }).unwrap();
    assert_eq!((saga.step(0), saga.state.steps[0].child), (StepStatus::Retrying, None));
    assert!(saga.row(0).is_some_and(|(number, at)| number == 4 && at > Some(saga.now)));
    let late = Input::ChildEnded { step: StepIndex(0), attempt: 1, child: Some(id(7)), end: completed() };
    assert_eq!(saga.submit(&late), Err(Refusal::Stale), "the child of an earlier attempt");
    saga.ended(0, id(8), completed()).unwrap();
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn pivot_whose_child_was_terminated_is_never_rolled_back() {
    let pivot = of_kind(child("b", &[0], OnParentClose::Cancel), Kind::Pivot);
    let mut saga = Scenario::new(vec![step("a", &[]), pivot]);
    saga.report(0, Side::Execute);
    saga.ended(1, id(7), ChildEnd::Terminated { failure: failure(), in_doubt: true }).unwrap();
    assert_eq!((saga.step(1), saga.state.status()), (StepStatus::Unknown, Status::Error));
    saga.cancel();
    assert_eq!(saga.state.status(), Status::Error, "the cancel waits for the outcome of the pivot");
    let (step, actor) = (StepIndex(1), Some("ada".to_owned()));
    saga.submit(&Input::SkipStep { step, actor, reason: "it did not happen".to_owned() }).unwrap();
    assert_eq!(
        (saga.state.status(), saga.state.cause),
        (Status::RollingBack, Some(RollbackCause::Cancelled))
    );
}

#[test]
fn end_of_a_child_is_that_of_its_state() {
    let plan = plan(vec![step("a", &[])]);
    let (_, running) = start(&plan, &Literal, &begin(), Timestamp(0));
    assert_eq!(ChildEnd::of(&running), None);
    let terminate = Input::Terminate { actor: None, reason: "enough".to_owned() };
    let (_, state) = decide(&plan, &Literal, &running, &terminate, Timestamp(1)).unwrap();
    assert!(matches!(ChildEnd::of(&state), Some(ChildEnd::Terminated { in_doubt: true, .. })));
    let cancel = Input::Cancel { actor: None, reason: None };
    let withdraw = Input::WithdrawCommand { step: StepIndex(0), attempt: 1 };
    let (_, state) = decide(&plan, &Literal, &running, &cancel, Timestamp(1)).unwrap();
    let (_, state) = decide(&plan, &Literal, &state, &withdraw, Timestamp(1)).unwrap();
    assert!(
        matches!(ChildEnd::of(&state), Some(ChildEnd::RolledBack { failure }) if failure.code == "CHILD_ROLLED_BACK")
    );
    assert!(!state.may_have_standing_effects());
}
