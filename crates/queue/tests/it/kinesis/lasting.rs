//! What outlives a consumer's pause, a stream that was deleted, and a record that is none of ours; and TLS.

use super::{QUICK, client, leases, message, number, queue, settings, stream, tags, take};
use crate::servers::{Servers, required, variable};
use async_trait::async_trait;
use goconductor_queue::kinesis::{Lease, Leases, Mark, MemoryLeases, NewLease, Settings, Take};
use goconductor_queue::{Error, Queue, Topic};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn over_tls_only_one_who_is_trusted_is_told_anything() {
    if !required() {
        eprintln!("not run: GOCONDUCTOR_TEST_REQUIRE_SERVICES is not 1");
        return;
    }
    let servers = Servers::start("kinesis.sh", 1, "kinesis-local", &[]).await.unwrap();
    let stranger = settings(&servers.get("KINESIS_TLS_ENDPOINT"));
    let known = Settings { ca_file: Some(servers.get("KINESIS_CA").into()), ..stranger.clone() };
    let (stranger, known) = (queue(stranger, &leases()), queue(known, &leases()));
    let refused = stranger.check().await.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    assert_eq!(known.check().await, Ok(()));
    let topic = Topic::execute("payments");
    known.publish(&topic, vec![message("k", 1)]).await.unwrap();
    let mut consumer = known.consume(&topic).await.unwrap();
    assert_eq!(number(&take(&mut consumer, 1).await[0]), 1);
}

/// The leases of a process that can be paused: its calls wait meanwhile.
#[derive(Debug)]
struct Pausable {
    leases: Arc<MemoryLeases>,
    goes: watch::Receiver<bool>,
}

impl Pausable {
    async fn wait(&self) {
        self.goes.clone().wait_for(|goes| *goes).await.unwrap();
    }
}

#[async_trait]
impl Leases for Pausable {
    async fn list(&self, stream: &str) -> Result<Vec<Lease>, Error> {
        self.wait().await;
        self.leases.list(stream).await
    }

    async fn sync(&self, stream: &str, new: &[NewLease], gone: &[String]) -> Result<(), Error> {
        self.wait().await;
        self.leases.sync(stream, new, gone).await
    }

    async fn take(&self, stream: &str, take: &Take) -> Result<Vec<bool>, Error> {
        self.wait().await;
        self.leases.take(stream, take).await
    }

    async fn mark(&self, stream: &str, owner: &str, marks: &[Mark]) -> Result<Vec<bool>, Error> {
        self.wait().await;
        self.leases.mark(stream, owner, marks).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_who_was_paused_past_its_lease_acknowledges_nothing() {
    let Some(endpoint) = variable(QUICK) else { return };
    let settings = Settings { lease: Duration::from_secs(2), ..settings(&endpoint) };
    let kept = Arc::new(MemoryLeases::default());
    let (gate, goes) = watch::channel(true);
    let pausable: Arc<dyn Leases> = Arc::new(Pausable { leases: Arc::clone(&kept), goes });
    let topic = Topic::execute("payments");
    let paused = queue(settings.clone(), &pausable);
    let all = (0..20).map(|number| message("workflow", number)).collect();
    paused.publish(&topic, all).await.unwrap();
    let mut first = paused.consume(&topic).await.unwrap();
    let held = take(&mut first, 10).await;
    assert_eq!(first.acknowledge(&tags(&held[..4])).await, Ok(Vec::new()));
    gate.send(false).unwrap();
    let kept: Arc<dyn Leases> = kept;
    let other = queue(settings, &kept);
    let mut second = other.consume(&topic).await.unwrap();
    // Its lease runs out, and the other goes on behind what was acknowledged.
    let again = take(&mut second, 16).await;
    assert_eq!(again.iter().map(number).collect::<Vec<_>>(), Vec::from_iter(4..20));
    gate.send(true).unwrap();
    let gone = first.acknowledge(&tags(&held[4..])).await.unwrap();
    assert_eq!(gone, tags(&held[4..]));
    assert_eq!(second.acknowledge(&tags(&again)).await, Ok(Vec::new()));
    second.leave().await;
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_waits_behind_a_record_that_is_none_of_ours() {
    let Some(endpoint) = variable(QUICK) else { return };
    let (settings, leases, topic) = (settings(&endpoint), leases(), Topic::execute("payments"));
    let queue = queue(settings.clone(), &leases);
    queue.publish(&topic, vec![message("k", 1)]).await.unwrap();
    let poison = aws_sdk_kinesis::primitives::Blob::new([0xf3, b'G', b'C', 1, 0, 0]);
    let put = client(&endpoint).await.put_record().stream_name(stream(&settings, &topic));
    put.partition_key("k").data(poison.clone()).send().await.unwrap();
    queue.publish(&topic, vec![message("k", 2)]).await.unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    let came = take(&mut consumer, 3).await;
    let payloads: Vec<&[u8]> = came.iter().map(|delivery| &*delivery.message.payload).collect();
    assert_eq!(payloads, [b"1", poison.as_ref(), b"2"]);
    assert_eq!(came[1].message.key, "k");
    assert_eq!(consumer.acknowledge(&tags(&came)).await, Ok(Vec::new()));
    // Nor does it come again.
    drop(consumer);
    let mut next = queue.consume(&topic).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), next.take(1)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_that_was_deleted_comes_back_and_its_old_places_mean_nothing() {
    let Some(endpoint) = variable(QUICK) else { return };
    let (settings, leases, topic) = (settings(&endpoint), leases(), Topic::execute("payments"));
    let queue = queue(settings.clone(), &leases);
    queue
        .publish(&topic, (0..10).map(|number| message(&format!("w{number}"), number)).collect())
        .await
        .unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    let taken = take(&mut consumer, 10).await;
    assert_eq!(consumer.acknowledge(&tags(&taken)).await, Ok(Vec::new()));
    // The emulator tells streams of one name apart by the second in which they were made.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let delete = client(&endpoint).await.delete_stream().stream_name(stream(&settings, &topic));
    delete.send().await.unwrap();
    let again: Vec<_> = (10..20).map(|number| message(&format!("w{number}"), number)).collect();
    while let Err(error) = queue.publish(&topic, again.clone()).await {
        assert!(error.retryable(), "{error}");
    }
    let mut came = BTreeSet::new();
    while came.len() < 10 {
        match tokio::time::timeout(Duration::from_secs(60), consumer.take(10)).await.expect("nothing comes") {
            Ok(taken) => {
                came.extend(taken.iter().map(number));
                consumer.acknowledge(&tags(&taken)).await.unwrap();
            }
            // As a lane does.
            Err(error) => {
                assert!(error.retryable(), "{error}");
                consumer = queue.consume(&topic).await.unwrap();
            }
        }
    }
    assert_eq!(came, BTreeSet::from_iter(10..20));
}
