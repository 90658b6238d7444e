//! Runs a real `goconductor dev` or cluster with real participants, injects faults, and checks the guarantees.
//!
//! The harness uses the product from outside only: its command, its REST API and the requests to participants. No crate
//! of the product depends on it. From `saga` it uses the terms, and `evolve` to fold a history.

mod api;
mod certificates;
pub mod check;
mod cluster;
mod effect_log;
mod participant;
mod process;
mod record;
pub mod stored;

pub use api::Api;
pub use certificates::Certificates;
pub use cluster::{Broker, Cluster, ClusterOptions, ElectionServers, Services};
pub use effect_log::{EffectLog, Request};
pub use participant::{Call, Participants};
pub use process::{Dev, DevOptions, free_port, goconductor};
pub use record::{collect, doctor};

/// A definition whose steps are served by `service/action` of [`Participants`].
pub const ORDER: &str = "
workflow: order
steps:
  - { name: reserve, run: stock/reserve, compensate: stock/release, timeout: 2s }
  - { name: charge, run: payments/charge, compensate: payments/refund, timeout: 2s }
  - { name: ship, run: shipping/ship, compensate: shipping/cancel, timeout: 2s }
";
