//! `for_each`: one instance of a step for each element of a list.
//!
//! The elements run in workflows of their own, which the engine starts as children of the step: a *leaf* has one step for
//! each of at most [`MAX_LEAF`] elements, and a *branch* has one child for each leaf. No state therefore grows with the
//! length of the list, besides the outputs. The plan of such a workflow follows from its name, so it is not stored.

use crate::expression::read_payload;
use crate::{
    Action, Child, Compensation, DEFINITION_FORMAT, Definition, ElementScope, Elements, ExpressionError,
    Expressions, Failure, FailurePolicy, ForEach, Join, Json, MAX_ELEMENTS, OnError, Plan, Scope, Side,
    State, Step, StepIndex, StepState, Timeouts, WorkflowId,
};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

/// Maximum elements of a leaf. With it, a leaf and a branch of the longest list have the same number of steps.
const MAX_LEAF: u32 = 100;

/// The key of an element in the input of a leaf that keeps elements.
const ITEM: &str = "item";
/// The key of the input of an element's action in the input of such a leaf. It is absent if it is the element.
const INPUT: &str = "input";

impl Elements {
    /// Returns whether the workflow has a step for each element, and not a child for each leaf.
    #[must_use]
    pub fn is_leaf(&self) -> bool {
        self.count() <= MAX_LEAF
    }

    /// Returns the ranges of the steps: an element each in a leaf, a leaf each in a branch.
    fn parts(&self) -> impl Iterator<Item = Range<u32>> + use<> {
        let (to, size) = (self.to, if self.is_leaf() { 1 } else { MAX_LEAF });
        (self.from..to).step_by(size as usize).map(move |from| from..to.min(from + size))
    }
}

impl Plan {
    /// Returns the plan of the workflow that runs a range of elements of one of the steps. Returns `None` if there is no
    /// such step, or if it has no elements.
    #[must_use]
    pub fn of_elements(&self, elements: &Elements) -> Option<Self> {
        let step = self.step(self.step_named(&elements.step)?)?;
        let each = step.for_each.as_deref()?;
        let lanes = if elements.is_leaf() {
            each.max_parallel.min(MAX_LEAF)
        } else {
            (each.max_parallel / MAX_LEAF).max(1)
        };
        let steps = (0u32..).zip(elements.parts()).map(|(number, part)| {
            let mut own = if elements.is_leaf() {
                element_step(step, each, part.start)
            } else {
                self.leaf_step(step, elements, &part)
            };
            // An element begins when the one that is `lanes` before it has ended, and is undone in the reverse order.
            own.depends_on.extend(number.checked_sub(lanes).map(StepIndex));
            own
        });
        let definition = Definition {
            format: DEFINITION_FORMAT,
            name: elements.to_string(),
            title: None,
            description: None,
            labels: BTreeMap::new(),
            input: None,
            output: None,
            timeout: None,
            rollback: self.definition().rollback,
            locks: Vec::new(),
            steps: steps.collect(),
        };
        let plan = Self::new(definition, self.version()).ok()?;
        Some(plan.with_elements(elements.clone(), self.has_locks()))
    }

    fn leaf_step(&self, of: &Step, elements: &Elements, part: &Range<u32>) -> Step {
        let leaf = Elements { from: part.start, to: part.end, ..elements.clone() };
        let on_parent_close = of.action.child().map(|child| child.on_parent_close).unwrap_or_default();
        let child =
            Child { workflow: leaf.to_string(), version: Some(self.version()), id: None, on_parent_close };
        let name = format!("{}[{}..{}]", of.name, part.start, part.end);
        Step {
            compensate: of
                .compensate
                .clone()
                .map(|undo| Compensation { action: Action::Child(child.clone()), ..undo }),
            failure: FailurePolicy { on_error: OnError::Compensate, ..of.failure.clone() },
            ..bare_step(of, name, Action::Child(child))
        }
    }

    /// Returns the elements of a step with `for_each`.
    ///
    /// # Errors
    /// Returns a failure if the expression has no value, if the value is not a list, or if it is too long.
    pub fn elements(
        &self,
        state: &State,
        index: StepIndex,
        expressions: &dyn Expressions,
    ) -> Result<Vec<Json>, Failure> {
        let Some(each) = self.step(index).and_then(|step| step.for_each.as_deref()) else {
            return Ok(Vec::new());
        };
        let value = expressions.evaluate(&each.list, &Scope::of_step(self, state, index));
        let value = value.map_err(|error| Failure::of("INPUT_EXPRESSION_FAILED", error.to_string()))?;
        let value = read_payload(&Arc::new(value), expressions);
        let Json::Array(list) = Arc::unwrap_or_clone(value) else {
            let message = format!("`{}`: the value of `for_each` must be a list", each.list);
            return Err(Failure::of("FOR_EACH_NOT_A_LIST", message));
        };
        if list.len() > MAX_ELEMENTS as usize {
            let message = format!(
                "`{}`: the list has {} elements, and the limit is {MAX_ELEMENTS}; pass a shorter list, or let each \
                 element stand for several",
                each.list,
                list.len()
            );
            return Err(Failure::of("FOR_EACH_TOO_LONG", message));
        }
        Ok(list)
    }

    /// Returns what the workflow of a step with `for_each` is started with: the range of its elements, and its input. The
    /// range is that of all elements if `part` is `None`. The input of a leaf is the list of its elements' inputs.
    ///
    /// # Errors
    /// Returns a failure if the list or an input cannot be computed.
    pub fn start_of_elements(
        &self,
        state: &State,
        index: StepIndex,
        part: Option<Elements>,
        expressions: &dyn Expressions,
    ) -> Result<(Elements, Json), Failure> {
        let list = self.elements(state, index, expressions)?;
        let count = u32::try_from(list.len()).unwrap_or(MAX_ELEMENTS);
        let step = self.step(index).map_or("", |step| step.name.as_str()).to_owned();
        let definition = self.definition().name.clone();
        let part = part.unwrap_or(Elements { definition, step, from: 0, to: count });
        if !part.is_leaf() {
            return Ok((part, Json::Null));
        }
        let own = (0u32..).zip(&list).filter(|(at, _)| (part.from..part.to).contains(at));
        let inputs = own.map(|(at, value)| self.element_input(state, index, at, value, expressions));
        let inputs = inputs.collect::<Result<Vec<Json>, ExpressionError>>();
        let inputs = inputs.map_err(|error| Failure::of("INPUT_EXPRESSION_FAILED", error.to_string()))?;
        Ok((part, Json::Array(inputs)))
    }

    fn element_input(
        &self,
        state: &State,
        index: StepIndex,
        at: u32,
        value: &Json,
        expressions: &dyn Expressions,
    ) -> Result<Json, ExpressionError> {
        let Some(each) = self.step(index).and_then(|step| step.for_each.as_deref()) else {
            return Ok(value.clone());
        };
        let input = match &each.input {
            Some(template) => {
                let element = ElementScope { variable: &each.variable, value, index: at };
                let scope = Scope::of_step(self, state, index).with_element(element);
                Some(template.render(expressions, &scope)?)
            }
            None => None,
        };
        if !keeps_item(&each.action, each.compensate.as_ref()) {
            return Ok(input.unwrap_or_else(|| value.clone()));
        }
        let mut kept = serde_json::Map::new();
        kept.insert(ITEM.to_owned(), value.clone());
        kept.extend(input.map(|input| (INPUT.to_owned(), input)));
        Ok(Json::Object(kept))
    }

    /// Returns the fencing tokens of one side of an element, from the state of the workflow that has the step. This plan is
    /// that of the workflow.
    #[must_use]
    pub fn lock_tokens_of_element(&self, state: &State, elements: &str, side: Side) -> BTreeMap<String, u64> {
        let step = Elements::parse(elements).and_then(|elements| self.step_named(&elements.step));
        let Some((index, step)) = step.and_then(|index| Some((index, state.step(index)?))) else {
            return BTreeMap::new();
        };
        // An element that is undone before the step has ended is undone under the lock of the step.
        let side = if step.execution.is_open() { Side::Execute } else { side };
        state.lock_tokens(index, side)
    }

    /// Returns whether the workflow runs elements that have expressions of their own. They are evaluated by
    /// [`ElementExpressions`](crate::ElementExpressions), with the workflow that has the step.
    #[must_use]
    pub fn needs_owner(&self) -> bool {
        // The elements of a leaf are alike.
        let first = self.definition().steps.first();
        self.own_elements().is_some_and(Elements::is_leaf)
            && first.is_some_and(|step| keeps_item(&step.action, step.compensate.as_ref()))
    }

    /// Returns the output of a workflow that runs elements: the outputs of the elements, in order. An element that an
    /// operator skipped has none, so it is null.
    pub(crate) fn output_of_elements(
        &self,
        state: &State,
        elements: &Elements,
        expressions: &dyn Expressions,
    ) -> Json {
        let mut outputs = Vec::new();
        for (part, step) in elements.parts().zip(&state.steps) {
            let output = step.output.as_ref().map(|output| read_payload(output, expressions));
            match output.as_deref() {
                Some(output) if elements.is_leaf() => outputs.push(output.clone()),
                Some(Json::Array(of_leaf)) if of_leaf.len() == part.len() => {
                    outputs.extend_from_slice(of_leaf);
                }
                Some(_) | None => outputs.extend(part.map(|_| Json::Null)),
            }
        }
        Json::Array(outputs)
    }
}

impl State {
    /// Returns the workflow whose step has the elements that this workflow runs, or `None` if it runs none.
    #[must_use]
    pub fn elements_of(&self) -> Option<WorkflowId> {
        self.parent?.elements_of
    }

    /// Returns the id that participants know the workflow by. Elements belong to the workflow that has their step.
    #[must_use]
    pub fn known_id(&self) -> WorkflowId {
        self.elements_of().unwrap_or(self.id)
    }

    /// Returns the input of an element in the state of its leaf.
    pub(crate) fn input_of_element(
        &self,
        step: &Step,
        index: StepIndex,
        expressions: &dyn Expressions,
    ) -> Arc<Json> {
        let inputs = read_payload(&self.input, expressions);
        let kept = inputs.get(index.at());
        let input = if keeps_item(&step.action, step.compensate.as_ref()) {
            kept.and_then(|kept| kept.get(INPUT).or_else(|| kept.get(ITEM)))
        } else {
            kept
        };
        Arc::new(input.cloned().unwrap_or_default())
    }

    /// Returns an element in the state of its leaf, or null if it has no expressions of its own.
    pub(crate) fn kept_item(&self, index: StepIndex, expressions: &dyn Expressions) -> Json {
        let inputs = read_payload(&self.input, expressions);
        inputs.get(index.at()).and_then(|kept| kept.get(ITEM)).cloned().unwrap_or_default()
    }

    /// Returns the failure of the element because of which the elements were rolled back.
    pub(crate) fn failure_of_elements(&self) -> Option<Failure> {
        self.elements_of()?;
        let elements = Elements::parse(&self.definition)?;
        let error = self.error.as_ref()?;
        // In a branch, the failure names its element already.
        if !elements.is_leaf() {
            return Some(error.clone());
        }
        let failed = |step: &StepState| step.error.as_ref() == Some(error);
        let number =
            self.steps.iter().position(failed).and_then(|at| elements.from.checked_add(at.try_into().ok()?));
        let message = match number {
            Some(number) => format!("element {number} of step {}: {}", elements.step, error.message),
            None => error.message.clone(),
        };
        Some(Failure { code: error.code.clone(), message, detail: error.detail.clone() })
    }
}

/// Returns whether the state of a leaf keeps each element besides its input, because the compensation or the id of the
/// child refers to it.
fn keeps_item(action: &Action, compensate: Option<&Compensation>) -> bool {
    action.child().is_some_and(|child| child.id.is_some())
        || compensate.is_some_and(|undo| undo.input.is_some() || undo.when.is_some())
}

fn element_step(of: &Step, each: &ForEach, number: u32) -> Step {
    Step {
        compensate: each.compensate.clone(),
        retry: each.retry.clone(),
        timeout: each.timeout.clone(),
        failure: each.failure.clone(),
        ..bare_step(of, format!("{}[{number}]", of.name), each.action.clone())
    }
}

fn bare_step(of: &Step, name: String, action: Action) -> Step {
    Step {
        name,
        title: None,
        labels: BTreeMap::new(),
        depends_on: Vec::new(),
        skipped_with: None,
        join: Join::All,
        when: Vec::new(),
        blocks: Vec::new(),
        action,
        kind: of.kind,
        input: None,
        compensate: None,
        retry: of.retry.clone(),
        timeout: Timeouts::default(),
        failure: FailurePolicy::default(),
        lock: None,
        for_each: None,
    }
}
