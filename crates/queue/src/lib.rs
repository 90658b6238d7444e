//! What a queue has to promise.
//!
//! [`Queue`] is the port; [`memory`] is the in-process adapter, [`kafka`], [`kinesis`], [`nats`] and [`rabbitmq`] are
//! those of brokers; [`switching`] is two of them as one, while all move from the one to the other; [`conformance`] is
//! the one array of cases that every adapter runs. A message is a hint that a command is owed: the dispatch ledger is the truth,
//! so what a queue loses, repeats or refuses is brought back by the ledger, and costs time but no saga.
//!
//! The crate deliberately knows nothing of workflows, steps, databases or clocks: a payload is bytes, and
//! the time of a publish is given by the publisher.
//!
//! Invariants: what was published is delivered until it is acknowledged; two consumers never hold the
//! same message at once; messages of one key are handed out in the order of their publishing; a topic's
//! lanes share nothing, so that an undo never waits behind new starts.

pub mod conformance;
mod error;
pub mod kafka;
pub mod kinesis;
pub mod memory;
pub mod nats;
pub mod rabbitmq;
mod room;
pub mod settings;
pub mod switching;
mod tls;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

pub use error::{Capacity, Error, ErrorKind};
pub use settings::Tls;

/// Which side of its steps a topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Commands to execute.
    Execute,
    /// Commands to compensate.
    Compensate,
}

/// Where commands for one service wait. One lane for execute, one for compensate: undo never waits
/// behind new starts.
///
/// Printed it is `payments`, or `payments.compensate`: the name of the topic at a broker. A service's name
/// has no dot, so the two can't be taken for one another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    /// The service's name.
    pub service: String,
    /// Which side.
    pub lane: Lane,
}

impl Topic {
    /// The topic of a service's commands to execute.
    #[must_use]
    pub fn execute(service: impl Into<String>) -> Self {
        Self { service: service.into(), lane: Lane::Execute }
    }

    /// The topic of a service's commands to compensate.
    #[must_use]
    pub fn compensate(service: impl Into<String>) -> Self {
        Self { service: service.into(), lane: Lane::Compensate }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lane {
            Lane::Execute => f.write_str(&self.service),
            Lane::Compensate => write!(f, "{}.compensate", self.service),
        }
    }
}

/// A hint that a command is owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The workflow's id; messages of one key keep their order.
    pub key: String,
    /// The command, in the publisher's form.
    pub payload: Bytes,
    /// When it was published, in milliseconds since 1970, as given by the publisher.
    pub published_at_ms: i64,
}

/// Names one delivery to one consumer. What is in it is the adapter's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryTag(u64);

impl DeliveryTag {
    /// A tag made by an adapter.
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self(value)
    }

    /// What the adapter made it of.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// A message in a consumer's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What to acknowledge it by.
    pub tag: DeliveryTag,
    /// The message.
    pub message: Message,
    /// Whether another consumer may have had it before.
    pub redelivered: bool,
}

/// How much of a topic waits, and how far it has been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// How many messages no consumer has taken.
    pub waiting: u64,
    /// The publish time of the oldest of them: what was published before it was taken. None: nothing
    /// waits, so everything was taken.
    pub oldest_waiting_ms: Option<i64>,
    /// How many have been taken so far, from wherever the count began: two looks tell the pace.
    pub taken: u64,
}

/// Carries commands to the executors of a service.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync {
    /// Publishes hints, in their order: all of them, or on an error that says so none.
    ///
    /// # Errors
    /// [`Error::Full`] when the topic has no room for all of them: they are left to the dispatch ledger.
    /// [`Error::TooLarge`] when a message fits no empty topic, [`Error::Closed`] after the queue was
    /// closed, [`Error::Unavailable`] when the broker did not answer; then some may have been published.
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error>;

    /// A consumer of the topic; several share its messages.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Unavailable`].
    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error>;

    /// How much waits, and how far the topic has been taken.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Unavailable`].
    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error>;

    /// The same, for those who look often, and do not need to know since when the oldest waits: a broker
    /// has to be asked for a message to say that, and it is left out here.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Unavailable`].
    async fn depth(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.backlog(topic).await
    }

    /// Makes what a publish needs, such as connections and the topic itself, so that the first does not wait for it.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Unavailable`].
    async fn prepare(&self, topic: &Topic) -> Result<(), Error> {
        self.depth(topic).await.map(drop)
    }

    /// Whether somebody consumes the topic. Where nobody does, a publisher leaves the command to the
    /// ledger. Only an in-process queue knows it; a broker keeps what comes and says true.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Unavailable`].
    async fn has_consumer(&self, topic: &Topic) -> Result<bool, Error>;

    /// Whether what it holds outlives the processes that use it, as what a broker holds does.
    fn outlives_processes(&self) -> bool {
        false
    }

    /// Whether it answers: for readiness.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Unavailable`].
    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Takes messages of one topic.
#[async_trait]
pub trait Consumer: fmt::Debug + Send {
    /// Waits for at least one message, and gives at most `max`; with a `max` of 0, none, at once. One that holds much
    /// that it has not acknowledged may be given no more before it does.
    ///
    /// Safe to cancel: a message is never lost by dropping the future.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Unavailable`].
    async fn take(&mut self, max: usize) -> Result<Vec<Delivery>, Error>;

    /// Says that these were taken over. What was not acknowledged when the consumer is dropped is
    /// delivered again to another. A tag that this consumer does not hold, or no longer, is passed over:
    /// the same acknowledgement can be given twice. Gives back those that were taken from it before they
    /// were acknowledged, where that can happen: another consumer has them, or will.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Unavailable`]: nobody can say what was acknowledged.
    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error>;

    /// Waits until what is published from now on comes to somebody: where consumers of a topic share it out among
    /// them, that takes a moment. Safe to cancel.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: it does not come to that.
    async fn ready(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Leaves what it holds to the others, and waits until they can have it: to drop it does the same, but a
    /// process that ends right after that is missed for a while.
    async fn leave(self: Box<Self>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_prints_as_its_name_at_a_broker() {
        assert_eq!(Topic::execute("payments").to_string(), "payments");
        assert_eq!(Topic::compensate("payments").to_string(), "payments.compensate");
    }
}
