//! Workflows whose steps are closures.

use crate::context::Context;
use crate::error::{ActionError, Error};
use crate::handlers::Handler;
use crate::service::Service;
use serde_json::{Value, json};
use std::ops::Deref;
use std::sync::Arc;

/// A workflow whose steps are closures. Steps run in list order, and are compensated in reverse order.
///
/// ```
/// use goconductor::{ActionError, Workflow, WorkflowStep};
/// use serde_json::json;
///
/// let workflow = Workflow::new("Order Processing").step(
///     WorkflowStep::new("Reserve Item")
///         .execute(|order| async move {
///             match order.input()["sku"].as_str() {
///                 Some(sku) => Ok(json!({"reserved": sku})),
///                 None => Err(ActionError::refused("NO_SKU", "the order has no sku")),
///             }
///         })
///         .compensate(|order| async move { Ok(json!({"released": order.output()})) }),
/// );
/// assert_eq!(workflow.name(), "order-processing");
/// ```
#[derive(Debug, Clone)]
pub struct Workflow {
    title: String,
    steps: Vec<WorkflowStep>,
}

/// A step: a closure that executes it and a closure that compensates it.
#[derive(Clone)]
pub struct WorkflowStep {
    title: String,
    execute: Option<Handler>,
    compensate: Option<Handler>,
}

/// The context of an attempt, with the input of the workflow. Dereferences to [`Context`].
#[derive(Debug, Clone)]
pub struct StepContext {
    context: Context,
    input: Value,
    output: Option<Value>,
}

impl StepContext {
    /// Returns the input of the workflow.
    #[must_use]
    pub fn input(&self) -> &Value {
        &self.input
    }

    /// Returns the output of the step in its compensation; `None` if it is unknown whether the step took effect.
    #[must_use]
    pub fn output(&self) -> Option<&Value> {
        self.output.as_ref()
    }
}

impl Deref for StepContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl std::fmt::Debug for WorkflowStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkflowStep").field("title", &self.title).finish_non_exhaustive()
    }
}

impl WorkflowStep {
    /// Creates a step without closures.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), execute: None, compensate: None }
    }

    /// Sets the closure that executes the step. Every step must have one.
    #[must_use]
    pub fn execute<F>(mut self, execute: impl Fn(StepContext) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Value, ActionError>> + Send + 'static,
    {
        let handler = move |context, input| {
            Box::pin(execute(StepContext { context, input, output: None })) as futures::future::BoxFuture<_>
        };
        self.execute = Some(Arc::new(handler));
        self
    }

    /// Sets the closure that compensates the step (default: nothing to undo).
    #[must_use]
    pub fn compensate<F>(mut self, compensate: impl Fn(StepContext) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Value, ActionError>> + Send + 'static,
    {
        let handler = move |context, mut value: Value| {
            let mut part = |name: &str| value.get_mut(name).map(Value::take);
            let (input, output) = (part("input").unwrap_or_default(), part("output"));
            Box::pin(compensate(StepContext { context, input, output })) as futures::future::BoxFuture<_>
        };
        self.compensate = Some(Arc::new(handler));
        self
    }

    /// Returns the name of the step in the definition: `process_payment` for the title `Process Payment`.
    fn name(&self) -> String {
        words(&self.title, '_')
    }
}

impl Workflow {
    /// Creates a workflow without steps. The title `Order Processing` becomes the definition `order-processing`.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), steps: Vec::new() }
    }

    /// Adds a step.
    #[must_use]
    pub fn step(mut self, step: WorkflowStep) -> Self {
        self.steps.push(step);
        self
    }

    /// Returns the name of the definition, which is also the name of the service that runs the steps.
    #[must_use]
    pub fn name(&self) -> String {
        words(&self.title, '-')
    }

    /// Returns the definition as JSON.
    ///
    /// # Errors
    /// Returns [`Error::Misuse`] if the workflow has no name or no steps, or if a step has no name or no `execute`.
    pub fn definition(&self) -> Result<Value, Error> {
        let name = self.name();
        if name.is_empty() || self.steps.is_empty() {
            return Err(Error::Misuse(format!(
                "the workflow {:?} must have a name and at least one step",
                self.title
            )));
        }
        let mut steps = Vec::new();
        for step in &self.steps {
            let step_name = step.name();
            if step.execute.is_none() || step_name.is_empty() {
                return Err(Error::Misuse(format!(
                    "the step {:?} must have a name and an `execute` closure",
                    step.title
                )));
            }
            let compensate = match step.compensate {
                Some(_) => format!("{name}/undo_{step_name}"),
                None => "none".to_owned(),
            };
            steps.push(json!({
                "name": step_name,
                "title": step.title,
                "run": format!("{name}/{step_name}"),
                "compensate": compensate,
            }));
        }
        Ok(json!({"workflow": name, "title": self.title, "steps": steps}))
    }

    /// Returns the service that runs the steps.
    pub(crate) fn service(&self) -> Service {
        let mut service = Service::new(self.name());
        for step in &self.steps {
            let name = step.name();
            let sides = [(name.clone(), &step.execute), (format!("undo_{name}"), &step.compensate)];
            for (action, handler) in sides {
                if let Some(handler) = handler {
                    service.handlers.add(action, Arc::clone(handler));
                }
            }
        }
        service
    }
}

/// Joins the words of a title, in lower case and without other characters than letters and digits.
fn words(title: &str, separator: char) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join(&separator.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workflow_is_converted_to_definition() {
        let step = |title: &str| WorkflowStep::new(title).execute(|_| async { Ok(Value::Null) });
        let workflow = Workflow::new("Order  Processing")
            .step(step("Process Payment").compensate(|_| async { Ok(Value::Null) }))
            .step(step("Ship"));
        let expected = json!({
            "workflow": "order-processing",
            "title": "Order  Processing",
            "steps": [
                {"name": "process_payment", "title": "Process Payment",
                 "run": "order-processing/process_payment",
                 "compensate": "order-processing/undo_process_payment"},
                {"name": "ship", "title": "Ship", "run": "order-processing/ship", "compensate": "none"},
            ],
        });
        assert_eq!(workflow.definition().unwrap(), expected);
        assert_eq!(
            workflow.service().handlers.actions(),
            ["process_payment", "ship", "undo_process_payment"]
        );
    }

    #[test]
    fn incomplete_workflow_is_refused() {
        for workflow in [
            Workflow::new("Order"),
            Workflow::new("…").step(WorkflowStep::new("Pay").execute(|_| async { Ok(Value::Null) })),
            Workflow::new("Order").step(WorkflowStep::new("Pay")),
        ] {
            assert!(matches!(workflow.definition(), Err(Error::Misuse(_))), "{workflow:?}");
        }
    }
}
