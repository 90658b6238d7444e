//! The queues of the configuration.

use goconductor_queue::{Error, Queue};
use goconductor_queue_migration::QueueFactory;
use goconductor_service_kit::config::{self, QueueBackend};
use goconductor_store::ShardLeaseStore;
use parking_lot::RwLock;
use std::sync::Arc;

/// Opens the queues of a configuration.
#[derive(Debug)]
pub(crate) struct ConfiguredQueues {
    /// The queue that is in use until the first migration. The API does not change it, because each process would use
    /// another one.
    pub(crate) default: QueueBackend,
    pub(crate) config: RwLock<config::QueueConfig>,
    /// The store of the leases of Kinesis.
    #[cfg_attr(not(feature = "kinesis"), allow(dead_code, reason = "only Kinesis has leases"))]
    pub(crate) store: Arc<dyn ShardLeaseStore>,
    /// The identity of this process in the leases of Kinesis.
    #[cfg_attr(not(feature = "kinesis"), allow(dead_code, reason = "only Kinesis has leases"))]
    pub(crate) identity: String,
}

impl ConfiguredQueues {
    /// Replaces the settings of the queues that are not in use. Those of the others take effect at a restart.
    pub(crate) fn update(&self, new: &config::QueueConfig, in_use: &[String]) {
        let is_used = |backend: QueueBackend| in_use.iter().any(|name| name == backend.name());
        let mut config = self.config.write();
        let config::QueueConfig { backend: _, kafka, kinesis, nats, rabbitmq } = new.clone();
        if !is_used(QueueBackend::Kafka) {
            config.kafka = kafka;
        }
        if !is_used(QueueBackend::Kinesis) {
            config.kinesis = kinesis;
        }
        if !is_used(QueueBackend::Nats) {
            config.nats = nats;
        }
        if !is_used(QueueBackend::RabbitMq) {
            config.rabbitmq = rabbitmq;
        }
    }
}

/// Returns the queue that a setting belongs to. Returns `None` if it concerns all queues, or is not about queues.
pub(crate) fn queue_of(setting: &str) -> Option<QueueBackend> {
    let rest = setting.strip_prefix("queue.")?;
    match rest.split('.').next().unwrap_or_default() {
        "backend" | "prefix" => None,
        "kinesis" => Some(QueueBackend::Kinesis),
        "nats" => Some(QueueBackend::Nats),
        "rabbitmq" => Some(QueueBackend::RabbitMq),
        // The settings of Kafka are directly below the section.
        _ => Some(QueueBackend::Kafka),
    }
}

impl QueueFactory for ConfiguredQueues {
    fn default_queue(&self) -> &str {
        self.default.name()
    }

    fn supported(&self) -> Vec<&str> {
        let other = QueueBackend::ALL.iter().filter(|(_, backend)| *backend != QueueBackend::Memory);
        other.map(|(name, _)| *name).collect()
    }

    fn configured(&self) -> Vec<&str> {
        self.config.read().configured().map(QueueBackend::name).collect()
    }

    fn open(&self, name: &str) -> Result<Arc<dyn Queue>, Error> {
        let backend = QueueBackend::ALL.iter().find(|(known, _)| *known == name).map(|(_, backend)| *backend);
        let missing = || {
            let advice = "add its section below queue";
            Error::configuration(format!("queue {name} is not configured for this process: {advice}"))
        };
        match backend.ok_or_else(missing)? {
            QueueBackend::Memory => Err(Error::configuration("queue memory cannot connect processes")),
            #[cfg(feature = "kafka")]
            QueueBackend::Kafka => {
                let settings = self.config.read().kafka.clone().ok_or_else(missing)?;
                Ok(metered(goconductor_queue::kafka::KafkaQueue::new(settings)?))
            }
            #[cfg(not(feature = "kafka"))]
            QueueBackend::Kafka => Err(missing_driver("kafka")),
            #[cfg(feature = "kinesis")]
            QueueBackend::Kinesis => {
                let settings = self.config.read().kinesis.clone().ok_or_else(missing)?;
                let leases = Arc::new(crate::leases::StoreLeases(Arc::clone(&self.store)));
                Ok(metered(goconductor_queue::kinesis::KinesisQueue::new(settings, &self.identity, leases)?))
            }
            #[cfg(not(feature = "kinesis"))]
            QueueBackend::Kinesis => Err(missing_driver("kinesis")),
            #[cfg(feature = "nats")]
            QueueBackend::Nats => {
                let settings = self.config.read().nats.clone().ok_or_else(missing)?;
                Ok(metered(goconductor_queue::nats::NatsQueue::new(settings)?))
            }
            #[cfg(not(feature = "nats"))]
            QueueBackend::Nats => Err(missing_driver("nats")),
            #[cfg(feature = "rabbitmq")]
            QueueBackend::RabbitMq => {
                let settings = self.config.read().rabbitmq.clone().ok_or_else(missing)?;
                Ok(metered(goconductor_queue::rabbitmq::RabbitQueue::new(settings)?))
            }
            #[cfg(not(feature = "rabbitmq"))]
            QueueBackend::RabbitMq => Err(missing_driver("rabbitmq")),
        }
    }
}

#[cfg(any(feature = "kafka", feature = "kinesis", feature = "nats", feature = "rabbitmq"))]
fn metered(queue: impl goconductor_queue::BrokerQueue + 'static) -> Arc<dyn Queue> {
    Arc::new(goconductor_queue::Metered::new(queue))
}

#[cfg(not(all(feature = "kafka", feature = "kinesis", feature = "nats", feature = "rabbitmq")))]
fn missing_driver(feature: &str) -> Error {
    Error::configuration(crate::missing_driver("queue.backend", feature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_service_kit::config::{Config, Sources};
    use goconductor_store::sqlite::SqliteStore;

    /// A queue without a section is refused in every build, and the reason depends on the drivers. Builds without some of
    /// them are tested with `--no-default-features`.
    #[test]
    fn queue_without_driver_is_refused_with_the_feature_to_build() {
        let config = Config::load(&Sources::default()).expect("the defaults are valid").queue;
        let store = Arc::new(SqliteStore::ephemeral().expect("a temporary directory can be created"));
        let (default, config) = (config.backend, RwLock::new(config));
        let queues = ConfiguredQueues { default, config, store, identity: "a".to_owned() };
        let cases = [
            ("kafka", cfg!(feature = "kafka")),
            ("kinesis", cfg!(feature = "kinesis")),
            ("nats", cfg!(feature = "nats")),
            ("rabbitmq", cfg!(feature = "rabbitmq")),
        ];
        for (name, is_built) in cases {
            let refused = queues.open(name).expect_err("the queue is not configured").to_string();
            let expected = match is_built {
                true => format!("queue {name} is not configured for this process"),
                false => format!("no driver for {name}: build with `--features {name}`"),
            };
            assert!(refused.contains(&expected), "{refused}");
        }
    }
}
