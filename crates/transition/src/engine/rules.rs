//! Runs the rules. Their expressions come from callers, so a decision can take long. A short one runs on the calling
//! thread, which serves other tasks. A long one runs on a thread of its own, and few of them run at once.

use super::Engine;
use super::references::{PayloadOwner, over_expanded_limit};
use crate::payload_memory::LoadedPayloads;
use crate::payload_values::{carries_payloads, payload_bytes};
use crate::{Error, PayloadSlot};
use goconductor_saga::{
    ElementExpressions, Elements, ExpressionError, Expressions, Failure, Json, PayloadRef, Plan, Scope, Side,
    State, StepIndex, StepStatus,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Maximum operations of the expressions of a decision on the calling thread: about 5 ms.
const MAX_QUICK_OPERATIONS: u64 = 20_000;

impl Engine {
    /// Runs a function of the rules. It must only depend on its arguments, because it runs again if its expressions
    /// take long, and if they need payloads that are not in memory.
    pub(super) async fn run_rules<T: Send + 'static>(
        &self,
        owner: PayloadOwner<'_>,
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
        let owner = self.owner_of(plan, state).await?;
        let carries = carries_payloads(state) || owner.as_ref().is_some_and(Owner::carries_payloads);
        match self.rendered_input(plan, state, owner, step, side).await? {
            Ok(input) if carries => {
                let bytes = payload_bytes(&input);
                if let Some(error) = too_large(bytes) {
                    return Ok(Err(error));
                }
                slot.acquire(bytes).await;
                Ok(Ok(self.expanded(PayloadOwner::of(state), input).await?))
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
        let owner = self.owner_of(plan, state).await?;
        match self.rendered_input(plan, state, owner, step, Side::Execute).await? {
            Ok(input) if carries_payloads(state) && PayloadRef::of(&input).is_none() => {
                if let Some(error) = too_large(payload_bytes(&input)) {
                    return Ok(Err(error));
                }
                Ok(Ok(self.expanded(PayloadOwner::of(state), input).await?))
            }
            other => Ok(other),
        }
    }

    /// Returns the input of one side of a step, with references in place of large payloads.
    ///
    /// # Errors
    /// See [`Engine::command_input`].
    pub async fn input_with_references(
        &self,
        plan: &Arc<Plan>,
        state: &Arc<State>,
        step: StepIndex,
        side: Side,
    ) -> Result<Result<Arc<Json>, ExpressionError>, Error> {
        let owner = self.owner_of(plan, state).await?;
        self.rendered_input(plan, state, owner, step, side).await
    }

    async fn rendered_input(
        &self,
        plan: &Arc<Plan>,
        state: &Arc<State>,
        owner: Option<Owner>,
        step: StepIndex,
        side: Side,
    ) -> Result<Result<Arc<Json>, ExpressionError>, Error> {
        let payloads = PayloadOwner::of(state);
        let (plan, state) = (Arc::clone(plan), Arc::clone(state));
        let rules = move |expressions: &dyn Expressions| {
            let input = |expressions: &dyn Expressions| plan.command_input(&state, step, side, expressions);
            with_owner(owner.as_ref(), expressions, input)
        };
        self.run_rules(payloads, rules).await
    }

    /// Returns the fencing tokens that the participant of one side of a step receives.
    ///
    /// # Errors
    /// Returns [`Error::NoSuchWorkflow`] if the workflow that holds the locks was removed, and [`Error::Store`] if the
    /// store failed.
    pub async fn lock_tokens(
        &self,
        plan: &Plan,
        state: &State,
        step: StepIndex,
        side: Side,
    ) -> Result<BTreeMap<String, u64>, Error> {
        if plan.has_locks() {
            return Ok(state.lock_tokens(step, side));
        }
        if !plan.runs_under_locks() {
            return Ok(BTreeMap::new());
        }
        // A cached state can be older than the locks.
        let owner = self.load(state.known_id()).await?.state;
        let plan = self.plan_of(&owner).await?;
        Ok(plan.lock_tokens_of_element(&owner, &state.definition, side))
    }

    /// Returns the id that a step gives its child, or why it has none.
    ///
    /// # Errors
    /// See [`owner_of`](Self::owner_of).
    pub(super) async fn child_id(
        &self,
        plan: &Arc<Plan>,
        state: &Arc<State>,
        step: StepIndex,
    ) -> Result<Result<Option<String>, Failure>, Error> {
        let owner = self.owner_of(plan, state).await?;
        let payloads = PayloadOwner::of(state);
        let (plan, state) = (Arc::clone(plan), Arc::clone(state));
        let rules = move |expressions: &dyn Expressions| {
            with_owner(owner.as_ref(), expressions, |expressions| plan.child_id(&state, step, expressions))
        };
        self.run_rules(payloads, rules).await
    }

    /// Returns the workflow that the expressions of a workflow refer to, if it is not the workflow itself.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the store failed.
    pub(super) async fn owner_of(&self, plan: &Plan, state: &State) -> Result<Option<Owner>, Error> {
        if !plan.needs_owner() {
            return Ok(None);
        }
        let id = state.known_id();
        if let Some(cached) = self.states.get(id) {
            let plan = self.plan_of(&cached).await?;
            if is_recent(&plan, &cached, state) {
                return Ok(Some(Owner::Present { plan, state: cached }));
            }
        }
        let state = match self.load(id).await {
            Ok(loaded) => Arc::new(loaded.state),
            // The elements must still accept inputs, so that an operator can end them.
            Err(Error::NoSuchWorkflow) => return Ok(Some(Owner::Removed)),
            Err(error) => return Err(error),
        };
        let plan = self.plan_of(&state).await?;
        Ok(Some(Owner::Present { plan, state }))
    }
}

/// Returns why an input with payloads of so many bytes cannot be passed on. It is as final as an expression without a value.
fn too_large(bytes: u64) -> Option<ExpressionError> {
    let reason = over_expanded_limit(bytes)?;
    Some(ExpressionError { expression: "input".to_owned(), reason })
}

/// The workflow that has the step whose elements another workflow runs.
#[derive(Debug)]
pub(super) enum Owner {
    /// The workflow exists.
    Present { plan: Arc<Plan>, state: Arc<State> },
    /// The retention removed it while its elements still ran.
    Removed,
}

impl Owner {
    fn carries_payloads(&self) -> bool {
        match self {
            Self::Present { state, .. } => carries_payloads(state),
            Self::Removed => false,
        }
    }
}

/// Returns whether the state of an owner has what the expressions of its elements refer to. It has settled if the step has
/// begun, in the generation of the elements: a re-run changes the outputs of the steps above.
fn is_recent(plan: &Plan, owner: &State, elements: &State) -> bool {
    let own = Elements::parse(&elements.definition);
    let index = own.and_then(|own| plan.step_named(&own.step));
    let step = index.and_then(|index| owner.step(index));
    let generation = elements.parent.map_or(0, |parent| parent.generation);
    step.is_some_and(|step| step.generation == generation && step.execution != StepStatus::Pending)
}

/// Runs rules whose expressions may refer to the workflow that has the step of elements.
pub(super) fn with_owner<T>(
    owner: Option<&Owner>,
    expressions: &dyn Expressions,
    rules: impl FnOnce(&dyn Expressions) -> T,
) -> T {
    match owner {
        Some(Owner::Present { plan, state }) => rules(&ElementExpressions::new(expressions, plan, state)),
        Some(Owner::Removed) => rules(&WithoutOwner(expressions)),
        None => rules(expressions),
    }
}

/// Expressions of elements whose workflow was removed. None has a value: in the workflow that runs the elements, the same
/// names stand for other values.
#[derive(Debug)]
struct WithoutOwner<'a>(&'a dyn Expressions);

impl Expressions for WithoutOwner<'_> {
    fn evaluate(&self, expression: &str, _: &Scope<'_>) -> Result<Json, ExpressionError> {
        let reason = "the workflow that has the step was removed; undo the element by hand, then skip it";
        Err(ExpressionError { expression: expression.to_owned(), reason: reason.to_owned() })
    }

    fn wait_time(&self, text: &str) -> Option<goconductor_saga::WaitTime> {
        self.0.wait_time(text)
    }

    fn check_input(&self, schema: &Json, input: &Json) -> Vec<String> {
        self.0.check_input(schema, input)
    }

    fn payload(&self, reference: PayloadRef) -> Option<Arc<Json>> {
        self.0.payload(reference)
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

    fn started() -> (Plan, State) {
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
        (plan, state)
    }

    #[test]
    fn expressions_of_elements_have_no_value_without_their_workflow() {
        let (plan, state) = started();
        let evaluate =
            |expressions: &dyn Expressions| expressions.evaluate("input", &Scope::new(&plan, &state));
        let error = with_owner(Some(&Owner::Removed), &ByLength, evaluate).unwrap_err();
        assert!(error.reason.contains("was removed"), "{error}");
        assert_eq!(with_owner(None, &ByLength, evaluate), Ok(Json::from(5)));
    }

    #[test]
    fn rules_with_long_expressions_are_not_decided_on_the_calling_thread() {
        let (plan, state) = started();
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
