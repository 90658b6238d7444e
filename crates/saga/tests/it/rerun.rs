//! Re-runs from a step, and migrations to another version of the definition.

use crate::graph::{Literal, definition, of_kind, plan, step, tries};
use crate::noise::Noise;
use goconductor_saga::{
    Definition, Due, Event, EventKind, Failure, FailurePolicy, Input, Json, Kind, LedgerChange, LockRelease,
    LockScope, LockSpec, MigrateWorkflow, OnError, Outcome, OwedKey, Plan, Refusal, RerunRefusal,
    RollbackCause, RulesVersion, Side, StartChild, StartWorkflow, State, Status, Step, StepIndex, StepStatus,
    Template, TimerKind, Timestamp, WorkflowId, decide, evolve, migrate, owed, start, start_child,
    transition,
};
use std::collections::BTreeMap;

fn begin() -> StartWorkflow {
    StartWorkflow {
        id: WorkflowId(uuid::Uuid::from_u128(1)),
        namespace: "default".to_owned(),
        input: Json::Null,
        labels: BTreeMap::new(),
        actor: None,
        trace: None,
    }
}

struct Scenario {
    plan: Plan,
    state: State,
    events: Vec<Event>,
    now: i64,
}

impl Scenario {
    fn new(steps: Vec<Step>) -> Self {
        let plan = plan(steps);
        let (events, state) = start(&plan, &Literal, &begin(), Timestamp(0));
        Self { plan, state, events, now: 0 }
    }

    fn submit(&mut self, input: &Input) -> Result<(), Refusal> {
        self.now += 1000;
        let (events, state) = decide(&self.plan, &Literal, &self.state, input, Timestamp(self.now))?;
        self.events.extend(events);
        self.state = state;
        let folded = self.events.iter().fold(None, evolve);
        assert_eq!(folded.as_ref(), Some(&self.state), "the history does not fold to the state");
        let stored = serde_json::to_string(&self.state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&stored).unwrap(), self.state);
        Ok(())
    }

    fn report(&mut self, step: u32, side: Side, outcome: Outcome) {
        let attempt = self.state.steps[step as usize].progress(side).attempt();
        self.report_attempt(step, side, attempt, outcome).unwrap();
    }

    fn report_attempt(
        &mut self,
        step: u32,
        side: Side,
        attempt: u32,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        let (started_at, deadline) = (Timestamp(self.now), Timestamp(self.now + 1_000_000));
        let step = StepIndex(step);
        self.submit(&Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome })
    }

    fn done(&mut self, step: u32) {
        self.report(step, Side::Execute, Outcome::Done { output: Json::Null });
    }

    fn undone(&mut self, step: u32) {
        self.report(step, Side::Compensate, Outcome::Done { output: Json::Null });
    }

    fn refused(&mut self, step: u32) {
        self.report(step, Side::Execute, Outcome::Refused { failure: Failure::of("NO", "not today") });
    }

    fn rerun(&mut self, step: Option<u32>, keeps_effects: bool) -> Result<(), Refusal> {
        let (step, actor) = (step.map(StepIndex), Some("ada".to_owned()));
        self.submit(&Input::Rerun { step, keeps_effects, actor, reason: "wrong price".to_owned() })
    }

    fn cause(&mut self, step: Option<u32>, keeps_effects: bool) -> RerunRefusal {
        match self.rerun(step, keeps_effects) {
            Err(Refusal::Rerun { cause, .. }) => cause,
            other => panic!("{other:?}"),
        }
    }

    fn statuses(&self) -> Vec<&'static str> {
        self.state.steps.iter().map(|step| step.status().as_str()).collect()
    }

    fn key(&self, step: u32, side: Side) -> String {
        let key = self.state.idempotency_key(&self.plan, StepIndex(step), side);
        key.split_once('/').unwrap().1.to_owned()
    }
}

fn chain() -> Vec<Step> {
    vec![step("a", &[]), step("b", &[0]), step("c", &[1])]
}

#[test]
fn effects_are_undone_in_reverse_order_before_the_steps_run_again() {
    let mut saga = Scenario::new(chain());
    (0..3).for_each(|step| saga.done(step));
    saga.rerun(Some(1), false).unwrap();
    assert_eq!(saga.statuses(), ["COMPLETED", "COMPLETED", "COMPENSATION_QUEUED"]);
    assert_eq!((saga.state.status(), saga.state.ended_at), (Status::RollingBack, None));
    assert_eq!(saga.key(2, Side::Compensate), "c/compensate");
    saga.undone(2);
    assert_eq!(saga.statuses(), ["COMPLETED", "COMPENSATION_QUEUED", "COMPENSATED"]);
    saga.undone(1);
    assert_eq!(saga.statuses(), ["COMPLETED", "QUEUED", "PENDING"]);
    assert_eq!((saga.state.status(), saga.state.cause, &saga.state.rerun), (Status::InProgress, None, &None));
    assert_eq!(saga.key(1, Side::Execute), "b~2/execute");
    // The outcome of the first generation arrives late, and is not that of the second.
    let late = saga.report_attempt(1, Side::Execute, 1, Outcome::Done { output: Json::Null });
    assert_eq!(late, Err(Refusal::Stale));
    saga.done(1);
    saga.refused(2);
    // The rollback undoes every generation that has a standing effect.
    assert_eq!(saga.key(1, Side::Compensate), "b~2/compensate");
    saga.undone(1);
    saga.undone(0);
    assert_eq!(saga.state.status(), Status::RolledBack);
    saga.rerun(None, false).unwrap();
    assert_eq!(saga.statuses(), ["QUEUED", "PENDING", "PENDING"]);
    assert_eq!(
        (saga.key(0, Side::Execute), saga.key(1, Side::Execute)),
        ("a~2/execute".to_owned(), "b~3/execute".to_owned())
    );
}

#[test]
fn withdrawn_step_keeps_counting_its_attempts() {
    let mut saga = Scenario::new(chain());
    (0..3).for_each(|step| saga.done(step));
    saga.rerun(Some(2), false).unwrap();
    saga.undone(2);
    saga.submit(&Input::Cancel { actor: None, reason: None }).unwrap();
    saga.submit(&Input::WithdrawCommand { step: StepIndex(2), attempt: 3 }).unwrap();
    assert_eq!(saga.state.steps[2].execution, StepStatus::Pending);
    assert_eq!(saga.state.steps[2].execute.attempt(), 3);
    assert_eq!(saga.state.steps[2].attempts_begun(Side::Execute), 1);
    saga.undone(1);
    saga.undone(0);
    assert_eq!(saga.state.status(), Status::RolledBack);
}

#[test]
fn attempt_that_was_withdrawn_is_not_one_of_the_next_generation() {
    let mut saga = Scenario::new(chain());
    saga.done(0);
    saga.submit(&Input::Cancel { actor: None, reason: None }).unwrap();
    saga.submit(&Input::WithdrawCommand { step: StepIndex(1), attempt: 1 }).unwrap();
    saga.undone(0);
    saga.rerun(None, false).unwrap();
    saga.done(0);
    // An executor whose cached state has the withdrawn attempt would execute it with the key of the first generation.
    let stale = saga.report_attempt(1, Side::Execute, 1, Outcome::Done { output: Json::Null });
    assert_eq!(stale, Err(Refusal::Stale));
    assert_eq!(saga.state.steps[1].attempts_begun(Side::Execute), 0);
    saga.done(1);
    saga.done(2);
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn attempt_in_place_of_which_an_operator_acted_is_not_one_of_the_next_generation() {
    let mut saga = Scenario::new(vec![step("a", &[])]);
    saga.done(0);
    saga.rerun(None, false).unwrap();
    let failure = Failure::of("BUSY", "later");
    saga.report(0, Side::Compensate, Outcome::Retryable { failure, not_before: None });
    // The second attempt may have begun without a recorded start.
    let (step, actor) = (StepIndex(0), None);
    saga.submit(&Input::SkipStep { step, actor, reason: "by hand".to_owned() }).unwrap();
    saga.done(0);
    saga.rerun(None, false).unwrap();
    let late = saga.report_attempt(0, Side::Compensate, 2, Outcome::Done { output: Json::Null });
    assert_eq!(late, Err(Refusal::Stale), "the effect of the second generation stands");
    saga.undone(0);
    assert_eq!(saga.key(0, Side::Execute), "a~3/execute");
}

#[test]
fn lock_of_a_step_is_released_before_the_step_requests_it_again() {
    let held =
        LockSpec { key: Template::Value("k".into()), shared: false, hold: LockScope::Workflow, wait: None };
    let mut last = step("b", &[0]);
    last.failure = FailurePolicy { on_error: OnError::Pause, ..FailurePolicy::default() };
    let mut saga = Scenario::new(vec![Step { lock: Some(held), ..step("a", &[]) }, last]);
    let timer = TimerKind::StepLock(StepIndex(0));
    let request = saga.state.steps[0].lock.as_ref().unwrap().request;
    saga.submit(&Input::AcquireLocks { timer, request, tokens: vec![1] }).unwrap();
    saga.done(0);
    saga.refused(1);
    assert_eq!(saga.state.status(), Status::Error);
    saga.rerun(Some(0), false).unwrap();
    let before = saga.state.clone();
    assert_eq!(before.lock_tokens(StepIndex(0), Side::Compensate).get("k"), Some(&1));
    saga.undone(0);
    assert!(saga.state.steps[0].waits_for_lock());
    let written = transition(&saga.plan, Some(&before), Vec::new(), saga.state.clone());
    let released = LockRelease { timer, keys: vec!["k".to_owned()] };
    assert_eq!(written.locks, [released]);
}

#[test]
fn re_run_after_the_pivot_waits_for_its_locks_without_a_limit() {
    let wait = Some(std::time::Duration::from_millis(1));
    let lock = LockSpec { key: Template::Value("k".into()), shared: false, hold: LockScope::Workflow, wait };
    let steps = vec![of_kind(step("p", &[]), Kind::Pivot), of_kind(step("l", &[0]), Kind::Retriable)];
    let plan = Plan::new(Definition { locks: vec![lock], ..definition(steps) }, 1).unwrap();
    let (events, state) = start(&plan, &Literal, &begin(), Timestamp(0));
    let mut saga = Scenario { plan, state, events, now: 0 };
    let timer = TimerKind::WorkflowLock;
    let lock = saga.state.lock.as_ref().unwrap();
    assert!(lock.until.is_some());
    let request = lock.request;
    saga.submit(&Input::AcquireLocks { timer, request, tokens: vec![1] }).unwrap();
    saga.done(0);
    saga.done(1);
    assert_eq!(saga.state.status(), Status::Completed);
    saga.rerun(Some(1), true).unwrap();
    assert_eq!(saga.state.lock.as_ref().unwrap().until, None, "the pivot cannot be rolled back");
    saga.now += 1_000_000;
    assert_eq!(saga.submit(&Input::FireTimer { timer }), Err(Refusal::Stale));
    let request = saga.state.lock.as_ref().unwrap().request;
    saga.submit(&Input::AcquireLocks { timer, request, tokens: vec![2] }).unwrap();
    saga.done(1);
    assert_eq!(saga.state.status(), Status::Completed);
}

#[test]
fn re_run_is_refused_where_it_cannot_be_right() {
    let mut running = Scenario::new(chain());
    assert_eq!(running.cause(None, false), RerunRefusal::NotPossible);
    running.done(0);
    running.submit(&Input::Terminate { actor: None, reason: "stop".to_owned() }).unwrap();
    assert_eq!(running.cause(None, false), RerunRefusal::InDoubt, "b is queued");

    let mut past_pivot = Scenario::new(vec![
        step("a", &[]),
        of_kind(step("b", &[0]), Kind::Pivot),
        of_kind(step("c", &[1]), Kind::Retriable),
    ]);
    (0..3).for_each(|step| past_pivot.done(step));
    assert_eq!(past_pivot.cause(Some(0), true), RerunRefusal::Irreversible);
    assert_eq!(past_pivot.cause(Some(1), true), RerunRefusal::Irreversible);
    assert_eq!(past_pivot.cause(Some(2), false), RerunRefusal::Irreversible);
    past_pivot.rerun(Some(2), true).unwrap();
    assert_eq!(past_pivot.statuses(), ["COMPLETED", "COMPLETED", "QUEUED"]);

    let mut rolled_back = Scenario::new(chain());
    rolled_back.done(0);
    rolled_back.refused(1);
    rolled_back.undone(0);
    assert_eq!(rolled_back.cause(Some(1), false), RerunRefusal::NotPossible, "a was undone");
    assert_eq!(rolled_back.cause(Some(2), false), RerunRefusal::NotPossible, "c has not run");

    let held =
        LockSpec { key: Template::Value("k".into()), shared: false, hold: LockScope::Workflow, wait: None };
    let mut locked = Scenario::new(vec![Step { lock: Some(held), ..step("a", &[]) }, step("b", &[0])]);
    let timer = TimerKind::StepLock(StepIndex(0));
    let request = locked.state.steps[0].lock.as_ref().unwrap().request;
    locked.submit(&Input::AcquireLocks { timer, request, tokens: vec![1] }).unwrap();
    locked.done(0);
    locked.done(1);
    assert_eq!(locked.cause(Some(1), false), RerunRefusal::NotPossible, "the lock of a is released");
}

#[test]
fn child_is_not_re_run() {
    let plan = plan(vec![step("a", &[])]);
    let parent = goconductor_saga::Parent {
        id: WorkflowId(uuid::Uuid::from_u128(7)),
        step: StepIndex(0),
        attempt: 1,
        depth: 1,
        elements_of: None,
        generation: 0,
    };
    let child = StartChild { parent, withdrawn: true };
    let (events, state) = start_child(RulesVersion::CURRENT, &plan, &Literal, &begin(), child, Timestamp(0));
    let mut saga = Scenario { plan, state, events, now: 0 };
    assert_eq!(saga.state.status(), Status::RolledBack);
    assert_eq!(saga.cause(None, false), RerunRefusal::NotPossible);
}

#[test]
fn step_in_doubt_is_undone_but_not_kept() {
    let mut doubtful = tries(step("b", &[0]), 1);
    doubtful.failure = FailurePolicy { on_error: OnError::Continue, ..FailurePolicy::default() };
    let mut saga = Scenario::new(vec![step("a", &[]), doubtful]);
    saga.done(0);
    let failure = Failure::of("TIMED_OUT", "no response");
    saga.report(1, Side::Execute, Outcome::Unknown { failure, not_before: None, answered: true });
    assert_eq!((saga.state.status(), saga.statuses()), (Status::Completed, vec!["COMPLETED", "UNKNOWN"]));
    assert_eq!(saga.cause(Some(1), true), RerunRefusal::InDoubt);
    saga.rerun(Some(1), false).unwrap();
    assert_eq!(saga.statuses(), ["COMPLETED", "COMPENSATION_QUEUED"]);
    saga.undone(1);
    assert_eq!(saga.statuses(), ["COMPLETED", "QUEUED"]);
}

#[test]
fn refused_compensation_of_a_re_run_waits_for_an_operator() {
    let mut first = step("a", &[]);
    first.compensate.as_mut().unwrap().retry.max_attempts = Some(1);
    let mut saga = Scenario::new(vec![first]);
    saga.done(0);
    saga.rerun(None, false).unwrap();
    saga.report(0, Side::Compensate, Outcome::Refused { failure: Failure::of("NO", "never") });
    assert_eq!(saga.state.status(), Status::Error);
    let (step, actor) = (StepIndex(0), None);
    saga.submit(&Input::SkipStep { step, actor, reason: "by hand".to_owned() }).unwrap();
    assert_eq!(saga.statuses(), ["QUEUED"]);
    assert_eq!((saga.state.status(), &saga.state.error), (Status::InProgress, &None));
}

fn second(steps: Vec<Step>) -> Plan {
    Plan::new(definition(steps), 2).unwrap()
}

fn migrated(saga: &Scenario, to: &Plan) -> Result<goconductor_saga::Transition, Vec<String>> {
    let request = MigrateWorkflow::default();
    match migrate(&saga.plan, to, &Literal, &saga.state, &request, Timestamp(saga.now)) {
        Ok(transition) => Ok(transition),
        Err(Refusal::Migration(problems)) => Err(problems),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn pending_steps_follow_the_new_version() {
    let mut saga = Scenario::new(chain());
    saga.done(0);
    // `b` is queued, so it must stay. `c` is replaced, and `d` and `e` are added. `e` can start at once.
    let to = second(vec![step("a", &[]), step("b", &[0]), step("d", &[1]), step("e", &[0])]);
    let transition = migrated(&saga, &to).unwrap();
    assert_eq!((transition.state.version, transition.state.steps.len()), (2, 4));
    let migrated = &transition.events[0].kind;
    assert!(matches!(migrated, EventKind::WorkflowMigrated { from: 1, version: 2, steps: 4, .. }));
    let issued: Vec<OwedKey> = transition
        .ledger
        .iter()
        .map(|change| match change {
            LedgerChange::Issue(row) => row.key,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(issued, [OwedKey::Command(StepIndex(3), Side::Execute)]);
    assert_eq!(owed(&to, &transition.state).len(), 2);
}

#[test]
fn migration_is_refused_with_each_difference() {
    let mut saga = Scenario::new(chain());
    saga.done(0);
    let mut changed = step("a", &[]);
    changed.compensate = None;
    changed.title = Some("The first".to_owned());
    for (steps, expected) in [
        (vec![changed, step("b", &[0])], "step `a` is COMPLETED and differs in compensate"),
        (vec![step("a", &[]), step("b", &[])], "step `b` is QUEUED and differs in depends_on"),
        (vec![step("a", &[])], "step `b` is QUEUED and does not exist in version 2"),
        (
            vec![step("a", &[]), step("x", &[0]), step("b", &[0])],
            "step `b` is QUEUED and moved from position 2 to position 3",
        ),
    ] {
        assert_eq!(migrated(&saga, &second(steps)).unwrap_err(), [expected]);
    }
    let mut locked = definition(chain());
    locked.locks = vec![LockSpec {
        key: Template::Value("k".into()),
        shared: false,
        hold: LockScope::Workflow,
        wait: None,
    }];
    let problems = migrated(&saga, &Plan::new(locked, 2).unwrap()).unwrap_err();
    assert_eq!(problems, ["`lock` of the definition differs"]);
    saga.submit(&Input::Cancel { actor: None, reason: None }).unwrap();
    let request = MigrateWorkflow::default();
    let to = second(chain());
    let refused = migrate(&saga.plan, &to, &Literal, &saga.state, &request, Timestamp(saga.now));
    assert!(matches!(refused, Err(Refusal::Conflict(_))), "{refused:?}");
}

#[test]
fn failed_step_without_an_effect_can_be_replaced() {
    let pivot = of_kind(step("p", &[0]), Kind::Pivot);
    let last = || tries(of_kind(step("l", &[1]), Kind::Retriable), 1);
    let mut saga = Scenario::new(vec![step("a", &[]), pivot.clone(), last()]);
    saga.done(0);
    saga.done(1);
    saga.refused(2);
    assert_eq!(saga.state.status(), Status::Error);
    let mut other = last();
    other.action = step("other", &[]).action;
    let to = second(vec![step("a", &[]), pivot.clone(), other.clone()]);
    let transition = migrated(&saga, &to).unwrap();
    assert_eq!(transition.state.status(), Status::Error);
    other.depends_on = vec![StepIndex(0)];
    let to = second(vec![step("a", &[]), pivot, other]);
    assert_eq!(migrated(&saga, &to).unwrap_err(), ["step `l` is FAILED and differs in depends_on"]);
}

/// The effects of a workflow on its participants, by key without the side: whether there is one, and whether it was undone.
#[derive(Default)]
struct Effects(BTreeMap<String, (bool, bool)>);

impl Effects {
    fn stand(&self, step: &str) -> Vec<&String> {
        let of_step = |key: &&String| {
            let name = key.split_once('/').unwrap().1;
            name == step || name.starts_with(&format!("{step}~"))
        };
        let standing = self.0.iter().filter(|(_, (happened, undone))| *happened && !*undone);
        standing.map(|(key, _)| key).filter(of_step).collect()
    }
}

/// Performs one of the commands that are due, with a random outcome. Returns whether there was one.
fn perform(saga: &mut Scenario, effects: &mut Effects, noise: &mut Noise) -> bool {
    let rows = owed(&saga.plan, &saga.state);
    if rows.is_empty() {
        return false;
    }
    let row = noise.pick(&rows).clone();
    let OwedKey::Command(step, side) = row.key else { panic!("{row:?}") };
    let Due::At(at) = row.due else {
        saga.submit(&Input::WithdrawCommand { step, attempt: row.attempt }).unwrap();
        return true;
    };
    saga.now = saga.now.max(at.0);
    let key = saga.state.idempotency_key(&saga.plan, step, side);
    let key = key.rsplit_once('/').unwrap().0.to_owned();
    let name = saga.plan.step(step).unwrap().name.clone();
    if side == Side::Compensate {
        for below in saga.plan.downstream(step) {
            let below = &saga.plan.step(*below).unwrap().name;
            assert!(effects.stand(below).is_empty(), "{name} is undone before {below}");
        }
        effects.0.entry(key).or_default().1 = true;
        saga.undone(step.0);
        return true;
    }
    let failure = Failure::of("BROKEN", "as scripted");
    let (happens, outcome) = match noise.below(8) {
        0 => (false, Outcome::Refused { failure }),
        1 => (noise.once_in(2), Outcome::Unknown { failure, not_before: None, answered: true }),
        2 => (false, Outcome::Retryable { failure, not_before: None }),
        _ => (true, Outcome::Done { output: Json::Null }),
    };
    let entry = effects.0.entry(key.clone()).or_default();
    assert!(!entry.1, "{key} is executed after it was undone");
    entry.0 |= happens;
    assert!(effects.stand(&name).len() <= 1, "{name} has effects of two generations");
    saga.report(step.0, Side::Execute, outcome);
    true
}

#[test]
fn no_effect_of_an_earlier_generation_stands() {
    for seed in 0..1_000 {
        let mut noise = Noise(seed);
        let count = 1 + u32::try_from(noise.below(6)).unwrap();
        let steps = (0..count).map(|at| {
            let on: Vec<u32> = (0..at).filter(|_| noise.once_in(2)).collect();
            tries(step(&format!("s{at}"), &on), 2)
        });
        let mut saga = Scenario::new(steps.collect());
        let mut effects = Effects::default();
        for _ in 0..4 {
            while perform(&mut saga, &mut effects, &mut noise) {}
            assert!(saga.state.phase.is_final(), "seed {seed}: {:?}", saga.statuses());
            for (index, state) in saga.state.steps.iter().enumerate() {
                let index = StepIndex(u32::try_from(index).unwrap());
                let standing = effects.stand(&saga.plan.step(index).unwrap().name);
                let key = saga.state.idempotency_key(&saga.plan, index, Side::Execute);
                let expected = state.execution == StepStatus::Completed && state.compensation.is_none();
                let expected: Vec<String> =
                    expected.then(|| key.rsplit_once('/').unwrap().0.to_owned()).into_iter().collect();
                assert_eq!(standing, expected.iter().collect::<Vec<_>>(), "seed {seed}");
            }
            let from = u32::try_from(noise.below(saga.plan.definition().steps.len())).unwrap();
            if saga.rerun(Some(from), false).is_err() {
                saga.rerun(None, false).unwrap();
            }
        }
    }
}

#[test]
fn stored_form_of_repairs_does_not_change() {
    let event =
        |kind| Event { seq: 7, time: Timestamp(1_700_000_000_000_000), actor: None, sealed: None, kind };
    for (kind, expected) in [
        (
            EventKind::RerunStarted {
                step: Some(StepIndex(1)),
                steps: vec![StepIndex(1), StepIndex(2)],
                keeps: vec![StepIndex(2)],
                from: Status::RolledBack,
                from_cause: Some(RollbackCause::StepFailed),
                reason: "again".to_owned(),
            },
            r#""type":"RERUN_STARTED","step":1,"steps":[1,2],"keeps":[2],"from":"ROLLED_BACK","from_cause":"STEP_FAILED","reason":"again"}"#,
        ),
        (
            EventKind::StepsReset { deadline: Some(Timestamp(1_700_000_000_000_001)) },
            r#""type":"STEPS_RESET","deadline":1700000000000001}"#,
        ),
        (
            EventKind::WorkflowMigrated { from: 1, version: 3, steps: 4, reason: Some("partner".to_owned()) },
            r#""type":"WORKFLOW_MIGRATED","from":1,"version":3,"steps":4,"reason":"partner"}"#,
        ),
    ] {
        let event = event(kind);
        let stored = serde_json::to_string(&event).unwrap();
        assert_eq!(stored, format!(r#"{{"seq":7,"time":1700000000000000,{expected}"#));
        assert_eq!(serde_json::from_str::<Event>(&stored).unwrap(), event);
    }
}
