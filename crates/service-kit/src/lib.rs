//! What each service has: configuration, logs, metrics, health, drain, and fair shares of what is limited.
//!
//! The crate deliberately knows nothing of workflows, of databases or of HTTP: a service mounts what is
//! here on its own routes, and registers its own checks and tasks.
//!
//! Invariants: a configuration is used only if all of it is understood; no secret is printed, by
//! `Debug`, by `explain` or in a message; what is spawned is named, and waited for at the end.

pub mod config;
pub mod drain;
pub mod duration;
pub mod fair;
pub mod health;
pub mod telemetry;
