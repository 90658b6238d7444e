//! Kafka keeps every promise: with one broker, and with three.

use async_trait::async_trait;
use goconductor_queue::conformance::{CASES, Factory};
use goconductor_queue::kafka::{KafkaQueue, Settings};
use goconductor_queue::{Message, Queue, Topic};
use std::sync::Arc;
use std::time::Duration;

/// The brokers; none: say so, unless that is a failure.
fn brokers(variable: &str) -> Option<Vec<String>> {
    let list = std::env::var(variable).ok();
    if list.is_none() {
        let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(!required, "{variable} is not set");
        eprintln!("not run: {variable} is not set");
    }
    Some(list?.split(',').map(str::to_owned).collect())
}

fn queue(brokers: &[String]) -> KafkaQueue {
    let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
    KafkaQueue::new(Settings { prefix, partitions: 4, ..Settings::of(brokers.to_vec()) }).unwrap()
}

#[derive(Debug)]
struct Brokers(Vec<String>);

#[async_trait]
impl Factory for Brokers {
    async fn open(&self) -> Result<Arc<dyn Queue>, String> {
        Ok(Arc::new(queue(&self.0)))
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

    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

async fn conformance(variable: &str) {
    let Some(brokers) = brokers(variable) else { return };
    let mut broken = Vec::new();
    for case in CASES {
        if let Err(why) = case.check(Arc::new(Brokers(brokers.clone()))).await {
            broken.push(format!("{}: {why}", case.name));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_broker_keeps_every_promise() {
    conformance("GOCONDUCTOR_TEST_KAFKA_BROKERS").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_brokers_keep_every_promise() {
    conformance("GOCONDUCTOR_TEST_KAFKA3_BROKERS").await;
}

#[tokio::test]
async fn brokers_that_are_not_there_are_said_to_be_out_of_reach() {
    let queue = queue(&["127.0.0.1:1".to_owned()]);
    let message = Message { key: "k".to_owned(), payload: "p".into(), published_at_ms: 1 };
    let error = queue.publish(&Topic::execute("payments"), vec![message]).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!(queue.check().await.is_err());
}
