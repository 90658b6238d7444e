//! Blocks to edges and conditions: what runs is a flat graph.

use crate::fields::{At, Reader, nearest};
use crate::problem::{CYCLE, UNKNOWN_STEP};
use crate::settings::{Defaults, Undo};
use crate::step::{Body, Single, Written};
use crate::template::template;
use crate::tree::Document;
use goconductor_saga::{
    Compensation, Condition, DEFINITION_FORMAT, Definition, Retry, Step, StepIndex, Timeouts,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A definition with where each of its steps is written.
#[derive(Debug)]
pub(crate) struct Expanded<'d, 'a> {
    pub(crate) definition: Definition,
    /// For each step of the definition, how it is written.
    pub(crate) written: Vec<&'d Written<'a>>,
    /// For each step of the definition, where its conditions are written.
    pub(crate) conditions_at: Vec<Vec<&'d At<'a>>>,
    /// Names of steps and blocks in which something is wrong: edges are missing at them.
    pub(crate) broken: BTreeSet<&'d str>,
}

/// A step or block in its place. Steps are numbered in the order in which they are written, so what is in
/// a block is a range.
struct Element<'d, 'a> {
    written: &'d Written<'a>,
    members: Range<u32>,
    /// The block that it is in.
    block: Option<usize>,
    /// What is written before it in the same list.
    above: Option<usize>,
    /// The elements of each branch; none for a step.
    branches: Vec<Vec<usize>>,
    /// Those of the blocks around it, and its own.
    conditions: Vec<(Condition, &'d At<'a>)>,
    blocks: Vec<String>,
}

#[derive(Default)]
struct Expansion<'d, 'a> {
    elements: Vec<Element<'d, 'a>>,
    by_name: BTreeMap<&'d str, usize>,
    steps: u32,
}

/// Where a list of steps stands.
struct Place<'d, 'a> {
    block: Option<usize>,
    conditions: Vec<(Condition, &'d At<'a>)>,
    blocks: Vec<String>,
}

/// Expands what was read; nothing if there is no step to go on with.
pub(crate) fn expand<'d, 'a>(reader: &mut Reader, document: &'d Document<'a>) -> Option<Expanded<'d, 'a>> {
    let mut expansion = Expansion::default();
    let place = Place { block: None, conditions: Vec::new(), blocks: Vec::new() };
    expansion.list(&document.steps, &place);
    expansion.check_names(reader);
    let broken = expansion.elements.iter().filter(|element| element.is_broken());
    let mut expanded = Expanded {
        broken: broken.map(|element| element.written.name.as_str()).collect(),
        definition: Definition {
            format: DEFINITION_FORMAT,
            name: document.name.clone(),
            title: document.title.clone(),
            description: document.description.clone(),
            labels: document.labels.clone(),
            input: document.input.clone(),
            output: document.output.as_ref().map(|at| template(reader, at)),
            timeout: document.timeout,
            steps: Vec::new(),
        },
        written: Vec::new(),
        conditions_at: Vec::new(),
    };
    for (index, element) in expansion.elements.iter().enumerate() {
        let Body::Step(single) = &element.written.body else { continue };
        let depends_on = expansion.dependencies(index);
        expanded.definition.steps.push(step(reader, element, single, &document.defaults, depends_on));
        expanded.written.push(element.written);
        expanded.conditions_at.push(element.conditions.iter().map(|(_, at)| *at).collect());
    }
    (!expanded.definition.steps.is_empty()).then_some(expanded)
}

impl Element<'_, '_> {
    fn is_broken(&self) -> bool {
        match self.written.body {
            Body::Broken => true,
            Body::Step(_) | Body::Block(_) => false,
        }
    }
}

impl<'d, 'a> Expansion<'d, 'a> {
    /// Numbers what is in a list; the elements of the list.
    fn list(&mut self, list: &'d [Written<'a>], place: &Place<'d, 'a>) -> Vec<usize> {
        let mut elements: Vec<usize> = Vec::new();
        for written in list {
            let index = self.element(written, place, elements.last().copied());
            elements.push(index);
        }
        elements
    }

    fn element(&mut self, written: &'d Written<'a>, place: &Place<'d, 'a>, above: Option<usize>) -> usize {
        let index = self.elements.len();
        let first = self.steps;
        self.by_name.entry(&written.name).or_insert(index);
        let mut conditions = place.conditions.clone();
        conditions.extend(written.when.as_ref().map(|(text, at)| (condition(text, true), at)));
        self.elements.push(Element {
            written,
            members: first..first,
            block: place.block,
            above,
            branches: Vec::new(),
            conditions: conditions.clone(),
            blocks: place.blocks.clone(),
        });
        let mut lists = Vec::new();
        match &written.body {
            Body::Step(_) => self.steps += 1,
            Body::Broken => {}
            Body::Block(branches) => {
                for branch in branches {
                    let mut place = Place {
                        block: Some(index),
                        conditions: conditions.clone(),
                        blocks: place.blocks.clone(),
                    };
                    place.blocks.push(format!("{}.{}", written.name, branch.name));
                    if let Some((text, at)) = &branch.when {
                        place.conditions.push((condition(text, true), at));
                        if branch.exclusive {
                            conditions.push((condition(text, false), at));
                        }
                    }
                    lists.push(self.list(&branch.steps, &place));
                }
            }
        }
        if let Some(element) = self.elements.get_mut(index) {
            element.members = first..self.steps;
            element.branches = lists;
        }
        index
    }

    /// What a step waits for, each once, in order.
    fn dependencies(&self, index: usize) -> Vec<StepIndex> {
        let mut steps = self.waits_for(index);
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    fn waits_for(&self, index: usize) -> Vec<StepIndex> {
        let Some(element) = self.elements.get(index) else { return Vec::new() };
        match &element.written.depends_on {
            Some(names) if !names.is_empty() => names
                .iter()
                .filter_map(|(name, _)| self.by_name.get(name.as_str()))
                .filter(|named| !self.is_in(index, **named))
                .flat_map(|named| self.last_steps(*named))
                .collect(),
            None if element.above.is_some() => {
                element.above.map(|above| self.last_steps(above)).unwrap_or_default()
            }
            // It begins with its block.
            Some(_) | None => element.block.map(|block| self.waits_for(block)).unwrap_or_default(),
        }
    }

    /// What an element's name stands for: itself, or the last steps of a block's branches.
    fn last_steps(&self, index: usize) -> Vec<StepIndex> {
        let Some(element) = self.elements.get(index) else { return Vec::new() };
        match element.written.body {
            // What is broken lets its successors wait for what it waits for itself: fewer false alarms.
            Body::Broken => self.waits_for(index),
            Body::Step(_) => vec![StepIndex(element.members.start)],
            Body::Block(_) => {
                let awaited: BTreeSet<StepIndex> = (index + 1..self.elements.len())
                    .take_while(|inner| self.is_in(*inner, index))
                    .flat_map(|inner| self.waits_within(inner, index))
                    .collect();
                element.members.clone().map(StepIndex).filter(|step| !awaited.contains(step)).collect()
            }
        }
    }

    /// What an element of a block waits for in that block. It looks at what is in the block alone, so
    /// blocks that name one another do not send it round in circles.
    fn waits_within(&self, index: usize, block: usize) -> Vec<StepIndex> {
        let Some(element) = self.elements.get(index) else { return Vec::new() };
        let named: Vec<usize> = match &element.written.depends_on {
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

    /// Whether an element is another one, or in it.
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

    fn check_names(&self, reader: &mut Reader) {
        let known: Vec<&str> = self.by_name.keys().copied().collect();
        for (index, element) in self.elements.iter().enumerate() {
            let Some(at) = &element.written.depends_at else { continue };
            let places = at.items().unwrap_or_default();
            for (name, pointer) in element.written.depends_on.iter().flatten() {
                let Some(place) = places.iter().find(|place| place.pointer == *pointer) else { continue };
                match self.by_name.get(name.as_str()) {
                    None => {
                        let problem =
                            place.problem(UNKNOWN_STEP, format!("there is no step or block `{name}`"));
                        reader.push(match nearest(name, &known) {
                            Some(near) => problem.hint(format!("did you mean `{near}`?")),
                            None => problem.hint(format!("there are {}", known.join(", "))),
                        });
                    }
                    Some(named) if *named == index => {
                        reader.push(place.problem(CYCLE, format!("`{name}` waits for itself")));
                    }
                    Some(named) if self.is_in(index, *named) => {
                        let detail = format!(
                            "`{}` is in the block `{name}`, and waits for its end",
                            element.written.name
                        );
                        reader.push(place.problem(CYCLE, detail));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

fn condition(text: &str, holds: bool) -> Condition {
    Condition { expression: text.to_owned(), holds }
}

fn step(
    reader: &mut Reader,
    element: &Element<'_, '_>,
    single: &Single<'_>,
    defaults: &Defaults,
    depends_on: Vec<StepIndex>,
) -> Step {
    let written = element.written;
    Step {
        name: written.name.clone(),
        title: written.title.clone(),
        labels: written.labels.clone(),
        depends_on,
        join: single.join,
        when: element.conditions.iter().map(|(condition, _)| condition.clone()).collect(),
        blocks: element.blocks.clone(),
        action: single.action.clone(),
        kind: single.kind,
        input: single.input.as_ref().map(|at| template(reader, at)),
        compensate: single.undo.as_ref().and_then(|undo| compensation(reader, undo, defaults)),
        retry: single.retry.clone(),
        timeout: single.timeout.clone(),
    }
}

fn compensation(reader: &mut Reader, undo: &Undo<'_>, defaults: &Defaults) -> Option<Compensation> {
    let Undo::By(undo) = undo else { return None };
    let retry = undo.retry.clone().or_else(|| defaults.compensation_retry.clone());
    let timeout = undo.timeout.or(defaults.compensation_timeout);
    Some(Compensation {
        action: undo.action.clone(),
        input: undo.input.as_ref().map(|at| template(reader, at)),
        retry: retry.unwrap_or_else(Retry::of_compensation),
        timeout: timeout.unwrap_or(Timeouts::default().attempt),
    })
}
