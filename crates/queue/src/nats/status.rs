//! The status of the connection, as the driver reports it.

use crate::{Error, metrics};
use async_nats::Event;
use parking_lot::Mutex;
use tokio::sync::watch;

/// The status of a connection.
#[derive(Debug)]
pub(super) struct ConnectionStatus {
    /// The number of times that the connection was established.
    connections: watch::Sender<u64>,
    /// The last problem since the connection was established.
    problem: Mutex<Option<String>>,
}

impl Default for ConnectionStatus {
    fn default() -> Self {
        Self { connections: watch::Sender::new(0), problem: Mutex::default() }
    }
}

impl ConnectionStatus {
    /// Returns a receiver that changes each time the connection is established.
    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// Records an event of the driver.
    pub(super) fn record(&self, event: &Event) {
        let problem = match event {
            Event::Connected => {
                self.connections.send_modify(|count| *count += 1);
                metrics::CONNECTIONS.increment(1);
                None
            }
            Event::Disconnected => {
                tracing::info!("connection to NATS was lost and is being re-established");
                Some("connection lost".to_owned())
            }
            Event::ServerError(error) => Some(error.to_string()),
            Event::ClientError(error) => Some(error.to_string()),
            Event::LameDuckMode | Event::Draining | Event::Closed | Event::SlowConsumer(_) => {
                tracing::debug!(%event, "NATS driver reported an event");
                return;
            }
        };
        *self.problem.lock() = problem;
    }

    /// Creates an [`Error::Unavailable`] that names the failed operation and the last problem of the connection.
    pub(super) fn unavailable(&self, operation: &str) -> Error {
        match &*self.problem.lock() {
            Some(problem) => {
                Error::unavailable(format!("{operation} (last problem of the connection: {problem})"))
            }
            None => Error::unavailable(operation),
        }
    }
}
