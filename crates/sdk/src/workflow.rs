//! A workflow whose steps are closures of this program.

use crate::{Context, Error, Failure, Service};
use serde_json::{Value, json};
use std::ops::Deref;
use std::sync::Arc;

use crate::handlers::Handler;

/// A workflow whose steps are closures of this program. Steps run in their order; each undoes what it did
/// in the opposite one.
#[derive(Debug, Clone)]
pub struct Workflow {
    title: String,
    steps: Vec<WorkflowStep>,
}

/// A step: what does it, and what undoes it.
#[derive(Clone)]
pub struct WorkflowStep {
    title: String,
    execute: Option<Handler>,
    compensate: Option<Handler>,
}

/// What a step's closure is given.
#[derive(Debug, Clone)]
pub struct StepContext {
    context: Context,
    input: Value,
    output: Option<Value>,
}

impl StepContext {
    /// The workflow's input.
    #[must_use]
    pub fn input(&self) -> &Value {
        &self.input
    }

    /// In a compensation: what the step gave; none where nobody knows whether it happened.
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
    /// A step that does nothing yet.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), execute: None, compensate: None }
    }

    /// What does it.
    #[must_use]
    pub fn execute<F>(mut self, execute: impl Fn(StepContext) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        let handler = move |context, input| {
            Box::pin(execute(StepContext { context, input, output: None })) as futures::future::BoxFuture<_>
        };
        self.execute = Some(Arc::new(handler));
        self
    }

    /// What undoes it. Without one the step says that there is nothing to undo.
    #[must_use]
    pub fn compensate<F>(mut self, compensate: impl Fn(StepContext) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        let handler = move |context, mut given: Value| {
            let mut part = |name: &str| given.get_mut(name).map(Value::take);
            let (input, output) = (part("input").unwrap_or_default(), part("output"));
            Box::pin(compensate(StepContext { context, input, output })) as futures::future::BoxFuture<_>
        };
        self.compensate = Some(Arc::new(handler));
        self
    }

    /// `Process Payment` is `process_payment`.
    fn name(&self) -> String {
        words(&self.title, '_')
    }
}

impl Workflow {
    /// A workflow without steps. `Order Processing` is the definition `order-processing`.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), steps: Vec::new() }
    }

    /// One more step.
    #[must_use]
    pub fn step(mut self, step: WorkflowStep) -> Self {
        self.steps.push(step);
        self
    }

    /// The name of its definition, and of the service that carries it out.
    #[must_use]
    pub fn name(&self) -> String {
        words(&self.title, '-')
    }

    /// Its definition, as JSON.
    ///
    /// # Errors
    /// When a step does nothing, or there is none.
    pub fn definition(&self) -> Result<Value, Error> {
        let name = self.name();
        if name.is_empty() || self.steps.is_empty() {
            return Err(Error::Misuse(format!("the workflow {:?} has no name or no steps", self.title)));
        }
        let mut steps = Vec::new();
        for step in &self.steps {
            let step_name = step.name();
            if step.execute.is_none() || step_name.is_empty() {
                return Err(Error::Misuse(format!("the step {:?} has no name or no `execute`", step.title)));
            }
            let undo = match step.compensate {
                Some(_) => format!("{name}/undo_{step_name}"),
                None => "none".to_owned(),
            };
            steps.push(json!({
                "name": step_name,
                "title": step.title,
                "run": format!("{name}/{step_name}"),
                "compensate": undo,
            }));
        }
        Ok(json!({"workflow": name, "title": self.title, "steps": steps}))
    }

    /// What carries it out.
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

/// Lower-case words of letters and digits, joined.
fn words(title: &str, joint: char) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join(&joint.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_a_definition() {
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
    fn what_does_nothing_is_refused() {
        for workflow in [
            Workflow::new("Order"),
            Workflow::new("…").step(WorkflowStep::new("Pay").execute(|_| async { Ok(Value::Null) })),
            Workflow::new("Order").step(WorkflowStep::new("Pay")),
        ] {
            assert!(matches!(workflow.definition(), Err(Error::Misuse(_))), "{workflow:?}");
        }
    }
}
