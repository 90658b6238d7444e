//! The cases with two emulators of Kinesis, and tests with a proxy that injects faults, with splits and merges of
//! shards, and with a killed server.

mod faults;
mod proxy;
mod recovery;
mod shared_leases;

use super::servers::{BreakableQueue, Servers, variable};
use async_trait::async_trait;
use goconductor_queue::conformance::{Breakable, Factory};
use goconductor_queue::kinesis::{
    AwsCredentials, KinesisQueue, Leases, MemoryLeases, Settings, StreamCapacity,
};
use goconductor_queue::{Consumer, Delivery, DeliveryTag, Message, Queue, Topic};
use std::sync::Arc;
use std::time::Duration;

/// The endpoint of kinesalite, which is fast and durable.
const KINESALITE: &str = "GOCONDUCTOR_TEST_KINESIS_ENDPOINT";
/// The endpoint of kinesis-local, which implements more of the API.
const KINESIS_LOCAL: &str = "GOCONDUCTOR_TEST_KINESIS_LOCAL_ENDPOINT";

/// Returns settings with a unique prefix.
fn settings(endpoint: &str) -> Settings {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let (secret, token) = ("test".into(), None);
    Settings {
        endpoint: Some(endpoint.into()),
        prefix: format!("t{id}"),
        capacity: StreamCapacity::Shards(4),
        credentials: AwsCredentials::Keys { id: "test".to_owned(), secret, token },
        ..Settings::new("us-east-1")
    }
}

fn queue(settings: Settings, leases: &Arc<dyn Leases>) -> KinesisQueue {
    let identity = uuid::Uuid::now_v7().simple().to_string();
    KinesisQueue::new(settings, &identity, Arc::clone(leases)).unwrap()
}

fn leases() -> Arc<dyn Leases> {
    Arc::new(MemoryLeases::default())
}

/// Opens a queue from an endpoint, a prefix and the address of the lease server.
pub(crate) fn open(arguments: &str) -> Arc<dyn Queue> {
    let parts: Vec<&str> = arguments.split(' ').collect();
    let settings = Settings { prefix: parts[1].to_owned(), ..settings(parts[0]) };
    Arc::new(queue(settings, &shared_leases::connect(parts[2])))
}

#[derive(Debug)]
struct Emulator {
    endpoint: String,
    /// Whether acknowledged records survive a kill.
    is_durable: bool,
}

#[async_trait]
impl Factory for Emulator {
    async fn open(&self) -> Result<Arc<dyn Queue>, String> {
        Ok(Arc::new(queue(settings(&self.endpoint), &leases())))
    }

    async fn open_bounded(&self, _: usize) -> Result<Option<Arc<dyn Queue>>, String> {
        Ok(None)
    }

    fn knows_consumers(&self) -> bool {
        false
    }

    fn is_log(&self) -> bool {
        true
    }

    async fn breakable(&self) -> Result<Option<Arc<dyn Breakable>>, String> {
        if !self.is_durable {
            return Ok(None);
        }
        let servers = Servers::start("kinesis.sh", 1, "kinesalite", &[]).await?;
        let (settings, leases) = (settings(&servers.get("KINESIS_ENDPOINT")), leases());
        let address = shared_leases::serve(Arc::clone(&leases)).await;
        let open = format!("kinesis {} {} {address}", servers.get("KINESIS_ENDPOINT"), settings.prefix);
        Ok(Some(Arc::new(BreakableQueue { servers, queue: Arc::new(queue(settings, &leases)), open })))
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(60)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kinesalite_passes_all_cases() {
    let Some(endpoint) = variable(KINESALITE) else { return };
    super::run_all_cases(Arc::new(Emulator { endpoint, is_durable: true })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kinesis_local_passes_all_cases_except_load() {
    let Some(endpoint) = variable(KINESIS_LOCAL) else { return };
    // Its throughput is a few hundred records per second. The other emulator runs the load case.
    let skipped = ["many_messages_are_delivered_exactly_once"];
    super::run_cases_except(Arc::new(Emulator { endpoint, is_durable: false }), &skipped).await;
}

fn message(key: &str, number: u64) -> Message {
    Message { key: key.to_owned(), payload: number.to_string().into(), published_at_ms: 1 }
}

fn number(delivery: &Delivery) -> u64 {
    std::str::from_utf8(&delivery.message.payload).unwrap().parse().unwrap()
}

fn tags(deliveries: &[Delivery]) -> Vec<DeliveryTag> {
    deliveries.iter().map(|delivery| delivery.tag).collect()
}

/// Receives `count` messages.
async fn receive(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        let receiving = consumer.receive(count - all.len());
        let received = tokio::time::timeout(Duration::from_secs(60), receiving).await;
        all.extend(received.unwrap_or_else(|_| panic!("{} of {count} were delivered", all.len())).unwrap());
    }
    all
}

/// Creates a client for requests that the adapter does not send.
async fn client(endpoint: &str) -> aws_sdk_kinesis::Client {
    let keys = aws_sdk_kinesis::config::Credentials::new("test", "test", None, None, "test");
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(keys);
    aws_sdk_kinesis::Client::new(&config.load().await)
}

/// Returns the stream of a topic.
fn stream(settings: &Settings, topic: &Topic) -> String {
    format!("{}.{topic}", settings.prefix)
}
