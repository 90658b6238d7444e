//! Expansion of blocks to edges and conditions, because the rules run a flat graph.

use crate::fields::{At, FieldReader, nearest};
use crate::problem::{CYCLE, UNKNOWN_STEP};
use crate::settings::{CompensateKey, Defaults};
use crate::step::call::request_of;
use crate::step::for_each::ParsedForEach;
use crate::step::{ActionStep, Body, ParsedStep};
use crate::template::template;
use crate::tree::Document;
use goconductor_saga::{
    Action, Child, Compensation, CompensationLimits, Condition, DEFINITION_FORMAT, Definition, FailurePolicy,
    ForEach, OnError, OnParentClose, Retry, Step, StepIndex, Timeouts,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A definition, with the parsed form of each step.
#[derive(Debug)]
pub(crate) struct Expanded<'d, 'a> {
    pub(crate) definition: Definition,
    /// The parsed form of each step.
    pub(crate) parsed: Vec<&'d ParsedStep<'a>>,
    /// The locations of the conditions of each step.
    pub(crate) conditions_at: Vec<Vec<&'d At<'a>>>,
    /// The names of steps and blocks with problems, which lack edges.
    pub(crate) broken: BTreeSet<&'d str>,
}

/// A step or a block in the tree. Steps are numbered in the order of the text, so the steps of a block are a range.
struct Element<'d, 'a> {
    parsed: &'d ParsedStep<'a>,
    members: Range<u32>,
    /// The enclosing block.
    block: Option<usize>,
    /// The element before this one in the same list.
    above: Option<usize>,
    /// The elements of each branch. A step has no branches.
    branches: Vec<Vec<usize>>,
    /// The conditions of the enclosing blocks and of the element itself.
    conditions: Vec<(Condition, &'d At<'a>)>,
    blocks: Vec<String>,
}

#[derive(Default)]
struct Expansion<'d, 'a> {
    elements: Vec<Element<'d, 'a>>,
    by_name: BTreeMap<&'d str, usize>,
    steps: u32,
}

/// The edges of a step.
struct Edges {
    depends_on: Vec<StepIndex>,
    skipped_with: Option<Vec<StepIndex>>,
}

/// The enclosing block, conditions and block names of a list of steps.
struct ExpansionScope<'d, 'a> {
    block: Option<usize>,
    conditions: Vec<(Condition, &'d At<'a>)>,
    blocks: Vec<String>,
}

/// Expands a parsed definition. Returns `None` if no step is valid.
pub(crate) fn expand<'d, 'a>(
    reader: &mut FieldReader,
    document: &'d Document<'a>,
) -> Option<Expanded<'d, 'a>> {
    let mut expansion = Expansion::default();
    let scope = ExpansionScope { block: None, conditions: Vec::new(), blocks: Vec::new() };
    expansion.list(&document.steps, &scope);
    expansion.check_names(reader);
    let broken = expansion.elements.iter().filter(|element| element.is_broken());
    let mut expanded = Expanded {
        broken: broken.map(|element| element.parsed.name.as_str()).collect(),
        definition: Definition {
            format: DEFINITION_FORMAT,
            name: document.name.clone(),
            title: document.title.clone(),
            description: document.description.clone(),
            labels: document.labels.clone(),
            input: document.input.clone(),
            output: document.output.as_ref().map(|at| template(reader, at)),
            timeout: document.timeout,
            rollback: document.defaults.rollback,
            locks: document.locks.iter().map(|lock| lock.spec(reader)).collect(),
            steps: Vec::new(),
        },
        parsed: Vec::new(),
        conditions_at: Vec::new(),
    };
    for (index, element) in expansion.elements.iter().enumerate() {
        let Body::Step(single) = &element.parsed.body else { continue };
        let edges = expansion.edges(index);
        expanded.definition.steps.push(step(reader, element, single, &document.defaults, edges));
        expanded.parsed.push(element.parsed);
        expanded.conditions_at.push(element.conditions.iter().map(|(_, at)| *at).collect());
    }
    (!expanded.definition.steps.is_empty()).then_some(expanded)
}

impl Element<'_, '_> {
    fn is_broken(&self) -> bool {
        match self.parsed.body {
            Body::Broken => true,
            Body::Step(_) | Body::Block(_) => false,
        }
    }
}

impl<'d, 'a> Expansion<'d, 'a> {
    /// Numbers the steps of a list. Returns the elements of the list.
    fn list(&mut self, list: &'d [ParsedStep<'a>], scope: &ExpansionScope<'d, 'a>) -> Vec<usize> {
        let mut elements: Vec<usize> = Vec::new();
        for parsed in list {
            let index = self.element(parsed, scope, elements.last().copied());
            elements.push(index);
        }
        elements
    }

    fn element(
        &mut self,
        parsed: &'d ParsedStep<'a>,
        scope: &ExpansionScope<'d, 'a>,
        above: Option<usize>,
    ) -> usize {
        let index = self.elements.len();
        let first = self.steps;
        self.by_name.entry(&parsed.name).or_insert(index);
        let mut conditions = scope.conditions.clone();
        conditions.extend(parsed.when.as_ref().map(|(text, at)| (condition(text, true), at)));
        self.elements.push(Element {
            parsed,
            members: first..first,
            block: scope.block,
            above,
            branches: Vec::new(),
            conditions: conditions.clone(),
            blocks: scope.blocks.clone(),
        });
        let mut lists = Vec::new();
        match &parsed.body {
            Body::Step(_) => self.steps += 1,
            Body::Broken => {}
            Body::Block(branches) => {
                for branch in branches {
                    let mut scope = ExpansionScope {
                        block: Some(index),
                        conditions: conditions.clone(),
                        blocks: scope.blocks.clone(),
                    };
                    scope.blocks.push(format!("{}.{}", parsed.name, branch.name));
                    if let Some((text, at)) = &branch.when {
                        scope.conditions.push((condition(text, true), at));
                        if branch.exclusive {
                            conditions.push((condition(text, false), at));
                        }
                    }
                    lists.push(self.list(&branch.steps, &scope));
                }
            }
        }
        if let Some(element) = self.elements.get_mut(index) {
            element.members = first..self.steps;
            element.branches = lists;
        }
        index
    }

    fn edges(&self, index: usize) -> Edges {
        let depends_on = sorted(self.waits_for(index));
        let skipped_with = sorted(self.named_dependencies(index));
        // Without the field, the step is skipped with all dependencies.
        let skipped_with = (skipped_with != depends_on).then_some(skipped_with);
        Edges { depends_on, skipped_with }
    }

    /// Returns the steps that the text names as dependencies of the element, or else of the block around it.
    fn named_dependencies(&self, index: usize) -> Vec<StepIndex> {
        let Some(element) = self.elements.get(index) else { return Vec::new() };
        match &element.parsed.depends_on {
            Some(names) if !names.is_empty() => self.waits_for(index),
            Some(_) | None => element.block.map(|block| self.named_dependencies(block)).unwrap_or_default(),
        }
    }

    fn waits_for(&self, index: usize) -> Vec<StepIndex> {
        let Some(element) = self.elements.get(index) else { return Vec::new() };
        match &element.parsed.depends_on {
            Some(names) if !names.is_empty() => names
                .iter()
                .filter_map(|(name, _)| self.by_name.get(name.as_str()))
                .filter(|named| !self.is_in(index, **named))
                .flat_map(|named| self.last_steps(*named))
                .collect(),
            None if element.above.is_some() => {
                element.above.map(|above| self.last_steps(above)).unwrap_or_default()
            }
            // The first element of a branch starts when its block starts.
            Some(_) | None => element.block.map(|block| self.waits_for(block)).unwrap_or_default(),
        }
    }

    /// Returns the steps that the name of an element stands for: itself, or the last steps of a block's branches.
    fn last_steps(&self, index: usize) -> Vec<StepIndex> {
        let Some(element) = self.elements.get(index) else { return Vec::new() };
        match element.parsed.body {
            // The successors of a broken element inherit its dependencies, which avoids false problems.
            Body::Broken => self.waits_for(index),
            Body::Step(_) => vec![StepIndex(element.members.start)],
            Body::Block(_) => {
                let with_successors: BTreeSet<StepIndex> = (index + 1..self.elements.len())
                    .take_while(|inner| self.is_in(*inner, index))
                    .flat_map(|inner| self.waits_within(inner, index))
                    .collect();
                element
                    .members
                    .clone()
                    .map(StepIndex)
                    .filter(|step| !with_successors.contains(step))
                    .collect()
            }
        }
    }

    /// Returns the dependencies of an element within a block. It ignores elements outside of the block, so blocks that
    /// refer to each other's steps do not cause an endless recursion.
    fn waits_within(&self, index: usize, block: usize) -> Vec<StepIndex> {
        let Some(element) = self.elements.get(index) else { return Vec::new() };
        let named: Vec<usize> = match &element.parsed.depends_on {
            Some(names) => {
                names.iter().filter_map(|(name, _)| self.by_name.get(name.as_str()).copied()).collect()
            }
            None => element.above.into_iter().collect(),
        };
        named
            .into_iter()
            .filter(|named| self.is_in(*named, block) && *named != block && !self.is_in(index, *named))
            .flat_map(|named| self.last_steps(named))
            .collect()
    }

    /// Returns whether an element is another one or is inside it.
    fn is_in(&self, index: usize, outer: usize) -> bool {
        let mut at = Some(index);
        while let Some(each) = at {
            if each == outer {
                return true;
            }
            at = self.elements.get(each).and_then(|element| element.block);
        }
        false
    }

    fn check_names(&self, reader: &mut FieldReader) {
        let known: Vec<&str> = self.by_name.keys().copied().collect();
        for (index, element) in self.elements.iter().enumerate() {
            let Some(at) = &element.parsed.depends_at else { continue };
            let names = at.items().unwrap_or_default();
            for (name, pointer) in element.parsed.depends_on.iter().flatten() {
                let Some(name_at) = names.iter().find(|name_at| name_at.pointer == *pointer) else {
                    continue;
                };
                match self.by_name.get(name.as_str()) {
                    None => {
                        let problem =
                            name_at.problem(UNKNOWN_STEP, format!("unknown step or block `{name}`"));
                        reader.push(match nearest(name, &known) {
                            Some(near) => problem.hint(format!("did you mean `{near}`?")),
                            None => problem.hint(format!("known steps and blocks are {}", known.join(", "))),
                        });
                    }
                    Some(named) if *named == index => {
                        reader.push(name_at.problem(CYCLE, format!("`{name}` depends on itself")));
                    }
                    Some(named) if self.is_in(index, *named) => {
                        let detail = format!(
                            "`{}` is inside the block `{name}` and cannot depend on it",
                            element.parsed.name
                        );
                        reader.push(name_at.problem(CYCLE, detail));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// Sorts steps and removes duplicates.
fn sorted(mut steps: Vec<StepIndex>) -> Vec<StepIndex> {
    steps.sort_unstable();
    steps.dedup();
    steps
}

fn condition(text: &str, holds: bool) -> Condition {
    Condition { expression: text.to_owned(), holds }
}

fn step(
    reader: &mut FieldReader,
    element: &Element<'_, '_>,
    single: &ActionStep<'_>,
    defaults: &Defaults,
    edges: Edges,
) -> Step {
    let parsed = element.parsed;
    let own = Step {
        name: parsed.name.clone(),
        title: parsed.title.clone(),
        labels: parsed.labels.clone(),
        depends_on: edges.depends_on,
        skipped_with: edges.skipped_with,
        join: single.join,
        when: element.conditions.iter().map(|(condition, _)| condition.clone()).collect(),
        blocks: element.blocks.clone(),
        action: single.action.clone(),
        kind: single.kind,
        input: single.input.as_ref().map(|at| request_of(&single.action, template(reader, at))),
        compensate: single.compensate.as_ref().and_then(|key| compensation(reader, key, defaults)),
        retry: single.retry.clone(),
        timeout: single.timeout.clone(),
        failure: single.failure.clone(),
        lock: single.lock.as_ref().map(|lock| lock.spec(reader)),
        for_each: None,
    };
    match &single.for_each {
        Some(parsed) => with_elements(own, parsed),
        None => own,
    }
}

/// Moves what an element runs from the step to its `for_each`. The step itself has a child, which runs the elements.
fn with_elements(own: Step, parsed: &ParsedForEach<'_>) -> Step {
    // Elements that have nothing to undo need no rollback once they have completed.
    let on_parent_close =
        if own.compensate.is_some() { OnParentClose::Compensate } else { OnParentClose::Cancel };
    let child = Child { workflow: format!("{}[]", own.name), version: None, id: None, on_parent_close };
    let compensate = own.compensate.clone().map(|undo| Compensation {
        action: Action::Child(child.clone()),
        when: None,
        input: None,
        // The limits are those of the elements.
        limits: CompensationLimits::default(),
        ..undo
    });
    let each = ForEach {
        list: parsed.list.0.clone(),
        variable: parsed.variable.clone(),
        max_parallel: parsed.max_parallel,
        action: own.action,
        input: own.input,
        compensate: own.compensate,
        retry: own.retry,
        timeout: own.timeout,
        failure: FailurePolicy { on_error: of_elements(own.failure.on_error), ..own.failure.clone() },
    };
    Step {
        action: Action::Child(child),
        input: None,
        compensate,
        // Each element is retried by itself.
        retry: Retry { max_attempts: Some(1), ..Retry::default() },
        timeout: Timeouts::default(),
        failure: FailurePolicy { on_error: of_all(own.failure.on_error), ..FailurePolicy::default() },
        for_each: Some(Box::new(each)),
        ..own
    }
}

/// Returns what follows when an element fails. An operator acts on the element itself: after a rollback of the elements, a
/// further attempt would have the idempotency keys of those that were undone.
fn of_elements(on_error: OnError) -> OnError {
    match on_error {
        OnError::Pause => OnError::Pause,
        OnError::Compensate | OnError::Continue => OnError::Compensate,
    }
}

/// Returns what follows when the elements have been rolled back.
fn of_all(on_error: OnError) -> OnError {
    match on_error {
        OnError::Continue => OnError::Continue,
        OnError::Compensate | OnError::Pause => OnError::Compensate,
    }
}

fn compensation(
    reader: &mut FieldReader,
    key: &CompensateKey<'_>,
    defaults: &Defaults,
) -> Option<Compensation> {
    let CompensateKey::Action(declared) = key else { return None };
    let retry = declared.retry.clone().or_else(|| defaults.compensation_retry.clone());
    let timeout = declared.timeout.or(defaults.compensation_timeout);
    Some(Compensation {
        action: declared.action.clone(),
        when: declared.when.as_ref().map(|(expression, _)| expression.clone()),
        input: declared.input.as_ref().map(|at| request_of(&declared.action, template(reader, at))),
        retry: retry.unwrap_or_else(Retry::of_compensation),
        timeout: timeout.unwrap_or(Timeouts::default().attempt),
        limits: declared.limits.clone(),
    })
}
