//! Topics, messages and deliveries.

use bytes::Bytes;
use std::fmt;

/// The half of a service's topic that a command belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Commands that execute a step.
    Execute,
    /// Commands that compensate a step.
    Compensate,
}

/// The commands of one service and one lane. Each service has two topics, so a compensation never queues behind new
/// starts.
///
/// `Display` prints the name that is used at a broker: `payments` or `payments.compensate`. The name of a service
/// contains no dot, so the two names are unambiguous.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    /// The name of the service.
    pub service: String,
    /// The lane.
    pub lane: Lane,
}

impl Topic {
    /// Creates the topic of the commands that execute steps of `service`.
    #[must_use]
    pub fn execute(service: impl Into<String>) -> Self {
        Self { service: service.into(), lane: Lane::Execute }
    }

    /// Creates the topic of the commands that compensate steps of `service`.
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

/// A hint that a command is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id of the workflow. Messages with the same key keep their order.
    pub key: String,
    /// The command, encoded by the publisher.
    pub payload: Bytes,
    /// The publish time in milliseconds since 1970, set by the publisher.
    pub published_at_ms: i64,
}

impl Message {
    /// Returns the number of bytes of the key and the payload.
    pub(crate) fn size(&self) -> usize {
        self.key.len() + self.payload.len()
    }
}

/// Identifies one delivery to one consumer. The adapter defines the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryTag(u64);

impl DeliveryTag {
    /// Creates a tag from the adapter's value.
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self(value)
    }

    /// Returns the adapter's value.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// A message that was delivered to a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The tag to acknowledge the message by.
    pub tag: DeliveryTag,
    /// The message.
    pub message: Message,
    /// Whether the message may have been delivered to another consumer before.
    pub redelivered: bool,
}

/// The backlog of a topic, and the progress of its consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// The number of messages that no consumer has received.
    pub waiting: u64,
    /// The publish time of the oldest waiting message, in milliseconds since 1970. `None` if no message waits, or if
    /// only the depth was requested.
    pub oldest_waiting_ms: Option<i64>,
    /// The number of messages that were acknowledged since an arbitrary origin. The difference of two samples is the
    /// throughput.
    pub acknowledged: u64,
}

/// How much of a [`Backlog`] an adapter has to determine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BacklogDetail {
    /// The counts only.
    Depth,
    /// The publish time of the oldest waiting message as well. A broker has to be asked for that message.
    OldestMessage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_prints_as_its_name_at_the_broker() {
        assert_eq!(Topic::execute("payments").to_string(), "payments");
        assert_eq!(Topic::compensate("payments").to_string(), "payments.compensate");
    }
}
