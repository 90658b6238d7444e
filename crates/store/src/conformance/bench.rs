//! What the cases are written in: sagas that move, and expectations.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use goconductor_saga::{
    Action, Compensation, Definition, Due, Event, ExpressionError, Expressions, Failure, Input, Json, Kind,
    Outcome, OwedKey, Plan, Retry, Scope, Side, StartWorkflow, State, Step, StepIndex, Timeouts, Timestamp,
    WorkflowId, decide, evolve, owed, start, transition,
};

use super::{Factory, Verdict};
use crate::{
    ClaimRequest, Error, LaneClaim, LedgerRow, Loaded, NewWorkflow, RowKind, Store, TransitionWrite, Write,
    WriteOutcome,
};

/// Where the cases' workflows live, unless they say otherwise.
pub(super) const NAMESPACE: &str = "default";
/// When published commands are due again.
pub(super) const REDELIVERY: Duration = Duration::from_secs(5);

/// Seconds after the time at which every case begins.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp(1_760_000_000_000_000 + seconds * 1_000_000)
}

/// Larger with each call: ids sort by the time of the start.
pub(super) fn new_id() -> WorkflowId {
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
pub(super) fn step(name: &str, service: &str, depends_on: &[u32]) -> Step {
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
pub(super) fn definition(name: &str, steps: Vec<Step>) -> Definition {
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

pub(super) fn plan_of(definition: Definition) -> Result<Arc<Plan>, String> {
    Plan::new(definition, 1).map(Arc::new).map_err(|error| error.to_string())
}

/// One step after the other, each of another service.
pub(super) fn order() -> Result<Arc<Plan>, String> {
    let steps =
        vec![step("reserve", "stock", &[]), step("charge", "payments", &[0]), step("ship", "shipping", &[1])];
    plan_of(definition("order", steps))
}

/// So many steps of one service, all at once.
pub(super) fn parallel(count: u32, service: &str) -> Result<Arc<Plan>, String> {
    let steps = (0..count).map(|number| step(&format!("s{number}"), service, &[])).collect();
    plan_of(definition("parallel", steps))
}

/// A workflow as it has to be, and what led there.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) plan: Arc<Plan>,
    pub(super) state: State,
    pub(super) events: Vec<Event>,
}

/// What a workflow is started with, where a case wants something else than the usual.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) namespace: String,
    pub(super) input: Json,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) now: Timestamp,
}

impl Default for Given {
    fn default() -> Self {
        let input = serde_json::json!({"order": 7});
        Self { namespace: NAMESPACE.to_owned(), input, labels: BTreeMap::new(), now: at(0) }
    }
}

impl Flow {
    /// A start that is not written yet.
    pub(super) fn start(plan: &Arc<Plan>, given: Given) -> (Self, TransitionWrite) {
        let start_with = StartWorkflow {
            id: new_id(),
            namespace: given.namespace,
            input: given.input,
            labels: given.labels,
            actor: None,
        };
        let (events, state) = start(plan, &NoExpressions, &start_with, given.now);
        let write = written(transition(plan, None, events.clone(), state.clone()), given.now);
        (Self { plan: Arc::clone(plan), state, events }, write)
    }

    /// What follows from some news, not written yet.
    pub(super) fn next(&self, input: &Input, now: Timestamp) -> Result<(Self, TransitionWrite), String> {
        let (new, state) = decide(&self.plan, &NoExpressions, &self.state, input, now)
            .map_err(|refusal| format!("the case itself is wrong: {input:?} is refused: {refusal}"))?;
        let write = written(transition(&self.plan, Some(&self.state), new.clone(), state.clone()), now);
        let mut events = self.events.clone();
        events.extend(new);
        Ok((Self { plan: Arc::clone(&self.plan), state, events }, write))
    }

    pub(super) fn id(&self) -> WorkflowId {
        self.state.id
    }
}

fn written(transition: goconductor_saga::Transition, now: Timestamp) -> TransitionWrite {
    TransitionWrite {
        transition: Arc::new(transition),
        publishes: Vec::new(),
        now,
        redeliver_at: now.after(REDELIVERY),
    }
}

/// A start without a key.
pub(super) fn unkeyed(write: TransitionWrite) -> Write {
    Write::Start(NewWorkflow { write, idempotency_key: None, request_digest: String::new() })
}

/// A start with one.
pub(super) fn keyed(write: TransitionWrite, key: &str, digest: &str) -> Write {
    let (idempotency_key, request_digest) = (Some(key.to_owned()), digest.to_owned());
    Write::Start(NewWorkflow { write, idempotency_key, request_digest })
}

/// The same write, whose due commands the writer publishes itself.
pub(super) fn publishing(mut write: TransitionWrite) -> TransitionWrite {
    let now = write.now;
    let due = write.transition.ledger.iter().filter_map(|change| change.due_command(now));
    write.publishes = due.map(|row| row.key).collect();
    write
}

pub(super) const fn command(step: u32, side: Side) -> OwedKey {
    OwedKey::Command(StepIndex(step), side)
}

pub(super) fn report(step: u32, side: Side, attempt: u32, outcome: Outcome) -> Input {
    let (started_at, deadline) = (at(0), at(30));
    Input::ReportOutcome { step: StepIndex(step), side, attempt, started_at, deadline, outcome }
}

/// A step's first attempt succeeded.
pub(super) fn done(step: u32) -> Input {
    answered(step, serde_json::json!({"step": step}))
}

pub(super) fn answered(step: u32, output: Json) -> Input {
    report(step, Side::Execute, 1, Outcome::Done { output })
}

pub(super) fn refused(step: u32) -> Input {
    report(step, Side::Execute, 1, Outcome::Refused { failure: Failure::of("NO", "not today") })
}

/// A step's attempt failed, and is tried again.
pub(super) fn failed(step: u32, attempt: u32) -> Input {
    let failure = Failure::of("BUSY", "later");
    report(step, Side::Execute, attempt, Outcome::Retryable { failure, not_before: None })
}

/// A step succeeded at a later attempt.
pub(super) fn done_at(step: u32, attempt: u32) -> Input {
    report(step, Side::Execute, attempt, Outcome::Done { output: serde_json::json!(attempt) })
}

pub(super) fn undone(step: u32) -> Input {
    report(step, Side::Compensate, 1, Outcome::Done { output: Json::Null })
}

pub(super) fn pause() -> Input {
    Input::Pause { actor: None, reason: None }
}

pub(super) fn resume() -> Input {
    Input::Resume { actor: None, reason: None }
}

pub(super) fn cancel() -> Input {
    Input::Cancel { actor: None, reason: None }
}

/// A store under test.
#[derive(Debug, Clone)]
pub(super) struct Bench {
    pub(super) store: Arc<dyn Store>,
}

impl Bench {
    pub(super) async fn open(factory: &Arc<dyn Factory>) -> Result<Self, String> {
        Ok(Self { store: factory.open().await? })
    }

    pub(super) async fn outcomes(&self, group: Vec<Write>) -> Result<Vec<WriteOutcome>, String> {
        let expected = group.len();
        let outcomes = self.store.write(group).await.map_err(unexpected("write"))?;
        same("how many outcomes a group has", &outcomes.len(), &expected)?;
        Ok(outcomes)
    }

    pub(super) async fn outcome(&self, write: Write) -> Result<WriteOutcome, String> {
        let mut outcomes = self.outcomes(vec![write]).await?;
        outcomes.pop().ok_or_else(|| "no outcome".to_owned())
    }

    /// A group of which each member has to be written.
    pub(super) async fn write(&self, group: Vec<Write>) -> Verdict {
        let outcomes = self.outcomes(group).await?;
        let all: Vec<String> = outcomes.iter().map(said).collect();
        ensure(all.iter().all(|each| each == "written"), || format!("not all were written: {all:?}"))
    }

    /// A workflow that is started.
    pub(super) async fn begin(&self, plan: &Arc<Plan>) -> Result<Flow, String> {
        self.begin_with(plan, Given::default()).await
    }

    pub(super) async fn begin_with(&self, plan: &Arc<Plan>, given: Given) -> Result<Flow, String> {
        let (flow, write) = Flow::start(plan, given);
        self.write(vec![unkeyed(write)]).await?;
        Ok(flow)
    }

    /// Moves a workflow on.
    pub(super) async fn news(&self, flow: &mut Flow, input: &Input, now: Timestamp) -> Verdict {
        let (next, write) = flow.next(input, now)?;
        self.write(vec![Write::Transition(write)]).await?;
        *flow = next;
        Ok(())
    }

    pub(super) async fn load(&self, id: WorkflowId) -> Result<Option<Loaded>, String> {
        let mut loaded = self.store.load(&[id]).await.map_err(unexpected("load"))?;
        same("how many were loaded", &loaded.len(), &1)?;
        Ok(loaded.pop().flatten())
    }

    pub(super) async fn rows(&self, id: WorkflowId) -> Result<Vec<LedgerRow>, String> {
        self.store.ledger(&[id]).await.map_err(unexpected("ledger"))
    }

    /// The one row of the ledger with this key.
    pub(super) async fn row(&self, id: WorkflowId, key: OwedKey) -> Result<LedgerRow, String> {
        let rows = self.rows(id).await?;
        let found = rows.into_iter().find(|row| row.key.key == key);
        found.ok_or_else(|| format!("the ledger has no row {key}"))
    }

    /// Its row, its history and its ledger are what they have to be.
    pub(super) async fn whole(&self, flow: &Flow) -> Verdict {
        let loaded = self.load(flow.id()).await?.ok_or("the workflow is not there")?;
        same("the state", &normal(loaded.state), &normal(flow.state.clone()))?;
        let history = self.store.history(flow.id(), 0, u32::MAX).await.map_err(unexpected("history"))?;
        same("the history", &history, &flow.events)?;
        let folded = history.iter().fold(None, evolve);
        same("the history, folded", &folded.map(normal), &Some(normal(flow.state.clone())))?;
        let rows = self.rows(flow.id()).await?;
        let found: Vec<AsOwed> = rows.iter().map(as_owed).collect();
        let mut expected = expected_rows(flow);
        for (expected, row) in expected.iter_mut().zip(&rows).filter(|(_, row)| row.deliveries > 0) {
            expected.4 = found_due(row);
        }
        same("the ledger", &found, &expected)?;
        for row in rows {
            same("a ledger row's workflow", &row.key.id, &flow.id())?;
            same("a ledger row's namespace", &row.namespace, &flow.state.namespace)?;
        }
        Ok(())
    }

    pub(super) async fn claim(&self, request: &ClaimRequest) -> Result<Vec<LedgerRow>, String> {
        Ok(self.store.claim(request).await.map_err(unexpected("claim"))?.rows)
    }
}

type AsOwed = (String, u32, Option<String>, RowKind, Option<Timestamp>);

/// What of a row follows from the state: when a row is due, unless it was delivered.
fn as_owed(row: &LedgerRow) -> AsOwed {
    (row.key.key.to_string(), row.key.attempt, row.service.clone(), row.kind, found_due(row))
}

fn found_due(row: &LedgerRow) -> Option<Timestamp> {
    (row.kind == RowKind::Run && row.deliveries == 0).then_some(row.due_at)
}

/// A state with null for absent where its stored form does not tell one from the other.
pub(super) fn normal(mut state: State) -> State {
    let mut values = vec![&mut state.output];
    values.extend(state.error.as_mut().map(|error| &mut error.detail));
    for step in &mut state.steps {
        values.push(&mut step.output);
        values.extend(step.error.as_mut().map(|error| &mut error.detail));
    }
    for value in values.into_iter().filter(|value| **value == Some(Json::Null)) {
        *value = None;
    }
    state
}

fn expected_rows(flow: &Flow) -> Vec<AsOwed> {
    let mut rows: Vec<AsOwed> = owed(&flow.plan, &flow.state)
        .into_iter()
        .map(|row| {
            let (kind, due) = match row.due {
                Due::At(at) => (RowKind::Run, Some(at)),
                Due::Held => (RowKind::Held, None),
                Due::Withdraw => (RowKind::Withdraw, None),
            };
            (row.key.to_string(), row.attempt, row.service, kind, due)
        })
        .collect();
    rows.sort_by(|left, right| left.0.cmp(&right.0));
    rows
}

/// A claim of these services' executes, without timers.
pub(super) fn lanes(services: &[&str], now: Timestamp) -> ClaimRequest {
    ClaimRequest {
        fence: None,
        now,
        lanes: services.iter().map(|service| lane(service, Side::Execute)).collect(),
        timers: false,
        limit: 100,
        redelivery: REDELIVERY,
    }
}

pub(super) fn lane(service: &str, side: Side) -> LaneClaim {
    LaneClaim {
        namespace: NAMESPACE.to_owned(),
        service: service.to_owned(),
        side,
        waiting_since: None,
        limit: 100,
    }
}

/// A claim of timers only.
pub(super) fn timers(now: Timestamp) -> ClaimRequest {
    ClaimRequest { timers: true, ..lanes(&[], now) }
}

/// An outcome in a word.
pub(super) fn said(outcome: &WriteOutcome) -> String {
    match outcome {
        WriteOutcome::Written => "written".to_owned(),
        WriteOutcome::Replayed(loaded) => format!("replayed {} at {}", loaded.state.id, loaded.state.seq),
        WriteOutcome::KeyConflict(id) => format!("conflict with {id}"),
        WriteOutcome::Lost(loaded) => format!("lost {} at {}", loaded.state.id, loaded.state.seq),
        WriteOutcome::Missing => "missing".to_owned(),
    }
}

pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Both are equal; what is long is cut.
pub(super) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Verdict {
    ensure(found == expected, || format!("{what}: {} where {} was expected", short(found), short(expected)))
}

fn short(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    if text.len() <= 400 {
        return text;
    }
    format!("{}… ({} bytes)", text.chars().take(400).collect::<String>(), text.len())
}

pub(super) fn unexpected(call: &'static str) -> impl Fn(Error) -> String {
    move |error| format!("{call}: {error}")
}
