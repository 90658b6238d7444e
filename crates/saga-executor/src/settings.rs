//! Settings of an executor.

use goconductor_service_kit::outbound::OutboundPolicy;
use goconductor_transition::clock;
use std::time::Duration;

/// Settings of an executor.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The identity that histories record for attempts. It must be unique, so processes use a random one at each
    /// boot.
    pub identity: String,
    /// Executes of all services in flight, and separately the compensations. Namespaces share them fairly.
    pub all_in_flight: usize,
    /// Executes of one service in flight, unless the service has a limit of its own.
    pub executes_in_flight: usize,
    /// Compensations of one service in flight.
    pub compensations_in_flight: usize,
    /// An attempt that runs longer than this is recorded as started.
    pub start_grace: Duration,
    /// A delivered command becomes due again after this time.
    pub redelivery: Duration,
    /// Whether the clock is virtual. A delivered command then does not become due again.
    pub virtual_time: bool,
    /// How long shutdown waits for attempts in flight.
    pub drain: Duration,
    /// The maximum size of a participant's output in bytes.
    pub output_bytes: usize,
    /// The names of the services to serve; empty for all.
    pub services: Vec<String>,
    /// The number of shards for which the executor runs a dispatcher election; 0 if it is never a candidate.
    pub duty_shards: u8,
    /// A worker that sends nothing for this long is disconnected.
    pub worker_lease: Duration,
    /// Whether a worker must present a certificate with the role of a worker.
    pub authenticates_workers: bool,
    /// The addresses to which requests may go.
    pub outbound: OutboundPolicy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            identity: "executor".to_owned(),
            all_in_flight: 1024,
            executes_in_flight: 64,
            compensations_in_flight: 32,
            start_grace: Duration::from_millis(200),
            redelivery: Duration::from_secs(5),
            virtual_time: false,
            drain: Duration::from_secs(10),
            output_bytes: 512 << 10,
            services: Vec::new(),
            duty_shards: 1,
            worker_lease: Duration::from_secs(5),
            authenticates_workers: false,
            outbound: OutboundPolicy::default(),
        }
    }
}

impl Settings {
    /// Returns the delay until a claimed row of the ledger is due again.
    pub(crate) fn claim_delay(&self) -> Duration {
        if self.virtual_time { clock::HELD } else { self.redelivery }
    }
}
