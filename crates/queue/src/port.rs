//! The port: what an adapter implements.

use crate::error::Error;
use crate::message::{Backlog, Delivery, DeliveryTag, Message, Topic};
use async_trait::async_trait;
use std::fmt;

/// A queue that carries commands to the executors of a service.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync {
    /// Publishes messages in order: either all of them, or none if the error says so.
    ///
    /// # Errors
    /// - [`Error::Full`] if the topic has no capacity for all messages. None was published; the dispatch ledger
    ///   publishes them later.
    /// - [`Error::TooLarge`] if a message does not fit into an empty topic.
    /// - [`Error::Closed`] if the queue was closed.
    /// - [`Error::Unavailable`] if the broker did not respond. Some of the messages may have been published.
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error>;

    /// Creates a consumer of a topic. All consumers of a topic share its messages.
    ///
    /// # Errors
    /// Returns [`Error::Closed`] if the queue was closed, and [`Error::Unavailable`] if the broker did not respond.
    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error>;

    /// Returns the backlog of a topic.
    ///
    /// # Errors
    /// Returns [`Error::Closed`] if the queue was closed, and [`Error::Unavailable`] if the broker did not respond.
    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error>;

    /// Returns the backlog of a topic without the age of the oldest message, for callers that poll often. A broker
    /// has to deliver a message to determine its age.
    ///
    /// # Errors
    /// Returns [`Error::Closed`] if the queue was closed, and [`Error::Unavailable`] if the broker did not respond.
    async fn depth(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.backlog(topic).await
    }

    /// Opens connections and creates the topic, so that the first publish does not have to wait for them.
    ///
    /// # Errors
    /// Returns [`Error::Closed`] if the queue was closed, and [`Error::Unavailable`] if the broker did not respond.
    async fn prepare(&self, topic: &Topic) -> Result<(), Error> {
        self.depth(topic).await.map(drop)
    }

    /// Returns whether the topic has a consumer. If it has none, a publisher leaves the command to the ledger. Only
    /// the in-process queue knows its consumers. A broker keeps messages for later consumers and returns `true`.
    ///
    /// # Errors
    /// Returns [`Error::Closed`] if the queue was closed, and [`Error::Unavailable`] if the broker did not respond.
    async fn has_consumer(&self, topic: &Topic) -> Result<bool, Error>;

    /// Returns whether messages outlive the processes that use the queue, as they do at a broker.
    fn is_durable(&self) -> bool {
        false
    }

    /// Returns the name of the messaging system, by the semantic conventions of OpenTelemetry where they have one.
    fn system(&self) -> &'static str {
        "memory"
    }

    /// Checks that the queue responds. Readiness uses it.
    ///
    /// # Errors
    /// Returns [`Error::Closed`] if the queue was closed, and [`Error::Unavailable`] if the broker did not respond.
    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A consumer of one topic.
#[async_trait]
pub trait Consumer: fmt::Debug + Send {
    /// Waits for at least one message and returns at most `max`. If `max` is 0, returns an empty list at once. A
    /// consumer with many unacknowledged messages may receive no further message until it acknowledges some.
    ///
    /// Cancel safe: dropping the future does not lose a message.
    ///
    /// # Errors
    /// Returns [`Error::Closed`] if the queue was closed, and [`Error::Unavailable`] if the consumer failed.
    async fn receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error>;

    /// Acknowledges deliveries. Messages that are not acknowledged when the consumer is dropped are delivered to
    /// another consumer. A tag that this consumer does not own is ignored, so an acknowledgement can be repeated.
    ///
    /// Returns the tags whose messages were lost to another consumer before they were acknowledged.
    ///
    /// # Errors
    /// Returns [`Error::Closed`] if the queue was closed, and [`Error::Unavailable`] if the outcome of the
    /// acknowledgement is unknown.
    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error>;

    /// Waits until a message that is published from now on is delivered to a consumer. Consumers that divide the
    /// partitions of a topic among themselves need some time for that. Cancel safe.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the consumers do not get ready in time.
    async fn ready(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Releases the unacknowledged messages and waits until other consumers can receive them. Dropping the consumer
    /// releases them as well, but if the process exits right after that, the broker notices only after a timeout.
    async fn close(self: Box<Self>) {}
}
