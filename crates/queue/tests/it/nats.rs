//! NATS keeps every promise: with one server, and with three.

use super::servers::{Broken, Servers, required, variable};
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

/// The queue of a text that says where and with what prefix.
pub(crate) fn open(text: &str) -> Arc<dyn Queue> {
    let (servers, prefix) = text.split_once(' ').unwrap();
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

    fn tells_taken(&self) -> bool {
        false
    }

    fn patience(&self) -> Duration {
        // Where several have to agree, each message takes its time.
        Duration::from_secs(if self.count == 1 { 30 } else { 60 })
    }

    async fn breakable(&self) -> Result<Option<Arc<dyn Breakable>>, String> {
        let servers = Servers::up("nats.sh", self.count, &[]).await?;
        let settings = settings(&servers.get("NATS_SERVERS"));
        let open = format!("nats {} {}", settings.servers.join(","), settings.prefix);
        let queue = Arc::new(NatsQueue::new(settings).unwrap());
        Ok(Some(Arc::new(Broken { servers, queue, open })))
    }
}

async fn conformance(name: &str, count: u32) {
    let Some(servers) = variable(name) else { return };
    super::keeps_every_promise(Arc::new(Nats { servers, count })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_server_keeps_every_promise() {
    conformance("GOCONDUCTOR_TEST_NATS_SERVERS", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_servers_keep_every_promise() {
    conformance("GOCONDUCTOR_TEST_NATS3_SERVERS", 3).await;
}

fn message() -> Message {
    Message { key: "k".to_owned(), payload: "p".into(), published_at_ms: 1 }
}

#[tokio::test]
async fn servers_that_are_not_there_are_said_to_be_out_of_reach() {
    let queue = NatsQueue::new(settings("127.0.0.1:1")).unwrap();
    let error = queue.publish(&Topic::execute("payments"), vec![message()]).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(queue.check().await.is_err());
}

/// What others have put into the stream is handed out as it is: the executor says what is no command.
#[tokio::test]
async fn what_is_no_record_is_a_message_all_the_same() {
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
    let mut came = Vec::new();
    while came.len() < 2 {
        came.extend(tokio::time::timeout(Duration::from_secs(20), consumer.take(10)).await.unwrap().unwrap());
    }
    assert_eq!((&*came[0].message.payload, &*came[1].message.payload), (&b"poison"[..], &b""[..]));
    assert!(
        came.iter()
            .all(|each| each.message.key.is_empty() && each.message.published_at_ms > 1_700_000_000_000)
    );
    let tags: Vec<_> = came.iter().map(|each| each.tag).collect();
    assert!(consumer.acknowledge(&tags).await.unwrap().is_empty());
}

/// The same message, published again as its answer was lost, is stored once; a stream that can't work is refused.
#[tokio::test]
async fn a_stream_of_another_kind_is_refused_with_what_to_do() {
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
async fn tls_a_certificate_and_a_password_are_shown() {
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
    assert_eq!(consumer.take(1).await.unwrap()[0].message, message());

    let wrong = NatsCredentials::Password { user, password: "wrong".into() };
    let without = Tls { certificate_file: None, key_file: None, ..tls.clone() };
    let distrusted = Tls { ca_file: tls.certificate_file.clone(), ..tls };
    for (settings, said) in [
        (Settings { credentials: Some(wrong), ..right.clone() }, "queue.nats.password"),
        (Settings { credentials: None, ..right.clone() }, "queue.nats.user"),
        (Settings { tls: Some(without), ..right.clone() }, ""),
        (Settings { tls: Some(distrusted), ..right.clone() }, "certificate"),
        (Settings { tls: None, ..right }, ""),
    ] {
        let error = NatsQueue::new(settings).unwrap().check().await.unwrap_err();
        assert!(error.to_string().contains(said), "{said}: {error}");
    }
}
