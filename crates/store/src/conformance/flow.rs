//! Sagas that move, for whoever tests a store or what stands on one: real definitions, decided by the
//! real rules, so that a transition is never one that could not happen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use goconductor_saga::{
    Action, Compensation, Definition, Due, Event, ExpressionError, Expressions, Failure, Input, Json, Kind,
    LedgerChange, Outcome, Owed, OwedKey, Plan, Retry, Scope, Side, StartWorkflow, State, Step, StepIndex,
    Timeouts, Timestamp, Transition, WorkflowId, decide, start, transition,
};

use crate::{EncodedTransition, NewWorkflow, TransitionWrite, Write};

/// Where the cases' workflows live, unless they say otherwise.
pub const NAMESPACE: &str = "default";
/// When published commands are due again.
pub const REDELIVERY: Duration = Duration::from_secs(5);

/// Seconds after the time at which every case begins.
#[must_use]
pub fn at(seconds: i64) -> Timestamp {
    Timestamp(1_760_000_000_000_000 + seconds * 1_000_000)
}

/// Larger with each call: ids sort by the time of the start.
#[must_use]
pub fn new_id() -> WorkflowId {
    static LAST: AtomicU64 = AtomicU64::new(1);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    WorkflowId(uuid::Uuid::from_u128(
        0x0199_c000_0000_7000_8000_0000_0000_0000 | (u128::from(number) << 80) | u128::from(number),
    ))
}

/// The cases' definitions hold no expressions.
#[derive(Debug)]
struct NoExpressions;

impl Expressions for NoExpressions {
    fn evaluate(&self, expression: &str, _: &Scope<'_>) -> Result<Json, ExpressionError> {
        Err(ExpressionError { expression: expression.to_owned(), reason: "not expected here".to_owned() })
    }
}

/// A step of a service, which undoes it too.
#[must_use]
pub fn step(name: &str, service: &str, depends_on: &[u32]) -> Step {
    let run = |action: &str| Action::Run { service: service.to_owned(), action: action.to_owned() };
    Step {
        name: name.to_owned(),
        title: None,
        labels: BTreeMap::new(),
        depends_on: depends_on.iter().copied().map(StepIndex).collect(),
        join: goconductor_saga::Join::All,
        when: Vec::new(),
        blocks: Vec::new(),
        action: run("do"),
        kind: Kind::Compensatable,
        input: None,
        compensate: Some(Compensation {
            action: run("undo"),
            input: None,
            retry: Retry::default(),
            timeout: Duration::from_secs(30),
        }),
        retry: Retry::default(),
        timeout: Timeouts::default(),
    }
}

/// A definition of these steps.
#[must_use]
pub fn definition(name: &str, steps: Vec<Step>) -> Definition {
    Definition {
        format: goconductor_saga::DEFINITION_FORMAT,
        name: name.to_owned(),
        title: None,
        description: None,
        labels: BTreeMap::new(),
        input: None,
        output: None,
        timeout: None,
        steps,
    }
}

/// A definition's first version.
///
/// # Errors
/// When it is no graph that can run.
pub fn plan_of(definition: Definition) -> Result<Arc<Plan>, String> {
    Plan::new(definition, 1).map(Arc::new).map_err(|error| error.to_string())
}

/// One step after the other, each of another service: `stock`, `payments`, `shipping`.
///
/// # Errors
/// Never: it is a graph that can run.
pub fn order() -> Result<Arc<Plan>, String> {
    let steps =
        vec![step("reserve", "stock", &[]), step("charge", "payments", &[0]), step("ship", "shipping", &[1])];
    plan_of(definition("order", steps))
}

/// So many steps of one service, all at once.
///
/// # Errors
/// Never: it is a graph that can run.
pub fn parallel(count: u32, service: &str) -> Result<Arc<Plan>, String> {
    let steps = (0..count).map(|number| step(&format!("s{number}"), service, &[])).collect();
    plan_of(definition("parallel", steps))
}

/// A workflow as it has to be, and what led there.
#[derive(Debug, Clone)]
pub struct Flow {
    /// What it runs by.
    pub plan: Arc<Plan>,
    /// Its state.
    pub state: State,
    /// Its history.
    pub events: Vec<Event>,
}

/// What a workflow is started with, where a case wants something else than the usual.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// Its id; none: a new one.
    pub id: Option<WorkflowId>,
    /// Where it lives.
    pub namespace: String,
    /// Its input.
    pub input: Json,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The present time.
    pub now: Timestamp,
}

impl Default for StartOptions {
    fn default() -> Self {
        let input = serde_json::json!({"order": 7});
        Self { id: None, namespace: NAMESPACE.to_owned(), input, labels: BTreeMap::new(), now: at(0) }
    }
}

impl Flow {
    /// A start that is not written yet.
    ///
    /// # Errors
    /// When it has no stored form.
    pub fn start(plan: &Arc<Plan>, given: StartOptions) -> Result<(Self, TransitionWrite), String> {
        let start_with = StartWorkflow {
            id: given.id.unwrap_or_else(new_id),
            namespace: given.namespace,
            input: given.input,
            labels: given.labels,
            actor: None,
        };
        let (events, state) = start(plan, &NoExpressions, &start_with, given.now);
        let write = written(&transition(plan, None, events.clone(), state.clone()), given.now)?;
        Ok((Self { plan: Arc::clone(plan), state, events }, write))
    }

    /// What follows from some news, not written yet.
    ///
    /// # Errors
    /// When the rules refuse the news, or it has no stored form.
    pub fn next(&self, input: &Input, now: Timestamp) -> Result<(Self, TransitionWrite), String> {
        let (new, state) = decide(&self.plan, &NoExpressions, &self.state, input, now)
            .map_err(|refusal| format!("the case itself is wrong: {input:?} is refused: {refusal}"))?;
        let write = written(&transition(&self.plan, Some(&self.state), new.clone(), state.clone()), now)?;
        let mut events = self.events.clone();
        events.extend(new);
        Ok((Self { plan: Arc::clone(&self.plan), state, events }, write))
    }

    /// The workflow.
    #[must_use]
    pub fn id(&self) -> WorkflowId {
        self.state.id
    }
}

fn written(transition: &Transition, now: Timestamp) -> Result<TransitionWrite, String> {
    Ok(TransitionWrite {
        record: Arc::new(EncodedTransition::of(transition).map_err(|error| error.to_string())?),
        publishes: Vec::new(),
        now,
        redeliver_at: now.after(REDELIVERY),
    })
}

/// A start without a key.
#[must_use]
pub fn unkeyed(write: TransitionWrite) -> Write {
    Write::Start(NewWorkflow { write, idempotency_key: None, request_digest: String::new() })
}

/// A start with one.
#[must_use]
pub fn keyed(write: TransitionWrite, key: &str, digest: &str) -> Write {
    let (idempotency_key, request_digest) = (Some(key.to_owned()), digest.to_owned());
    Write::Start(NewWorkflow { write, idempotency_key, request_digest })
}

/// The same write, whose due commands the writer publishes itself.
#[must_use]
pub fn publishing(mut write: TransitionWrite) -> TransitionWrite {
    let is_due = |row: &&Owed| row.service.is_some() && matches!(row.due, Due::At(at) if at <= write.now);
    let rows = write.record.ledger.iter().filter_map(|change| match change {
        LedgerChange::Issue(row) | LedgerChange::Change(row) => Some(row),
        LedgerChange::Settle(_) => None,
    });
    write.publishes = rows.filter(is_due).map(|row| row.key).collect();
    write
}

/// The key of a command's row in the ledger.
#[must_use]
pub const fn command(step: u32, side: Side) -> OwedKey {
    OwedKey::Command(StepIndex(step), side)
}

/// An attempt ended.
#[must_use]
pub fn report(step: u32, side: Side, attempt: u32, outcome: Outcome) -> Input {
    let (started_at, deadline) = (at(0), at(30));
    Input::ReportOutcome { step: StepIndex(step), side, attempt, started_at, deadline, outcome }
}

/// A step's first attempt succeeded.
#[must_use]
pub fn done(step: u32) -> Input {
    done_with(step, serde_json::json!({"step": step}))
}

/// A step's first attempt succeeded, with this answer.
#[must_use]
pub fn done_with(step: u32, output: Json) -> Input {
    report(step, Side::Execute, 1, Outcome::Done { output })
}

/// A step's first attempt was refused.
#[must_use]
pub fn refused(step: u32) -> Input {
    report(step, Side::Execute, 1, Outcome::Refused { failure: Failure::of("NO", "not today") })
}

/// A step's attempt failed, and is tried again.
#[must_use]
pub fn failed(step: u32, attempt: u32) -> Input {
    let failure = Failure::of("BUSY", "later");
    report(step, Side::Execute, attempt, Outcome::Retryable { failure, not_before: None })
}

/// A step succeeded at a later attempt.
#[must_use]
pub fn done_at_attempt(step: u32, attempt: u32) -> Input {
    report(step, Side::Execute, attempt, Outcome::Done { output: serde_json::json!(attempt) })
}

/// A step's compensation succeeded at once.
#[must_use]
pub fn compensated(step: u32) -> Input {
    report(step, Side::Compensate, 1, Outcome::Done { output: Json::Null })
}

/// An operator holds the workflow.
#[must_use]
pub fn pause() -> Input {
    Input::Pause { actor: None, reason: None }
}

/// An operator lets it go on.
#[must_use]
pub fn resume() -> Input {
    Input::Resume { actor: None, reason: None }
}

/// Somebody wants it undone.
#[must_use]
pub fn cancel() -> Input {
    Input::Cancel { actor: None, reason: None }
}
