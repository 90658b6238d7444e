//! An election whose fencing tokens are lower than before: the store refuses its leader, which retries slowly.

use async_trait::async_trait;
use goconductor_election::{Election, EraElection, Error, Leader, Leadership, LocalElection};
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

/// The election of the only shard.
const DUTIES: &str = "duties/0-of-1";

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

/// An election that counts how often a candidate becomes leader.
#[derive(Debug)]
struct Counted {
    election: EraElection,
    won: AtomicUsize,
}

#[async_trait]
impl Election for Counted {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        let leadership = self.election.campaign(name, candidate).await?;
        // The scheduler has an election of its own.
        if name == DUTIES {
            self.won.fetch_add(1, Ordering::SeqCst);
        }
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

/// Claims no rows with a fencing token. Returns whether the store refuses the token.
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

/// Runs an executor in an era, with a store that has seen the token 100. Returns how often it became leader, and
/// whether the store accepted its token.
async fn leaderships_in(era: u8) -> (usize, bool) {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::ephemeral().unwrap());
    assert!(!is_refused(&*store, 100).await);
    let queue = Arc::new(MemoryQueue::new(Limits::default()));
    let settings = goconductor_transition::Settings::default();
    let engine = Engine::new(Arc::clone(&store), queue, Arc::new(NoExpressions), settings);
    let election = EraElection::new(Arc::new(LocalElection::new(1)), era).unwrap();
    let election = Arc::new(Counted { election, won: AtomicUsize::new(0) });
    let settings = Settings { duty_shards: 1, ..Settings::default() };
    let executor = Executor::new(engine, Arc::clone(&election) as Arc<dyn Election>, settings);
    let stop = CancellationToken::new();
    let running = tokio::spawn(executor.run(stop.clone()));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let accepted = is_refused(&*store, 100).await;
    stop.cancel();
    running.await.unwrap();
    (election.won.load(Ordering::SeqCst), accepted)
}

#[tokio::test]
async fn stale_fencing_tokens_are_accepted_in_next_era() {
    assert_eq!(leaderships_in(0).await, (1, false), "a fenced leader waits before it campaigns again");
    assert_eq!(leaderships_in(1).await, (1, true), "tokens of the next era are higher");
}
