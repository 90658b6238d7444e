//! The cases with RabbitMQ.

use super::servers::{BreakableQueue, Servers, required, variable};
use async_trait::async_trait;
use goconductor_queue::conformance::{Breakable, Factory};
use goconductor_queue::rabbitmq::{RabbitQueue, Settings};
use goconductor_queue::{ErrorKind, Message, Queue, Tls, Topic};
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const URL: &str = "GOCONDUCTOR_TEST_RABBITMQ_URL";

/// Parses a URL: `amqp://user:password@host:port`.
fn settings(url: &str) -> Settings {
    let (credentials, host) = url.trim_start_matches("amqp://").split_once('@').unwrap();
    let (user, password) = credentials.split_once(':').unwrap();
    let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
    Settings { prefix, ..Settings::new(vec![host.to_owned()], user.to_owned(), password.into()) }
}

/// Opens a queue from a URL and a prefix.
pub(crate) fn open(arguments: &str) -> Arc<dyn Queue> {
    let (url, prefix) = arguments.split_once(' ').unwrap();
    Arc::new(RabbitQueue::new(Settings { prefix: prefix.to_owned(), ..settings(url) }).unwrap())
}

#[derive(Debug)]
struct Rabbit(String);

#[async_trait]
impl Factory for Rabbit {
    async fn open(&self) -> Result<Arc<dyn Queue>, String> {
        Ok(Arc::new(RabbitQueue::new(settings(&self.0)).unwrap()))
    }

    async fn open_bounded(&self, messages: usize) -> Result<Option<Arc<dyn Queue>>, String> {
        let max_messages = u64::try_from(messages).unwrap();
        Ok(Some(Arc::new(RabbitQueue::new(Settings { max_messages, ..settings(&self.0) }).unwrap())))
    }

    fn knows_consumers(&self) -> bool {
        false
    }

    fn prefetches(&self) -> bool {
        true
    }

    fn knows_oldest(&self) -> bool {
        false
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn breakable(&self) -> Result<Option<Arc<dyn Breakable>>, String> {
        let servers = Servers::up("rabbitmq.sh", 1, &[]).await?;
        let get = |name: &str| servers.get(name);
        let url =
            format!("amqp://{}:{}@{}", get("RABBITMQ_USER"), get("RABBITMQ_PASSWORD"), get("RABBITMQ_HOSTS"));
        let settings = settings(&url);
        let open = format!("rabbitmq {url} {}", settings.prefix);
        let queue = Arc::new(RabbitQueue::new(settings).unwrap());
        Ok(Some(Arc::new(BreakableQueue { servers, queue, open })))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn single_broker_passes_all_cases() {
    let Some(url) = variable(URL) else { return };
    super::run_all_cases(Arc::new(Rabbit(url))).await;
}

fn message() -> Message {
    Message { key: "k".to_owned(), payload: "p".into(), published_at_ms: 1 }
}

#[tokio::test]
async fn unreachable_broker_is_a_retryable_error_with_its_address() {
    let queue = RabbitQueue::new(settings("amqp://me:pass@127.0.0.1:1")).unwrap();
    let error = queue.publish(&Topic::execute("payments"), vec![message()]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(queue.check().await.is_err());
}

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// The executor detects poison messages, so the adapter delivers everything in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_of_another_publisher_is_delivered() {
    let Some(url) = variable(URL) else { return };
    let settings = settings(&url);
    let (topic, name) = (Topic::execute("payments"), format!("{}.payments", settings.prefix));
    let queue = RabbitQueue::new(settings).unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    let (_connection, channel) = channel(&url).await;
    for payload in [&b"poison"[..], b""] {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        channel.basic_publish("".into(), name.as_str().into(), options, payload, properties).await.unwrap();
    }
    let mut received = Vec::new();
    while received.len() < 2 {
        let more = tokio::time::timeout(Duration::from_secs(20), consumer.receive(10)).await.unwrap();
        received.extend(more.unwrap());
    }
    assert_eq!((&*received[0].message.payload, &*received[1].message.payload), (&b"poison"[..], &b""[..]));
    assert!(received.iter().all(|each| each.message.key.is_empty() && each.message.published_at_ms == 0));
    let tags: Vec<_> = received.iter().map(|each| each.tag).collect();
    assert!(consumer.acknowledge(&tags).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misconfiguration_error_says_how_to_correct_it() {
    let Some(url) = variable(URL) else { return };
    let right = settings(&url);
    let (_connection, channel) = channel(&url).await;
    let classic = format!("{}.payments", right.prefix);
    let options = QueueDeclareOptions::durable();
    channel.queue_declare(classic.as_str().into(), options, FieldTable::default()).await.unwrap();
    for (settings, expected) in [
        (right.clone(), "exists with other arguments"),
        (Settings { password: "wrong".into(), ..right.clone() }, "queue.rabbitmq.password"),
        (Settings { vhost: "nowhere".to_owned(), ..right }, "queue.rabbitmq.vhost"),
    ] {
        let queue = RabbitQueue::new(settings).unwrap();
        let error = queue.publish(&Topic::execute("payments"), vec![message()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tls_settings_are_an_error() {
    if !required() {
        eprintln!("not run: GOCONDUCTOR_TEST_REQUIRE_SERVICES is not 1");
        return;
    }
    let servers = Servers::up("rabbitmq.sh", 1, &[("GOCONDUCTOR_SERVICES_SECURED", "1")]).await.unwrap();
    let file = |name: &str| Some(PathBuf::from(servers.get(name)));
    let tls = Tls {
        ca_file: file("RABBITMQ_CA"),
        certificate_file: file("RABBITMQ_CERTIFICATE"),
        key_file: file("RABBITMQ_KEY"),
    };
    let (user, password) = (servers.get("RABBITMQ_USER"), servers.get("RABBITMQ_PASSWORD"));
    let of = Settings::new(vec![servers.get("RABBITMQ_HOSTS")], user, password.into());
    let right = Settings { tls: Some(tls.clone()), ..of };
    let topic = Topic::execute("payments");
    let queue = RabbitQueue::new(right.clone()).unwrap();
    queue.publish(&topic, vec![message()]).await.unwrap();
    queue.check().await.unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    assert_eq!(consumer.receive(1).await.unwrap()[0].message, message());

    let without = Tls { certificate_file: None, key_file: None, ..tls.clone() };
    let distrusted = Tls { ca_file: tls.certificate_file.clone(), ..tls };
    for (tls, expected) in [(Some(without), ""), (Some(distrusted), "certificate"), (None, "")] {
        let queue = RabbitQueue::new(Settings { tls, ..right.clone() }).unwrap();
        let error = queue.publish(&topic, vec![message()]).await.unwrap_err().report();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
