//! The section `queue`: which queue carries commands, and how each broker is reached.

mod backend;
mod kafka;
mod kinesis;
mod nats;
mod rabbitmq;

use super::reader::SettingReader;
use super::value;
use goconductor_queue::settings;

pub use backend::QueueBackend;

/// Settings of the queue. A queue is configured if its section names a broker, and only processes for which a queue is
/// configured can migrate to it.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// The queue to use. After a migration, all processes use the target of the migration instead.
    pub backend: QueueBackend,
    /// Settings of Kafka, if it is configured.
    pub kafka: Option<settings::kafka::Settings>,
    /// Settings of Kinesis, if it is configured.
    pub kinesis: Option<settings::kinesis::Settings>,
    /// Settings of NATS, if it is configured.
    pub nats: Option<settings::nats::Settings>,
    /// Settings of RabbitMQ, if it is configured.
    pub rabbitmq: Option<settings::rabbitmq::Settings>,
}

impl QueueConfig {
    /// Returns whether a queue is configured, so that processes can migrate to it.
    #[must_use]
    pub fn is_configured(&self, backend: QueueBackend) -> bool {
        match backend {
            QueueBackend::Memory => false,
            QueueBackend::Kafka => self.kafka.is_some(),
            QueueBackend::Kinesis => self.kinesis.is_some(),
            QueueBackend::Nats => self.nats.is_some(),
            QueueBackend::RabbitMq => self.rabbitmq.is_some(),
        }
    }

    /// Returns the queues that are configured.
    pub fn configured(&self) -> impl Iterator<Item = QueueBackend> {
        QueueBackend::ALL.iter().map(|(_, backend)| *backend).filter(|backend| self.is_configured(*backend))
    }
}

pub(super) fn read(reader: &mut SettingReader<'_>) -> QueueConfig {
    let backend = reader.get("queue.backend", &value::choice(QueueBackend::ALL), QueueBackend::Memory);
    let is_prefix = |text: &str| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        (1..=100).contains(&text.len()) && text.chars().all(is_allowed)
    };
    let prefix = value::text("up to 100 letters, digits, hyphens and dots", is_prefix);
    let prefix = reader.get("queue.prefix", &prefix, "goconductor".to_owned());
    QueueConfig {
        backend,
        kafka: kafka::read(reader, &prefix, backend == QueueBackend::Kafka),
        kinesis: kinesis::read(reader, &prefix, backend == QueueBackend::Kinesis),
        nats: nats::read(reader, &prefix, backend == QueueBackend::Nats),
        rabbitmq: rabbitmq::read(reader, &prefix, backend == QueueBackend::RabbitMq),
    }
}
