//! RabbitMQ keeps every promise.

use super::servers::{Broken, Servers, required, variable};
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

/// What a URL says: `amqp://user:password@host:port`.
fn settings(url: &str) -> Settings {
    let (who, host) = url.trim_start_matches("amqp://").split_once('@').unwrap();
    let (user, password) = who.split_once(':').unwrap();
    let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
    Settings { prefix, ..Settings::new(vec![host.to_owned()], user.to_owned(), password.into()) }
}

/// The queue of a text that says where and with what prefix.
pub(crate) fn open(text: &str) -> Arc<dyn Queue> {
    let (url, prefix) = text.split_once(' ').unwrap();
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

    fn fetches_ahead(&self) -> bool {
        true
    }

    fn knows_oldest(&self) -> bool {
        false
    }

    fn patience(&self) -> Duration {
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
        Ok(Some(Arc::new(Broken { servers, queue, open })))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rabbitmq_keeps_every_promise() {
    let Some(url) = variable(URL) else { return };
    super::keeps_every_promise(Arc::new(Rabbit(url))).await;
}

fn message() -> Message {
    Message { key: "k".to_owned(), payload: "p".into(), published_at_ms: 1 }
}

#[tokio::test]
async fn brokers_that_are_not_there_are_said_to_be_out_of_reach() {
    let queue = RabbitQueue::new(settings("amqp://me:pass@127.0.0.1:1")).unwrap();
    let error = queue.publish(&Topic::execute("payments"), vec![message()]).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(queue.check().await.is_err());
}

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// What others have put into the queue is handed out as it is: the executor says what is no command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_record_is_a_message_all_the_same() {
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
    let mut came = Vec::new();
    while came.len() < 2 {
        came.extend(tokio::time::timeout(Duration::from_secs(20), consumer.take(10)).await.unwrap().unwrap());
    }
    assert_eq!((&*came[0].message.payload, &*came[1].message.payload), (&b"poison"[..], &b""[..]));
    assert!(came.iter().all(|each| each.message.key.is_empty() && each.message.published_at_ms == 0));
    let tags: Vec<_> = came.iter().map(|each| each.tag).collect();
    assert!(consumer.acknowledge(&tags).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_work_is_refused_with_what_to_do() {
    let Some(url) = variable(URL) else { return };
    let right = settings(&url);
    let (_connection, channel) = channel(&url).await;
    let classic = format!("{}.payments", right.prefix);
    let options = QueueDeclareOptions::durable();
    channel.queue_declare(classic.as_str().into(), options, FieldTable::default()).await.unwrap();
    for (settings, said) in [
        (right.clone(), "was made with other arguments"),
        (Settings { password: "wrong".into(), ..right.clone() }, "queue.rabbitmq.password"),
        (Settings { vhost: "nowhere".to_owned(), ..right }, "queue.rabbitmq.vhost"),
    ] {
        let queue = RabbitQueue::new(settings).unwrap();
        let error = queue.publish(&Topic::execute("payments"), vec![message()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(said), "{said}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_a_certificate_are_shown() {
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
    assert_eq!(consumer.take(1).await.unwrap()[0].message, message());

    let without = Tls { certificate_file: None, key_file: None, ..tls.clone() };
    let distrusted = Tls { ca_file: tls.certificate_file.clone(), ..tls };
    for (tls, said) in [(Some(without), ""), (Some(distrusted), "certificate"), (None, "")] {
        let queue = RabbitQueue::new(Settings { tls, ..right.clone() }).unwrap();
        let error = queue.publish(&topic, vec![message()]).await.unwrap_err();
        assert!(error.to_string().contains(said), "{said}: {error}");
    }
}
