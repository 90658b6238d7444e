//! The parts of a service that runs in its own process.
//!
//! - [`main`] reads the arguments and the configuration, and runs a service until a signal.
//! - [`Process`] has what every service needs: configuration, metrics, readiness and drain.
//! - [`Host`] is the port of the service. [`guard`] checks the roles of its callers.
//! - [`Backends`] are the store, the queue and the engine, as configured.
//! - [`LiveConfig`] is the configuration of the process while the API changes it, and [`probe`] connects to what a
//!   configuration names.
//! - [`MembershipLease`] keeps the process a member of the cluster.
//! - [`notify_systemd`] reports the state of the process to systemd.
//!
//! A process listens immediately, and `/readyz` reports what is still missing. Processes can therefore be started in any
//! order: what is open does not wait for the rest, and a service that is not open answers that the call can be retried.
//!
//! The crate deliberately knows no service.
//!
//! Invariants: liveness depends on nothing; readiness never reports a service that does not work; a configuration that
//! cannot work ends the process at its start, with the problem and its position; resources are released in order.

mod advertised;
mod arguments;
mod backends;
mod configuration;
mod connection;
mod connection_limits;
mod core_dumps;
mod count_limit;
mod counted_events;
mod database;
mod election;
mod engine_limits;
mod error_text;
mod file_limit;
mod host;
mod internal_methods;
#[cfg(feature = "kinesis")]
mod leases;
mod listener;
mod listeners;
mod live_config;
mod membership;
pub mod metrics;
mod probe;
mod process;
mod queues;
mod run;
mod serve;
mod start_rules;
mod systemd;
mod vault;

pub use advertised::advertised_address;
pub use backends::Backends;
pub use configuration::{SettingsError, StoreAccess, load_config, with_settings};
pub use connection_limits::{ConnectionLimits, PeerAddress};
pub use core_dumps::CoreDumps;
pub use counted_events::{CountedEvents, OfferEvent};
pub use database::{database_location, open_database, schema_policy};
pub use engine_limits::{follow as follow_engine_limits, settings as engine_settings};
pub use error_text::chain;
pub use host::{Host, ReaderCheck};
pub use internal_methods::{check_worker, guard};
pub use listener::{ConnectionBounds, LimitedConnection, LimitedListener};
pub use listeners::Listeners;
pub use live_config::{LiveConfig, ReadVersion, queue_of_api};
pub use membership::MembershipLease;
pub use probe::{ProbeFailure, probe};
pub use process::{Process, RetryableError, load_tls};
pub use run::{main, until_failure};
pub use serve::{ResponseHold, serve};
pub use start_rules::current as current_start_rules;
pub use systemd::notify_systemd;
pub use vault::{Rotation, Vault, VaultError, VaultPayloadKeys};

/// Returns the reason why a build without the driver of a backend refuses the backend.
fn missing_driver(setting: &str, feature: &str) -> String {
    format!(
        "{setting}: this build has no driver for {feature}: build with `--features {feature}`, or build all services \
         with all drivers with `cargo build --workspace --release`"
    )
}
