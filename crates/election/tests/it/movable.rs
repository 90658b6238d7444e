//! An election that moves meets every guarantee, and its terms end with the move.

use async_trait::async_trait;
use goconductor_election::conformance::{CASES, Factory};
use goconductor_election::{Election, EraElection, FencingToken, LocalElection, MovableElection};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
struct Movable;

#[async_trait]
impl Factory for Movable {
    async fn open(&self) -> Result<Arc<dyn Election>, String> {
        Ok(Arc::new(MovableElection::new(at(0))))
    }
}

fn at(era: u8) -> Arc<dyn Election> {
    Arc::new(EraElection::new(Arc::new(LocalElection::new(1)), era).expect("an era"))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("nothing waits for long")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn movable_election_meets_every_guarantee() {
    for case in CASES {
        assert_eq!(case.check(Arc::new(Movable)).await, Ok(()), "{}", case.name);
    }
}

#[tokio::test]
async fn terms_end_with_the_move_and_the_next_tokens_are_higher() {
    let first = at(0);
    let election = Arc::new(MovableElection::new(Arc::clone(&first)));
    let leads = election.campaign("relay", "a").await.unwrap();
    let waiting = tokio::spawn({
        let election = Arc::clone(&election);
        async move { election.campaign("relay", "b").await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let replaced = election.replace(at(1));
    assert!(!leads.is_valid(), "the holder knows of the end");
    within(leads.lost()).await;
    // The candidate that waited at the previous backend leads at the next one.
    let next = within(waiting).await.unwrap().unwrap();
    assert!(next.is_valid() && next.token() > leads.token(), "{}", next.token());
    assert!(next.token() > FencingToken(1 << 56), "{}", next.token());
    assert_eq!(next.leader().candidate, "b");
    assert_eq!(election.list().await.unwrap(), [next.leader().clone()]);
    // The move is complete when the holder has resigned. A process that did not move yet can then lead.
    let (resigned, ()) = within(async { tokio::join!(leads.resign(), replaced) }).await;
    assert_eq!(resigned, Ok(()));
    assert_eq!(first.observe("relay").await, Ok(None));
    assert_eq!(within(next.resign()).await, Ok(()));
    assert_eq!(election.observe("relay").await, Ok(None));
}

#[tokio::test]
async fn move_waits_for_terms_but_not_for_those_that_have_ended() {
    let election = MovableElection::new(at(0));
    drop(election.campaign("relay", "a").await.unwrap());
    let second = within(election.campaign("relay", "b")).await.unwrap();
    let replaced = election.replace(at(1));
    tokio::pin!(replaced);
    let waited = tokio::time::timeout(Duration::from_millis(50), &mut replaced).await;
    assert!(waited.is_err(), "the holder has not dropped the term");
    drop(second);
    within(replaced).await;
    within(election.replace(at(2))).await;
    assert_eq!(election.list().await, Ok(Vec::new()));
}
