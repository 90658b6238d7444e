//! Paused consumers, deleted streams, records of other publishers, and TLS.

use super::{KINESALITE, client, leases, message, number, queue, receive, settings, stream, tags};
use crate::servers::{Servers, required, variable};
use async_trait::async_trait;
use goconductor_queue::kinesis::{
    Lease, Leases, MemoryLeases, NewLease, Settings, ShardLeaseRequest, ShardLeaseUpdate,
};
use goconductor_queue::{Error, Queue, Topic};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn untrusted_certificate_is_an_error() {
    if !required() {
        eprintln!("not run: GOCONDUCTOR_TEST_REQUIRE_SERVICES is not 1");
        return;
    }
    let servers = Servers::start("kinesis.sh", 1, "kinesis-local", &[]).await.unwrap();
    let without_ca = settings(&servers.get("KINESIS_TLS_ENDPOINT"));
    let with_ca = Settings { ca_file: Some(servers.get("KINESIS_CA").into()), ..without_ca.clone() };
    let (without_ca, with_ca) = (queue(without_ca, &leases()), queue(with_ca, &leases()));
    let refused = without_ca.check().await.unwrap_err().report();
    assert!(refused.contains("certificate"), "{refused}");
    assert_eq!(with_ca.check().await, Ok(()));
    let topic = Topic::execute("payments");
    with_ca.publish(&topic, vec![message("k", 1)]).await.unwrap();
    let mut consumer = with_ca.consume(&topic).await.unwrap();
    assert_eq!(number(&receive(&mut consumer, 1).await[0]), 1);
}

/// The leases of a process that can be paused: its calls wait until it is resumed.
#[derive(Debug)]
struct Pausable {
    leases: Arc<MemoryLeases>,
    running: watch::Receiver<bool>,
}

impl Pausable {
    async fn wait_until_running(&self) {
        self.running.clone().wait_for(|running| *running).await.unwrap();
    }
}

#[async_trait]
impl Leases for Pausable {
    async fn list(&self, stream: &str) -> Result<Vec<Lease>, Error> {
        self.wait_until_running().await;
        self.leases.list(stream).await
    }

    async fn sync(&self, stream: &str, new: &[NewLease], removed: &[String]) -> Result<(), Error> {
        self.wait_until_running().await;
        self.leases.sync(stream, new, removed).await
    }

    async fn acquire(&self, stream: &str, request: &ShardLeaseRequest) -> Result<Vec<bool>, Error> {
        self.wait_until_running().await;
        self.leases.acquire(stream, request).await
    }

    async fn update(
        &self,
        stream: &str,
        owner: &str,
        updates: &[ShardLeaseUpdate],
    ) -> Result<Vec<bool>, Error> {
        self.wait_until_running().await;
        self.leases.update(stream, owner, updates).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn consumer_paused_past_its_lease_acknowledges_nothing() {
    let Some(endpoint) = variable(KINESALITE) else { return };
    let settings = Settings { lease: Duration::from_secs(2), ..settings(&endpoint) };
    let leases = Arc::new(MemoryLeases::default());
    let (gate, running) = watch::channel(true);
    let pausable: Arc<dyn Leases> = Arc::new(Pausable { leases: Arc::clone(&leases), running });
    let topic = Topic::execute("payments");
    let paused = queue(settings.clone(), &pausable);
    let all = (0..20).map(|number| message("workflow", number)).collect();
    paused.publish(&topic, all).await.unwrap();
    let mut first = paused.consume(&topic).await.unwrap();
    let received = receive(&mut first, 10).await;
    assert_eq!(first.acknowledge(&tags(&received[..4])).await, Ok(Vec::new()));
    gate.send(false).unwrap();
    let leases: Arc<dyn Leases> = leases;
    let other = queue(settings, &leases);
    let mut second = other.consume(&topic).await.unwrap();
    // The lease expires, and the second consumer continues after the checkpoint.
    let redelivered = receive(&mut second, 16).await;
    assert_eq!(redelivered.iter().map(number).collect::<Vec<_>>(), Vec::from_iter(4..20));
    gate.send(true).unwrap();
    let lost = first.acknowledge(&tags(&received[4..])).await.unwrap();
    assert_eq!(lost, tags(&received[4..]));
    assert_eq!(second.acknowledge(&tags(&redelivered)).await, Ok(Vec::new()));
    second.close().await;
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn record_of_another_publisher_does_not_block_its_shard() {
    let Some(endpoint) = variable(KINESALITE) else { return };
    let (settings, leases, topic) = (settings(&endpoint), leases(), Topic::execute("payments"));
    let queue = queue(settings.clone(), &leases);
    queue.publish(&topic, vec![message("k", 1)]).await.unwrap();
    let poison = aws_sdk_kinesis::primitives::Blob::new([0xf3, b'G', b'C', 1, 0, 0]);
    let put = client(&endpoint).await.put_record().stream_name(stream(&settings, &topic));
    put.partition_key("k").data(poison.clone()).send().await.unwrap();
    queue.publish(&topic, vec![message("k", 2)]).await.unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    let received = receive(&mut consumer, 3).await;
    let payloads: Vec<&[u8]> = received.iter().map(|delivery| &*delivery.message.payload).collect();
    assert_eq!(payloads, [b"1", poison.as_ref(), b"2"]);
    assert_eq!(received[1].message.key, "k");
    assert_eq!(consumer.acknowledge(&tags(&received)).await, Ok(Vec::new()));
    // It is not delivered again.
    drop(consumer);
    let mut next = queue.consume(&topic).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), next.receive(1)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deleted_stream_is_created_again_without_its_old_checkpoints() {
    let Some(endpoint) = variable(KINESALITE) else { return };
    let (settings, leases, topic) = (settings(&endpoint), leases(), Topic::execute("payments"));
    let queue = queue(settings.clone(), &leases);
    queue
        .publish(&topic, (0..10).map(|number| message(&format!("w{number}"), number)).collect())
        .await
        .unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    let received = receive(&mut consumer, 10).await;
    assert_eq!(consumer.acknowledge(&tags(&received)).await, Ok(Vec::new()));
    // The emulator distinguishes streams with the same name by the second of their creation.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let delete = client(&endpoint).await.delete_stream().stream_name(stream(&settings, &topic));
    delete.send().await.unwrap();
    let new: Vec<_> = (10..20).map(|number| message(&format!("w{number}"), number)).collect();
    while let Err(error) = queue.publish(&topic, new.clone()).await {
        assert!(error.is_retryable(), "{error}");
    }
    let mut delivered = BTreeSet::new();
    while delivered.len() < 10 {
        let received = tokio::time::timeout(Duration::from_secs(60), consumer.receive(10)).await;
        match received.expect("a message is delivered") {
            Ok(received) => {
                delivered.extend(received.iter().map(number));
                consumer.acknowledge(&tags(&received)).await.unwrap();
            }
            // Like the executor, replaces a failed consumer.
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                consumer = queue.consume(&topic).await.unwrap();
            }
        }
    }
    assert_eq!(delivered, BTreeSet::from_iter(10..20));
}
