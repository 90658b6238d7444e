//! The port for queues, and its adapters.
//!
//! - [`Queue`] and [`Consumer`] are the port.
//! - [`memory`] is the in-process adapter. [`kafka`], [`kinesis`], [`nats`] and [`rabbitmq`] are the adapters of
//!   brokers. [`Metered`] records the metrics of a broker's adapter.
//! - [`settings`] holds the settings of the adapters, as plain data.
//! - [`switching`] combines two queues while all processes migrate from one to the other.
//! - [`conformance`] is the array of cases that every adapter runs.
//!
//! A message is only a hint that a command is due. The dispatch ledger is the source of truth: it publishes again
//! whatever a queue loses, repeats or refuses. A queue can therefore cost a saga time, but cannot lose one.
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

mod backoff;
pub mod conformance;
mod error;
pub mod kafka;
pub mod kinesis;
pub mod memory;
mod message;
mod metered;
pub mod metrics;
pub mod nats;
mod port;
pub mod rabbitmq;
pub mod settings;
pub mod switching;
mod tls;
mod topic_cache;
mod topic_capacity;

pub use error::{Capacity, Error, ErrorKind, ErrorSource};
pub use message::{Backlog, Delivery, DeliveryTag, Lane, Message, Topic};
pub use metered::{BrokerQueue, Metered};
pub use port::{Consumer, Queue};
pub use settings::Tls;
