//! Starts a real `goconductor dev` and real participants, breaks them, and checks what was promised.
//!
//! Everything here sees the product from outside only: its command, its REST API, and what reaches the
//! participants. Nothing in the product knows of it. Of the rules it uses the words, and the fold of a history
//! to hold it against what is shown.

mod api;
pub mod check;
mod cluster;
mod effect_log;
mod participant;
mod process;
mod record;
pub mod stored;

pub use api::Api;
pub use cluster::{Broker, Cluster, ClusterOptions, ElectionServers, Services};
pub use effect_log::{EffectLog, Request};
pub use participant::{Call, Participants};
pub use process::{Dev, DevOptions, free_port, goconductor};
pub use record::{collect, doctor};

/// A definition in which every step goes to `service/action` of [`Participants`].
pub const ORDER: &str = "
workflow: order
steps:
  - { name: reserve, run: stock/reserve, compensate: stock/release, timeout: 2s }
  - { name: charge, run: payments/charge, compensate: payments/refund, timeout: 2s }
  - { name: ship, run: shipping/ship, compensate: shipping/cancel, timeout: 2s }
";
