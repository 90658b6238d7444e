//! Expressions. This crate defines the scope of an expression, and a trait evaluates it.

use crate::{
    ElementScope, Failure, Json, PayloadRef, PayloadSource, Plan, State, StepIndex, StepState, StepStatus,
    Template, TextPart, WaitTime,
};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Maximum size of a rendered template: the bytes of its texts and 32 bytes for each value. A template can repeat the
/// largest value in each of its expressions.
const MAX_RENDERED_BYTES: usize = 16 << 20;

/// An expression that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{expression}`: {reason}")]
pub struct ExpressionError {
    /// The text of the expression.
    pub expression: String,
    /// The reason, for people.
    pub reason: String,
}

/// Evaluates expressions. The same text over the same scope must have the same value.
pub trait Expressions: core::fmt::Debug + Send + Sync {
    /// Evaluates an expression.
    ///
    /// # Errors
    /// Returns an [`ExpressionError`] if the expression does not compile, or has no value over this scope.
    fn evaluate(&self, expression: &str, scope: &Scope<'_>) -> Result<Json, ExpressionError>;

    /// Reads the text of a duration or of a time (RFC 3339). Returns `None` for other texts. An evaluator whose
    /// expressions name no times need not implement it.
    fn wait_time(&self, text: &str) -> Option<WaitTime> {
        let _ = text;
        None
    }

    /// Returns the violations of a JSON Schema by the input of a workflow. An evaluator of definitions without input
    /// schemas need not implement it.
    fn check_input(&self, schema: &Json, input: &Json) -> Vec<String> {
        let _ = (schema, input);
        Vec::new()
    }

    /// Returns the value of a payload that the workflow carries by reference. Returns `None` if the payload is not in
    /// memory: the caller then evaluates again when it is. An evaluator of workflows without such payloads need not
    /// implement it.
    fn payload(&self, reference: PayloadRef) -> Option<Arc<Json>> {
        let _ = reference;
        None
    }

    /// Evaluates an expression if that needs no more operations than `allowance`, and subtracts them. Otherwise returns
    /// `None`, quickly. An evaluator whose evaluations are all short need not implement it.
    fn evaluate_within(
        &self,
        expression: &str,
        scope: &Scope<'_>,
        allowance: &mut u64,
    ) -> Option<Result<Json, ExpressionError>> {
        let _ = allowance;
        Some(self.evaluate(expression, scope))
    }
}

/// Returns the value that a reference stands for, and every other value itself.
pub(crate) fn read_payload(value: &Arc<Json>, expressions: &dyn Expressions) -> Arc<Json> {
    let payload = PayloadRef::of(value).and_then(|reference| expressions.payload(reference));
    payload.unwrap_or_else(|| Arc::clone(value))
}

/// The expressions of elements in the workflow that runs them. They refer to the workflow that has the step, and to the element
/// and the output of one instance, which another workflow runs.
#[derive(Debug)]
pub struct ElementExpressions<'a> {
    expressions: &'a dyn Expressions,
    plan: &'a Plan,
    state: &'a State,
}

impl<'a> ElementExpressions<'a> {
    /// Creates the evaluator, with the plan and the state of the workflow that has the step.
    #[must_use]
    pub fn new(expressions: &'a dyn Expressions, plan: &'a Plan, state: &'a State) -> Self {
        Self { expressions, plan, state }
    }

    fn evaluate_for(&self, expression: &str, scope: &Scope<'_>) -> Option<Result<Json, ExpressionError>> {
        let (elements, index) = (scope.plan.own_elements()?, scope.instance?);
        let step = self.plan.step_named(&elements.step)?;
        let each = self.plan.step(step)?.for_each.as_deref()?;
        let value = scope.state.kept_item(index, self.expressions);
        let number = elements.from.saturating_add(index.0);
        let element = ElementScope { variable: &each.variable, value: &value, index: number };
        let own = scope.state.step(index)?;
        let scope = Scope::of_step(self.plan, self.state, step).with_element(element);
        Some(self.expressions.evaluate(expression, &scope.with_own(&elements.step, own)))
    }
}

impl Expressions for ElementExpressions<'_> {
    fn evaluate(&self, expression: &str, scope: &Scope<'_>) -> Result<Json, ExpressionError> {
        let found = self.evaluate_for(expression, scope);
        found.unwrap_or_else(|| self.expressions.evaluate(expression, scope))
    }

    fn wait_time(&self, text: &str) -> Option<WaitTime> {
        self.expressions.wait_time(text)
    }

    fn check_input(&self, schema: &Json, input: &Json) -> Vec<String> {
        self.expressions.check_input(schema, input)
    }

    fn payload(&self, reference: PayloadRef) -> Option<Arc<Json>> {
        self.expressions.payload(reference)
    }
}

/// The part of a workflow that expressions may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    plan: &'a Plan,
    state: &'a State,
    signals: &'a BTreeMap<String, Arc<Json>>,
    element: Option<ElementScope<'a>>,
    payloads: Option<&'a dyn PayloadSource>,
    /// The step that the expression belongs to, if it can be an instance of a step with `for_each`.
    instance: Option<StepIndex>,
    /// The step that stands for the step of this name.
    own: Option<(&'a str, &'a StepState)>,
}

/// A value of a workflow that can be carried by reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadRoot<'a> {
    /// `input`.
    Input,
    /// The output of a step, by its name.
    Output(&'a str),
    /// The last payload of a signal, by its name.
    Signal(&'a str),
}

/// The part of a step that expressions may refer to.
#[derive(Debug, Clone, Copy)]
pub struct StepView<'a> {
    scope: Scope<'a>,
    output: Option<&'a Json>,
    /// The status of the execute side. A rollback does not change it, so the input of a compensation is the same
    /// whenever it is computed.
    pub status: StepStatus,
    /// The last failure.
    pub error: Option<&'a Failure>,
}

impl<'a> StepView<'a> {
    /// Returns the output, if the step completed.
    #[must_use]
    pub fn output(&self) -> Option<&'a Json> {
        self.output.map(|output| self.scope.read(output))
    }
}

impl<'a> Scope<'a> {
    /// Creates the scope of a workflow.
    #[must_use]
    pub fn new(plan: &'a Plan, state: &'a State) -> Self {
        Self {
            plan,
            state,
            signals: &state.signals.last,
            element: None,
            payloads: None,
            instance: None,
            own: None,
        }
    }

    /// Creates the scope of a step. If the step keeps the signals of the time when it was queued, the scope has those.
    #[must_use]
    pub fn of_step(plan: &'a Plan, state: &'a State, index: StepIndex) -> Self {
        let kept = state.step(index).and_then(|step| step.signals.as_ref());
        Self { signals: kept.unwrap_or(&state.signals.last), ..Self::new(plan, state) }
    }

    /// Creates the scope of a step that can be an instance of a step with `for_each`. It then refers to the element.
    #[must_use]
    pub(crate) fn of_instance(plan: &'a Plan, state: &'a State, index: StepIndex) -> Self {
        Self { instance: Some(index), ..Self::of_step(plan, state, index) }
    }

    /// Creates the scope of a step's compensation.
    #[must_use]
    pub fn of_compensation(plan: &'a Plan, state: &'a State, index: StepIndex) -> Self {
        // No signal arrives during a rollback, so those of a compensation do not change.
        Self { instance: Some(index), ..Self::new(plan, state) }
    }

    /// Adds the source of the payloads that the workflow carries by reference. Without it, their values are the references.
    #[must_use]
    pub fn with_payloads<'b>(self, payloads: &'b dyn PayloadSource) -> Scope<'b>
    where
        'a: 'b,
    {
        Scope { payloads: Some(payloads), ..self }
    }

    /// Returns the reference that an expression stands for which selects all of `input`, of the output of a step or of a
    /// signal. `None` if the value is not carried by reference.
    #[must_use]
    pub fn reference(&self, root: PayloadRoot<'_>) -> Option<PayloadRef> {
        let value = match root {
            PayloadRoot::Input => Some(&*self.state.input),
            PayloadRoot::Output(step) => self.step(step)?.output,
            PayloadRoot::Signal(name) => self.signals.get(name).map(|payload| &**payload),
        };
        PayloadRef::of(value?)
    }

    /// Returns the value that a reference stands for, and every other value itself.
    fn read(&self, value: &'a Json) -> &'a Json {
        let Some(payloads) = self.payloads else { return value };
        PayloadRef::of(value).and_then(|reference| payloads.payload(reference)).unwrap_or(value)
    }

    /// Adds the element of a step with `for_each`.
    #[must_use]
    pub fn with_element(self, element: ElementScope<'a>) -> Self {
        Self { element: Some(element), ..self }
    }

    /// Replaces a step.
    fn with_own(self, name: &'a str, step: &'a StepState) -> Self {
        Self { own: Some((name, step)), ..self }
    }

    /// Returns the element, if the expression is evaluated for one.
    #[must_use]
    pub fn element(&self) -> Option<ElementScope<'a>> {
        self.element
    }

    /// Returns `signals.<name>`: the last payload of a name.
    #[must_use]
    pub fn signal(&self, name: &str) -> Option<&'a Json> {
        self.signals.get(name).map(|payload| self.read(payload))
    }

    /// Returns `input`.
    #[must_use]
    pub fn input(&self) -> &'a Json {
        self.read(&self.state.input)
    }

    /// Returns the keys of `steps`.
    pub fn step_names(&self) -> impl Iterator<Item = &'a str> {
        self.plan.definition().steps.iter().map(|step| step.name.as_str())
    }

    /// Returns `steps.<name>`.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<StepView<'a>> {
        let step = match self.own {
            Some((own, step)) if own == name => step,
            Some(_) | None => self.state.step(self.plan.step_named(name)?)?,
        };
        let (output, status, error) = (step.output.as_deref(), step.execution, step.error.as_ref());
        Some(StepView { scope: *self, output, status, error })
    }

    /// Returns the state behind `workflow`, which has `id`, `definition`, `version` and `labels`.
    #[must_use]
    pub fn workflow(&self) -> &'a State {
        self.state
    }
}

impl Template {
    /// Evaluates the template.
    ///
    /// # Errors
    /// Returns the [`ExpressionError`] of the first expression that could not be evaluated.
    pub fn render(&self, expressions: &dyn Expressions, scope: &Scope<'_>) -> Result<Json, ExpressionError> {
        Renderer { expressions, scope, left: MAX_RENDERED_BYTES }.render(self)
    }
}

/// A template in evaluation, with the size that is left for its values.
struct Renderer<'a> {
    expressions: &'a dyn Expressions,
    scope: &'a Scope<'a>,
    left: usize,
}

impl Renderer<'_> {
    fn render(&mut self, template: &Template) -> Result<Json, ExpressionError> {
        match template {
            Template::Value(value) => Ok(value.clone()),
            Template::Expression(expression) => self.evaluate(expression),
            Template::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        TextPart::Literal(literal) => text.push_str(literal),
                        TextPart::Expression(expression) => match self.part(expression)? {
                            Json::String(value) => text.push_str(&value),
                            other @ (Json::Null
                            | Json::Bool(_)
                            | Json::Number(_)
                            | Json::Array(_)
                            | Json::Object(_)) => text.push_str(&other.to_string()),
                        },
                    }
                }
                Ok(Json::String(text))
            }
            Template::List(items) => {
                items.iter().map(|item| self.render(item)).collect::<Result<_, _>>().map(Json::Array)
            }
            Template::Map(entries) => entries
                .iter()
                .map(|(key, value)| Ok((key.clone(), self.render(value)?)))
                .collect::<Result<_, _>>()
                .map(Json::Object),
        }
    }

    /// Returns the value of an expression within a text, which cannot contain a reference.
    fn part(&mut self, expression: &str) -> Result<Json, ExpressionError> {
        let value = self.evaluate(expression)?;
        match PayloadRef::of(&value).and_then(|reference| self.expressions.payload(reference)) {
            Some(payload) => self.counted(expression, Arc::unwrap_or_clone(payload)),
            None => Ok(value),
        }
    }

    fn evaluate(&mut self, expression: &str) -> Result<Json, ExpressionError> {
        let value = self.expressions.evaluate(expression, self.scope)?;
        self.counted(expression, value)
    }

    fn counted(&mut self, expression: &str, value: Json) -> Result<Json, ExpressionError> {
        self.left = self.left.checked_sub(size(&value)).ok_or_else(|| ExpressionError {
            expression: expression.to_owned(),
            reason: "the values of the template are too large together: at most 16 MiB, of which each value takes 32 \
                     bytes; pass fewer or smaller values"
                .to_owned(),
        })?;
        Ok(value)
    }
}

/// Returns the bytes of the texts of a value, and 32 bytes for each value.
fn size(value: &Json) -> usize {
    let inner = match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(size).sum(),
        Json::Object(entries) => entries.iter().map(|(key, value)| key.len() + size(value)).sum(),
    };
    32 + inner
}

impl Plan {
    /// Returns the input of the service for one side of a step.
    ///
    /// The input can be, or contain, references to payloads of the workflow.
    ///
    /// The input is computed when it is needed and is never stored. Everything that it depends on had settled before
    /// the command was issued, so the result is always the same.
    ///
    /// # Errors
    /// Returns the [`ExpressionError`] of the first expression that could not be evaluated.
    pub fn command_input(
        &self,
        state: &State,
        index: StepIndex,
        side: crate::Side,
        expressions: &dyn Expressions,
    ) -> Result<Arc<Json>, ExpressionError> {
        let scope = Scope::of_compensation(self, state, index);
        let Some(step) = self.step(index) else { return Ok(Arc::new(Json::Null)) };
        // The elements have inputs of their own.
        if step.for_each.is_some() || self.own_elements().is_some_and(|own| !own.is_leaf()) {
            return Ok(Arc::new(Json::Null));
        }
        let execute_input = || match &step.input {
            _ if self.own_elements().is_some() => Ok(state.input_of_element(step, index, expressions)),
            Some(template) => template.render(expressions, &Scope::of_step(self, state, index)).map(Arc::new),
            None => Ok(Arc::clone(&state.input)),
        };
        match (side, &step.compensate) {
            (crate::Side::Execute, _) | (crate::Side::Compensate, None) => execute_input(),
            (crate::Side::Compensate, Some(compensation)) => match &compensation.input {
                Some(template) => template.render(expressions, &scope).map(Arc::new),
                None => {
                    let mut body = serde_json::Map::new();
                    body.insert("input".to_owned(), Arc::unwrap_or_clone(execute_input()?));
                    // An unknown output is absent. A null would mean that the participant responded with null.
                    if let Some(output) = state.step(index).and_then(|step| step.output.clone()) {
                        body.insert("output".to_owned(), Arc::unwrap_or_clone(output));
                    }
                    Ok(Arc::new(Json::Object(body)))
                }
            },
        }
    }
}
