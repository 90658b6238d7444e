//! Sample workflows for tests of stores and of their callers. Their transitions are computed by the real rules from real
//! definitions, so a test never writes a transition that cannot occur.

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

/// The namespace of the sample workflows, unless a case chooses another.
pub const NAMESPACE: &str = "default";
/// Time until a published command is due again.
pub const REDELIVERY: Duration = Duration::from_secs(5);

/// Returns the time `seconds` after the fixed start of every case.
#[must_use]
pub fn at(seconds: i64) -> Timestamp {
    Timestamp(1_760_000_000_000_000 + seconds * 1_000_000)
}

/// Returns an id larger than all earlier ones, because ids sort by start time.
#[must_use]
pub fn new_id() -> WorkflowId {
    static LAST: AtomicU64 = AtomicU64::new(1);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    WorkflowId(uuid::Uuid::from_u128(
        0x0199_c000_0000_7000_8000_0000_0000_0000 | (u128::from(number) << 80) | u128::from(number),
    ))
}

/// Rejects every expression: the sample definitions contain none.
#[derive(Debug)]
pub(super) struct NoExpressions;

impl Expressions for NoExpressions {
    fn evaluate(&self, expression: &str, _: &Scope<'_>) -> Result<Json, ExpressionError> {
        Err(ExpressionError {
            expression: expression.to_owned(),
            reason: "sample definitions contain no expressions".to_owned(),
        })
    }
}

/// Returns a step whose execution and compensation call the same service.
#[must_use]
pub fn step(name: &str, service: &str, depends_on: &[u32]) -> Step {
    let run = |action: &str| Action::Run { service: service.to_owned(), action: action.to_owned() };
    Step {
        name: name.to_owned(),
        title: None,
        labels: BTreeMap::new(),
        depends_on: depends_on.iter().copied().map(StepIndex).collect(),
        join: goconductor_saga::Join::All,
        skipped_with: None,
        when: Vec::new(),
        blocks: Vec::new(),
        lock: None,
        for_each: None,
        action: run("do"),
        kind: Kind::Compensatable,
        failure: goconductor_saga::FailurePolicy::default(),
        input: None,
        compensate: Some(Compensation {
            action: run("undo"),
            when: None,
            input: None,
            retry: Retry::default(),
            timeout: Duration::from_secs(30),
            limits: goconductor_saga::CompensationLimits::default(),
        }),
        retry: Retry::default(),
        timeout: Timeouts::default(),
    }
}

/// Returns a definition with these steps.
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
        rollback: goconductor_saga::RollbackPolicy::default(),
        locks: Vec::new(),
        steps,
    }
}

/// Compiles the first version of a definition.
///
/// # Errors
/// Returns the reason if the definition is not a valid graph.
pub fn plan_of(definition: Definition) -> Result<Arc<Plan>, String> {
    Plan::new(definition, 1).map(Arc::new).map_err(|error| error.to_string())
}

/// Returns a chain of three steps on the services `stock`, `payments` and `shipping`.
///
/// # Errors
/// Never fails, because the graph is valid.
pub fn order() -> Result<Arc<Plan>, String> {
    let steps =
        vec![step("reserve", "stock", &[]), step("charge", "payments", &[0]), step("ship", "shipping", &[1])];
    plan_of(definition("order", steps))
}

/// Returns `count` independent steps of one service.
///
/// # Errors
/// Never fails, because the graph is valid.
pub fn parallel(count: u32, service: &str) -> Result<Arc<Plan>, String> {
    let steps = (0..count).map(|number| step(&format!("s{number}"), service, &[])).collect();
    plan_of(definition("parallel", steps))
}

/// A workflow with the state and the history that the store must contain.
#[derive(Debug, Clone)]
pub struct Flow {
    /// The compiled definition.
    pub plan: Arc<Plan>,
    /// The expected state.
    pub state: State,
    /// The expected history.
    pub events: Vec<Event>,
}

/// Options of a start. A case overrides the defaults that matter to it.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// The id. `None` generates one.
    pub id: Option<WorkflowId>,
    /// The namespace.
    pub namespace: String,
    /// The input.
    pub input: Json,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The current time.
    pub now: Timestamp,
}

impl Default for StartOptions {
    fn default() -> Self {
        let input = serde_json::json!({"order": 7});
        Self { id: None, namespace: NAMESPACE.to_owned(), input, labels: BTreeMap::new(), now: at(0) }
    }
}

impl Flow {
    /// Computes the start of a workflow without writing it.
    ///
    /// # Errors
    /// Returns the reason if the transition cannot be encoded.
    pub fn start(plan: &Arc<Plan>, options: StartOptions) -> Result<(Self, TransitionWrite), String> {
        let input = StartWorkflow {
            id: options.id.unwrap_or_else(new_id),
            namespace: options.namespace,
            input: options.input,
            labels: options.labels,
            actor: None,
            trace: None,
        };
        let (events, state) = start(plan, &NoExpressions, &input, options.now);
        let write = transition_write(&transition(plan, None, events.clone(), state.clone()), options.now)?;
        Ok((Self { plan: Arc::clone(plan), state, events }, write))
    }

    /// Computes the transition for an input without writing it.
    ///
    /// # Errors
    /// Returns the reason if the rules refuse the input, or if the transition cannot be encoded.
    pub fn next(&self, input: &Input, now: Timestamp) -> Result<(Self, TransitionWrite), String> {
        let (new, state) = decide(&self.plan, &NoExpressions, &self.state, input, now)
            .map_err(|refusal| format!("invalid test case: the rules refuse {input:?}: {refusal}"))?;
        let write =
            transition_write(&transition(&self.plan, Some(&self.state), new.clone(), state.clone()), now)?;
        let mut events = self.events.clone();
        events.extend(new);
        Ok((Self { plan: Arc::clone(&self.plan), state, events }, write))
    }

    /// Returns the id of the workflow.
    #[must_use]
    pub fn id(&self) -> WorkflowId {
        self.state.id
    }
}

pub(super) fn transition_write(transition: &Transition, now: Timestamp) -> Result<TransitionWrite, String> {
    Ok(TransitionWrite {
        record: Arc::new(EncodedTransition::of(transition).map_err(|error| error.to_string())?),
        publishes: Vec::new(),
        now,
        redeliver_at: now.after(REDELIVERY),
        trace: None,
    })
}

/// Returns a start without an idempotency key.
#[must_use]
pub fn unkeyed(write: TransitionWrite) -> Write {
    Write::Start(NewWorkflow { write, idempotency_key: None, request_digest: String::new() })
}

/// Returns a start with an idempotency key.
#[must_use]
pub fn keyed(write: TransitionWrite, key: &str, digest: &str) -> Write {
    let (idempotency_key, request_digest) = (Some(key.to_owned()), digest.to_owned());
    Write::Start(NewWorkflow { write, idempotency_key, request_digest })
}

/// Marks the due commands of a write as published by the writer.
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

/// Returns the ledger key of a command.
#[must_use]
pub const fn command(step: u32, side: Side) -> OwedKey {
    OwedKey::Command(StepIndex(step), side)
}

/// Returns an input that reports the outcome of an attempt.
#[must_use]
pub fn report(step: u32, side: Side, attempt: u32, outcome: Outcome) -> Input {
    let (started_at, deadline) = (at(0), at(30));
    Input::ReportOutcome { step: StepIndex(step), side, attempt, started_at, deadline, outcome }
}

/// Returns an input that reports that the first attempt of a step succeeded.
#[must_use]
pub fn done(step: u32) -> Input {
    done_with(step, serde_json::json!({"step": step}))
}

/// Returns an input that reports that the first attempt of a step succeeded with an output.
#[must_use]
pub fn done_with(step: u32, output: Json) -> Input {
    report(step, Side::Execute, 1, Outcome::Done { output })
}

/// Returns an input that reports that the first attempt of a step was refused.
#[must_use]
pub fn refused(step: u32) -> Input {
    report(step, Side::Execute, 1, Outcome::Refused { failure: Failure::of("NO", "not today") })
}

/// Returns an input that reports that an attempt of a step failed and may be retried.
#[must_use]
pub fn failed(step: u32, attempt: u32) -> Input {
    let failure = Failure::of("BUSY", "later");
    report(step, Side::Execute, attempt, Outcome::Retryable { failure, not_before: None })
}

/// Returns an input that reports that a later attempt of a step succeeded.
#[must_use]
pub fn done_at_attempt(step: u32, attempt: u32) -> Input {
    report(step, Side::Execute, attempt, Outcome::Done { output: serde_json::json!(attempt) })
}

/// Returns an input that reports that the first attempt of a compensation succeeded.
#[must_use]
pub fn compensated(step: u32) -> Input {
    compensated_at_attempt(step, 1)
}

/// Returns an input that reports that an attempt of a compensation succeeded.
#[must_use]
pub fn compensated_at_attempt(step: u32, attempt: u32) -> Input {
    report(step, Side::Compensate, attempt, Outcome::Done { output: Json::Null })
}

/// Returns an input that pauses the workflow.
#[must_use]
pub fn pause() -> Input {
    Input::Pause { actor: None, reason: None }
}

/// Returns an input that resumes the workflow.
#[must_use]
pub fn resume() -> Input {
    Input::Resume { actor: None, reason: None }
}

/// Returns an input that cancels the workflow.
#[must_use]
pub fn cancel() -> Input {
    Input::Cancel { actor: None, reason: None }
}
