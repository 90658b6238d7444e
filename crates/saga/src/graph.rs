//! A definition with what the rules look up in it all the time.

use crate::{Definition, Kind, Step, StepIndex};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Why a definition is no graph that can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A step waits for itself, by way of the others.
    #[error("the steps {} wait for one another", .0.join(" → "))]
    Cycle(Vec<String>),
    /// A dependency that is no step.
    #[error("step {0} depends on a step that does not exist")]
    UnknownDependency(String),
    /// Two steps have one name.
    #[error("two steps are called {0}")]
    DuplicateName(String),
}

/// A definition that is known to be a graph, with its order, its names and who is downstream of whom.
#[derive(Debug, Clone)]
pub struct Plan {
    definition: Definition,
    version: u32,
    topological: Vec<StepIndex>,
    names: BTreeMap<String, StepIndex>,
    /// For each step, all that directly or indirectly wait for it.
    downstream: Vec<Vec<StepIndex>>,
    pivot: Option<StepIndex>,
}

impl Plan {
    /// Checks the graph and looks up once what is needed often.
    ///
    /// # Errors
    /// When the definition is no graph that can run.
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
        Ok(Self { definition, version, topological, names, downstream, pivot })
    }

    /// The definition.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// A step.
    #[must_use]
    pub fn step(&self, index: StepIndex) -> Option<&Step> {
        self.definition.steps.get(index.at())
    }

    /// The step with this name.
    #[must_use]
    pub fn step_named(&self, name: &str) -> Option<StepIndex> {
        self.names.get(name).copied()
    }

    /// The steps so that each stands behind all that it waits for.
    #[must_use]
    pub fn topological(&self) -> &[StepIndex] {
        &self.topological
    }

    /// All steps that directly or indirectly wait for this one.
    #[must_use]
    pub fn downstream(&self, index: StepIndex) -> &[StepIndex] {
        self.downstream.get(index.at()).map_or(&[], Vec::as_slice)
    }

    /// The point of no return.
    #[must_use]
    pub fn pivot(&self) -> Option<StepIndex> {
        self.pivot
    }

    /// The idempotency key of one side of a step: the same for every attempt and every redelivery.
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

fn indexed(definition: &Definition) -> impl Iterator<Item = (StepIndex, &Step)> {
    (0u32..).map(StepIndex).zip(&definition.steps)
}

/// Kahn's algorithm, taking the step that is written first among those that are ready.
fn topological_order(definition: &Definition) -> Result<Vec<StepIndex>, GraphError> {
    let count = definition.steps.len();
    let mut waits_for = vec![0usize; count];
    let mut followers: Vec<Vec<StepIndex>> = vec![Vec::new(); count];
    for (index, step) in indexed(definition) {
        for dependency in &step.depends_on {
            let Some(list) = followers.get_mut(dependency.at()) else {
                return Err(GraphError::UnknownDependency(step.name.clone()));
            };
            list.push(index);
            if let Some(waits) = waits_for.get_mut(index.at()) {
                *waits += 1;
            }
        }
    }
    let mut ready: alloc::collections::BTreeSet<StepIndex> = indexed(definition)
        .map(|(index, _)| index)
        .filter(|index| waits_for.get(index.at()) == Some(&0))
        .collect();
    let mut order = Vec::with_capacity(count);
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for follower in followers.get(index.at()).into_iter().flatten() {
            if let Some(waits) = waits_for.get_mut(follower.at()) {
                *waits -= 1;
                if *waits == 0 {
                    ready.insert(*follower);
                }
            }
        }
    }
    if order.len() == count {
        return Ok(order);
    }
    Err(GraphError::Cycle(one_cycle(definition, &waits_for)))
}

/// Walks from a step that never became ready to one that it waits for, until one comes up again.
fn one_cycle(definition: &Definition, waits_for: &[usize]) -> Vec<String> {
    let stuck = |index: &StepIndex| waits_for.get(index.at()).is_some_and(|waits| *waits > 0);
    let mut path: Vec<StepIndex> = Vec::new();
    let mut next = indexed(definition).map(|(index, _)| index).find(stuck);
    while let Some(index) = next {
        if let Some(start) = path.iter().position(|seen| *seen == index) {
            path.drain(..start);
            path.push(index);
            break;
        }
        path.push(index);
        let step = definition.steps.get(index.at());
        next = step.and_then(|step| step.depends_on.iter().copied().find(|each| stuck(each)));
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
        let mut mine = sets.get(index.at()).cloned().unwrap_or_default();
        mine.insert(*index);
        for dependency in &step.depends_on {
            if let Some(set) = sets.get_mut(dependency.at()) {
                set.extend(mine.iter().copied());
            }
        }
    }
    sets.into_iter().map(|set| set.into_iter().collect()).collect()
}
