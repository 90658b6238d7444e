//! Small random definitions: sequences, branches, joins, conditions, a pivot, limits.

use super::noise::Noise;
use goconductor_saga::{
    Action, Compensation, Condition, DEFINITION_FORMAT, Definition, ExpressionError, Expressions, Join, Json,
    Kind, Plan, Retry, Scope, Step, StepIndex, Timeouts,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Expressions that evaluate to themselves.
#[derive(Debug)]
pub(crate) struct Literal;

impl Expressions for Literal {
    fn evaluate(&self, expression: &str, _: &Scope<'_>) -> Result<Json, ExpressionError> {
        Ok(serde_json::from_str(expression).unwrap_or_else(|_| Json::from(expression)))
    }
}

/// A graph of up to six steps that obeys the pivot rule.
pub(crate) fn random(noise: &mut Noise, name: &str) -> Plan {
    let count = 1 + noise.below(6);
    let pivot = noise.once_in(3).then(|| noise.below(count));
    let is_list = noise.once_in(3);
    let mut steps = Vec::new();
    for at in 0..count {
        let kind = match pivot {
            Some(pivot) if at == pivot => Kind::Pivot,
            Some(pivot) if at > pivot => Kind::Retriable,
            Some(_) | None => Kind::Compensatable,
        };
        let mut on: Vec<usize> = match pivot {
            _ if is_list => (at.saturating_sub(1)..at).collect(),
            Some(pivot) if at == pivot => (0..at).collect(),
            Some(_) | None => (0..at).filter(|_| noise.once_in(2)).collect(),
        };
        // Every step before the pivot is upstream of it, and the pivot is upstream of every step after it.
        on.extend(pivot.filter(|pivot| at > *pivot && !on.contains(pivot)));
        steps.push(step(noise, &format!("s{at}"), &on, kind));
    }
    let timeout = noise.once_in(8).then(|| Duration::from_millis(millis(noise, 500, 5000)));
    let definition = Definition {
        format: DEFINITION_FORMAT,
        name: name.to_owned(),
        title: None,
        description: None,
        labels: BTreeMap::new(),
        input: None,
        output: None,
        timeout,
        rollback: goconductor_saga::RollbackPolicy::default(),
        locks: Vec::new(),
        steps,
    };
    Plan::new(definition, 1).unwrap()
}

fn step(noise: &mut Noise, name: &str, on: &[usize], kind: Kind) -> Step {
    let retry = Retry {
        max_attempts: Some(1 + u32::try_from(noise.below(3)).unwrap()),
        initial: Duration::from_millis(10),
        jitter: 0.0,
        ..Retry::default()
    };
    let undo = Compensation {
        action: action(name, "undo"),
        when: None,
        input: None,
        retry: Retry { max_attempts: noise.once_in(4).then_some(2), ..retry.clone() },
        timeout: Duration::from_secs(1),
        limits: goconductor_saga::CompensationLimits::default(),
    };
    let can_be_undone = kind == Kind::Compensatable && !noise.once_in(5);
    let when =
        noise.once_in(5).then(|| Condition { expression: "true".to_owned(), holds: !noise.once_in(3) });
    Step {
        name: name.to_owned(),
        title: None,
        labels: BTreeMap::new(),
        depends_on: on.iter().map(|on| StepIndex(u32::try_from(*on).unwrap())).collect(),
        join: *noise.pick(&[Join::All, Join::All, Join::All, Join::Any, Join::Settled]).unwrap(),
        skipped_with: None,
        when: when.into_iter().collect(),
        blocks: Vec::new(),
        lock: None,
        for_each: None,
        action: action(name, "do"),
        kind,
        failure: goconductor_saga::FailurePolicy::default(),
        input: None,
        compensate: can_be_undone.then_some(undo),
        retry,
        timeout: Timeouts {
            attempt: Duration::from_millis(millis(noise, 200, 1500)),
            queue: noise.once_in(10).then(|| Duration::from_millis(300)),
            total: noise.once_in(10).then(|| Duration::from_millis(800)),
            heartbeat: None,
        },
    }
}

fn action(service: &str, action: &str) -> Action {
    Action::Run { service: service.to_owned(), action: action.to_owned() }
}

fn millis(noise: &mut Noise, from: u64, more: usize) -> u64 {
    from + u64::try_from(noise.below(more)).unwrap()
}
