//! Steps with `for_each`: the plans of their elements, and whole workflows in which every element is undone once.

use crate::graph::{of_kind, step};
use crate::noise::Noise;
use goconductor_saga::{
    Action, Child, ChildEnd, Compensation, Due, Elements, EventKind, ExpressionError, Expressions, Failure,
    ForEach, Input, Json, Kind, OnParentClose, Outcome, Owed, OwedKey, Parent, Phase, Plan, Retry,
    RulesVersion, Scope, Side, StartChild, StartWorkflow, State, Status, Step, StepIndex, StepStatus,
    TimerKind, Timestamp, WorkflowId, decide, owed, start, start_child,
};
use serde_json::json;
use std::collections::BTreeMap;

/// `list` is the list in the input, `item` the element, `index` its position, and `text` a text.
#[derive(Debug)]
struct Lists;

impl Expressions for Lists {
    fn evaluate(&self, expression: &str, scope: &Scope<'_>) -> Result<Json, ExpressionError> {
        Ok(match (expression, scope.element()) {
            ("list", _) => scope.input().clone(),
            ("item", Some(element)) => element.value.clone(),
            ("index", Some(element)) => element.index.into(),
            (text, _) => text.into(),
        })
    }
}

fn id(number: usize) -> WorkflowId {
    WorkflowId(uuid::Uuid::from_u128(number as u128 + 1))
}

fn each(of: Step, list: &str, max_parallel: u32) -> Step {
    let close = if of.compensate.is_some() { OnParentClose::Compensate } else { OnParentClose::Cancel };
    let child = Child { workflow: format!("{}[]", of.name), version: None, id: None, on_parent_close: close };
    let undo = |undo| Compensation { action: Action::Child(child.clone()), ..undo };
    Step {
        for_each: Some(Box::new(ForEach {
            list: list.to_owned(),
            variable: "item".to_owned(),
            max_parallel,
            action: of.action.clone(),
            input: of.input.clone(),
            compensate: of.compensate.clone(),
            retry: of.retry.clone(),
            timeout: of.timeout.clone(),
            failure: of.failure.clone(),
        })),
        compensate: of.compensate.clone().map(undo),
        retry: Retry { max_attempts: Some(1), ..Retry::default() },
        action: Action::Child(child.clone()),
        ..of
    }
}

/// A workflow and the workflows of its elements, with participants that recognise a repeat by its key.
struct Family {
    noise: Noise,
    faulty: bool,
    now: i64,
    members: Vec<(Plan, State)>,
    keys: BTreeMap<String, usize>,
    /// Whether the effect of each key stands, and how often it was applied and undone.
    effects: BTreeMap<String, (usize, usize)>,
    most_at_once: usize,
    /// Whether answers are reported twice now and then, as in a faulty family.
    repeats: bool,
    /// How often the step with the elements ended.
    joins: usize,
}

impl Family {
    fn new(seed: u64, faulty: bool, length: usize, max_parallel: u32) -> Self {
        let steps =
            vec![step("first", &[]), each(step("pick", &[0]), "list", max_parallel), step("last", &[1])];
        let plan = crate::graph::plan(steps);
        let input = (0..length).map(Json::from).collect::<Vec<_>>().into();
        let (_, state) = start(&plan, &Lists, &begin(0, input), Timestamp(0));
        Self {
            noise: Noise(seed),
            faulty,
            now: 0,
            members: vec![(plan, state)],
            keys: BTreeMap::new(),
            effects: BTreeMap::new(),
            most_at_once: 0,
            repeats: false,
            joins: 0,
        }
    }

    fn submit(&mut self, member: usize, input: &Input) {
        self.now += 1;
        // A repeated or late input is refused, as in the engine.
        let times = if (self.faulty || self.repeats) && self.noise.once_in(4) { 2 } else { 1 };
        for _ in 0..times {
            let (plan, state) = &self.members[member];
            if let Ok((events, after)) = decide(plan, &Lists, state, input, Timestamp(self.now)) {
                self.members[member].1 = after;
                let of_step = events.iter().filter(|event| event.kind.step() == Some(StepIndex(1)));
                let ends = of_step.filter(|event| matches!(event.kind, EventKind::StepCompleted { .. }));
                self.joins += if member == 0 { ends.count() } else { 0 };
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..50_000 {
            let open: Vec<usize> =
                (0..self.members.len()).filter(|at| !self.members[*at].1.phase.is_final()).collect();
            if self.members[0].1.phase.is_final() && open.is_empty() {
                return;
            }
            let commands = open.iter().flat_map(|at| owed(&self.members[*at].0, &self.members[*at].1));
            let commands = commands.filter(|row| matches!(row.key, OwedKey::Command(_, Side::Execute)));
            self.most_at_once = self.most_at_once.max(commands.count());
            let mut acted = false;
            for member in open {
                let (plan, state) = &self.members[member];
                let mut rows = owed(plan, state);
                if rows.is_empty() {
                    continue;
                }
                acted = true;
                // Answers arrive in any order.
                let at = self.noise.below(rows.len());
                let row = rows.swap_remove(at);
                self.act(member, &row);
            }
            if !acted {
                self.now += 1_000_000;
            }
            if self.faulty && self.noise.once_in(400) {
                self.submit(0, &Input::Cancel { actor: None, reason: None });
            }
        }
        let open: Vec<String> = self
            .members
            .iter()
            .filter(|(_, state)| !state.phase.is_final())
            .map(|(plan, state)| {
                let steps: Vec<StepStatus> =
                    state.steps.iter().map(goconductor_saga::StepState::status).collect();
                format!("{} {:?} {steps:?} owes {:?}", state.definition, state.status(), owed(plan, state))
            })
            .collect();
        panic!("the workflow does not end: {open:#?}");
    }

    fn act(&mut self, member: usize, row: &Owed) {
        match row.key {
            OwedKey::Command(step, side) => self.attempt(member, step, side, row),
            OwedKey::Timer(TimerKind::StepChild(step)) => self.drive(member, step),
            OwedKey::Timer(timer) => self.submit(member, &Input::FireTimer { timer }),
        }
    }

    fn attempt(&mut self, member: usize, step: StepIndex, side: Side, row: &Owed) {
        let attempt = row.attempt;
        match row.due {
            Due::Withdraw => return self.submit(member, &Input::WithdrawCommand { step, attempt }),
            Due::Held => return,
            Due::At(at) => self.now = self.now.max(at.0),
        }
        let (plan, state) = &self.members[member];
        let key = plan.idempotency_key(state.known_id(), step, Side::Execute);
        let input = plan.command_input(state, step, side, &Lists).unwrap();
        let output = json!([input, step.0]);
        let failure = Failure::of("BROKEN", "as scripted");
        let choice = if self.faulty { self.noise.below(60) } else { 9 };
        let effect = self.effects.entry(key).or_default();
        let happens = matches!((choice, side), (0 | 3.., _) | (1 | 2, Side::Compensate));
        let applied = match side {
            Side::Execute => &mut effect.0,
            Side::Compensate => &mut effect.1,
        };
        if happens && *applied == 0 {
            *applied = 1;
        }
        let outcome = match (choice, side) {
            (0, _) => Outcome::Unknown { failure, not_before: None, answered: false },
            (1, Side::Execute) => Outcome::Refused { failure },
            (2, Side::Execute) => Outcome::Retryable { failure, not_before: None },
            (_, _) => Outcome::Done { output },
        };
        let (started_at, deadline) = (Timestamp(self.now), Timestamp(self.now + 1_000_000));
        self.submit(member, &Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome });
    }

    /// Acts on the row of a child, as the engine does.
    fn drive(&mut self, member: usize, step: StepIndex) {
        let (_, parent) = &self.members[member];
        let this = &parent.steps[step.at()];
        let (executes, wanted) = (this.execution.is_open(), parent.wants_execute(step));
        let undone = !executes && this.compensation.is_some_and(StepStatus::is_open);
        if !executes && !undone {
            return;
        }
        let attempt = this.execute.attempt();
        let known = this.child.and_then(|known| self.members.iter().position(|(_, each)| each.id == known));
        let is_known = known.is_some();
        let child = known.unwrap_or_else(|| self.child(member, step, attempt, !wanted || undone));
        let (of, state) = (id(child), self.members[child].1.clone());
        if self.faulty && self.noise.once_in(6) {
            // The process dies between the start and its record.
            return;
        }
        if executes && !is_known && !wanted && state.has_ended_untouched() {
            return self.submit(member, &Input::WithdrawCommand { step, attempt });
        }
        if executes && !is_known {
            self.submit(member, &Input::ChildStarted { step, attempt, child: of });
        }
        if let Some(end) = ChildEnd::of(&state).filter(|_| executes || state.phase != Phase::Completed) {
            return self.submit(member, &Input::ChildEnded { step, attempt, child: Some(of), end });
        }
        let cause = goconductor_saga::RollbackCause::Parent;
        match state.phase {
            Phase::Completed => self.submit(child, &Input::RollBack { cause, actor: None, reason: None }),
            Phase::Queued | Phase::InProgress if !wanted || undone => {
                self.submit(child, &Input::Cancel { actor: None, reason: None });
            }
            Phase::Queued
            | Phase::InProgress
            | Phase::RollingBack
            | Phase::RolledBack
            | Phase::Terminated => {}
        }
    }

    /// Returns the child with the key of an attempt. Starts it if there is none.
    fn child(&mut self, member: usize, step: StepIndex, attempt: u32, withdrawn: bool) -> usize {
        let key = format!("{member}/{}/{attempt}", step.0);
        if let Some(known) = self.keys.get(&key) {
            return *known;
        }
        let (plan, parent) = &self.members[member];
        let (owner_plan, owner) = &self.members[0];
        let part = Elements::parse(&plan.step(step).unwrap().action.child().unwrap().workflow);
        let (elements, input) = owner_plan.start_of_elements(owner, StepIndex(1), part, &Lists).unwrap();
        let own = owner_plan.of_elements(&elements).unwrap();
        let depth = parent.parent.map_or(1, |parent| parent.depth + 1);
        let of = Parent {
            id: parent.id,
            step,
            attempt,
            depth,
            elements_of: Some(parent.known_id()),
            generation: 0,
        };
        let at = self.members.len();
        let (_, state) = start_child(
            RulesVersion::CURRENT,
            &own,
            &Lists,
            &begin(at, input),
            StartChild { parent: of, withdrawn },
            Timestamp(self.now),
        );
        self.keys.insert(key, at);
        self.members.push((own, state));
        at
    }

    /// Checks the effects of the end: all of them stand, or each was undone once.
    fn check(&self, length: usize) {
        let state = &self.members[0].1;
        let of_elements = self.effects.iter().filter(|(key, _)| key.starts_with(&format!("{}/pick[", id(0))));
        match state.status() {
            Status::Completed => {
                let wanted: Vec<Json> = (0..length).map(|at| json!([at, at % 100])).collect();
                let output = state.steps[1].output.as_deref();
                assert_eq!(output.and_then(Json::as_array), Some(&wanted));
                assert_eq!(of_elements.filter(|(_, effect)| **effect == (1, 0)).count(), length);
            }
            Status::RolledBack => {
                for (key, effect) in &self.effects {
                    assert!(effect.0 <= effect.1, "{key} was not undone: {effect:?}");
                }
            }
            other => panic!("the workflow ended as {other:?}"),
        }
    }
}

fn begin(number: usize, input: Json) -> StartWorkflow {
    StartWorkflow {
        id: id(number),
        namespace: "default".to_owned(),
        input,
        labels: BTreeMap::new(),
        actor: None,
        trace: None,
    }
}

#[test]
fn names_of_ranges_are_read_back() {
    let elements = Elements { definition: "order".to_owned(), step: "pick".to_owned(), from: 100, to: 200 };
    assert_eq!(elements.to_string(), "order/pick[100..200]");
    assert_eq!(Elements::parse("order/pick[100..200]"), Some(elements));
    for name in [
        "order",
        "order/pick",
        "pick[0..1]",
        "a/b[1..0]",
        "a/b[0..10001]",
        "a/b[00..1]",
        "a/b[+0..1]",
        "a/b[0..1",
        "a/b[]",
    ] {
        assert_eq!(Elements::parse(name), None, "{name}");
    }
}

#[test]
fn elements_complete_in_order() {
    for (length, max_parallel) in [(0, 16), (1, 16), (7, 2), (100, 16), (101, 16), (1000, 1), (1000, 250)] {
        let mut family = Family::new(length as u64, false, length, max_parallel);
        family.run();
        family.check(length);
        assert_eq!(family.members[0].1.status(), Status::Completed);
        assert!(family.most_at_once <= max_parallel as usize, "{length}: {}", family.most_at_once);
    }
}

/// Answers arrive in any order, and are reported twice now and then. The step joins once, and each element is undone once.
#[test]
fn repeated_and_shuffled_answers_of_long_lists_join_once() {
    for length in [1, 1_000, 10_000] {
        let mut family = Family::new(length as u64, false, length, 250);
        family.repeats = true;
        family.run();
        family.check(length);
        assert_eq!((family.members[0].1.status(), family.joins), (Status::Completed, 1), "{length}");
        let cause = goconductor_saga::RollbackCause::Operator;
        family.submit(0, &Input::RollBack { cause, actor: None, reason: None });
        family.run();
        assert_eq!((family.members[0].1.status(), family.joins), (Status::RolledBack, 1), "{length}");
        assert_eq!(family.effects.len(), length + 2);
        assert!(family.effects.values().all(|effect| *effect == (1, 1)), "{length}");
    }
}

#[test]
fn ten_thousand_elements_leave_small_states() {
    let mut family = Family::new(1, false, 10_000, 16);
    family.run();
    family.check(10_000);
    assert_eq!(family.members.len(), 102);
    for (_, state) in &family.members[1..] {
        let mut bare = state.clone();
        bare.input = Json::Null.into();
        bare.output = None;
        bare.steps.iter_mut().for_each(|step| step.output = None);
        let bytes = serde_json::to_vec(&bare).unwrap().len();
        assert!(bytes < 64 << 10, "{} has {bytes} bytes", state.definition);
    }
}

/// The number of random lists, unless `GOCONDUCTOR_TEST_LISTS` overrides it.
const LISTS: u64 = 300;

#[test]
fn every_element_of_a_rollback_is_undone() {
    let (mut completed, mut rolled_back) = (0, 0);
    let worlds = std::env::var("GOCONDUCTOR_TEST_LISTS").ok().and_then(|text| text.parse().ok());
    for seed in 0..worlds.unwrap_or(LISTS) {
        let length = [1, 2, 5, 20, 130][usize::try_from(seed % 5).unwrap()];
        let mut family = Family::new(seed, true, length, [1, 3, 16][usize::try_from(seed % 3).unwrap()]);
        family.run();
        family.check(length);
        match family.members[0].1.status() {
            Status::Completed => completed += 1,
            _ => rolled_back += 1,
        }
    }
    assert!(completed > 20 && rolled_back > 20, "{completed} completed, {rolled_back} rolled back");
}

#[test]
fn failure_names_the_element() {
    let mut family = Family::new(1, false, 3, 16);
    let rows = |family: &Family, member: usize| owed(&family.members[member].0, &family.members[member].1);
    family.act(0, &rows(&family, 0)[0]);
    family.act(0, &rows(&family, 0)[0]);
    let (step, side, attempt) = (StepIndex(2), Side::Execute, 1);
    let outcome = Outcome::Refused { failure: Failure::of("SOLD_OUT", "none is left") };
    let (started_at, deadline) = (Timestamp(1), Timestamp(2));
    family.submit(1, &Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome });
    family.run();
    let failure = family.members[0].1.error.clone().unwrap();
    assert_eq!((failure.code.as_str(), family.members[0].1.status()), ("SOLD_OUT", Status::RolledBack));
    assert!(failure.message.contains("element 2 of step pick: none is left"), "{failure:?}");
}

#[test]
fn lists_of_the_wrong_form_fail_the_step() {
    let long: Json = vec![Json::Null; 10_001].into();
    for (list, input, code) in
        [("text", Json::Null, "FOR_EACH_NOT_A_LIST"), ("list", long, "FOR_EACH_TOO_LONG")]
    {
        let plan = crate::graph::plan(vec![each(step("pick", &[]), list, 16)]);
        let (_, state) = start(&plan, &Lists, &begin(0, input), Timestamp(0));
        assert_eq!((state.status(), state.steps[0].execution), (Status::RolledBack, StepStatus::Failed));
        assert_eq!(state.error.unwrap().code, code);
    }
}

/// Evaluates `own` to the output of the step, and everything else like [`Lists`].
#[derive(Debug)]
struct Own;

impl Expressions for Own {
    fn evaluate(&self, expression: &str, scope: &Scope<'_>) -> Result<Json, ExpressionError> {
        let output = |name| scope.step(name).and_then(|view| view.output().cloned()).unwrap_or_default();
        match expression {
            "own" => Ok(output("pick")),
            "first" => Ok(output("first")),
            "odd" => Ok((scope.element().unwrap().index % 2 == 1).into()),
            other => Lists.evaluate(other, scope),
        }
    }
}

#[test]
fn compensation_of_an_element_refers_to_the_workflow_that_has_the_step() {
    let mut pick = each(step("pick", &[0]), "list", 16);
    let undo = pick.for_each.as_mut().unwrap().compensate.as_mut().unwrap();
    undo.when = Some("odd".to_owned());
    let part = |name: &str| goconductor_saga::Template::Expression(name.to_owned());
    let parts = ["own", "first", "item", "index", "list"].map(part).to_vec();
    undo.input = Some(goconductor_saga::Template::List(parts));
    let plan = crate::graph::plan(vec![step("first", &[]), pick]);
    assert!(!plan.needs_owner());
    let (_, owner) = start(&plan, &Own, &begin(0, json!(["x", "y"])), Timestamp(0));
    let done = |state: &State, plan: &Plan, step, output: Json| {
        let outcome = Outcome::Done { output };
        let (side, attempt, started_at, deadline) = (Side::Execute, 1, Timestamp(1), Timestamp(2));
        let input = Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome };
        decide(plan, &Own, state, &input, Timestamp(3)).unwrap().1
    };
    let owner = done(&owner, &plan, StepIndex(0), json!("f"));
    let (elements, input) = plan.start_of_elements(&owner, StepIndex(1), None, &Own).unwrap();
    assert_eq!(input, json!([{"item": "x"}, {"item": "y"}]));
    let leaf = plan.of_elements(&elements).unwrap();
    assert!(leaf.needs_owner());
    let parent = Parent {
        id: owner.id,
        step: StepIndex(1),
        attempt: 1,
        depth: 1,
        elements_of: Some(owner.id),
        generation: 0,
    };
    let child = StartChild { parent, withdrawn: false };
    let begin = begin(1, input);
    let (_, state) = start_child(RulesVersion::CURRENT, &leaf, &Own, &begin, child, Timestamp(3));
    let execute = leaf.command_input(&state, StepIndex(1), Side::Execute, &Own).unwrap();
    assert_eq!(*execute, json!("y"));
    let state = done(&state, &leaf, StepIndex(0), json!(1));
    let state = done(&state, &leaf, StepIndex(1), json!(2));
    let expressions = goconductor_saga::ElementExpressions::new(&Own, &plan, &owner);
    let input = leaf.command_input(&state, StepIndex(1), Side::Compensate, &expressions).unwrap();
    assert_eq!(*input, json!([2, "f", "y", 1, ["x", "y"]]));
    let cause = goconductor_saga::RollbackCause::Parent;
    let undo = Input::RollBack { cause, actor: None, reason: None };
    let (_, state) = decide(&leaf, &expressions, &state, &undo, Timestamp(4)).unwrap();
    let sides = [0, 1].map(|at: usize| state.steps[at].compensation);
    assert_eq!(sides[1], Some(StepStatus::CompensationQueued));
    assert_ne!(sides[0], Some(StepStatus::CompensationQueued));
}

#[test]
fn retriable_elements_wait_for_an_operator() {
    let steps = vec![
        of_kind(step("pay", &[]), Kind::Pivot),
        each(of_kind(step("pick", &[0]), Kind::Retriable), "list", 16),
    ];
    let plan = crate::graph::plan(steps);
    let elements =
        Elements { definition: plan.definition().name.clone(), step: "pick".to_owned(), from: 0, to: 2 };
    let own = plan.of_elements(&elements).unwrap();
    let (_, state) = start(&own, &Lists, &begin(5, json!([1, 2])), Timestamp(0));
    let outcome = Outcome::Refused { failure: Failure::of("SOLD_OUT", "none is left") };
    let (step, side, attempt) = (StepIndex(0), Side::Execute, 1);
    let (started_at, deadline) = (Timestamp(1), Timestamp(2));
    let input = Input::ReportOutcome { step, side, attempt, started_at, deadline, outcome };
    let (_, state) = decide(&own, &Lists, &state, &input, Timestamp(3)).unwrap();
    assert_eq!(state.status(), Status::Error);
    assert_eq!(state.steps[0].execution, StepStatus::Failed);
    let retry = Input::RetryStep { step, actor: None, reason: None };
    let (_, state) = decide(&own, &Lists, &state, &retry, Timestamp(4)).unwrap();
    assert_eq!(state.steps[0].execution, StepStatus::Queued);
}
