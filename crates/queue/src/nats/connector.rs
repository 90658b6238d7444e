//! The connection to the servers. It is established on first use; afterwards the driver re-establishes it with a
//! backoff, to another server if necessary.

use super::limits::REQUEST_TIMEOUT;
use super::status::ConnectionStatus;
use crate::Error;
use crate::settings::nats::Settings;
use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For this long after a failed attempt to connect, callers get its error instead of a new attempt.
const RETRY_DELAY: Duration = Duration::from_millis(300);
/// Timeout of one JetStream request. The caller retries it.
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(3);
/// The number of publishes of the whole process that wait for an acknowledgement at the same time.
const MAX_IN_FLIGHT: usize = 4096;

/// An established connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) jetstream: Context,
}

/// Establishes the connection of a queue.
pub(super) struct NatsConnector {
    settings: Settings,
    status: Arc<ConnectionStatus>,
    attempt: tokio::sync::Mutex<Attempt>,
}

/// The result of the last attempt to connect.
#[derive(Default)]
struct Attempt {
    connection: Option<Connection>,
    failed: Option<(Instant, Error)>,
}

impl NatsConnector {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, status: Arc::default(), attempt: tokio::sync::Mutex::default() }
    }

    pub(super) fn status(&self) -> &Arc<ConnectionStatus> {
        &self.status
    }

    /// Returns the connection. Once it was established, the same one is returned, even while it is interrupted.
    pub(super) async fn get(&self) -> Result<Connection, Error> {
        let mut attempt = self.attempt.lock().await;
        if let Some(connection) = &attempt.connection {
            return Ok(connection.clone());
        }
        if let Some((failed_at, error)) = &attempt.failed
            && failed_at.elapsed() < RETRY_DELAY
        {
            return Err(error.clone());
        }
        match self.connect().await {
            Ok(connection) => {
                attempt.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                #[allow(clippy::disallowed_methods, reason = "a delay between attempts")]
                let now = Instant::now();
                attempt.failed = Some((now, error.clone()));
                Err(error)
            }
        }
    }

    /// Returns whether the connection is established at present.
    pub(super) async fn is_connected(&self) -> bool {
        let attempt = self.attempt.lock().await;
        let connection = attempt.connection.as_ref();
        connection.is_some_and(|connection| connection.client.connection_state() == State::Connected)
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let status = Arc::clone(&self.status);
        let options = self.settings.options(move |event| status.record(&event))?;
        let addresses = self.settings.addresses()?;
        let connected = tokio::time::timeout(REQUEST_TIMEOUT, options.connect(addresses)).await;
        let connected = connected.map_err(|_| self.unavailable("attempt to connect timed out"))?;
        let client = connected.map_err(|error| self.connect_error(error))?;
        let context = ContextBuilder::new().timeout(JETSTREAM_TIMEOUT).max_ack_inflight(MAX_IN_FLIGHT);
        Ok(Connection { jetstream: context.build(client.clone()), client })
    }

    fn connect_error(&self, error: async_nats::ConnectError) -> Error {
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                Error::configuration(
                    "the servers of queue.nats.servers reject the credentials: check queue.nats.user and \
                     queue.nats.password, queue.nats.token or queue.nats.credentials",
                )
            }
            ConnectErrorKind::Tls => Error::configuration("TLS handshake failed: check queue.nats.tls"),
            ConnectErrorKind::ServerParse
            | ConnectErrorKind::Dns
            | ConnectErrorKind::TimedOut
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => {
                Error::unavailable(format!("failed to connect to {}", self.settings.servers.join(", ")))
            }
        }
        .with_source(error)
    }

    /// Creates an [`Error::Unavailable`] that names the failed operation and the last problem of the connection.
    pub(super) fn unavailable(&self, operation: &str) -> Error {
        self.status.unavailable(operation)
    }
}
