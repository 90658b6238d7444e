//! Creation of missing queues.

use super::connector::RabbitConnector;
use super::errors::{failed, is_missing};
use super::limits::REQUEST_TIMEOUT;
use crate::Error;
use crate::settings::rabbitmq::Settings;
use crate::topic_cache::TopicCache;
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use std::time::Duration;
use tokio::time::Instant;

/// Delay before a new quorum queue is used. A broker persists the log name of a new quorum queue with a delay. If it is
/// killed before that, it loses the messages of the queue, although it had confirmed them, and the queue never elects a
/// leader again. Therefore nothing is published within this time.
const PERSIST_DELAY: Duration = Duration::from_secs(2);

/// The queues that are known to exist.
#[derive(Default)]
pub(super) struct Queues {
    /// The value is the time from which on a new queue can be used, or `None` if the queue existed before.
    cache: TopicCache<Option<Instant>>,
}

impl Queues {
    /// Forgets a queue that may have been deleted.
    pub(super) fn forget(&self, name: &str) {
        self.cache.forget(name);
    }

    /// Creates a queue, unless it exists, and waits until it can be used.
    pub(super) async fn ensure(
        &self,
        connector: &RabbitConnector,
        settings: &Settings,
        name: &str,
    ) -> Result<(), Error> {
        let usable_at = self.cache.get_or_create(name, None, || create(connector, settings, name)).await?;
        if let Some(usable_at) = usable_at {
            tokio::time::sleep_until(usable_at).await;
        }
        Ok(())
    }
}

async fn create(
    connector: &RabbitConnector,
    settings: &Settings,
    name: &str,
) -> Result<Option<Instant>, Error> {
    let declared = tokio::time::timeout(REQUEST_TIMEOUT, declare(connector, settings, name)).await;
    let timed_out = |_| Error::unavailable(format!("declaration of queue {name} timed out"));
    let is_new = declared.map_err(timed_out)??;
    #[allow(clippy::disallowed_methods, reason = "a delay, by the monotonic clock")]
    let usable_at = is_new.then(|| Instant::now() + PERSIST_DELAY);
    Ok(usable_at)
}

/// Declares a queue, and the exchange for progress reports. Returns whether the queue is new.
async fn declare(connector: &RabbitConnector, settings: &Settings, name: &str) -> Result<bool, Error> {
    let operation = format!("failed to declare queue {name}");
    // A channel of its own, because the broker closes the channel of a refused declaration.
    let mut channel = connector.channel().await?;
    let (passive, none) = (QueueDeclareOptions::durable().passive(), FieldTable::default);
    let is_new = match channel.queue_declare(name.into(), passive, none()).await {
        Ok(_) => false,
        Err(error) if is_missing(&error) => {
            channel = connector.channel().await?;
            true
        }
        Err(error) => return Err(failed(&operation, error)),
    };
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let exchange = channel.exchange_declare(settings.progress(), ExchangeKind::Direct, durable, none()).await;
    exchange.map_err(|error| failed("failed to declare the exchange for progress reports", error))?;
    let queue =
        channel.queue_declare(name.into(), QueueDeclareOptions::durable(), settings.arguments()).await;
    queue.map_err(|error| failed(&operation, error))?;
    if is_new {
        tracing::info!(queue = name, "RabbitMQ queue created");
    }
    Ok(is_new)
}
