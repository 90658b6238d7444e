//! The queues of the configuration.

use crate::leases::StoreLeases;
use goconductor_queue::kafka::KafkaQueue;
use goconductor_queue::kinesis::KinesisQueue;
use goconductor_queue::nats::NatsQueue;
use goconductor_queue::rabbitmq::RabbitQueue;
use goconductor_queue::{Error, Queue};
use goconductor_queue_migration::QueueFactory;
use goconductor_service_kit::config::{self, QueueBackend};
use goconductor_store::ShardLeaseStore;
use std::sync::Arc;

/// Opens the queues of a configuration.
#[derive(Debug)]
pub(crate) struct ConfiguredQueues {
    pub(crate) config: config::QueueConfig,
    /// The store of the leases of Kinesis.
    pub(crate) store: Arc<dyn ShardLeaseStore>,
    /// The identity of this process in the leases of Kinesis.
    pub(crate) identity: String,
}

impl QueueFactory for ConfiguredQueues {
    fn default_queue(&self) -> &str {
        self.config.backend.name()
    }

    fn supported(&self) -> Vec<&str> {
        let other = QueueBackend::ALL.iter().filter(|(_, backend)| *backend != QueueBackend::Memory);
        other.map(|(name, _)| *name).collect()
    }

    fn configured(&self) -> Vec<&str> {
        self.config.configured().map(QueueBackend::name).collect()
    }

    fn open(&self, name: &str) -> Result<Arc<dyn Queue>, Error> {
        let backend = QueueBackend::ALL.iter().find(|(known, _)| *known == name).map(|(_, backend)| *backend);
        let missing = || Error::Configuration {
            reason: format!("queue {name} is not configured for this process: add its section below queue"),
        };
        Ok(match backend.ok_or_else(missing)? {
            QueueBackend::Memory => {
                let reason = "queue memory cannot connect processes".to_owned();
                return Err(Error::Configuration { reason });
            }
            QueueBackend::Kafka => Arc::new(KafkaQueue::new(self.config.kafka.clone().ok_or_else(missing)?)?),
            QueueBackend::Kinesis => {
                let settings = self.config.kinesis.clone().ok_or_else(missing)?;
                let leases = Arc::new(StoreLeases(Arc::clone(&self.store)));
                Arc::new(KinesisQueue::new(settings, &self.identity, leases)?)
            }
            QueueBackend::Nats => Arc::new(NatsQueue::new(self.config.nats.clone().ok_or_else(missing)?)?),
            QueueBackend::RabbitMq => {
                Arc::new(RabbitQueue::new(self.config.rabbitmq.clone().ok_or_else(missing)?)?)
            }
        })
    }
}
