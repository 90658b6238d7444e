//! The election of a single process meets every guarantee, and some additional ones.

use std::sync::Arc;

use async_trait::async_trait;
use goconductor_election::conformance::{CASES, Factory};
use goconductor_election::{Election, Error, ErrorKind, FencingToken, LocalElection};

#[derive(Debug)]
struct Local;

#[async_trait]
impl Factory for Local {
    async fn open(&self) -> Result<Arc<dyn Election>, String> {
        Ok(Arc::new(LocalElection::new(1)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn local_election_meets_every_guarantee() {
    for case in CASES {
        assert_eq!(case.check(Arc::new(Local)).await, Ok(()), "{}", case.name);
    }
}

#[tokio::test]
async fn tokens_start_at_the_first_token() {
    let floor = 7 << 32;
    let election = LocalElection::new(floor);
    let first = election.campaign("relay", "executor").await.expect("won");
    let other = election.campaign("timers", "executor").await.expect("won");
    assert_eq!((first.token(), other.token()), (FencingToken(floor), FencingToken(floor + 1)));
    assert_eq!(first.token().to_string(), floor.to_string());
}

#[tokio::test]
async fn no_token_is_issued_twice() {
    let election = LocalElection::new(u64::MAX);
    let last = election.campaign("relay", "executor").await.expect("one token is left");
    assert_eq!(last.token(), FencingToken(u64::MAX));
    drop(last);
    let error = election.campaign("relay", "executor").await.expect_err("no token is left");
    assert_eq!(error, Error::TokensExhausted { name: "relay".to_owned() });
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TokensExhausted, false));
    assert_eq!(election.names(), 0);
}

#[tokio::test]
async fn candidates_lead_in_order_of_arrival() {
    let election = LocalElection::new(1);
    let first = election.campaign("relay", "executor-0").await.expect("won");
    let mut waiting: Vec<_> = (1..5).map(|_| election.campaign("relay", "executor")).collect();
    for campaign in &mut waiting {
        assert!(poll_once(campaign).is_none());
    }
    let mut leading = first;
    for campaign in waiting {
        let before = leading.token();
        leading.resign().await.expect("given up");
        leading = campaign.await.expect("the next candidate leads");
        assert_eq!(leading.token().0, before.0 + 1);
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn unused_names_use_no_memory() {
    let election = LocalElection::new(1);
    for number in 0..10 {
        let name = format!("shard-{number}");
        let leadership = election.campaign(&name, "executor").await.expect("won");
        let mut waiting = election.campaign(&name, "other");
        assert!(poll_once(&mut waiting).is_none());
        assert_eq!(election.names(), 1);
        election.step_down(&name).await.expect("answers");
        drop(waiting);
        drop(leadership);
        assert_eq!(election.observe(&name).await, Ok(None));
        assert_eq!(election.names(), 0);
    }
}
