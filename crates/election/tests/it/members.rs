//! Ensembles of three servers. With one server lost, a leader exists or is soon elected. With two lost, none exists. With
//! one of them back, a leader is elected again.

use crate::backends::{ETCD3, Kind, TAKEOVER_MARGIN, TestElection, ZOOKEEPER3, address, lead};
use crate::servers::TestServers;
use goconductor_election::{Election, FencingToken};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// More than the remaining servers need to agree.
const LEASE: Duration = Duration::from_secs(5);
/// The time limit of an election.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Leads as long as possible and publishes the token.
async fn goes_on(election: Arc<dyn Election>, led: watch::Sender<Option<FencingToken>>) {
    let mut last = FencingToken(0);
    loop {
        let term = lead(&*election, "relay", "a").await;
        assert!(last < term.token(), "{} came after {last}", term.token());
        last = term.token();
        led.send_replace(Some(last));
        term.lost().await;
        led.send_replace(None);
    }
}

/// Waits until another process observes the present leader.
async fn is_seen(election: &dyn Election, led: &watch::Receiver<Option<FencingToken>>, when: &str) {
    let seen = async {
        loop {
            match election.observe("relay").await {
                Ok(leader)
                    if leader.is_some() && leader.as_ref().map(|leader| leader.token) == *led.borrow() =>
                {
                    return;
                }
                Ok(_) => {}
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(TIME_LIMIT, seen).await.unwrap_or_else(|_| panic!("no leader {when}"));
}

async fn one_of_three_is_lost(kind: Kind, variable: &str, script: &'static str, exported: &str) {
    if address(variable).is_none() {
        return;
    }
    let own = TestServers::start(script, &["up", "3"], &[]).await;
    let place = TestElection::at(kind, own.exported(exported)).await.with_lease(LEASE);
    let (election, other) = (place.open().await.unwrap(), place.open().await.unwrap());
    let (tell, mut led) = watch::channel(None);
    let leading = tokio::spawn(goes_on(election, tell));
    is_seen(&*other, &led, "at first").await;
    for (fall, rise) in [("kill", "start"), ("pause", "resume")] {
        for member in ["1", "2", "3"] {
            let before = *led.borrow();
            own.call(&[fall, member]).await;
            // Wait until the loss would have been noticed.
            tokio::time::sleep(LEASE + Duration::from_millis(500)).await;
            is_seen(&*other, &led, &format!("without {member} of {kind:?}, by {fall}")).await;
            println!("{kind:?}, {fall} {member}: the term continued: {}", *led.borrow() == before);
            own.call(&[rise, member]).await;
        }
    }
    // The remaining server cannot know the leader, so every term ends.
    own.call(&["pause", "1"]).await;
    own.call(&["pause", "2"]).await;
    let begun = Instant::now();
    tokio::time::timeout(TIME_LIMIT, led.wait_for(Option::is_none)).await.expect("told").unwrap();
    assert!(begun.elapsed() < LEASE + TAKEOVER_MARGIN, "{kind:?}: lost after {:?}", begun.elapsed());
    let said = other.observe("relay").await.unwrap_err();
    assert!(said.is_retryable(), "{said}");
    own.call(&["resume", "1"]).await;
    is_seen(&*other, &led, "with one of two back").await;
    assert!(!leading.is_finished(), "tokens rise");
    leading.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn etcd() {
    let (kind, variable) = ETCD3;
    one_of_three_is_lost(kind, variable, "etcd.sh", "ETCD_ENDPOINTS").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn zookeeper() {
    let (kind, variable) = ZOOKEEPER3;
    one_of_three_is_lost(kind, variable, "zookeeper.sh", "ZOOKEEPER_SERVERS").await;
}
