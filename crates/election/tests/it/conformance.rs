//! Each backend meets every guarantee, with one server and with three.

use crate::backends::{ETCD, ETCD3, Kind, POSTGRES, Servers, ZOOKEEPER, ZOOKEEPER3, address};
use async_trait::async_trait;
use goconductor_election::conformance::{CASES, Factory, StalledLeader};
use goconductor_election::{Election, EraElection};
use std::sync::Arc;

async fn keeps_every_promise((kind, variable): (Kind, &str)) {
    let Some(address) = address(variable) else { return };
    all_cases(Arc::new(Servers { kind, address })).await;
}

async fn all_cases(factory: Arc<dyn Factory>) {
    let mut broken = Vec::new();
    for case in CASES {
        if let Err(why) = case.check(Arc::clone(&factory)).await {
            broken.push(format!("{}: {why}", case.name));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres() {
    keeps_every_promise(POSTGRES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn etcd_of_one() {
    keeps_every_promise(ETCD).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn etcd_of_three() {
    keeps_every_promise(ETCD3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn zookeeper_of_one() {
    keeps_every_promise(ZOOKEEPER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn zookeeper_of_three() {
    keeps_every_promise(ZOOKEEPER3).await;
}

/// Elections of a later era.
#[derive(Debug)]
struct Later(Servers);

#[async_trait]
impl Factory for Later {
    async fn open(&self) -> Result<Arc<dyn Election>, String> {
        let election = EraElection::new(self.0.open().await?, 3).map_err(|error| error.to_string())?;
        Ok(Arc::new(election))
    }

    async fn stalled_leader(&self, name: &str) -> Result<StalledLeader, String> {
        self.0.stalled_leader(name).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn era_election() {
    let (kind, variable) = ETCD;
    let Some(address) = address(variable) else { return };
    all_cases(Arc::new(Later(Servers { kind, address }))).await;
}
