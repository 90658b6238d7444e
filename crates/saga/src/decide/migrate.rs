//! The migration of a workflow to another version of its definition. The steps that have begun must be the same in both.

use super::{Decision, Refusal};
use crate::{
    EventKind, Expressions, Phase, Plan, State, Step, StepIndex, StepState, StepStatus, Timestamp,
    Transition, migrating_transition,
};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The migration of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MigrateWorkflow {
    /// The person who requests the change.
    pub actor: Option<String>,
    /// The reason.
    pub reason: Option<String>,
}

/// The differences of two versions of a definition, as names of steps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MigrationChanges {
    /// The steps that only the new version has.
    pub added: Vec<String>,
    /// The steps that only the old version has.
    pub removed: Vec<String>,
    /// The steps that differ.
    pub changed: Vec<String>,
}

impl MigrationChanges {
    /// Returns the differences of two versions. Texts for people are not compared.
    #[must_use]
    pub fn between(from: &Plan, to: &Plan) -> Self {
        let only_in = |plan: &Plan, other: &Plan| {
            let names = plan.definition().steps.iter().map(|step| &step.name);
            names.filter(|name| other.step_named(name).is_none()).cloned().collect()
        };
        let mut changed = Vec::new();
        for old in &from.definition().steps {
            let new = to.step_named(&old.name).and_then(|index| to.step(index));
            if new.is_some_and(|new| !differences((from, old), (to, new)).is_empty()) {
                changed.push(old.name.clone());
            }
        }
        Self { added: only_in(to, from), removed: only_in(from, to), changed }
    }
}

/// Returns the transition that migrates a workflow from the plan that it follows to another one.
///
/// # Errors
/// Returns [`Refusal::Final`] if the workflow has ended, [`Refusal::Conflict`] if it rolls back, and
/// [`Refusal::Migration`] with each difference that prevents the migration.
pub fn migrate(
    from: &Plan,
    to: &Plan,
    expressions: &dyn Expressions,
    state: &State,
    request: &MigrateWorkflow,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    check_status(state)?;
    let problems = problems(from, to, state);
    if !problems.is_empty() {
        return Err(Refusal::Migration(problems));
    }
    let actor = request.actor.clone();
    let mut decision =
        Decision { plan: to, expressions, state: state.clone(), events: Vec::new(), now, actor };
    decision.emit(EventKind::WorkflowMigrated {
        from: from.version(),
        version: to.version(),
        steps: u32::try_from(to.definition().steps.len()).unwrap_or(u32::MAX),
        reason: request.reason.clone(),
    });
    decision.advance();
    Ok(migrating_transition(from, to, Some(state), decision.events, decision.state))
}

fn check_status(state: &State) -> Result<(), Refusal> {
    match state.phase {
        Phase::Completed | Phase::RolledBack | Phase::Terminated => Err(Refusal::Final(state.status())),
        Phase::RollingBack => Err(Refusal::Conflict(
            "the workflow is rolling back, so no step of another version would run".to_owned(),
        )),
        Phase::Queued | Phase::InProgress if state.rollback_pending => Err(Refusal::Conflict(
            "a rollback was requested and waits for the outcome of the pivot".to_owned(),
        )),
        Phase::Queued | Phase::InProgress => Ok(()),
    }
}

/// Returns each difference that prevents the migration.
fn problems(from: &Plan, to: &Plan, state: &State) -> Vec<String> {
    let mut problems = Vec::new();
    let (old, new) = (from.definition(), to.definition());
    if from.version() == to.version() {
        problems.push(format!("the workflow already follows version {}", to.version()));
    }
    if state.elements_of().is_some() {
        problems
            .push("the workflow runs elements of a step, and follows the version of that step".to_owned());
    }
    if to.required_rules() > state.rules {
        problems.push(format!(
            "version {} uses a part of the language that is newer than the rules of the workflow",
            to.version()
        ));
    }
    if old.locks != new.locks {
        problems.push("`lock` of the definition differs".to_owned());
    }
    if old.rollback != new.rollback {
        problems.push("`compensation` of the definition differs".to_owned());
    }
    let begun = (0u32..).map(StepIndex).zip(&state.steps).filter(|(_, step)| **step != StepState::default());
    problems.extend(begun.filter_map(|(index, step)| problem_of(from, to, index, step)));
    problems
}

/// Returns why a step that has begun cannot follow the other version.
fn problem_of(from: &Plan, to: &Plan, index: StepIndex, state: &StepState) -> Option<String> {
    let old = from.step(index)?;
    let (name, status) = (&old.name, state.status().as_str());
    // Histories, ledger rows and attempts in flight name a step by its position.
    let position = index.0.saturating_add(1);
    let Some(new) = to.step(index).filter(|new| new.name == old.name) else {
        return Some(match to.step_named(name) {
            Some(moved) => format!(
                "step `{name}` is {status} and moved from position {position} to position {}",
                moved.0.saturating_add(1)
            ),
            None => format!("step `{name}` is {status} and does not exist in version {}", to.version()),
        });
    };
    let mut differences = differences((from, old), (to, new));
    if had_no_effect(state) {
        // An operator's retry executes the step as the new version defines it.
        differences.retain(|field| !REPLACEABLE.contains(field));
    }
    (!differences.is_empty())
        .then(|| format!("step `{name}` is {status} and differs in {}", differences.join(", ")))
}

/// The fields of a failed step without an effect that can differ. A retry does not evaluate the others again.
const REPLACEABLE: [&str; 6] = ["action", "input", "compensate", "retry", "timeout", "failure policy"];

fn had_no_effect(state: &StepState) -> bool {
    state.execution == StepStatus::Failed && !state.tolerated && state.doubt_until.is_none()
}

/// Returns the fields in which two steps differ. Texts for people are not compared.
fn differences((from, old): (&Plan, &Step), (to, new): (&Plan, &Step)) -> Vec<&'static str> {
    let names = |plan: &Plan, steps: &[StepIndex]| -> Vec<String> {
        steps.iter().filter_map(|index| plan.step(*index)).map(|step| step.name.clone()).collect()
    };
    let skipped_with =
        |plan: &Plan, step: &Step| step.skipped_with.as_deref().map(|steps| names(plan, steps));
    let same = [
        ("action", old.action == new.action),
        ("kind", old.kind == new.kind),
        ("input", old.input == new.input),
        ("compensate", old.compensate == new.compensate),
        ("retry", old.retry == new.retry),
        ("timeout", old.timeout == new.timeout),
        ("failure policy", old.failure == new.failure),
        ("lock", old.lock == new.lock),
        ("for_each", old.for_each == new.for_each),
        ("when", old.when == new.when),
        ("join", old.join == new.join),
        (
            "depends_on",
            names(from, &old.depends_on) == names(to, &new.depends_on)
                && skipped_with(from, old) == skipped_with(to, new),
        ),
    ];
    same.into_iter().filter(|(_, is_same)| !is_same).map(|(field, _)| field).collect()
}
