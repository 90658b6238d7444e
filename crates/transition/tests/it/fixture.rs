//! A definition of three parallel steps, and engines that share a store.

use crate::faults::{FaultyQueue, FaultyStore};
use goconductor_queue::{Consumer, Queue, Topic};
use goconductor_saga::{
    Action, DEFINITION_FORMAT, Definition, EventKind, ExpressionError, Expressions, Input, Join, Json, Kind,
    Outcome, OwedKey, Retry, Scope, Side, Step, StepIndex, Timeouts, Timestamp, WorkflowId,
};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{DefinitionStore, LedgerRow, LedgerStore, NewDefinition, WorkflowStore};
use goconductor_transition::{Engine, Error, Settings, StartRequest, Started};
use serde_json::json;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

/// An evaluator for definitions without expressions.
#[derive(Debug)]
struct NoExpressions;

impl Expressions for NoExpressions {
    fn evaluate(&self, expression: &str, _: &Scope<'_>) -> Result<Json, ExpressionError> {
        Err(ExpressionError { expression: expression.to_owned(), reason: "not supported".to_owned() })
    }
}

/// An engine whose store and queue can fail, and a consumer of its topic.
pub(crate) struct Fixture {
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) queue: Arc<FaultyQueue>,
    /// The engine publishes only to topics that have a consumer.
    _consumer: Box<dyn Consumer>,
    database: Arc<SqliteStore>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with_settings(Settings::default()).await
    }

    pub(crate) async fn with_settings(settings: Settings) -> Self {
        let database = Arc::new(SqliteStore::ephemeral().unwrap());
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
            steps: ["reserve", "charge", "ship"].map(step).to_vec(),
        };
        let new = NewDefinition {
            namespace: "default".to_owned(),
            definition,
            digest: "1".to_owned(),
            source: String::new(),
            source_format: "yaml".to_owned(),
            actor: None,
        };
        database.put_definition(new).await.unwrap();
        let (store, queue) = (FaultyStore::new(Arc::clone(&database)), FaultyQueue::new());
        let _consumer = queue.consume(&topic()).await.unwrap();
        let engine = engine(Arc::clone(&store), Arc::clone(&queue), settings);
        Self { engine, store, queue, _consumer, database }
    }

    /// Returns an engine of another process: it shares the database and nothing else.
    pub(crate) fn other_engine(&self) -> Arc<Engine> {
        engine(FaultyStore::new(Arc::clone(&self.database)), FaultyQueue::new(), Settings::default())
    }

    pub(crate) async fn start(&self, key: Option<&str>, input: Json) -> Result<Started, Error> {
        let plan = self.engine.plan("default", "order", None).await?;
        let request = StartRequest {
            namespace: "default".to_owned(),
            plan,
            input,
            labels: Default::default(),
            idempotency_key: key.map(str::to_owned),
            actor: None,
            trace: None,
        };
        self.engine.start(request).await
    }

    /// Starts a workflow and forgets the write of the start.
    pub(crate) async fn started(&self) -> WorkflowId {
        let started = self.start(None, json!({})).await.unwrap();
        self.store.take_writes();
        started.state.id
    }

    pub(crate) async fn history(&self, id: WorkflowId) -> Vec<EventKind> {
        let events = self.database.history(id, 0, 1000).await.unwrap();
        let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(
            numbers,
            (1..=events.len() as u64).collect::<Vec<_>>(),
            "events are numbered without gaps"
        );
        events.into_iter().map(|event| event.kind).collect()
    }

    /// Returns how often each step completed, according to the history.
    pub(crate) async fn completions(&self, id: WorkflowId) -> [usize; 3] {
        let history = self.history(id).await;
        [0, 1, 2].map(|index| {
            let completed = |kind: &&EventKind| {
                matches!(kind, EventKind::StepCompleted { step, .. } if *step == StepIndex(index))
            };
            history.iter().filter(completed).count()
        })
    }

    /// Returns the ledger row of the execute command of a step.
    pub(crate) async fn row(&self, id: WorkflowId, step: u32) -> LedgerRow {
        let rows = self.database.ledger(&[id]).await.unwrap();
        let key = OwedKey::Command(StepIndex(step), Side::Execute);
        rows.into_iter().find(|row| row.key.key == key).expect("the command is owed")
    }
}

/// Returns the topic of all steps.
pub(crate) fn topic() -> Topic {
    Topic::execute("shop")
}

/// Returns the input that reports the success of a step's first attempt.
pub(crate) fn completed(step: u32) -> Input {
    completed_with(step, Json::Null)
}

/// Returns the same input with an output.
pub(crate) fn completed_with(step: u32, output: Json) -> Input {
    Input::ReportOutcome {
        step: StepIndex(step),
        side: Side::Execute,
        attempt: 1,
        started_at: Timestamp(0),
        deadline: Timestamp(1),
        outcome: Outcome::Done { output },
    }
}

pub(crate) fn pause() -> Input {
    Input::Pause { actor: None, reason: None }
}

/// Polls a future once, and asserts that it is pending.
pub(crate) async fn assert_pending<F: Future>(mut future: Pin<&mut F>) {
    let pending = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await;
    assert!(pending, "the future is ready");
}

fn engine(store: Arc<FaultyStore>, queue: Arc<FaultyQueue>, settings: Settings) -> Arc<Engine> {
    Engine::new(store, queue, Arc::new(NoExpressions), settings)
}

fn step(name: &str) -> Step {
    Step {
        name: name.to_owned(),
        title: None,
        labels: Default::default(),
        depends_on: Vec::new(),
        join: Join::All,
        skipped_with: None,
        when: Vec::new(),
        blocks: Vec::new(),
        lock: None,
        for_each: None,
        action: Action::Run { service: "shop".to_owned(), action: name.to_owned() },
        kind: Kind::Compensatable,
        failure: goconductor_saga::FailurePolicy::default(),
        input: None,
        compensate: None,
        retry: Retry::default(),
        timeout: Timeouts::default(),
    }
}
