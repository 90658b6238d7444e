//! The queues of the configuration.

use crate::leases::StoreLeases;
use goconductor_queue::kafka::KafkaQueue;
use goconductor_queue::kinesis::KinesisQueue;
use goconductor_queue::nats::NatsQueue;
use goconductor_queue::rabbitmq::RabbitQueue;
use goconductor_queue::{Error, Metered, Queue};
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
        let missing = || {
            let advice = "add its section below queue";
            Error::configuration(format!("queue {name} is not configured for this process: {advice}"))
        };
        Ok(match backend.ok_or_else(missing)? {
            QueueBackend::Memory => {
                return Err(Error::configuration("queue memory cannot connect processes"));
            }
            QueueBackend::Kafka => {
                let settings = self.config.kafka.clone().ok_or_else(missing)?;
                Arc::new(Metered::new(KafkaQueue::new(settings)?))
            }
            QueueBackend::Kinesis => {
                let settings = self.config.kinesis.clone().ok_or_else(missing)?;
                let leases = Arc::new(StoreLeases(Arc::clone(&self.store)));
                Arc::new(Metered::new(KinesisQueue::new(settings, &self.identity, leases)?))
            }
            QueueBackend::Nats => {
                let settings = self.config.nats.clone().ok_or_else(missing)?;
                Arc::new(Metered::new(NatsQueue::new(settings)?))
            }
            QueueBackend::RabbitMq => {
                let settings = self.config.rabbitmq.clone().ok_or_else(missing)?;
                Arc::new(Metered::new(RabbitQueue::new(settings)?))
            }
        })
    }
}
