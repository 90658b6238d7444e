//! An election that counts from lower than it did once: its leader is refused, and does not try all the time.

use async_trait::async_trait;
use goconductor_election::{Election, Error, InEra, Leader, Leadership, LocalElection};
use goconductor_queue::memory::{Limits, MemoryQueue};
use goconductor_saga::{ExpressionError, Expressions, Json, Scope};
use goconductor_saga_executor::{Executor, Settings};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{ClaimRequest, Fence, Store};
use goconductor_transition::{Engine, clock};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the only share of the duties is called.
const DUTIES: &str = "duties/0-of-1";

#[derive(Debug)]
struct NoExpressions;

impl Expressions for NoExpressions {
    fn evaluate(&self, expression: &str, _: &Scope<'_>) -> Result<Json, ExpressionError> {
        Err(ExpressionError { expression: expression.to_owned(), reason: "there are none here".to_owned() })
    }
}

/// An election that counts how often somebody comes to lead.
#[derive(Debug)]
struct Counted {
    election: InEra,
    won: AtomicUsize,
}

#[async_trait]
impl Election for Counted {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        let leadership = self.election.campaign(name, candidate).await?;
        self.won.fetch_add(1, Ordering::SeqCst);
        Ok(leadership)
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        self.election.observe(name).await
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        self.election.list().await
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        self.election.step_down(name).await
    }
}

/// A claim of nothing by that token; whether it is refused.
async fn is_refused(store: &dyn Store, token: u64) -> bool {
    let request = ClaimRequest {
        fence: Some(Fence { name: DUTIES.to_owned(), token }),
        shard: None,
        now: clock::now(),
        lanes: Vec::new(),
        timers: true,
        limit: 1,
        redelivery: Duration::from_secs(5),
    };
    match store.claim(&request).await {
        Ok(_) => false,
        Err(goconductor_store::Error::Fenced { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

/// How often an executor comes to lead in an era, where a token of a hundred was seen before.
async fn terms_in(era: u8) -> (usize, bool) {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::ephemeral().unwrap());
    assert!(!is_refused(&*store, 100).await);
    let queue = Arc::new(MemoryQueue::new(Limits::default()));
    let settings = goconductor_transition::Settings::default();
    let engine = Engine::new(Arc::clone(&store), queue, Arc::new(NoExpressions), settings);
    let election = InEra::new(Arc::new(LocalElection::new(1)), era).unwrap();
    let election = Arc::new(Counted { election, won: AtomicUsize::new(0) });
    let settings = Settings { duty_shards: 1, ..Settings::default() };
    let executor = Executor::new(engine, Arc::clone(&election) as Arc<dyn Election>, settings);
    let stop = CancellationToken::new();
    let running = tokio::spawn(executor.run(stop.clone()));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let works = is_refused(&*store, 100).await;
    stop.cancel();
    running.await.unwrap();
    (election.won.load(Ordering::SeqCst), works)
}

#[tokio::test]
async fn tokens_that_are_too_low_need_a_new_era() {
    assert_eq!(terms_in(0).await, (1, false), "who is refused waits before it tries again");
    assert_eq!(terms_in(1).await, (1, true), "in the next era all goes on");
}
