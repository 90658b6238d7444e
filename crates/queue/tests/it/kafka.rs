//! The cases with Kafka: one broker, and a cluster of three.

use super::servers::{BreakableQueue, Servers, variable};
use async_trait::async_trait;
use goconductor_queue::conformance::{Breakable, Factory};
use goconductor_queue::kafka::{KafkaQueue, Settings};
use goconductor_queue::{Message, Queue, Topic};
use std::sync::Arc;
use std::time::Duration;

fn settings(brokers: &str) -> Settings {
    let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
    Settings { prefix, partitions: 4, ..Settings::new(brokers.split(',').map(str::to_owned).collect()) }
}

/// Opens a queue from the addresses of brokers and a prefix.
pub(crate) fn open(arguments: &str) -> Arc<dyn Queue> {
    let (brokers, prefix) = arguments.split_once(' ').unwrap();
    Arc::new(KafkaQueue::new(Settings { prefix: prefix.to_owned(), ..settings(brokers) }).unwrap())
}

#[derive(Debug)]
struct Brokers {
    brokers: String,
    count: u32,
}

#[async_trait]
impl Factory for Brokers {
    async fn open(&self) -> Result<Arc<dyn Queue>, String> {
        Ok(Arc::new(KafkaQueue::new(settings(&self.brokers)).unwrap()))
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

    fn timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn breakable(&self) -> Result<Option<Arc<dyn Breakable>>, String> {
        let servers = Servers::up("kafka.sh", self.count, &[]).await?;
        let settings = settings(&servers.get("KAFKA_BROKERS"));
        let open = format!("kafka {} {}", settings.brokers.join(","), settings.prefix);
        let queue = Arc::new(KafkaQueue::new(settings).unwrap());
        Ok(Some(Arc::new(BreakableQueue { servers, queue, open })))
    }
}

async fn conformance(name: &str, count: u32) {
    let Some(brokers) = variable(name) else { return };
    super::run_all_cases(Arc::new(Brokers { brokers, count })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn single_broker_passes_all_cases() {
    conformance("GOCONDUCTOR_TEST_KAFKA_BROKERS", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cluster_of_three_brokers_passes_all_cases() {
    conformance("GOCONDUCTOR_TEST_KAFKA3_BROKERS", 3).await;
}

#[tokio::test]
async fn unreachable_broker_is_a_retryable_error() {
    let queue = KafkaQueue::new(settings("127.0.0.1:1")).unwrap();
    let message = Message { key: "k".to_owned(), payload: "p".into(), published_at_ms: 1 };
    let error = queue.publish(&Topic::execute("payments"), vec![message]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(queue.check().await.is_err());
}
