//! Topics that are missing are made.

use super::ANSWER;
use super::client::configuration;
use crate::Error;
use crate::settings::kafka::Settings;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// After a topic was made, until every broker knows of it.
const SPREADING: Duration = Duration::from_millis(50);

/// Topics that are known to be there.
pub(super) struct Topics {
    admin: AdminClient<DefaultClientContext>,
    partitions: i32,
    replication: i32,
    known: Mutex<BTreeSet<String>>,
    /// One at a time: who comes second finds it made.
    making: tokio::sync::Mutex<()>,
}

impl Topics {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let admin = settings.client().create().map_err(|error| configuration(&error))?;
        Ok(Self {
            admin,
            partitions: i32::try_from(settings.partitions).unwrap_or(i32::MAX),
            // -1: as the brokers have it.
            replication: settings.replication.and_then(|count| i32::try_from(count).ok()).unwrap_or(-1),
            known: Mutex::default(),
            making: tokio::sync::Mutex::default(),
        })
    }

    fn is_known(&self, name: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// It may be gone.
    pub(super) fn forget(&self, name: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Makes a topic, unless it is there.
    pub(super) async fn ensure(&self, name: &str) -> Result<(), Error> {
        if self.is_known(name) {
            return Ok(());
        }
        let _one = self.making.lock().await;
        if self.is_known(name) {
            return Ok(());
        }
        let unavailable = |reason: String| Error::Unavailable { reason };
        let topic = NewTopic::new(name, self.partitions, TopicReplication::Fixed(self.replication));
        let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
        // The library keeps to its own limits as long as it is well; all that waits for a topic waits here.
        let made = tokio::time::timeout(2 * ANSWER, self.admin.create_topics([&topic], &options)).await;
        let made = made.map_err(|_| unavailable("no answer to the making of a topic".to_owned()))?;
        let made = made.map_err(|error| unavailable(error.to_string()))?;
        match made.into_iter().next() {
            Some(Ok(_)) => {
                tracing::info!(topic = name, partitions = self.partitions, "the topic was made");
                tokio::time::sleep(SPREADING).await;
            }
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {}
            Some(Err((_, code))) => {
                return Err(unavailable(format!("the topic {name} can't be made: {code}")));
            }
            None => return Err(unavailable("the broker said nothing of the topic".to_owned())),
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(())
    }
}
