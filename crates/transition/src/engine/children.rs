//! The child workflow of a step: the engine starts, observes, cancels and rolls it back, whenever the ledger row of the
//! child is due.
//!
//! A child has an idempotency key, so a repeated start finds it. A process may therefore die at any point: the row stays
//! in the ledger until the end of the child is recorded. The process that commits the end of a child also reports it to
//! the parent. That report is only faster than the next check, and may be lost.

use super::Engine;
use super::references::PayloadOwner;
use crate::{Error, StartRequest, Started, clock, trace};
use goconductor_saga::{
    Child, ChildEnd, Elements, Expressions, Failure, Input, Json, Kind, MAX_CHILD_DEPTH, OnParentClose,
    Parent, Phase, Plan, RollbackCause, Side, StartChild, State, StepIndex, StepStatus, Timestamp,
    WorkflowId, child_key,
};
use goconductor_store::{Comparison, Field, Filter, FilterValue, ListRequest};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Maximum violations of the input schema of a child that a failure names.
const SHOWN_VIOLATIONS: usize = 5;

/// The work on the child of a step.
struct ChildTask {
    parent: Arc<State>,
    plan: Arc<Plan>,
    step: StepIndex,
    kind: Kind,
    child: Child,
    /// The number of the attempt that the child belongs to.
    attempt: u32,
    /// The recorded child.
    known: Option<WorkflowId>,
    /// The id that the step gives the child, or why it has none.
    id: Result<Option<String>, Failure>,
}

/// The child of a step, as found or started.
enum Found {
    Child(Arc<State>),
    /// There is no child, and there can be none.
    Refused(Failure),
    /// The recorded child does not exist.
    Missing(WorkflowId),
}

impl ChildTask {
    fn key(&self) -> String {
        match &self.id {
            Ok(Some(id)) => child_key(&key_of_run(id, &self.parent), self.attempt),
            Ok(None) | Err(_) => {
                let execute = self.plan.idempotency_key(self.parent.id, self.step, Side::Execute);
                child_key(&execute, self.attempt)
            }
        }
    }

    fn parent(&self) -> Parent {
        let depth = self.parent.parent.map_or(0, |parent| parent.depth).saturating_add(1);
        let elements_of = self.runs_elements().then(|| self.parent.known_id());
        let of_step = || self.parent.step(self.step).map_or(0, |step| step.generation);
        let generation = match (elements_of, self.parent.parent) {
            (None, _) => 0,
            // A branch of the elements belongs to the generation of their step.
            (Some(_), Some(above)) if above.elements_of.is_some() => above.generation,
            (Some(_), _) => of_step(),
        };
        Parent { id: self.parent.id, step: self.step, attempt: self.attempt, depth, elements_of, generation }
    }

    /// Returns whether the child runs elements of a step with `for_each`.
    fn runs_elements(&self) -> bool {
        let declares = self.plan.step(self.step).is_some_and(|step| step.for_each.is_some());
        // An element can have a child of its own, whose definition has an ordinary name.
        declares || self.parent.elements_of().is_some() && Elements::parse(&self.child.workflow).is_some()
    }

    /// Returns a found workflow if it is the child.
    fn accept(&self, found: Arc<State>) -> Found {
        let is_child = found.parent == Some(self.parent());
        if is_child {
            return Found::Child(found);
        }
        let message = format!(
            "workflow {} has the idempotency key {}, and it was not started by this step",
            found.id,
            self.key()
        );
        Found::Refused(Failure::of("CHILD_KEY_CONFLICT", message))
    }

    fn ended(&self, child: Option<WorkflowId>, end: ChildEnd) -> Input {
        Input::ChildEnded { step: self.step, attempt: self.attempt, child, end }
    }

    /// Returns when the child is checked again.
    fn next_check(&self) -> Timestamp {
        let now = clock::now();
        let state = self.parent.step(self.step);
        let since = state.and_then(|state| match state.compensation {
            Some(_) => state.compensate.queued_at,
            None => state.execute.started_at,
        });
        let waited = since.map_or(Duration::ZERO, |since| now.since(since));
        let interval = Child::check_interval(waited);
        // The end of a child notifies its parent. A virtual clock stops at each check, so that checks must be few.
        now.after(if clock::is_virtual() { interval.max(waited) } else { interval })
    }
}

impl Engine {
    /// Acts on the child of a step, whose ledger row is due. Returns when the row is due again, or `None` if the row is
    /// settled or held.
    ///
    /// # Errors
    /// Returns the errors of [`Engine::start`] and [`Engine::submit`]. The row stays in the ledger and must be tried again.
    #[tracing::instrument(level = "debug", skip_all, fields(workflow = %id, step = step.0))]
    pub async fn drive_child(
        self: &Arc<Self>,
        id: WorkflowId,
        step: StepIndex,
    ) -> Result<Option<Timestamp>, Error> {
        let parent = Arc::new(self.load(id).await?.state);
        let plan = self.plan_of(&parent).await?;
        let (Some(definition), Some(state)) = (plan.step(step), parent.step(step)) else { return Ok(None) };
        let Some(child) = definition.action.child().cloned() else { return Ok(None) };
        let (kind, attempt, known) = (definition.kind, state.execute.attempt(), state.child);
        let is_executing = state.execution.is_open() && !state.waits_for_lock();
        let is_undone = state.compensation.is_some_and(StepStatus::is_open) && !parent.paused;
        if parent.phase.is_final() {
            return Ok(None);
        }
        let id = match &child.id {
            Some(_) if known.is_none() => self.child_id(&plan, &parent, step).await?,
            Some(_) | None => Ok(None),
        };
        let task = ChildTask { plan: Arc::clone(&plan), parent, step, kind, child, attempt, known, id };
        match (is_executing, is_undone) {
            (true, _) => self.drive_execution(&task).await,
            (false, true) => self.drive_compensation(&task).await,
            (false, false) => Ok(None),
        }
    }

    async fn drive_execution(self: &Arc<Self>, task: &ChildTask) -> Result<Option<Timestamp>, Error> {
        let wanted = task.parent.wants_execute(task.step);
        if task.known.is_none() && task.parent.paused && wanted {
            return Ok(None);
        }
        let (step, attempt) = (task.step, task.attempt);
        let withdraw = Input::WithdrawCommand { step, attempt };
        let child = match self.find_child(task, !wanted).await? {
            Found::Child(child) => child,
            Found::Refused(_) if !wanted => return self.tell_parent(task, withdraw).await,
            Found::Refused(failure) => {
                let input = task.ended(None, ChildEnd::Refused { failure });
                return self.tell_parent(task, input).await;
            }
            Found::Missing(id) => {
                let end = ChildEnd::Terminated { failure: missing(id), in_doubt: true };
                return self.tell_parent(task, task.ended(Some(id), end)).await;
            }
        };
        if task.known.is_none() && child.has_ended_untouched() && !wanted {
            return self.tell_parent(task, withdraw).await;
        }
        if task.known.is_none() {
            self.tell_parent(task, Input::ChildStarted { step, attempt, child: child.id }).await?;
        }
        if ChildEnd::of(&child).is_some() || wanted {
            return self.report_end(task, &child).await;
        }
        if task.child.on_parent_close == OnParentClose::Abandon && task.parent.phase == Phase::RollingBack {
            return self.tell_parent(task, task.ended(Some(child.id), ChildEnd::Abandoned)).await;
        }
        if task.child.on_parent_close != OnParentClose::Abandon && child.phase.is_forward() {
            let reason = format!("the parent workflow {} rolls back", task.parent.id);
            let cancel = Input::Cancel { actor: None, reason: Some(reason) };
            let child = self.change_child(&child, cancel).await?;
            return self.report_end(task, &child).await;
        }
        Ok(Some(task.next_check()))
    }

    async fn drive_compensation(self: &Arc<Self>, task: &ChildTask) -> Result<Option<Timestamp>, Error> {
        let child = match self.find_child(task, true).await? {
            Found::Child(child) => child,
            Found::Refused(failure) => {
                return self.tell_parent(task, task.ended(None, ChildEnd::Refused { failure })).await;
            }
            Found::Missing(id) => {
                let end = ChildEnd::Refused { failure: missing(id) };
                return self.tell_parent(task, task.ended(Some(id), end)).await;
            }
        };
        let reason = Some(format!("the parent workflow {} rolls back", task.parent.id));
        let input = match child.phase {
            Phase::Completed => Input::RollBack { cause: RollbackCause::Parent, actor: None, reason },
            Phase::Queued | Phase::InProgress => Input::Cancel { actor: None, reason },
            Phase::RollingBack | Phase::RolledBack | Phase::Terminated => {
                return self.report_end(task, &child).await;
            }
        };
        let after = self.change_child(&child, input).await?;
        if after.phase == Phase::Completed && child.phase == Phase::Completed {
            let message = format!(
                "child workflow {} is past its point of no return and cannot be rolled back; undo its effects by hand, \
                 then skip this compensation",
                child.id
            );
            let failure = Failure::of("CHILD_PAST_PIVOT", message);
            return self.tell_parent(task, task.ended(Some(child.id), ChildEnd::Refused { failure })).await;
        }
        self.report_end(task, &after).await
    }

    /// Applies an input to a child. Returns its state after it, or its present state if it refuses the input.
    async fn change_child(self: &Arc<Self>, child: &Arc<State>, input: Input) -> Result<Arc<State>, Error> {
        match self.submit_apart(child.id, input).await {
            Ok(state) => Ok(state),
            Err(Error::Refused(_)) => Ok(Arc::new(self.load(child.id).await?.state)),
            Err(error) => Err(error),
        }
    }

    /// Reports the end of a child to its parent. Returns when a child that has not ended is checked again.
    async fn report_end(
        self: &Arc<Self>,
        task: &ChildTask,
        child: &Arc<State>,
    ) -> Result<Option<Timestamp>, Error> {
        match ChildEnd::of(child) {
            Some(end) => self.tell_parent(task, task.ended(Some(child.id), end)).await,
            None => Ok(Some(task.next_check())),
        }
    }

    /// Applies an input to the parent. A refusal means that the parent has gone on in the meantime.
    async fn tell_parent(
        self: &Arc<Self>,
        task: &ChildTask,
        input: Input,
    ) -> Result<Option<Timestamp>, Error> {
        match self.submit_apart(task.parent.id, input).await {
            Ok(_) => Ok(None),
            Err(Error::Refused(_)) => Ok(Some(task.next_check())),
            Err(error) => Err(error),
        }
    }

    /// Returns the child of a step, and starts it if it does not exist. A `withdrawn` child ends at once.
    async fn find_child(self: &Arc<Self>, task: &ChildTask, withdrawn: bool) -> Result<Found, Error> {
        if let Some(id) = task.known {
            return match self.load(id).await {
                Ok(loaded) => Ok(Found::Child(Arc::new(loaded.state))),
                Err(Error::NoSuchWorkflow) => Ok(Found::Missing(id)),
                Err(error) => Err(error),
            };
        }
        if let Err(failure) = &task.id {
            return Ok(Found::Refused(failure.clone()));
        }
        let parent = task.parent();
        if parent.depth > MAX_CHILD_DEPTH {
            let message = format!("the workflow already has {MAX_CHILD_DEPTH} ancestors, which is the limit");
            return Ok(Found::Refused(Failure::of("CHILD_DEPTH", message)));
        }
        if task.runs_elements() {
            return self.start_elements(task, withdrawn).await;
        }
        let Child { workflow, version, .. } = &task.child;
        let plan = match self.plan_to_start(&task.parent.namespace, workflow, *version).await {
            Ok(plan) => plan,
            Err(Error::NoSuchDefinition) => return self.child_without_definition(task).await,
            Err(error) => return Err(error),
        };
        let input = match self.child_input(&task.plan, &task.parent, task.step).await? {
            Ok(input) => input,
            Err(error) => {
                return Ok(Found::Refused(Failure::of("INPUT_EXPRESSION_FAILED", error.to_string())));
            }
        };
        if !withdrawn && let Some(failure) = self.child_refusal(task, &plan, &input).await? {
            return Ok(Found::Refused(failure));
        }
        self.start_found(task, plan, input, withdrawn).await
    }

    async fn start_found(
        self: &Arc<Self>,
        task: &ChildTask,
        plan: Arc<Plan>,
        input: Arc<Json>,
        withdrawn: bool,
    ) -> Result<Found, Error> {
        let parent = task.parent();
        let request = StartRequest {
            namespace: task.parent.namespace.clone(),
            plan,
            input: Arc::unwrap_or_clone(input),
            labels: BTreeMap::new(),
            idempotency_key: Some(task.key()),
            actor: None,
            trace: trace::started_by(&task.parent),
        };
        match self.start_as(request, Some(StartChild { parent, withdrawn })).await {
            Ok(Started { state, .. }) => Ok(task.accept(state)),
            // The input of the step can change between two starts, and the first start counts.
            Err(Error::KeyConflict(id)) => Ok(task.accept(Arc::new(self.load(id).await?.state))),
            Err(error) => Err(error),
        }
    }

    /// Starts the workflow that runs elements of a step. Their inputs follow from the workflow that has the step.
    async fn start_elements(self: &Arc<Self>, task: &ChildTask, withdrawn: bool) -> Result<Found, Error> {
        let known = task.parent.known_id();
        let (owner, part) = if known == task.parent.id {
            (Arc::clone(&task.parent), None)
        } else {
            match self.load(known).await {
                Ok(loaded) => (Arc::new(loaded.state), Elements::parse(&task.child.workflow)),
                Err(Error::NoSuchWorkflow) => return Ok(Found::Refused(missing(known))),
                Err(error) => return Err(error),
            }
        };
        let plan = self.plan_of(&owner).await?;
        let step = match &part {
            Some(part) => plan.step_named(&part.step).unwrap_or(task.step),
            None => task.step,
        };
        let payloads = PayloadOwner::of(&owner);
        let started = {
            let plan = Arc::clone(&plan);
            let owner = Arc::clone(&owner);
            let rules = move |expressions: &dyn Expressions| {
                plan.start_of_elements(&owner, step, part.clone(), expressions)
            };
            self.run_rules(payloads, rules).await?
        };
        let (elements, input) = match started {
            Ok(started) => started,
            Err(failure) => return Ok(Found::Refused(failure)),
        };
        let input = self.expanded(payloads, Arc::new(input)).await?;
        let name = elements.to_string();
        let own = self.plan(&task.parent.namespace, &name, Some(plan.version())).await?;
        self.start_found(task, own, input, withdrawn).await
    }

    /// Returns why a child cannot be started.
    async fn child_refusal(
        &self,
        task: &ChildTask,
        plan: &Plan,
        input: &Arc<Json>,
    ) -> Result<Option<Failure>, Error> {
        let is_undone =
            task.kind == Kind::Compensatable && task.child.on_parent_close != OnParentClose::Abandon;
        let (name, version) = (&plan.definition().name, plan.version());
        if is_undone && plan.pivot().is_some() {
            let message = format!(
                "version {version} of definition {name} has a pivot, so the child could not be rolled back with its \
                 parent; use `on_parent_close: abandon`, or make the step the pivot"
            );
            return Ok(Some(Failure::of("CHILD_HAS_PIVOT", message)));
        }
        let Some(schema) = plan.definition().input.clone() else { return Ok(None) };
        let input = self.expanded(PayloadOwner::of(&task.parent), Arc::clone(input)).await?;
        let expressions = Arc::clone(&self.expressions);
        let thread = self.long_rules.thread().await;
        let checked = thread.run(move || expressions.check_input(&schema, &input)).await;
        let violations = checked.map_err(|_| Error::Internal("the thread that checks inputs stopped"))?;
        if violations.is_empty() {
            return Ok(None);
        }
        let shown: Vec<String> = violations.into_iter().take(SHOWN_VIOLATIONS).collect();
        let message =
            format!("the input does not match the schema of definition {name}: {}", shown.join("; "));
        Ok(Some(Failure::of("CHILD_INPUT", message)))
    }

    /// Returns the child of a step whose definition does not exist or was deleted. The child may have been started before.
    async fn child_without_definition(&self, task: &ChildTask) -> Result<Found, Error> {
        let value = FilterValue::Text(task.key());
        let filter = Some(Filter::Compare(Field::IdempotencyKey, Comparison::Equal, value));
        let namespace = task.parent.namespace.clone();
        let page = self.store.list(&ListRequest { namespace, filter, limit: 1, before: None }).await?;
        if let Some(found) = page.workflows.first() {
            return Ok(task.accept(Arc::new(self.load(found.id).await?.state)));
        }
        let Child { workflow, version, .. } = &task.child;
        let version = version.map(|version| format!("version {version} of ")).unwrap_or_default();
        let message = format!("{version}definition {workflow} does not exist or was deleted; apply it");
        Ok(Found::Refused(Failure::of("CHILD_DEFINITION_NOT_FOUND", message)))
    }

    /// Reports the end of a child to its parent without waiting. The ledger row of the parent finds the end if this
    /// report is lost.
    pub(super) fn notify_parent(&self, child: &State) {
        let (Some(parent), Some(this)) = (child.parent, self.this.upgrade()) else { return };
        let Some(end) = ChildEnd::of(child) else { return };
        let Parent { id, step, attempt, .. } = parent;
        let input = Input::ChildEnded { step, attempt, child: Some(child.id), end };
        self.tasks.spawn(async move {
            match this.submit_apart(id, input).await {
                Ok(_) | Err(Error::Refused(_)) => {}
                Err(error) => {
                    tracing::debug!(workflow = %id, %error, "the end of a child was left to the ledger");
                }
            }
        });
    }
}

/// Returns the id that a step gives its child, or a different one for each run of elements. A re-run executes elements in new
/// workflows, which count their attempts from 1.
fn key_of_run<'a>(id: &'a str, parent: &State) -> Cow<'a, str> {
    match parent.parent.filter(|above| above.elements_of.is_some() && above.generation > 0) {
        Some(above) => Cow::Owned(format!("{id}~{}", above.generation.saturating_add(1))),
        None => Cow::Borrowed(id),
    }
}

fn missing(id: WorkflowId) -> Failure {
    let message = format!("child workflow {id} does not exist; its retention may have expired");
    Failure::of("CHILD_NOT_FOUND", message)
}
