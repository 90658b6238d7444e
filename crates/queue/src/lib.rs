//! The port for queues, and its adapters.
//!
//! - [`Queue`] and [`Consumer`] are the port.
//! - [`memory`] is the in-process adapter. `kafka`, `kinesis`, `nats` and `rabbitmq` are the adapters of brokers, each
//!   behind the feature of its name. [`Metered`] records the metrics of a broker's adapter.
//! - [`settings`] holds the settings of the adapters, as plain data.
//! - [`switching`] combines two queues while all processes migrate from one to the other.
//! - [`conformance`] is the array of cases that every adapter runs.
//!
//! A message is only a hint that a command is due. The dispatch ledger is the source of truth: it publishes again
//! the messages that a queue loses or refuses. A queue can therefore cost a saga time, but cannot lose one.
//!
//! The crate deliberately knows nothing of workflows, steps, databases or clocks. A payload is opaque bytes, and the
//! publisher passes the publish time.
//!
//! Invariants:
//!
//! - A published message is delivered until it is acknowledged.
//! - Two consumers never own the same message at the same time.
//! - Messages with the same key are delivered in publish order.
//! - The two lanes of a topic share nothing, so a compensation never queues behind new starts.

#[cfg(any(feature = "kinesis", feature = "rabbitmq"))]
mod backoff;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kinesis")]
pub mod kinesis;
pub mod memory;
mod message;
mod metered;
pub mod metrics;
#[cfg(feature = "nats")]
pub mod nats;
mod port;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
pub mod settings;
pub mod switching;
#[cfg(any(feature = "kinesis", feature = "nats", feature = "rabbitmq"))]
#[cfg_attr(
    not(any(feature = "nats", feature = "rabbitmq")),
    allow(dead_code, reason = "Kinesis uses a part")
)]
mod tls;
#[cfg(any(feature = "kafka", feature = "kinesis", feature = "nats", feature = "rabbitmq"))]
#[cfg_attr(not(feature = "kinesis"), allow(dead_code, reason = "only Kinesis uses all of it"))]
mod topic_cache;
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
mod topic_capacity;

pub use error::{Capacity, Error, ErrorKind, ErrorSource};
pub use message::{Backlog, Delivery, DeliveryTag, Lane, Message, Topic};
pub use metered::{BrokerQueue, Metered};
pub use port::{Consumer, Queue};
pub use settings::Tls;
