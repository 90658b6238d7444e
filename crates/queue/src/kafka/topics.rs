//! Creation of missing topics.

use super::client::configuration;
use super::limits::REQUEST_TIMEOUT;
use crate::Error;
use crate::settings::kafka::Settings;
use crate::topic_cache::TopicCache;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use std::time::Duration;

/// Pause after a topic was created, until its metadata has reached every broker.
const METADATA_DELAY: Duration = Duration::from_millis(50);

/// Creates missing topics.
pub(super) struct Topics {
    admin: AdminClient<DefaultClientContext>,
    partitions: i32,
    replication: i32,
    cache: TopicCache<()>,
}

impl Topics {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let admin = settings.client().create().map_err(|error| configuration(&error))?;
        Ok(Self {
            admin,
            partitions: i32::try_from(settings.partitions).unwrap_or(i32::MAX),
            // -1 selects the default of the brokers.
            replication: settings.replication.and_then(|count| i32::try_from(count).ok()).unwrap_or(-1),
            cache: TopicCache::default(),
        })
    }

    /// Forgets a topic that may have been deleted.
    pub(super) fn forget(&self, name: &str) {
        self.cache.forget(name);
    }

    /// Creates a topic, unless it exists.
    pub(super) async fn ensure(&self, name: &str) -> Result<(), Error> {
        self.cache.get_or_create(name, None, || self.create(name)).await
    }

    async fn create(&self, name: &str) -> Result<(), Error> {
        let topic = NewTopic::new(name, self.partitions, TopicReplication::Fixed(self.replication));
        let options = AdminOptions::new()
            .request_timeout(Some(REQUEST_TIMEOUT))
            .operation_timeout(Some(REQUEST_TIMEOUT));
        // The driver's own timeouts fail if its threads are stuck, and every publish to the topic waits here.
        let created =
            tokio::time::timeout(2 * REQUEST_TIMEOUT, self.admin.create_topics([&topic], &options)).await;
        let failed = || Error::unavailable(format!("failed to create topic {name}"));
        let created =
            created.map_err(|_| Error::unavailable(format!("creation of topic {name} timed out")))?;
        let created = created.map_err(|error| failed().with_source(error))?;
        match created.into_iter().next() {
            Some(Ok(_)) => {
                tracing::info!(topic = name, partitions = self.partitions, "Kafka topic created");
                tokio::time::sleep(METADATA_DELAY).await;
                Ok(())
            }
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(failed().with_source(code)),
            None => Err(Error::unavailable(format!("broker did not report the creation of topic {name}"))),
        }
    }
}
