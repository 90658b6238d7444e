//! Sagas of three steps that complete or roll back.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json as Body, Router};
use goconductor_election::local::LocalElection;
use goconductor_queue::memory::{Limits, MemoryQueue};
use goconductor_saga::{
    Action, Compensation, DEFINITION_FORMAT, Definition, ExpressionError, Expressions, Failure, Json, Kind,
    Outcome, Phase, Retry, Scope, Side, State, Step, StepIndex, StepStatus, Timeouts, WorkflowId,
};
use goconductor_saga_executor::{Executor, Participant, Settings, Task};
use goconductor_service_kit::outbound::OutboundPolicy;
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{NewDefinition, ServiceRecord, ServiceSettings, Store};
use goconductor_transition::{Engine, StartRequest, clock};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The test definitions have no expressions.
#[derive(Debug)]
struct NoExpressions;

impl Expressions for NoExpressions {
    fn evaluate(&self, expression: &str, _: &Scope<'_>) -> Result<Json, ExpressionError> {
        Err(ExpressionError {
            expression: expression.to_owned(),
            reason: "expressions are not supported".to_owned(),
        })
    }
}

fn step(index: u32, name: &str) -> Step {
    let run = |action: &str| Action::Run { service: "shop".to_owned(), action: action.to_owned() };
    Step {
        name: name.to_owned(),
        title: None,
        labels: Default::default(),
        depends_on: index.checked_sub(1).map(StepIndex).into_iter().collect(),
        join: Default::default(),
        skipped_with: None,
        when: Vec::new(),
        blocks: Vec::new(),
        lock: None,
        for_each: None,
        action: run(name),
        kind: Kind::Compensatable,
        failure: goconductor_saga::FailurePolicy::default(),
        input: None,
        compensate: Some(Compensation {
            action: run(&format!("undo_{name}")),
            when: None,
            input: None,
            retry: Retry::of_compensation(),
            timeout: Duration::from_secs(2),
            limits: goconductor_saga::CompensationLimits::default(),
        }),
        retry: Retry::default(),
        timeout: Timeouts { attempt: Duration::from_secs(2), ..Timeouts::default() },
    }
}

async fn start_executor() -> (Arc<Engine>, CancellationToken, tokio::task::JoinHandle<()>) {
    start_executor_with(vec![step(0, "reserve"), step(1, "charge"), step(2, "ship")], None).await
}

/// Starts an executor for a definition of these steps, with a participant in the process or over HTTP.
async fn start_executor_with(
    steps: Vec<Step>,
    participant: Option<Arc<dyn Participant>>,
) -> (Arc<Engine>, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let respond = |Path(action): Path<String>, Body(input): Body<Json>| async move {
        let refused = input["refuse"].as_str() == Some(action.as_str());
        if refused {
            return (StatusCode::CONFLICT, Body(json!({"code": "NO", "message": "refused"})));
        }
        (StatusCode::OK, Body(json!({"did": action})))
    };
    let router = Router::new().route("/{action}", post(respond));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let store: Arc<dyn Store> = Arc::new(SqliteStore::ephemeral().unwrap());
    let settings = ServiceSettings::http(url);
    let (namespace, name, updated_at) = ("default".to_owned(), "shop".to_owned(), clock::now());
    store.put_service(ServiceRecord { namespace, name, settings, updated_at }).await.unwrap();
    let definition = Definition {
        format: DEFINITION_FORMAT,
        name: "order".to_owned(),
        title: None,
        description: None,
        labels: Default::default(),
        input: None,
        output: None,
        timeout: None,
        rollback: goconductor_saga::RollbackPolicy::default(),
        locks: Vec::new(),
        steps,
    };
    let new = NewDefinition {
        namespace: "default".to_owned(),
        definition,
        digest: "1".to_owned(),
        source: String::new(),
        source_format: "yaml".to_owned(),
        actor: None,
    };
    store.put_definition(new).await.unwrap();
    let queue = Arc::new(MemoryQueue::new(Limits::default()));
    let engine =
        Engine::new(store, queue, Arc::new(NoExpressions), goconductor_transition::Settings::default());
    let stop = CancellationToken::new();
    let outbound = OutboundPolicy::default().with_loopback();
    let settings = Settings { outbound, ..Settings::default() };
    let mut executor = Executor::new(Arc::clone(&engine), Arc::new(LocalElection::new(1)), settings);
    if let Some(participant) = participant {
        executor = executor.with_participant("default", "shop", participant, 10);
    }
    let running = tokio::spawn(executor.run(stop.clone()));
    (engine, stop, running)
}

async fn start(engine: &Arc<Engine>, input: Json) -> WorkflowId {
    let plan = engine.plan("default", "order", None).await.unwrap();
    let request = StartRequest {
        namespace: "default".to_owned(),
        plan,
        input,
        labels: Default::default(),
        idempotency_key: None,
        actor: None,
        trace: None,
    };
    engine.start(request).await.unwrap().state.id
}

async fn ended(engine: &Arc<Engine>, id: WorkflowId) -> State {
    for _ in 0..2000 {
        let state = engine.load(id).await.unwrap().state;
        if state.phase.is_final() {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the workflow did not end: {:#?}", engine.load(id).await)
}

#[tokio::test]
async fn completed_saga_leaves_no_ledger_rows() {
    let (engine, stop, running) = start_executor().await;
    let id = start(&engine, json!({})).await;
    let state = ended(&engine, id).await;
    assert_eq!(state.phase, Phase::Completed);
    assert_eq!(state.steps[2].output, Some(json!({"did": "ship"}).into()));
    assert_eq!(engine.store().ledger(&[id]).await.unwrap(), Vec::new());
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn rolled_back_saga_leaves_no_ledger_rows() {
    let (engine, stop, running) = start_executor().await;
    let id = start(&engine, json!({"refuse": "ship"})).await;
    let state = ended(&engine, id).await;
    assert_eq!(state.phase, Phase::RolledBack);
    let statuses: Vec<_> = state.steps.iter().map(|step| step.status()).collect();
    assert_eq!(statuses, [StepStatus::Compensated, StepStatus::Compensated, StepStatus::Failed]);
    assert_eq!(engine.store().ledger(&[id]).await.unwrap(), Vec::new());
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_sagas_all_end() {
    let (engine, stop, running) = start_executor().await;
    let mut ids = Vec::new();
    for number in 0..300 {
        let input = if number % 3 == 0 { json!({"refuse": "ship"}) } else { json!({}) };
        ids.push(start(&engine, input).await);
    }
    for id in ids {
        ended(&engine, id).await;
    }
    stop.cancel();
    running.await.unwrap();
}

/// A participant in this process. The first two calls of each step cannot be made, and the output of the others has
/// `output_bytes` bytes.
#[derive(Debug)]
struct Starved {
    output_bytes: usize,
    calls: parking_lot::Mutex<BTreeMap<String, u32>>,
}

#[async_trait::async_trait]
impl Participant for Starved {
    async fn attempt(&self, task: &Task) -> Outcome {
        let mut calls = self.calls.lock();
        let calls = calls.entry(task.step.clone()).or_default();
        *calls += 1;
        if *calls <= 2 {
            return Outcome::NotSent { failure: Failure::of("LOCAL_SHORTAGE", "too many open files") };
        }
        let bytes = if task.side == Side::Execute { self.output_bytes } else { 0 };
        Outcome::Done { output: Json::String("x".repeat(bytes)) }
    }
}

#[tokio::test]
async fn command_that_cannot_be_sent_waits_outside_the_limits_of_its_step() {
    let mut plain = step(0, "reserve");
    let mut recorded = step(1, "charge");
    recorded.timeout.total = Some(Duration::from_secs(30));
    for step in [&mut plain, &mut recorded] {
        step.retry.max_attempts = Some(1);
    }
    let starved = Starved { output_bytes: 1, calls: Default::default() };
    let (engine, stop, running) = start_executor_with(vec![plain, recorded], Some(Arc::new(starved))).await;
    let id = start(&engine, json!({})).await;
    let state = ended(&engine, id).await;
    assert_eq!(state.phase, Phase::Completed, "{state:#?}");
    let attempts: Vec<_> =
        state.steps.iter().map(|step| (step.execute.begun(), step.execute.used())).collect();
    // The start of the second step is recorded before it is sent, so its history shows the attempts.
    assert_eq!(attempts, [(1, 1), (3, 1)]);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn output_of_a_participant_in_this_process_is_limited() {
    let mut step = step(0, "reserve");
    step.retry.max_attempts = Some(1);
    let starved = Starved { output_bytes: 512 << 10, calls: Default::default() };
    let (engine, stop, running) = start_executor_with(vec![step], Some(Arc::new(starved))).await;
    let id = start(&engine, json!({})).await;
    let state = ended(&engine, id).await;
    assert_eq!(state.error.unwrap().code, "OUTPUT_TOO_LARGE");
    assert_eq!(state.steps[0].execution, StepStatus::Unknown);
    stop.cancel();
    running.await.unwrap();
}
