//! Definitions for tests, written by hand or at random. All of them follow the pivot rule.

use crate::noise::Noise;
use goconductor_saga::{
    Action, Child, Compensation, Condition, DEFINITION_FORMAT, Definition, Event, ExpressionError,
    Expressions, FailurePolicy, Join, Json, Kind, LockScope, LockSpec, OnError, OnParentClose, OnTimeout,
    OnUnknown, Plan, Retry, RollbackOrder, Scope, StartWorkflow, State, Step, StepIndex, Template, Timeouts,
    Timestamp, WaitTime, WorkflowId, start,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Expressions whose value is their own text, except for `true`, `false` and `error`.
#[derive(Debug)]
pub(crate) struct Literal;

impl Expressions for Literal {
    fn evaluate(&self, expression: &str, _: &Scope<'_>) -> Result<Json, ExpressionError> {
        match expression {
            "true" => Ok(Json::Bool(true)),
            "false" => Ok(Json::Bool(false)),
            "error" => {
                Err(ExpressionError { expression: expression.to_owned(), reason: "as scripted".to_owned() })
            }
            text => Ok(Json::String(text.to_owned())),
        }
    }
}

/// Starts a workflow without input at the time 0.
pub(crate) fn started(plan: &Plan) -> (Vec<Event>, State) {
    let begin = StartWorkflow {
        id: WorkflowId("018f0000-0000-7000-8000-000000000001".parse().unwrap()),
        namespace: "default".to_owned(),
        input: Json::Null,
        labels: BTreeMap::new(),
        actor: None,
        trace: None,
    };
    start(plan, &Literal, &begin, Timestamp(0))
}

fn action(name: &str, what: &str) -> Action {
    Action::Run { service: name.to_owned(), action: what.to_owned() }
}

/// Returns a compensatable step that depends on `on`.
pub(crate) fn step(name: &str, on: &[u32]) -> Step {
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
        compensate: Some(compensation(name)),
        retry: Retry { initial: Duration::from_millis(10), jitter: 0.0, ..Retry::default() },
        timeout: Timeouts { attempt: Duration::from_secs(1), queue: None, total: None, heartbeat: None },
    }
}

fn compensation(name: &str) -> Compensation {
    Compensation {
        action: action(name, "undo"),
        when: None,
        input: None,
        retry: Retry { initial: Duration::from_millis(10), jitter: 0.0, ..Retry::of_compensation() },
        timeout: Duration::from_secs(1),
        limits: goconductor_saga::CompensationLimits::default(),
    }
}

/// Returns the step with another kind. A pivot and a retriable step get no compensation.
pub(crate) fn of_kind(mut step: Step, kind: Kind) -> Step {
    step.kind = kind;
    if kind != Kind::Compensatable {
        step.compensate = None;
    }
    step
}

/// Returns the step with a limit of `max` attempts.
pub(crate) fn tries(mut step: Step, max: u32) -> Step {
    step.retry.max_attempts = Some(max);
    step
}

pub(crate) fn plan(steps: Vec<Step>) -> Plan {
    Plan::new(definition(steps), 1).unwrap()
}

pub(crate) fn definition(steps: Vec<Step>) -> Definition {
    Definition {
        format: DEFINITION_FORMAT,
        name: "w".to_owned(),
        title: None,
        description: None,
        labels: BTreeMap::new(),
        input: None,
        output: None,
        timeout: None,
        rollback: goconductor_saga::RollbackPolicy::default(),
        locks: Vec::new(),
        steps,
    }
}

/// Returns the same steps without dependencies, for worlds whose order is wrong on purpose.
pub(crate) fn without_edges(plan: &Plan) -> Plan {
    let mut definition = plan.definition().clone();
    for step in &mut definition.steps {
        step.depends_on.clear();
    }
    Plan::new(definition, plan.version()).unwrap()
}

/// Returns the same graph without a pivot, for worlds that are wrong on purpose.
pub(crate) fn without_pivot(plan: &Plan) -> Plan {
    let mut definition = plan.definition().clone();
    for step in &mut definition.steps {
        step.kind = Kind::Compensatable;
    }
    Plan::new(definition, plan.version()).unwrap()
}

/// Returns a random graph of up to seven steps.
pub(crate) fn random(noise: &mut Noise) -> Plan {
    let count = 1 + noise.below(7);
    let pivot = noise.once_in(3).then(|| noise.below(count));
    let mut steps = Vec::new();
    for at in 0..count {
        let kind = match pivot {
            Some(pivot) if at == pivot => Kind::Pivot,
            Some(pivot) if at > pivot => Kind::Retriable,
            Some(_) | None => Kind::Compensatable,
        };
        let mut on: Vec<u32> = (0..at).filter(|_| noise.once_in(2)).map(number).collect();
        match pivot {
            // Every earlier step is upstream of the pivot, and every later step is downstream of it.
            Some(pivot) if at == pivot => on = (0..at).map(number).collect(),
            Some(pivot) if at > pivot => on.push(number(pivot)),
            Some(_) | None => {}
        }
        on.sort_unstable();
        on.dedup();
        steps.push(random_step(noise, &format!("s{at}"), &on, kind));
    }
    let mut definition = definition(steps);
    if noise.once_in(6) {
        definition.rollback.order = RollbackOrder::Parallel;
    }
    definition.rollback.continue_on_error = noise.once_in(8);
    if noise.once_in(8) {
        definition.locks = vec![LockSpec { hold: LockScope::Workflow, ..random_lock(noise, "a") }];
    }
    definition.timeout = noise.once_in(8).then(|| Duration::from_millis(500 + number_of(noise.below(5000))));
    Plan::new(definition, 1).unwrap()
}

fn random_step(noise: &mut Noise, name: &str, on: &[u32], kind: Kind) -> Step {
    let mut step = of_kind(step(name, on), kind);
    step.join = *noise.pick(&[Join::All, Join::All, Join::All, Join::Any, Join::Settled]);
    // The edges of most steps follow from the order of the list.
    step.skipped_with = noise.once_in(2).then(Vec::new);
    let when = *noise.pick(&["", "", "", "", "", "true", "false", "error"]);
    // A condition that cannot be evaluated is rare, because it would end most worlds early.
    if !when.is_empty() && (when != "error" || noise.once_in(4)) {
        step.when.push(Condition { expression: when.to_owned(), holds: !noise.once_in(4) });
    }
    step.retry.max_attempts = Some(1 + u32::try_from(noise.below(3)).unwrap());
    if noise.once_in(4) && kind == Kind::Compensatable {
        step.compensate = None;
    }
    if let Some(compensation) = &mut step.compensate {
        compensation.retry.max_attempts = noise.once_in(4).then_some(2);
        compensation.limits.queue = noise.once_in(8).then(|| Duration::from_millis(300));
        compensation.limits.total = noise.once_in(8).then(|| Duration::from_millis(800));
    }
    if kind != Kind::Pivot && noise.once_in(5) {
        return random_wait(noise, step);
    }
    step.failure = random_policy(noise, name, kind);
    if let Some(compensation) = &mut step.compensate
        && noise.once_in(8)
    {
        compensation.when = Some((*noise.pick(&["true", "false", "error"])).to_owned());
    }
    step.timeout.attempt = Duration::from_millis(200 + number_of(noise.below(1500)));
    step.timeout.queue = noise.once_in(10).then(|| Duration::from_millis(300));
    if noise.once_in(8) {
        make_child(noise, &mut step);
        return step;
    }
    step.timeout.total = noise.once_in(10).then(|| Duration::from_millis(800));
    step.lock = noise.once_in(10).then(|| random_lock(noise, name));
    step
}

/// Returns a lock. A lock that is held to the end can be out of order, which fails the step that requests it.
fn random_lock(noise: &mut Noise, name: &str) -> LockSpec {
    let hold = *noise.pick(&[LockScope::Step, LockScope::Step, LockScope::Workflow]);
    let wait = noise.once_in(4).then(|| Duration::from_millis(number_of(noise.below(3))));
    LockSpec { key: Template::Value(Json::from(name)), shared: noise.once_in(3), wait, hold }
}

/// Returns the step with a wait in place of its command.
fn random_wait(noise: &mut Noise, mut step: Step) -> Step {
    let time = WaitTime::Duration(Duration::from_millis(1 + number_of(noise.below(900))));
    step.action = if noise.once_in(2) {
        Action::Sleep { time }
    } else {
        let name = (*noise.pick(&["x", "y"])).to_owned();
        let on_timeout = *noise.pick(&[OnTimeout::Fail, OnTimeout::Continue]);
        Action::Signal { name, limit: noise.once_in(2).then_some(time), on_timeout, schema: None }
    };
    step.compensate = None;
    step.kind = Kind::Compensatable;
    step.failure.on_error = *noise.pick(&[OnError::Compensate, OnError::Continue, OnError::Pause]);
    step
}

fn random_policy(noise: &mut Noise, name: &str, kind: Kind) -> FailurePolicy {
    let is_pivot = kind == Kind::Pivot;
    let mut policy = FailurePolicy::default();
    if noise.once_in(4) {
        policy.on_error =
            if is_pivot { OnError::Pause } else { *noise.pick(&[OnError::Continue, OnError::Pause]) };
    }
    match noise.below(6) {
        0 | 1 => {
            policy.probe = Some(action(name, "find"));
            policy.on_unknown = OnUnknown::Probe;
        }
        2 => policy.on_unknown = OnUnknown::Retry,
        3 if !is_pivot => policy.on_unknown = OnUnknown::Park,
        _ => {}
    }
    policy
}

fn make_child(noise: &mut Noise, step: &mut Step) {
    let closes =
        [OnParentClose::Compensate, OnParentClose::Compensate, OnParentClose::Cancel, OnParentClose::Abandon];
    let child = Child {
        workflow: "child".to_owned(),
        version: None,
        id: None,
        on_parent_close: *noise.pick(&closes),
    };
    step.timeout.queue = None;
    step.failure = FailurePolicy { on_error: step.failure.on_error, ..FailurePolicy::default() };
    step.compensate = (step.kind == Kind::Compensatable
        && child.on_parent_close == OnParentClose::Compensate)
        .then(|| Compensation { action: Action::Child(child.clone()), ..compensation(&step.name) });
    step.action = Action::Child(child);
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap()
}

fn number_of(at: usize) -> u64 {
    u64::try_from(at).unwrap()
}
