//! Workflows: start, read, list, count, wait for the end.

use super::payloads::ShownPayloads;
use super::workflow_id::{not_found, parse_id};
use super::{Api, CallContext, PageRequest, invalid_page_token};
use crate::audit_notes;
use crate::error::{
    ApiResult, CONTRADICTION, INPUT, Location, NO_DEFINITION, PARAMETER, Problem, TOO_LARGE, WRONG_SHAPE,
};
use crate::filter;
use crate::request;
use crate::schemas::Validation;
use crate::view::{self, LockHolders, SummaryView, Waiting, WorkflowView};
use goconductor_definition::InputProblem;
use goconductor_saga::{
    Elements, Json, Plan, State, WorkflowId, check_labels, is_idempotency_key, json_bytes,
};
use goconductor_schedule::KEY_PREFIX;
use goconductor_service_kit::fair::Permit;
use goconductor_store::{Comparison, Field, Filter, FilterValue, ListRequest, Loaded};
use goconductor_telemetry::trace;
use goconductor_transition::{Error, StartRequest, clock};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Maximum bytes of a value while all values are part of the state, because an earlier release is in use.
const MAX_STATE_VALUE_BYTES: usize = 512 << 10;
/// The longest long poll. A longer wait is cut to it.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// Maximum pages of the store for one page of the list, which leaves out the workflows that run elements of a step.
const MAX_PAGES_PER_LIST: usize = 20;

/// A request to start a workflow.
#[derive(Debug)]
pub(crate) struct WorkflowStart {
    pub(crate) definition: String,
    /// `None` for the newest version.
    pub(crate) version: Option<u32>,
    /// `None` for `{}`.
    pub(crate) input: Option<Json>,
    /// The key in the message. The key of the [`CallContext`] must not differ from it.
    pub(crate) idempotency_key: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// How long to wait for the end. At most 5 minutes.
    pub(crate) wait: Duration,
}

/// An accepted start.
#[derive(Debug)]
pub(crate) struct StartedWorkflow {
    pub(crate) workflow: WorkflowView,
    /// Whether an earlier start with the same idempotency key started the workflow.
    pub(crate) is_replayed: bool,
}

/// A page of workflows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowPage {
    /// Workflows, newest first.
    pub(crate) workflows: Vec<SummaryView>,
    /// Token of the next page. Empty on the last page.
    pub(crate) next_page_token: String,
}

/// The field by which workflows are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CountField {
    /// The workflow's status.
    Status,
    /// The name of the definition.
    Definition,
    /// The code of the error. Workflows without an error are not counted.
    ErrorCode,
}

/// Numbers of workflows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowCounts {
    pub(crate) counts: Vec<CountView>,
}

/// The number of workflows that share a value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountView {
    pub(crate) value: String,
    pub(crate) count: u64,
}

/// The outcome of a wait for a workflow's end.
#[derive(Debug)]
pub(crate) struct AwaitedWorkflow {
    pub(crate) workflow: WorkflowView,
    pub(crate) has_ended: bool,
}

impl CountField {
    /// The names of the fields.
    pub(crate) const NAMES: [&str; 3] = ["status", "definition", "error_code"];

    /// Parses the name of the field. An absent name means the status.
    pub(crate) fn parse(name: Option<&str>) -> ApiResult<Self> {
        match name {
            None | Some("status") => Ok(Self::Status),
            Some("definition") => Ok(Self::Definition),
            Some("error_code") => Ok(Self::ErrorCode),
            Some(other) => {
                let detail =
                    format!("workflows cannot be counted by {other:?}: use status, definition or error_code");
                Err(Problem::new(PARAMETER, detail))
            }
        }
    }
}

impl Api {
    /// Starts a workflow. The start is durable once this returns.
    pub(crate) async fn start_workflow(
        &self,
        context: &CallContext,
        start: WorkflowStart,
    ) -> ApiResult<StartedWorkflow> {
        let WorkflowStart { definition, version, input, idempotency_key, labels, wait } = start;
        let namespace = context.namespace.as_str();
        let wait = wait.min(MAX_WAIT);
        // First of all, so that a request refused because of overload costs next to nothing.
        self.admission.precheck(namespace, &definition, version, clock::monotonic())?;
        let key = check_idempotency_key(context.idempotency_key.as_deref(), idempotency_key)?;
        if key.as_ref().is_some_and(|key| key.starts_with(KEY_PREFIX)) {
            let detail =
                format!("invalid idempotency key: keys that begin with {KEY_PREFIX} are those of schedules");
            return Err(Problem::new(WRONG_SHAPE, detail.clone()).at("/idempotency_key", detail));
        }
        check_labels(&labels)?;
        // Before the start, so that a refused wait means that nothing was started.
        let waiting_permit = self.waiting_permit(context, wait)?;
        let slot = self.admission.acquire_start_slot(namespace).await?;
        let input = input.unwrap_or_else(|| serde_json::json!({}));
        let plan = self.plan(namespace, &definition, version, key.as_deref()).await?;
        let input = self.check_input(namespace, &plan, input).await?;
        self.admission.charge_start(namespace, &plan, version, clock::monotonic())?;
        let request = StartRequest {
            namespace: namespace.to_owned(),
            plan: Arc::clone(&plan),
            input,
            labels,
            idempotency_key: key.clone(),
            actor: context.actor.clone(),
            // The span of this request or, if spans are not exported, that of the caller.
            trace: trace::current().or_else(|| context.trace.clone()),
        };
        audit_notes::after(
            &serde_json::json!({"definition": definition, "version": plan.version(), "idempotency_key": key}),
        );
        let started = self.engine.start(request).await?;
        drop(slot);
        let mut state = started.state;
        request::record_workflow(state.id);
        // A replayed start keeps the version with which the workflow was started.
        let plan = if started.replayed { self.engine.plan_of(&state).await? } else { plan };
        if !wait.is_zero() {
            let deadline = Instant::now() + wait;
            // The workflow is started even if the wait fails.
            if let Ok(loaded) = self.wait_for_end(context, state.id, deadline, waiting_permit).await {
                state = Arc::new(loaded.state);
            }
        }
        let workflow = view::workflow(&plan, &state, key, self.waiting_on(&plan, &state).await);
        let workflow = ShownPayloads::new(self, namespace, state.id).workflow(workflow).await;
        let workflow = self.redaction.for_caller(context).workflow(workflow);
        Ok(StartedWorkflow { workflow, is_replayed: started.replayed })
    }

    /// Returns a workflow.
    pub(crate) async fn workflow(&self, context: &CallContext, id: &str) -> ApiResult<WorkflowView> {
        let loaded = self.load(context, parse_id(id)?).await?;
        self.workflow_view(context, loaded).await
    }

    /// Waits until a workflow has ended or `wait`, at most 5 minutes, has passed.
    pub(crate) async fn workflow_result(
        &self,
        context: &CallContext,
        id: &str,
        wait: Duration,
    ) -> ApiResult<AwaitedWorkflow> {
        let deadline = Instant::now() + wait.min(MAX_WAIT);
        let loaded = self.wait_for_end(context, parse_id(id)?, deadline, None).await?;
        let has_ended = loaded.state.status().is_final();
        Ok(AwaitedWorkflow { workflow: self.workflow_view(context, loaded).await?, has_ended })
    }

    /// Lists the workflows that match an AIP-160 filter, newest first.
    pub(crate) async fn list_workflows(
        &self,
        context: &CallContext,
        filter: &str,
        page: &PageRequest,
    ) -> ApiResult<WorkflowPage> {
        let limit = self.page_size(page.size)?;
        let before = page.token().map(|token| token.parse::<WorkflowId>().map_err(|_| invalid_page_token()));
        let before = before.transpose()?;
        let names_elements = names_elements(filter);
        let filter = filter::parse(filter, clock::now())?;
        let mut request = ListRequest { namespace: context.namespace.to_string(), filter, limit, before };
        let redaction = self.redaction.for_caller(context);
        let (mut workflows, mut next_page_token) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES_PER_LIST {
            let page = self.store().list(&request).await?;
            request.before = page.workflows.last().map(|summary| summary.id);
            let last = request.before.filter(|_| page.more);
            let listed = page
                .workflows
                .into_iter()
                .filter(|summary| names_elements || Elements::parse(&summary.definition).is_none())
                .map(|summary| redaction.summary(view::summary(summary)));
            workflows.extend(listed);
            next_page_token = last.map(|id| id.to_string()).unwrap_or_default();
            let missing = limit.saturating_sub(u32::try_from(workflows.len()).unwrap_or(u32::MAX));
            if last.is_none() || missing == 0 {
                break;
            }
            request.limit = missing;
        }
        Ok(WorkflowPage { workflows, next_page_token })
    }

    /// Counts the workflows that match an AIP-160 filter.
    pub(crate) async fn count_workflows(
        &self,
        context: &CallContext,
        by: CountField,
        filter: &str,
    ) -> ApiResult<WorkflowCounts> {
        let field = match by {
            CountField::Status => Field::Status,
            CountField::Definition => Field::Definition,
            CountField::ErrorCode => Field::ErrorCode,
        };
        let mut parts: Vec<Filter> = filter::parse(filter, clock::now())?.into_iter().collect();
        if !names_elements(filter) {
            parts.push(Filter::without_elements());
        }
        let filter = Filter::All(parts);
        let counts = self.store().counts(context.namespace.as_str(), field, Some(&filter)).await?;
        let counts = counts.into_iter().map(|count| CountView { value: count.value, count: count.count });
        Ok(WorkflowCounts { counts: counts.collect() })
    }

    /// Loads a workflow of the caller's namespace.
    pub(super) async fn load(&self, context: &CallContext, id: WorkflowId) -> ApiResult<Loaded> {
        request::record_workflow(id);
        let loaded = match self.engine.load(id).await {
            Ok(loaded) => loaded,
            Err(Error::NoSuchWorkflow) => return Err(not_found(&id.to_string())),
            Err(other) => return Err(other.into()),
        };
        if loaded.state.namespace == context.namespace.as_str() {
            Ok(loaded)
        } else {
            Err(not_found(&id.to_string()))
        }
    }

    /// Builds the view of a loaded workflow.
    pub(super) async fn workflow_view(
        &self,
        context: &CallContext,
        loaded: Loaded,
    ) -> ApiResult<WorkflowView> {
        let plan = self.engine.plan_of(&loaded.state).await?;
        let waiting_on = self.waiting_on(&plan, &loaded.state).await;
        let view = view::workflow(&plan, &loaded.state, loaded.idempotency_key, waiting_on);
        let namespace = context.namespace.as_str();
        let view = ShownPayloads::new(self, namespace, loaded.state.id).workflow(view).await;
        Ok(self.redaction.for_caller(context).workflow(view))
    }

    async fn waiting_on(&self, plan: &Plan, state: &State) -> Vec<Waiting> {
        let queue = self.engine.queue();
        let holders = self.lock_holders(plan, state).await;
        let mut waiting = view::waiting_on(&**queue, plan, state, &holders, clock::now()).await;
        // Read only if it matters, because most workflows wait for nothing else than their attempts.
        let is_capacity = |waiting: &Waiting| waiting.kind == view::WaitingKind::Capacity;
        if queue.is_durable() && waiting.iter().any(is_capacity) {
            // A store that does not respond is not evidence that a worker is missing.
            if let Ok(members) = self.store().members().await {
                view::find_unserved(&mut waiting, plan, state, &members);
            }
        }
        waiting
    }

    /// Returns the holders of the locks that a workflow waits for, as far as the store responds.
    async fn lock_holders(&self, plan: &Plan, state: &State) -> LockHolders {
        let mut holders = LockHolders::new();
        if !plan.has_locks() {
            return holders;
        }
        for claim in goconductor_saga::claims(state) {
            for lock in claim.locks.iter().filter(|lock| lock.token.is_none()) {
                if let Ok(Some(held)) = self.store().lock_holder(&state.namespace, &lock.key).await {
                    holders.insert(held.key, held.owner);
                }
            }
        }
        holders
    }

    /// Returns the plan for a start. A repeat of a start returns its workflow even if the definition has been deleted
    /// since.
    pub(super) async fn plan(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
        key: Option<&str>,
    ) -> ApiResult<Arc<Plan>> {
        match self.engine.plan_to_start(namespace, name, version).await {
            Ok(plan) => Ok(plan),
            Err(Error::NoSuchDefinition) => match self.earlier_plan(namespace, name, key).await? {
                Some(plan) => Ok(plan),
                None => Err(no_definition(name, version)),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the plan of the workflow of `name` that an earlier start with the same key started.
    async fn earlier_plan(
        &self,
        namespace: &str,
        name: &str,
        key: Option<&str>,
    ) -> ApiResult<Option<Arc<Plan>>> {
        let Some(key) = key else { return Ok(None) };
        let is =
            |field, text: &str| Filter::Compare(field, Comparison::Equal, FilterValue::Text(text.to_owned()));
        let filter = Filter::All(vec![is(Field::IdempotencyKey, key), is(Field::Definition, name)]);
        let request =
            ListRequest { namespace: namespace.to_owned(), filter: Some(filter), limit: 1, before: None };
        let Some(found) = self.store().list(&request).await?.workflows.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(self.engine.plan(namespace, name, Some(found.version)).await?))
    }

    /// Checks the size of an input, of the payload of a signal, or of an output that an operator supplies.
    pub(super) fn check_size(&self, what: &str, value: &Json) -> ApiResult<()> {
        let (bytes, mut limit) = (json_bytes(value), self.limits().input_bytes);
        if !self.engine.stores_payloads() {
            limit = limit.min(MAX_STATE_VALUE_BYTES);
        }
        if bytes <= limit {
            return Ok(());
        }
        let detail = format!(
            "the {what} has {bytes} bytes, which is over the limit of {limit} bytes (limits.input_bytes); store it \
             elsewhere and pass its address"
        );
        Err(Problem::new(TOO_LARGE, detail))
    }

    /// Checks an input against its limit and the schema of the definition. Returns the input.
    pub(super) async fn check_input(
        &self,
        namespace: &str,
        plan: &Arc<Plan>,
        input: Json,
    ) -> ApiResult<Json> {
        self.check_size("input", &input)?;
        let (input, validation) = self.schemas.validate(namespace, plan, input).await?;
        match validation {
            Validation::Valid => Ok(input),
            Validation::Violations(problems) => Err(violations(problems)),
            Validation::Unusable(reason) => {
                let detail = format!(
                    "the input cannot be checked, because the schema in version {} of definition {} cannot be used: \
                     {reason}; apply a corrected definition",
                    plan.version(),
                    plan.definition().name
                );
                Err(Problem::new(INPUT, detail))
            }
        }
    }

    /// Waits until a workflow has ended, the deadline has passed or the gateway shuts down, and returns its state
    /// then. A caller that already has a permit to wait passes it.
    async fn wait_for_end(
        &self,
        context: &CallContext,
        id: WorkflowId,
        deadline: Instant,
        mut waiting_permit: Option<Permit>,
    ) -> ApiResult<Loaded> {
        let acquire = |permit: Option<Permit>| match permit {
            Some(permit) => Ok(Some(permit)),
            None => self.waiting_permit(context, deadline.saturating_duration_since(Instant::now())),
        };
        // Subscribed before the read, so that an end in between is not missed.
        let mut watch = self.waiters.watch(id);
        if self.engine.cached(id).is_some_and(|state| state.namespace == context.namespace.as_str()) {
            // The workflow is running in the cache: it need not be read before its end or the deadline.
            waiting_permit = acquire(waiting_permit)?;
            drop(tokio::time::timeout_at(deadline, watch.ended()).await);
        }
        loop {
            let loaded = self.load(context, id).await?;
            if loaded.state.status().is_final() {
                return Ok(loaded);
            }
            waiting_permit = acquire(waiting_permit)?;
            match tokio::time::timeout_at(deadline, watch.ended()).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return Ok(loaded),
            }
        }
    }

    /// Acquires a permit for a long poll, unless nothing is waited for.
    fn waiting_permit(&self, context: &CallContext, wait: Duration) -> ApiResult<Option<Permit>> {
        if wait.is_zero() {
            return Ok(None);
        }
        self.admission.admit_waiting(context.namespace.as_str(), context.permit.as_ref()).map(Some)
    }
}

/// Returns the problem of an input that violates its schema.
fn violations(problems: Vec<InputProblem>) -> Problem {
    let detail = match problems.as_slice() {
        [only] => format!("the input does not match its schema: {}", only.detail),
        several => format!("the input does not match its schema: {} errors", several.len()),
    };
    let locations = problems.into_iter().map(|problem| Location {
        pointer: format!("/input{}", problem.pointer),
        line: None,
        column: None,
        code: INPUT.code,
        detail: problem.detail,
    });
    Problem::new(INPUT, detail).with_errors(locations.collect())
}

/// Returns whether a filter names workflows that run elements of a step. They are listed, counted and selected for batches
/// only then.
pub(super) fn names_elements(filter: &str) -> bool {
    filter.contains('[')
}

fn no_definition(name: &str, version: Option<u32>) -> Problem {
    let detail = match version {
        Some(version) => {
            format!("version {version} of definition {name:?} not found, or the definition was deleted")
        }
        None => format!("definition {name:?} not found in this namespace"),
    };
    Problem::new(NO_DEFINITION, detail)
}

pub(super) fn check_idempotency_key(outer: Option<&str>, field: Option<String>) -> ApiResult<Option<String>> {
    let invalid = |detail: &str| Problem::new(WRONG_SHAPE, detail).at("/idempotency_key", detail);
    let key = match (outer, field) {
        (Some(outer), Some(field)) if outer != field => {
            let detail =
                "the header Idempotency-Key and the field idempotency_key differ: send only one of them";
            return Err(Problem::new(CONTRADICTION, detail).at("/idempotency_key", detail));
        }
        (_, Some(field)) => field,
        (Some(outer), None) => outer.to_owned(),
        (None, None) => return Ok(None),
    };
    if !is_idempotency_key(&key) {
        return Err(invalid("invalid idempotency key: use 1 to 256 visible characters"));
    }
    Ok(Some(key))
}
