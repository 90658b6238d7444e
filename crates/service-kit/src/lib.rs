//! The parts that every service has: configuration, permissions, logs, metrics, health, drain, and a fair semaphore.
//!
//! The crate deliberately knows nothing of workflows, of databases or of HTTP. A service serves the reports and the
//! metrics on its own routes, and registers its own checks and tasks.
//!
//! Invariants: a configuration is used only if all of it is valid; `Debug`, `config explain` and messages never contain
//! a secret; every task has a name, and the drain waits for it.

pub mod config;
pub mod drain;
pub mod fair;
pub mod health;
pub mod log;
pub mod metrics;
pub mod outbound;
pub mod permission;
pub mod telemetry;

pub use goconductor_definition::duration;
