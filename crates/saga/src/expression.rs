//! Expressions. This crate defines the scope of an expression, and a trait evaluates it.

use crate::{
    ElementScope, Failure, Json, Plan, State, StepIndex, StepState, StepStatus, Template, TextPart, WaitTime,
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
        let null = Json::Null;
        let value = scope.state.kept_item(index).unwrap_or(&null);
        let element =
            ElementScope { variable: &each.variable, value, index: elements.from.saturating_add(index.0) };
        let own = StepView::of(scope.state.step(index)?);
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
}

/// The part of a workflow that expressions may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    plan: &'a Plan,
    state: &'a State,
    signals: &'a BTreeMap<String, Arc<Json>>,
    element: Option<ElementScope<'a>>,
    /// The step that the expression belongs to, if it can be an instance of a step with `for_each`.
    instance: Option<StepIndex>,
    /// The step that stands for the step of this name.
    own: Option<(&'a str, StepView<'a>)>,
}

/// The part of a step that expressions may refer to.
#[derive(Debug, Clone, Copy)]
pub struct StepView<'a> {
    /// The output, if the step completed.
    pub output: Option<&'a Json>,
    /// The status of the execute side. A rollback does not change it, so the input of a compensation is the same
    /// whenever it is computed.
    pub status: StepStatus,
    /// The last failure.
    pub error: Option<&'a Failure>,
}

impl<'a> StepView<'a> {
    fn of(step: &'a StepState) -> Self {
        Self { output: step.output.as_deref(), status: step.execution, error: step.error.as_ref() }
    }
}

impl<'a> Scope<'a> {
    /// Creates the scope of a workflow.
    #[must_use]
    pub fn new(plan: &'a Plan, state: &'a State) -> Self {
        Self { plan, state, signals: &state.signals.last, element: None, instance: None, own: None }
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

    /// Adds the element of a step with `for_each`.
    #[must_use]
    pub fn with_element(self, element: ElementScope<'a>) -> Self {
        Self { element: Some(element), ..self }
    }

    /// Replaces a step.
    fn with_own(self, name: &'a str, view: StepView<'a>) -> Self {
        Self { own: Some((name, view)), ..self }
    }

    /// Returns the element, if the expression is evaluated for one.
    #[must_use]
    pub fn element(&self) -> Option<ElementScope<'a>> {
        self.element
    }

    /// Returns the values of `signals`: the last payload of each name.
    #[must_use]
    pub fn signals(&self) -> &'a BTreeMap<String, Arc<Json>> {
        self.signals
    }

    /// Returns `input`.
    #[must_use]
    pub fn input(&self) -> &'a Json {
        &self.state.input
    }

    /// Returns the keys of `steps`.
    pub fn step_names(&self) -> impl Iterator<Item = &'a str> {
        self.plan.definition().steps.iter().map(|step| step.name.as_str())
    }

    /// Returns `steps.<name>`.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<StepView<'a>> {
        if let Some((_, view)) = self.own.filter(|(own, _)| *own == name) {
            return Some(view);
        }
        let index = self.plan.step_named(name)?;
        self.state.step(index).map(StepView::of)
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
                        TextPart::Expression(expression) => match self.evaluate(expression)? {
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

    fn evaluate(&mut self, expression: &str) -> Result<Json, ExpressionError> {
        let value = self.expressions.evaluate(expression, self.scope)?;
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
            _ if self.own_elements().is_some() => Ok(state.input_of_element(step, index)),
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
