//! Expressions come in through a trait: this crate says what they may see, not how they are computed.

use crate::{Failure, Json, Plan, State, StepIndex, StepStatus};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{expression}`: {reason}")]
pub struct ExpressionError {
    /// The expression's text.
    pub expression: String,
    /// What is wrong, for people.
    pub reason: String,
}

/// Computes expressions. The same text over the same scope has to yield the same value.
pub trait Expressions: core::fmt::Debug + Send + Sync {
    /// The value of an expression.
    ///
    /// # Errors
    /// When it does not compile, or has no value over this scope.
    fn evaluate(&self, expression: &str, scope: &Scope<'_>) -> Result<Json, ExpressionError>;
}

/// A value with expressions in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// Stands for itself.
    Value(Json),
    /// One expression: keeps its value's type.
    Expression(String),
    /// Text with expressions between.
    Text(Vec<TextPart>),
    /// A list of templates.
    List(Vec<Template>),
    /// An object of templates.
    Map(BTreeMap<String, Template>),
}

/// A part of an interpolated text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextPart {
    /// As it stands.
    Literal(String),
    /// A string as it is, anything else as JSON.
    Expression(String),
}

/// What expressions may see of a workflow.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    plan: &'a Plan,
    state: &'a State,
}

/// What expressions may see of a step.
#[derive(Debug, Clone, Copy)]
pub struct StepView<'a> {
    /// Null unless it completed.
    pub output: Option<&'a Json>,
    /// The status of its execute side: it does not change while a roll-back undoes it, so that a
    /// compensation's input is the same whenever it is computed.
    pub status: StepStatus,
    /// Its last failure.
    pub error: Option<&'a Failure>,
}

impl<'a> Scope<'a> {
    /// The scope of a workflow as it stands.
    #[must_use]
    pub fn new(plan: &'a Plan, state: &'a State) -> Self {
        Self { plan, state }
    }

    /// `input`.
    #[must_use]
    pub fn input(&self) -> &'a Json {
        &self.state.input
    }

    /// The names that `steps` has.
    pub fn step_names(&self) -> impl Iterator<Item = &'a str> {
        self.plan.definition().steps.iter().map(|step| step.name.as_str())
    }

    /// `steps.<name>`.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<StepView<'a>> {
        let index = self.plan.step_named(name)?;
        let step = self.state.step(index)?;
        Some(StepView { output: step.output.as_deref(), status: step.execution, error: step.error.as_ref() })
    }

    /// `workflow`: `id`, `definition`, `version`, `labels`.
    #[must_use]
    pub fn workflow(&self) -> &'a State {
        self.state
    }
}

impl Template {
    /// The template's value.
    ///
    /// # Errors
    /// When one of its expressions has no value.
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
    /// What the service is given for one side of a step.
    ///
    /// Computed when it is needed and never stored: all that it reads was settled before the command
    /// was issued, so it comes out the same each time.
    ///
    /// # Errors
    /// When an expression has no value.
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
            (crate::Side::Compensate, Some(undo)) => match &undo.input {
                Some(template) => template.render(expressions, &scope).map(Arc::new),
                None => {
                    let mut body = serde_json::Map::new();
                    body.insert("input".to_owned(), Arc::unwrap_or_clone(execute_input()?));
                    // Absent when unknown: a null would say that it answered null.
                    if let Some(output) = state.step(index).and_then(|step| step.output.clone()) {
                        body.insert("output".to_owned(), Arc::unwrap_or_clone(output));
                    }
                    Ok(Arc::new(Json::Object(body)))
                }
            },
        }
    }
}
