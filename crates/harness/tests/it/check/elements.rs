//! Runs with a step for each element of a list, and rollbacks of completed workflows, made by the real rules. A correct
//! run has no findings, and each kind of error is found by the check of its guarantee.

use super::graphs::Literal;
use super::{findings, shown};
use goconductor_harness::check::{Doctor, Effect, EffectKind, Finding, Run, Start, UtcTime, digest};
use goconductor_saga::{
    Action, Child, ChildEnd, Compensation, DEFINITION_FORMAT, Definition, Event, EventKind, Failure, ForEach,
    Input, Join, Json, Kind, OnParentClose, Outcome, OwedKey, Parent, Phase, Plan, Retry, RollbackCause,
    RollbackPolicy, RulesVersion, Side, StartChild, StartWorkflow, State, Step, StepIndex, StepStatus,
    Timeouts, TimerKind, Timestamp, WorkflowId, decide, owed, start, start_child,
};
use std::collections::BTreeMap;
use std::time::Duration;

const BEGUN: i64 = 1_760_000_000_000_000;
/// The time between two events, more than the tolerance of the checks.
const STEP_MICROS: i64 = 10_000;
const PICK: StepIndex = StepIndex(1);

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Completed,
    /// The last step is refused.
    RolledBack,
    /// An operator rolls the completed workflow back.
    Reopened,
}

fn action(name: &str, what: &str) -> Action {
    Action::Run { service: name.to_owned(), action: what.to_owned() }
}

fn step(name: &str, on: &[u32]) -> Step {
    let retry = Retry { max_attempts: Some(1), jitter: 0.0, ..Retry::default() };
    Step {
        name: name.to_owned(),
        title: None,
        labels: BTreeMap::new(),
        depends_on: on.iter().copied().map(StepIndex).collect(),
        join: Join::All,
        skipped_with: None,
        when: Vec::new(),
        blocks: Vec::new(),
        lock: None,
        for_each: None,
        action: action(name, "do"),
        kind: Kind::Compensatable,
        failure: goconductor_saga::FailurePolicy::default(),
        input: None,
        compensate: Some(Compensation {
            action: action(name, "undo"),
            when: None,
            input: None,
            retry: retry.clone(),
            timeout: Duration::from_secs(1),
            limits: goconductor_saga::CompensationLimits::default(),
        }),
        retry,
        timeout: Timeouts { attempt: Duration::from_secs(1), queue: None, total: None, heartbeat: None },
    }
}

/// The step once for each of three elements.
fn for_each(of: Step) -> Step {
    let child = Child {
        workflow: "pick[]".to_owned(),
        version: None,
        id: None,
        on_parent_close: OnParentClose::Compensate,
    };
    let undo = |undo| Compensation { action: Action::Child(child.clone()), ..undo };
    Step {
        for_each: Some(Box::new(ForEach {
            list: "[1, 2, 3]".to_owned(),
            variable: "item".to_owned(),
            max_parallel: 8,
            action: of.action.clone(),
            input: None,
            compensate: of.compensate.clone(),
            retry: of.retry.clone(),
            timeout: of.timeout.clone(),
            failure: of.failure.clone(),
        })),
        compensate: of.compensate.clone().map(undo),
        action: Action::Child(child.clone()),
        ..of
    }
}

fn plan() -> Plan {
    let steps = vec![step("visa", &[]), for_each(step("pick", &[0])), step("ship", &[1])];
    let definition = Definition {
        format: DEFINITION_FORMAT,
        name: "order".to_owned(),
        title: None,
        description: None,
        labels: BTreeMap::new(),
        input: None,
        output: None,
        timeout: None,
        rollback: RollbackPolicy::default(),
        locks: Vec::new(),
        steps,
    };
    Plan::new(definition, 1).unwrap()
}

fn begin(number: u32, input: Json) -> StartWorkflow {
    StartWorkflow {
        id: WorkflowId(format!("0199c000-0000-7000-8000-{number:012}").parse().unwrap()),
        namespace: "default".to_owned(),
        input,
        labels: BTreeMap::new(),
        actor: None,
        trace: None,
    }
}

struct Member {
    plan: Plan,
    events: Vec<Event>,
    state: State,
}

/// A workflow, and the one that runs the elements of its step.
struct Family {
    members: Vec<Member>,
    effects: Vec<Effect>,
    now: i64,
    end: End,
}

impl Family {
    fn live(end: End) -> Run {
        let plan = plan();
        let (events, state) = start(&plan, &Literal, &begin(1, Json::Null), Timestamp(BEGUN));
        let owner = Member { plan, events, state };
        let mut family = Self { members: vec![owner], effects: Vec::new(), now: BEGUN, end };
        family.run();
        if end == End::Reopened {
            let (cause, reason) = (RollbackCause::Operator, Some("storm".to_owned()));
            family.submit(0, &Input::RollBack { cause, actor: None, reason });
            family.run();
        }
        family.record()
    }

    fn run(&mut self) {
        while !self.members[0].state.phase.is_final() {
            for at in 0..self.members.len() {
                let Member { plan, state, .. } = &self.members[at];
                for row in owed(plan, state) {
                    match row.key {
                        OwedKey::Command(step, side) => self.attempt(at, step, side, row.attempt),
                        OwedKey::Timer(TimerKind::StepChild(_)) => self.drive(),
                        OwedKey::Timer(timer) => panic!("unexpected timer {timer:?}"),
                    }
                }
            }
        }
    }

    fn submit(&mut self, at: usize, input: &Input) {
        self.now += STEP_MICROS;
        let member = &mut self.members[at];
        let decided = decide(&member.plan, &Literal, &member.state, input, Timestamp(self.now));
        let (events, state) = decided.unwrap();
        member.events.extend(events);
        member.state = state;
    }

    fn attempt(&mut self, at: usize, step: StepIndex, side: Side, attempt: u32) {
        self.now += STEP_MICROS;
        let Member { plan, state, .. } = &self.members[at];
        let name = plan.step(step).unwrap().name.clone();
        let is_refused = self.end == End::RolledBack && name == "ship" && side == Side::Execute;
        let effect = if is_refused { EffectKind::Refused } else { EffectKind::Applied };
        let key = plan.idempotency_key(state.known_id(), step, side);
        let workflow = state.known_id().to_string();
        self.effects.push(Effect {
            participant: "stock".to_owned(),
            process: "stock-0".to_owned(),
            number: u64::try_from(self.effects.len()).unwrap() + 1,
            at: self.now,
            workflow,
            step: name,
            operation: side.as_str().to_owned(),
            key,
            attempt,
            effect: Some(effect),
            fence: None,
            answered: None,
        });
        let outcome = if is_refused {
            Outcome::Refused { failure: Failure::of("AS_ASKED", "as asked") }
        } else {
            Outcome::Done { output: Json::Null }
        };
        let (started_at, deadline) = (Timestamp(self.now), Timestamp(self.now + 1_000_000));
        self.submit(at, &Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome });
    }

    /// Acts on the row of the child, as the engine does.
    fn drive(&mut self) {
        let owner = &self.members[0].state;
        let (step, attempt) = (PICK, owner.steps[PICK.at()].execute.attempt());
        let undone = owner.steps[PICK.at()].compensation.is_some_and(StepStatus::is_open);
        let Some(leaf) = self.members.get(1) else {
            let child = self.start_leaf(attempt);
            return self.submit(0, &Input::ChildStarted { step, attempt, child });
        };
        let (id, phase) = (leaf.state.id, leaf.state.phase);
        match (undone, phase) {
            (true, Phase::Completed) => {
                let input = Input::RollBack { cause: RollbackCause::Parent, actor: None, reason: None };
                self.submit(1, &input);
            }
            (false, Phase::Completed) | (true, Phase::RolledBack) => {
                let end = ChildEnd::of(&leaf.state).unwrap();
                self.submit(0, &Input::ChildEnded { step, attempt, child: Some(id), end });
            }
            (_, _) => {}
        }
    }

    fn start_leaf(&mut self, attempt: u32) -> WorkflowId {
        let Member { plan, state, .. } = &self.members[0];
        let (elements, input) = plan.start_of_elements(state, PICK, None, &Literal).unwrap();
        let own = plan.of_elements(&elements).unwrap();
        let parent = Parent {
            id: state.id,
            step: PICK,
            attempt,
            depth: 1,
            elements_of: Some(state.id),
            generation: 0,
        };
        let begin = begin(2, input);
        self.now += STEP_MICROS;
        let of = StartChild { parent, withdrawn: false };
        let (events, state) =
            start_child(RulesVersion::CURRENT, &own, &Literal, &begin, of, Timestamp(self.now));
        self.members.push(Member { plan: own, events, state });
        begin.id
    }

    fn record(self) -> Run {
        let workflows: Vec<_> =
            self.members.iter().map(|member| shown::history(&member.plan, &member.events, None)).collect();
        let start = Start {
            key: None,
            definition: "order".to_owned(),
            input: digest(&Json::Null),
            acknowledged: Some(workflows[0].id.clone()),
            at: UtcTime(BEGUN),
        };
        let checked = u64::try_from(workflows.len()).unwrap();
        Run {
            starts: vec![start],
            workflows,
            effects: self.effects,
            ledger: Some(Vec::new()),
            doctor: Some(Doctor { checked, ..Doctor::default() }),
            refused_writes: 0,
        }
    }
}

#[test]
fn correct_runs_with_elements_have_no_findings() {
    for (end, status) in
        [(End::Completed, "COMPLETED"), (End::RolledBack, "ROLLED_BACK"), (End::Reopened, "ROLLED_BACK")]
    {
        let run = Family::live(end);
        let statuses: Vec<&str> = run.workflows.iter().map(|history| history.view.status.as_str()).collect();
        assert_eq!(statuses, [status; 2], "{end:?}");
        let undone = run.effects.iter().filter(|effect| effect.operation == "compensate").count();
        assert_eq!(undone, [0, 4, 5][end as usize], "{end:?}");
        let found: Vec<Finding> = findings(&run);
        assert!(found.is_empty(), "{end:?}: {found:#?}\n{}", serde_json::to_string_pretty(&run).unwrap());
    }
}

fn line(run: &Run, suffix: &str) -> usize {
    run.effects.iter().position(|effect| effect.key.ends_with(suffix)).unwrap()
}

/// Exchanges the places of two lines.
fn swap(run: &mut Run, one: &str, other: &str) {
    let (one, other) = (line(run, one), line(run, other));
    let place = |run: &Run, at: usize| (run.effects[at].number, run.effects[at].at);
    let (first, second) = (place(run, one), place(run, other));
    (run.effects[one].number, run.effects[one].at) = second;
    (run.effects[other].number, run.effects[other].at) = first;
}

/// Repeats a line at the end, with a change.
fn append(run: &mut Run, suffix: &str, change: impl Fn(&mut Effect)) {
    let mut effect = run.effects[line(run, suffix)].clone();
    effect.number = u64::try_from(run.effects.len()).unwrap() + 1;
    effect.at = run.effects.last().unwrap().at + 1;
    change(&mut effect);
    run.effects.push(effect);
}

/// Appends events to a history that has ended.
fn append_events(run: &mut Run, kinds: Vec<EventKind>) {
    let history = &mut run.workflows[0];
    for kind in kinds {
        let mut event = history.events.last().unwrap().clone();
        let Json::Object(mut detail) = serde_json::to_value(&kind).unwrap() else { unreachable!() };
        event.kind = detail.remove("type").unwrap().as_str().unwrap().to_owned();
        (event.seq, event.step, event.attempt, event.detail) =
            (event.seq + 1, None, None, Json::Object(detail));
        history.events.push(event);
    }
    history.view.seq = history.events.last().unwrap().seq;
}

/// The run, the guarantee, and an error that violates it.
type Wrong = (End, &'static str, fn(&mut Run));

const WRONGS: [Wrong; 11] = [
    (End::Completed, "T10", |run| append(run, "pick[1]/execute", |_| {})),
    (End::Completed, "T10", |run| append(run, "pick[1]/execute", |effect| effect.key.push('2'))),
    (End::Completed, "T11", |run| {
        let line = line(run, "pick[1]/execute");
        run.effects[line].effect = None;
    }),
    (End::RolledBack, "T11", |run| {
        let line = line(run, "pick[1]/compensate");
        run.effects[line].effect = None;
    }),
    (End::RolledBack, "T11", |run| run.workflows[1].view.status = "COMPLETED".to_owned()),
    (End::Completed, "T12", |run| {
        append(run, "pick[1]/execute", |effect| {
            effect.step = "pick[7]".to_owned();
            effect.key = effect.key.replace("pick[1]", "pick[7]");
        });
    }),
    (End::Completed, "T12", |run| {
        append(run, "pick[1]/execute", |effect| {
            (effect.attempt, effect.effect) = (9, Some(EffectKind::Duplicate));
        });
    }),
    (End::RolledBack, "T7", |run| swap(run, "pick[1]/execute", "pick[1]/compensate")),
    (End::RolledBack, "T9", |run| swap(run, "visa/compensate", "pick[1]/compensate")),
    // A workflow that was rolled back is rolled back again.
    (End::RolledBack, "T5", |run| {
        let cause = RollbackCause::Operator;
        append_events(run, vec![EventKind::RollbackStarted { cause, step: None, reason: None }]);
    }),
    // Only an operator or a parent rolls a completed workflow back.
    (End::Completed, "T5", |run| {
        let cause = RollbackCause::TimedOut;
        append_events(run, vec![EventKind::RollbackStarted { cause, step: None, reason: None }]);
    }),
];

#[test]
fn each_error_of_elements_is_found_by_the_check_of_its_guarantee() {
    for (number, (end, guarantee, make)) in WRONGS.into_iter().enumerate() {
        let mut run = Family::live(end);
        make(&mut run);
        let found = findings(&run);
        assert!(
            found.iter().any(|finding| finding.guarantee == guarantee),
            "error {number} is not found by {guarantee}: {found:#?}"
        );
    }
}
