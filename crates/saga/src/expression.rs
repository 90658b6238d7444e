//! Expressions. This crate defines the scope of an expression, and a trait evaluates it.

use crate::{Failure, Json, Plan, State, StepIndex, StepStatus, Template, TextPart};
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

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
}

/// The part of a workflow that expressions may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    plan: &'a Plan,
    state: &'a State,
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

impl<'a> Scope<'a> {
    /// Creates the scope of a workflow.
    #[must_use]
    pub fn new(plan: &'a Plan, state: &'a State) -> Self {
        Self { plan, state }
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
        let index = self.plan.step_named(name)?;
        let step = self.state.step(index)?;
        Some(StepView { output: step.output.as_deref(), status: step.execution, error: step.error.as_ref() })
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
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::Expression(expression) => expressions.evaluate(expression, scope),
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        TextPart::Literal(literal) => text.push_str(literal),
                        TextPart::Expression(expression) => match expressions.evaluate(expression, scope)? {
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
            Self::List(items) => items
                .iter()
                .map(|item| item.render(expressions, scope))
                .collect::<Result<_, _>>()
                .map(Json::Array),
            Self::Map(entries) => entries
                .iter()
                .map(|(key, value)| Ok((key.clone(), value.render(expressions, scope)?)))
                .collect::<Result<_, _>>()
                .map(Json::Object),
        }
    }
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
        let scope = Scope::new(self, state);
        let Some(step) = self.step(index) else { return Ok(Arc::new(Json::Null)) };
        let execute_input = || match &step.input {
            Some(template) => template.render(expressions, &scope).map(Arc::new),
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
