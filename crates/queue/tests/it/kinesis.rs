//! Kinesis keeps every promise: against two emulators, through a proxy that throttles, expires and delays, over
//! splits and merges, and over the death of its server.

mod lasting;
mod proxy;
mod shared;
mod trouble;

use super::servers::{Broken, Servers, variable};
use async_trait::async_trait;
use goconductor_queue::conformance::{Breakable, Factory};
use goconductor_queue::kinesis::{
    AwsCredentials, KinesisQueue, Leases, MemoryLeases, Settings, StreamCapacity,
};
use goconductor_queue::{Consumer, Delivery, DeliveryTag, Message, Queue, Topic};
use std::sync::Arc;
use std::time::Duration;

/// The quick one, which keeps what it has answered.
const QUICK: &str = "GOCONDUCTOR_TEST_KINESIS_ENDPOINT";
/// The one that knows more.
const WHOLE: &str = "GOCONDUCTOR_TEST_KINESIS_LOCAL_ENDPOINT";

/// Streams of its own.
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

/// The queue of a text that says where, with what prefix, and who keeps the leases.
pub(crate) fn open(text: &str) -> Arc<dyn Queue> {
    let parts: Vec<&str> = text.split(' ').collect();
    let settings = Settings { prefix: parts[1].to_owned(), ..settings(parts[0]) };
    Arc::new(queue(settings, &shared::at(parts[2])))
}

#[derive(Debug)]
struct Emulator {
    endpoint: String,
    /// What it has answered outlives it.
    keeps: bool,
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
        if !self.keeps {
            return Ok(None);
        }
        let servers = Servers::start("kinesis.sh", 1, "kinesalite", &[]).await?;
        let (settings, leases) = (settings(&servers.get("KINESIS_ENDPOINT")), leases());
        let address = shared::serve(Arc::clone(&leases)).await;
        let open = format!("kinesis {} {} {address}", servers.get("KINESIS_ENDPOINT"), settings.prefix);
        Ok(Some(Arc::new(Broken { servers, queue: Arc::new(queue(settings, &leases)), open })))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_quick_emulator_keeps_every_promise() {
    let Some(endpoint) = variable(QUICK) else { return };
    super::keeps_every_promise(Arc::new(Emulator { endpoint, keeps: true })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_whole_emulator_keeps_every_promise() {
    let Some(endpoint) = variable(WHOLE) else { return };
    // It takes in some hundred records a second: this one is the other's.
    let without = ["many_messages_come_exactly_once"];
    super::keeps_promises(Arc::new(Emulator { endpoint, keeps: false }), &without).await;
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

/// Takes until there are so many.
async fn take(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        let taken = tokio::time::timeout(Duration::from_secs(60), consumer.take(count - all.len())).await;
        all.extend(taken.unwrap_or_else(|_| panic!("{} of {count} came", all.len())).unwrap());
    }
    all
}

/// Kinesis itself, to do what the adapter does not.
async fn client(endpoint: &str) -> aws_sdk_kinesis::Client {
    let keys = aws_sdk_kinesis::config::Credentials::new("test", "test", None, None, "test");
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(keys);
    aws_sdk_kinesis::Client::new(&config.load().await)
}

/// The stream of a topic.
fn stream(settings: &Settings, topic: &Topic) -> String {
    format!("{}.{topic}", settings.prefix)
}
