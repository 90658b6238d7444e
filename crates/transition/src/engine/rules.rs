//! Runs the rules. Their expressions come from callers, so a decision can take long. A short one runs on the calling
//! thread, which serves other tasks. A long one runs on a thread of its own, and few of them run at once.

use super::Engine;
use super::references::PayloadOwner;
use crate::payload_memory::LoadedPayloads;
use crate::payload_values::{carries_payloads, payload_bytes};
use crate::{Error, PayloadSlot};
use goconductor_saga::{ExpressionError, Expressions, Json, PayloadRef, Plan, Scope, Side, State, StepIndex};
use parking_lot::Mutex;
use std::sync::Arc;

/// Maximum operations of the expressions of a decision on the calling thread: about 5 ms.
const MAX_QUICK_OPERATIONS: u64 = 20_000;

impl Engine {
    /// Runs a function of the rules. It must only depend on its arguments, because it runs again if its expressions
    /// take long, and if they need payloads that are not in memory.
    pub(super) async fn run_rules<T: Send + 'static>(
        &self,
        owner: &PayloadOwner,
        mut rules: impl Fn(&dyn Expressions) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let mut loaded = LoadedPayloads::default();
        loop {
            let quick = quickly(&*self.expressions, &loaded, &rules);
            let decided = match quick {
                Some(decided) => decided,
                None => {
                    // The memory of an evaluation is bounded, and this bounds that of all evaluations.
                    let thread = self.long_rules.thread().await;
                    let expressions = Arc::clone(&self.expressions);
                    let run = move || {
                        let decided = rules(&WithPayloads { expressions: &*expressions, loaded: &loaded });
                        (decided, rules, loaded)
                    };
                    let ran = thread.run(run).await;
                    let (decided, same_rules, same_loaded) =
                        ran.map_err(|_| Error::Internal("the thread that evaluates expressions stopped"))?;
                    (rules, loaded) = (same_rules, same_loaded);
                    decided
                }
            };
            let missing = loaded.take_missing();
            if missing.is_empty() {
                return Ok(decided);
            }
            self.load_payloads(owner, &mut loaded, missing).await?;
        }
    }

    /// Returns the input of the service for one side of a step, with the payloads that it contains. Waits for the memory
    /// of large ones.
    ///
    /// # Errors
    /// Returns the [`ExpressionError`] of the first expression that could not be evaluated, [`Error::Store`] if a payload
    /// could not be read, and [`Error::Internal`] if the process shuts down.
    pub async fn command_input(
        &self,
        plan: &Arc<Plan>,
        state: &Arc<State>,
        step: StepIndex,
        side: Side,
        slot: &PayloadSlot,
    ) -> Result<Result<Arc<Json>, ExpressionError>, Error> {
        match self.rendered_input(plan, state, step, side).await? {
            Ok(input) if carries_payloads(state) => {
                slot.acquire(payload_bytes(&input)).await;
                Ok(Ok(self.expanded(&PayloadOwner::of(state), input).await?))
            }
            other => Ok(other),
        }
    }

    /// Returns the input of the child of a step. An input that is a payload of the parent as a whole is the reference to it.
    pub(super) async fn child_input(
        &self,
        plan: &Arc<Plan>,
        state: &Arc<State>,
        step: StepIndex,
    ) -> Result<Result<Arc<Json>, ExpressionError>, Error> {
        match self.rendered_input(plan, state, step, Side::Execute).await? {
            Ok(input) if carries_payloads(state) && PayloadRef::of(&input).is_none() => {
                Ok(Ok(self.expanded(&PayloadOwner::of(state), input).await?))
            }
            other => Ok(other),
        }
    }

    /// Returns the input of one side of a step, with references in place of large payloads.
    ///
    /// # Errors
    /// See [`Engine::command_input`].
    pub async fn rendered_input(
        &self,
        plan: &Arc<Plan>,
        state: &Arc<State>,
        step: StepIndex,
        side: Side,
    ) -> Result<Result<Arc<Json>, ExpressionError>, Error> {
        let owner = PayloadOwner::of(state);
        let (plan, state) = (Arc::clone(plan), Arc::clone(state));
        let render = move |expressions: &dyn Expressions| plan.command_input(&state, step, side, expressions);
        self.run_rules(&owner, render).await
    }
}

/// Expressions that read the payloads of a workflow.
#[derive(Debug)]
struct WithPayloads<'a> {
    expressions: &'a dyn Expressions,
    loaded: &'a LoadedPayloads,
}

impl Expressions for WithPayloads<'_> {
    fn evaluate(&self, expression: &str, scope: &Scope<'_>) -> Result<Json, ExpressionError> {
        self.expressions.evaluate(expression, &scope.with_payloads(self.loaded))
    }

    fn wait_time(&self, text: &str) -> Option<goconductor_saga::WaitTime> {
        self.expressions.wait_time(text)
    }

    fn check_input(&self, schema: &Json, input: &Json) -> Vec<String> {
        self.expressions.check_input(schema, input)
    }

    fn payload(&self, reference: PayloadRef) -> Option<Arc<Json>> {
        self.loaded.shared(reference)
    }
}

/// Runs the rules, or returns `None` if their expressions take too long.
fn quickly<T>(
    expressions: &dyn Expressions,
    loaded: &LoadedPayloads,
    rules: &impl Fn(&dyn Expressions) -> T,
) -> Option<T> {
    let quick = QuickExpressions { expressions, loaded, left: Mutex::new(Some(MAX_QUICK_OPERATIONS)) };
    let decided = rules(&quick);
    quick.left.into_inner().map(|_| decided)
}

/// Evaluates expressions until they have needed too many operations together.
#[derive(Debug)]
struct QuickExpressions<'a> {
    expressions: &'a dyn Expressions,
    loaded: &'a LoadedPayloads,
    /// The operations that are left, or `None` if an expression needed more.
    left: Mutex<Option<u64>>,
}

impl Expressions for QuickExpressions<'_> {
    fn wait_time(&self, text: &str) -> Option<goconductor_saga::WaitTime> {
        self.expressions.wait_time(text)
    }

    fn payload(&self, reference: PayloadRef) -> Option<Arc<Json>> {
        self.loaded.shared(reference)
    }

    fn evaluate(&self, expression: &str, scope: &Scope<'_>) -> Result<Json, ExpressionError> {
        let mut left = self.left.lock();
        if let Some(allowance) = left.as_mut()
            && let Some(result) =
                self.expressions.evaluate_within(expression, &scope.with_payloads(self.loaded), allowance)
        {
            return result;
        }
        *left = None;
        // The result of these rules is dropped.
        Err(ExpressionError {
            expression: expression.to_owned(),
            reason: "the evaluation takes long".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expressions that need as many operations as their text has bytes.
    #[derive(Debug)]
    struct ByLength;

    impl Expressions for ByLength {
        fn evaluate(&self, expression: &str, _: &Scope<'_>) -> Result<Json, ExpressionError> {
            Ok(Json::from(expression.len()))
        }

        fn evaluate_within(
            &self,
            expression: &str,
            scope: &Scope<'_>,
            allowance: &mut u64,
        ) -> Option<Result<Json, ExpressionError>> {
            *allowance = allowance.checked_sub(expression.len() as u64)?;
            Some(self.evaluate(expression, scope))
        }
    }

    #[test]
    fn rules_with_long_expressions_are_not_decided_on_the_calling_thread() {
        let plan = Plan::new(
            goconductor_saga::Definition {
                format: goconductor_saga::DEFINITION_FORMAT,
                name: "a".to_owned(),
                title: None,
                description: None,
                labels: std::collections::BTreeMap::new(),
                input: None,
                output: None,
                timeout: None,
                rollback: goconductor_saga::RollbackPolicy::default(),
                locks: Vec::new(),
                steps: Vec::new(),
            },
            1,
        );
        let plan = plan.unwrap();
        let begin = goconductor_saga::StartWorkflow {
            id: goconductor_saga::WorkflowId(uuid::Uuid::from_u128(7)),
            namespace: "default".to_owned(),
            input: Json::Null,
            labels: std::collections::BTreeMap::new(),
            actor: None,
            trace: None,
        };
        let (_, state) = goconductor_saga::start(&plan, &ByLength, &begin, goconductor_saga::Timestamp(0));
        let scope = Scope::new(&plan, &state);
        let length = usize::try_from(MAX_QUICK_OPERATIONS / 2).unwrap();
        let run = |text: String| {
            quickly(&ByLength, &LoadedPayloads::default(), &|expressions: &dyn Expressions| {
                [expressions.evaluate(&text, &scope).is_ok(), expressions.evaluate(&text, &scope).is_ok()]
            })
        };
        assert_eq!(run("x".repeat(length)), Some([true, true]));
        // The second one exceeds what is left.
        assert_eq!(run("x".repeat(length + 1)), None);
    }
}
