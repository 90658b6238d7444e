//! The cases with NATS: one server, and a cluster of three.

use super::servers::{BreakableQueue, Servers, required, variable};
use async_trait::async_trait;
use goconductor_queue::conformance::{Breakable, Factory};
use goconductor_queue::nats::{NatsCredentials, NatsQueue, Settings};
use goconductor_queue::{ErrorKind, Message, Queue, Tls, Topic};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

fn settings(servers: &str) -> Settings {
    let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
    Settings { prefix, ..Settings::new(servers.split(',').map(str::to_owned).collect()) }
}

/// Opens a queue from the addresses of servers and a prefix.
pub(crate) fn open(arguments: &str) -> Arc<dyn Queue> {
    let (servers, prefix) = arguments.split_once(' ').unwrap();
    Arc::new(NatsQueue::new(Settings { prefix: prefix.to_owned(), ..settings(servers) }).unwrap())
}

#[derive(Debug)]
struct Nats {
    servers: String,
    count: u32,
}

#[async_trait]
impl Factory for Nats {
    async fn open(&self) -> Result<Arc<dyn Queue>, String> {
        Ok(Arc::new(NatsQueue::new(settings(&self.servers)).unwrap()))
    }

    async fn open_bounded(&self, messages: usize) -> Result<Option<Arc<dyn Queue>>, String> {
        let max_messages = u64::try_from(messages).unwrap();
        Ok(Some(Arc::new(NatsQueue::new(Settings { max_messages, ..settings(&self.servers) }).unwrap())))
    }

    fn knows_consumers(&self) -> bool {
        false
    }

    fn excludes_unacknowledged(&self) -> bool {
        false
    }

    fn timeout(&self) -> Duration {
        // A cluster needs a consensus for each message.
        Duration::from_secs(if self.count == 1 { 30 } else { 60 })
    }

    async fn breakable(&self) -> Result<Option<Arc<dyn Breakable>>, String> {
        let servers = Servers::up("nats.sh", self.count, &[]).await?;
        let settings = settings(&servers.get("NATS_SERVERS"));
        let open = format!("nats {} {}", settings.servers.join(","), settings.prefix);
        let queue = Arc::new(NatsQueue::new(settings).unwrap());
        Ok(Some(Arc::new(BreakableQueue { servers, queue, open })))
    }
}

async fn conformance(name: &str, count: u32) {
    let Some(servers) = variable(name) else { return };
    super::run_all_cases(Arc::new(Nats { servers, count })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn single_server_passes_all_cases() {
    conformance("GOCONDUCTOR_TEST_NATS_SERVERS", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cluster_of_three_servers_passes_all_cases() {
    conformance("GOCONDUCTOR_TEST_NATS3_SERVERS", 3).await;
}

fn message() -> Message {
    Message { key: "k".to_owned(), payload: "p".into(), published_at_ms: 1 }
}

#[tokio::test]
async fn unreachable_server_is_a_retryable_error_with_its_address() {
    let queue = NatsQueue::new(settings("127.0.0.1:1")).unwrap();
    let error = queue.publish(&Topic::execute("payments"), vec![message()]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(queue.check().await.is_err());
}

/// The executor detects poison messages, so the adapter delivers everything in the stream.
#[tokio::test]
async fn message_of_another_publisher_is_delivered() {
    let Some(servers) = variable("GOCONDUCTOR_TEST_NATS_SERVERS") else { return };
    let settings = settings(&servers);
    let (topic, subject) = (Topic::execute("payments"), format!("{}.payments", settings.prefix));
    let queue = NatsQueue::new(settings).unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    let client = async_nats::connect(&servers).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Goconductor-Published-At-Ms", "soon");
    client.publish_with_headers(subject.clone(), headers, "poison".into()).await.unwrap();
    client.publish(subject, "".into()).await.unwrap();
    client.flush().await.unwrap();
    let mut received = Vec::new();
    while received.len() < 2 {
        let more = tokio::time::timeout(Duration::from_secs(20), consumer.receive(10)).await.unwrap();
        received.extend(more.unwrap());
    }
    assert_eq!((&*received[0].message.payload, &*received[1].message.payload), (&b"poison"[..], &b""[..]));
    assert!(
        received
            .iter()
            .all(|each| each.message.key.is_empty() && each.message.published_at_ms > 1_700_000_000_000)
    );
    let tags: Vec<_> = received.iter().map(|each| each.tag).collect();
    assert!(consumer.acknowledge(&tags).await.unwrap().is_empty());
}

/// After a crash, the servers may have lost the state of the consumer object. They then ignore acknowledgements of
/// messages that they delivered before, and still confirm renewals of their leases.
#[tokio::test]
async fn acknowledgement_that_the_servers_ignore_ends_with_its_lease() {
    let Some(servers) = variable("GOCONDUCTOR_TEST_NATS_SERVERS") else { return };
    let settings = settings(&servers);
    let (topic, name) = (Topic::execute("payments"), format!("{}__payments", settings.prefix));
    let queue = NatsQueue::new(settings).unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    queue.publish(&topic, vec![message()]).await.unwrap();
    let tag = consumer.receive(1).await.unwrap()[0].tag;
    let context = async_nats::jetstream::new(async_nats::connect(&servers).await.unwrap());
    let stream = context.get_stream(&name).await.unwrap();
    let config = stream.consumer_info("executors").await.unwrap().config;
    stream.delete_consumer("executors").await.unwrap();
    stream.create_consumer(config).await.unwrap();
    let acknowledged = tokio::time::timeout(Duration::from_secs(30), consumer.acknowledge(&[tag])).await;
    let acknowledged = acknowledged.expect("the acknowledgement must not be repeated without end");
    assert!(acknowledged.is_err() || acknowledged.is_ok_and(|lost| lost == [tag]));
    drop(consumer);
    let mut other = queue.consume(&topic).await.unwrap();
    let again = tokio::time::timeout(Duration::from_secs(20), other.receive(1)).await.unwrap().unwrap();
    let tags = [again[0].tag];
    assert!(other.acknowledge(&tags).await.unwrap().is_empty());
}

#[tokio::test]
async fn incompatible_stream_error_says_how_to_correct_it() {
    let Some(servers) = variable("GOCONDUCTOR_TEST_NATS_SERVERS") else { return };
    let settings = settings(&servers);
    let context = async_nats::jetstream::new(async_nats::connect(&servers).await.unwrap());
    let config = async_nats::jetstream::stream::Config {
        name: format!("{}__payments", settings.prefix),
        subjects: vec![format!("{}.payments", settings.prefix)],
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let queue = NatsQueue::new(settings).unwrap();
    let error = queue.publish(&Topic::execute("payments"), vec![message()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("its retention has to be `workqueue`"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tls_settings_or_credentials_error_names_the_setting() {
    if !required() {
        eprintln!("not run: GOCONDUCTOR_TEST_REQUIRE_SERVICES is not 1");
        return;
    }
    let servers = Servers::up("nats.sh", 1, &[("GOCONDUCTOR_SERVICES_SECURED", "1")]).await.unwrap();
    let file = |name: &str| Some(PathBuf::from(servers.get(name)));
    let tls = Tls {
        ca_file: file("NATS_CA"),
        certificate_file: file("NATS_CERTIFICATE"),
        key_file: file("NATS_KEY"),
    };
    let (user, password) = (servers.get("NATS_USER"), servers.get("NATS_PASSWORD"));
    let right = Settings {
        tls: Some(tls.clone()),
        credentials: Some(NatsCredentials::Password { user: user.clone(), password: password.into() }),
        ..settings(&servers.get("NATS_SERVERS"))
    };
    let topic = Topic::execute("payments");
    let queue = NatsQueue::new(right.clone()).unwrap();
    queue.check().await.unwrap();
    queue.publish(&topic, vec![message()]).await.unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    assert_eq!(consumer.receive(1).await.unwrap()[0].message, message());

    let wrong = NatsCredentials::Password { user, password: "wrong".into() };
    let without = Tls { certificate_file: None, key_file: None, ..tls.clone() };
    let distrusted = Tls { ca_file: tls.certificate_file.clone(), ..tls };
    for (settings, expected) in [
        (Settings { credentials: Some(wrong), ..right.clone() }, "queue.nats.password"),
        (Settings { credentials: None, ..right.clone() }, "queue.nats.user"),
        (Settings { tls: Some(without), ..right.clone() }, ""),
        (Settings { tls: Some(distrusted), ..right.clone() }, "certificate"),
        (Settings { tls: None, ..right }, ""),
    ] {
        let error = NatsQueue::new(settings).unwrap().check().await.unwrap_err().report();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
