//! A definition with the lookups that the rules need often.

use crate::template::may_name_signals;
use crate::{Action, Definition, Elements, Kind, RulesVersion, Side, State, Step, StepIndex, Template};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Why a definition is not a valid graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A step depends on itself, through the named steps.
    #[error("the dependencies form a cycle: {}", .0.join(" → "))]
    Cycle(Vec<String>),
    /// A dependency of the named step does not exist.
    #[error("step {0} depends on a step that does not exist")]
    UnknownDependency(String),
    /// Two steps have the same name.
    #[error("two steps are named {0}")]
    DuplicateName(String),
}

/// A definition whose graph is valid, with its topological order, its names and the downstream steps of each step.
#[derive(Debug, Clone)]
pub struct Plan {
    definition: Definition,
    version: u32,
    topological: Vec<StepIndex>,
    names: BTreeMap<String, StepIndex>,
    /// For each step, the steps that depend on it, directly or indirectly.
    downstream: Vec<Vec<StepIndex>>,
    pivot: Option<StepIndex>,
    has_waits: bool,
    required_rules: RulesVersion,
    /// The steps whose input may refer to signals.
    reads_signals: Vec<StepIndex>,
    has_locks: bool,
    /// The elements that the workflow runs, if it is that of a step with `for_each`.
    elements: Option<Elements>,
    runs_under_locks: bool,
}

impl Plan {
    /// Checks the graph of a definition and builds the lookups.
    ///
    /// # Errors
    /// Returns a [`GraphError`] if two steps have the same name, a dependency does not exist or the dependencies
    /// form a cycle.
    pub fn new(definition: Definition, version: u32) -> Result<Self, GraphError> {
        let mut names = BTreeMap::new();
        for (index, step) in indexed(&definition) {
            if names.insert(step.name.clone(), index).is_some() {
                return Err(GraphError::DuplicateName(step.name.clone()));
            }
        }
        let topological = topological_order(&definition)?;
        let downstream = downstream(&definition, &topological);
        let pivot = indexed(&definition).find(|(_, step)| step.kind == Kind::Pivot).map(|(index, _)| index);
        let has_waits = definition.steps.iter().any(|step| step.action.is_wait());
        let required_rules = required_rules(&definition);
        let names_signals = |step: &Step| {
            let id = step.action.child().and_then(|child| child.id.as_ref());
            step.input.iter().chain(id).any(Template::may_name_signals)
                || step.for_each.as_ref().is_some_and(|each| each.may_name_signals())
        };
        let reads_signals =
            indexed(&definition).filter(|(_, step)| names_signals(step)).map(|(index, _)| index).collect();
        let has_locks =
            !definition.locks.is_empty() || definition.steps.iter().any(|step| step.lock.is_some());
        Ok(Self {
            definition,
            version,
            topological,
            names,
            downstream,
            pivot,
            has_waits,
            reads_signals,
            has_locks,
            required_rules,
            elements: None,
            runs_under_locks: false,
        })
    }

    pub(crate) fn with_elements(self, elements: Elements, runs_under_locks: bool) -> Self {
        Self { elements: Some(elements), runs_under_locks, ..self }
    }

    /// Returns whether the workflow runs elements of a step under locks. The workflow that has the step holds them.
    #[must_use]
    pub fn runs_under_locks(&self) -> bool {
        self.runs_under_locks
    }

    /// Returns the elements that the workflow runs, if it is that of a step with `for_each`.
    pub(crate) fn own_elements(&self) -> Option<&Elements> {
        self.elements.as_ref()
    }

    /// Returns the definition.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Returns the version of the definition.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns a step.
    #[must_use]
    pub fn step(&self, index: StepIndex) -> Option<&Step> {
        self.definition.steps.get(index.at())
    }

    /// Returns the index of the step with this name.
    #[must_use]
    pub fn step_named(&self, name: &str) -> Option<StepIndex> {
        self.names.get(name).copied()
    }

    /// Returns the steps in topological order: every step follows its dependencies.
    #[must_use]
    pub fn topological(&self) -> &[StepIndex] {
        &self.topological
    }

    /// Returns the steps that depend on this one, directly or indirectly.
    #[must_use]
    pub fn downstream(&self, index: StepIndex) -> &[StepIndex] {
        self.downstream.get(index.at()).map_or(&[], Vec::as_slice)
    }

    /// Returns the pivot, which is the point of no return.
    #[must_use]
    pub fn pivot(&self) -> Option<StepIndex> {
        self.pivot
    }

    /// Returns whether the step follows the pivot, so that its failure causes no rollback.
    #[must_use]
    pub fn is_after_pivot(&self, index: StepIndex) -> bool {
        self.pivot.is_some_and(|pivot| self.downstream(pivot).contains(&index))
    }

    /// Returns the first rules that have every part of the definition. Releases with earlier rules cannot read it.
    #[must_use]
    pub fn required_rules(&self) -> RulesVersion {
        self.required_rules
    }

    /// Returns whether the input of the step may refer to signals, so that the step keeps them when it is queued.
    #[must_use]
    pub fn reads_signals(&self, index: StepIndex) -> bool {
        self.reads_signals.contains(&index)
    }

    /// Returns whether any step waits for a time or a signal.
    #[must_use]
    pub fn has_waits(&self) -> bool {
        self.has_waits
    }

    /// Returns whether the step waits for a time or a signal.
    #[must_use]
    pub fn is_wait(&self, index: StepIndex) -> bool {
        self.has_waits && self.step(index).is_some_and(|step| step.action.is_wait())
    }

    /// Returns the action of the open command of one side of a step. It is the probe while the participant is asked.
    #[must_use]
    pub fn command_action(&self, state: &State, index: StepIndex, side: Side) -> Option<&Action> {
        let step = self.step(index)?;
        let is_probe = side == Side::Execute && state.step(index).is_some_and(|step| step.probes.is_some());
        if is_probe { step.failure.probe.as_ref() } else { step.action(side) }
    }

    /// Returns whether the definition or one of its steps has a lock.
    #[must_use]
    pub fn has_locks(&self) -> bool {
        self.has_locks
    }

    /// Returns the idempotency key of one side of a step. It is the same for every attempt and every redelivery.
    #[must_use]
    pub fn idempotency_key(
        &self,
        workflow: crate::WorkflowId,
        index: StepIndex,
        side: crate::Side,
    ) -> String {
        let name = self.step(index).map_or("", |step| step.name.as_str());
        alloc::format!("{workflow}/{name}/{}", side.as_str())
    }
}

/// Returns the first rules that have every part of a definition.
fn required_rules(definition: &Definition) -> RulesVersion {
    let is_new = |step: &Step| {
        step.action.is_wait()
            || step.action.child().is_some()
            || step.action.call().is_some()
            || step.lock.is_some()
            || !step.failure.is_default()
            || step
                .compensate
                .as_ref()
                .is_some_and(|undo| undo.when.is_some() || undo.action.call().is_some())
    };
    if !definition.locks.is_empty()
        || !definition.rollback.is_default()
        || definition.steps.iter().any(is_new)
        || names_signals(definition)
    {
        return RulesVersion::WITH_WAITS;
    }
    RulesVersion::FIRST
}

/// Returns whether an expression of a definition may refer to signals.
fn names_signals(definition: &Definition) -> bool {
    let of_step = |step: &Step| {
        let undo = step.compensate.as_ref().and_then(|undo| undo.input.as_ref());
        let id = step.action.child().and_then(|child| child.id.as_ref());
        step.input.iter().chain(undo).chain(id).any(Template::may_name_signals)
            || step.for_each.as_ref().is_some_and(|each| each.may_name_signals())
            || step.when.iter().any(|condition| may_name_signals(&condition.expression))
    };
    definition.output.iter().any(Template::may_name_signals) || definition.steps.iter().any(of_step)
}

fn indexed(definition: &Definition) -> impl Iterator<Item = (StepIndex, &Step)> {
    (0u32..).map(StepIndex).zip(&definition.steps)
}

/// Kahn's algorithm. Among the steps that are ready, the one with the lowest index is next.
fn topological_order(definition: &Definition) -> Result<Vec<StepIndex>, GraphError> {
    let steps = definition.steps.len();
    // For each step, the number of dependencies that are not in the order yet.
    let mut unmet = vec![0usize; steps];
    let mut followers: Vec<Vec<StepIndex>> = vec![Vec::new(); steps];
    for (index, step) in indexed(definition) {
        for dependency in &step.depends_on {
            let Some(list) = followers.get_mut(dependency.at()) else {
                return Err(GraphError::UnknownDependency(step.name.clone()));
            };
            list.push(index);
            if let Some(count) = unmet.get_mut(index.at()) {
                *count += 1;
            }
        }
    }
    let mut ready: alloc::collections::BTreeSet<StepIndex> = indexed(definition)
        .map(|(index, _)| index)
        .filter(|index| unmet.get(index.at()) == Some(&0))
        .collect();
    let mut order = Vec::with_capacity(steps);
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for follower in followers.get(index.at()).into_iter().flatten() {
            if let Some(count) = unmet.get_mut(follower.at()) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(*follower);
                }
            }
        }
    }
    if order.len() == steps {
        return Ok(order);
    }
    Err(GraphError::Cycle(one_cycle(definition, &unmet)))
}

/// Follows dependencies from a step that never became ready, until a step occurs a second time.
fn one_cycle(definition: &Definition, unmet: &[usize]) -> Vec<String> {
    let unready = |index: &StepIndex| unmet.get(index.at()).is_some_and(|count| *count > 0);
    let mut path: Vec<StepIndex> = Vec::new();
    let mut next = indexed(definition).map(|(index, _)| index).find(unready);
    while let Some(index) = next {
        if let Some(start) = path.iter().position(|seen| *seen == index) {
            path.drain(..start);
            path.push(index);
            break;
        }
        path.push(index);
        let step = definition.steps.get(index.at());
        next = step.and_then(|step| step.depends_on.iter().copied().find(|each| unready(each)));
    }
    path.iter()
        .rev()
        .filter_map(|index| definition.steps.get(index.at()))
        .map(|step| step.name.clone())
        .collect()
}

fn downstream(definition: &Definition, topological: &[StepIndex]) -> Vec<Vec<StepIndex>> {
    let mut sets: Vec<alloc::collections::BTreeSet<StepIndex>> =
        vec![alloc::collections::BTreeSet::new(); definition.steps.len()];
    for index in topological.iter().rev() {
        let Some(step) = definition.steps.get(index.at()) else { continue };
        let mut own = sets.get(index.at()).cloned().unwrap_or_default();
        own.insert(*index);
        for dependency in &step.depends_on {
            if let Some(set) = sets.get_mut(dependency.at()) {
                set.extend(own.iter().copied());
            }
        }
    }
    sets.into_iter().map(|set| set.into_iter().collect()).collect()
}
