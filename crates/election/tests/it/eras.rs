//! Tokens increase across a change of the backend if the era is raised.

use crate::backends::{ALL, TestElection, lead};
use goconductor_election::{Election, EraElection, Error, FencingToken, LAST_ERA, LocalElection};
use std::sync::Arc;

#[tokio::test]
async fn tokens_of_an_era_exceed_those_of_the_previous_era() {
    let last_of_the_first = (1 << 56) - 1;
    let first = EraElection::new(Arc::new(LocalElection::new(last_of_the_first)), 0).expect("an era");
    let second = EraElection::new(Arc::new(LocalElection::new(1)), 1).expect("an era");
    let (before, after) =
        (first.campaign("relay", "a").await.unwrap(), second.campaign("relay", "a").await.unwrap());
    assert_eq!(before.token(), FencingToken(last_of_the_first));
    assert_eq!(after.token(), FencingToken((1 << 56) + 1));
    assert_eq!(second.observe("relay").await.unwrap().as_ref(), Some(after.leader()));
    assert_eq!(second.list().await.unwrap(), [after.leader().clone()]);
    // A higher counter would reach into the next era.
    drop(before);
    let error = first.campaign("relay", "a").await.expect_err("no token is left");
    assert_eq!(error, Error::TokensExhausted { name: "relay".to_owned() });
    assert_eq!(first.observe("relay").await, Ok(None), "the failed candidate has left");
    let last = EraElection::new(Arc::new(LocalElection::new(1)), LAST_ERA).expect("an era");
    let token = last.campaign("relay", "a").await.unwrap().token();
    assert!(i64::try_from(token.0).is_ok(), "{token} fits a database integer");
    assert!(EraElection::new(Arc::new(LocalElection::new(1)), LAST_ERA + 1).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tokens_increase_across_backends() {
    let mut last = FencingToken(0);
    for (era, backend) in (0..).zip(ALL.iter().chain(ALL.iter().rev())) {
        let Some(place) = TestElection::new(*backend).await else { return };
        let election = EraElection::new(place.open().await.unwrap(), era).unwrap();
        let term = lead(&election, "relay", "a").await;
        assert!(term.token() > last, "{} of {backend:?} in era {era} came after {last}", term.token());
        last = term.token();
        term.resign().await.unwrap();
    }
}
