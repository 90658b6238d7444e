//! A connection to a broker. It is opened on first use, and again after it broke: at once the first time, then with a
//! backoff. Between two attempts, callers get the error of the last one.

use super::errors::failed;
use super::limits::REQUEST_TIMEOUT;
use super::wire;
use crate::backoff::ReconnectBackoff;
use crate::settings::rabbitmq::Settings;
use crate::{Error, metrics};
use futures::StreamExt;
use lapin::tcp::AsyncTcpStream;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Event};
use parking_lot::Mutex;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shortest and the longest delay between two attempts to connect.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Opens one connection of a queue.
pub(super) struct RabbitConnector {
    /// The name of the connection at the broker.
    name: &'static str,
    settings: Settings,
    state: tokio::sync::Mutex<State>,
    /// Why the broker blocks publishes on this connection at present.
    blocked: Arc<Mutex<Option<String>>>,
}

struct State {
    connection: Option<Arc<Connection>>,
    /// The index of the host that is tried first: the last one that worked, or the one after the last that failed.
    host: usize,
    backoff: ReconnectBackoff,
    failed: Option<FailedAttempt>,
}

struct FailedAttempt {
    at: Instant,
    /// The delay before the next attempt.
    delay: Duration,
    error: Error,
}

#[allow(clippy::disallowed_methods, reason = "a delay between attempts")]
fn now() -> Instant {
    Instant::now()
}

impl RabbitConnector {
    pub(super) fn new(name: &'static str, settings: Settings) -> Self {
        let backoff = ReconnectBackoff::new(MIN_BACKOFF, MAX_BACKOFF);
        let state = tokio::sync::Mutex::new(State { connection: None, host: 0, backoff, failed: None });
        Self { name, settings, state, blocked: Arc::default() }
    }

    /// Opens a channel, and the connection if necessary.
    pub(super) async fn channel(&self) -> Result<Channel, Error> {
        let opening = async {
            let connection = self.connection().await?;
            connection.create_channel().await.map_err(|error| failed("failed to open a channel", error))
        };
        let opened = tokio::time::timeout(2 * REQUEST_TIMEOUT, opening).await;
        opened.unwrap_or_else(|_| Err(Error::unavailable("opening of a channel timed out")))
    }

    /// Returns why the broker blocks publishes at present, if it does.
    pub(super) fn blocked(&self) -> Option<String> {
        self.blocked.lock().clone()
    }

    async fn connection(&self) -> Result<Arc<Connection>, Error> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection
            && connection.status().connected()
        {
            return Ok(Arc::clone(connection));
        }
        if let Some(failed) = &state.failed
            && failed.at.elapsed() < failed.delay
        {
            return Err(failed.error.clone());
        }
        state.connection = None;
        match self.connect(&mut state.host).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                (state.connection, state.failed) = (Some(Arc::clone(&connection)), None);
                state.backoff.reset();
                Ok(connection)
            }
            Err(error) => {
                let delay = state.backoff.next();
                state.failed = Some(FailedAttempt { at: now(), delay, error: error.clone() });
                Err(error)
            }
        }
    }

    /// Tries each host once, from the host `first` on.
    async fn connect(&self, first: &mut usize) -> Result<Connection, Error> {
        let addresses = self.settings.addresses()?;
        let tls = match &self.settings.tls {
            Some(tls) => Some(Arc::new(tls.client("queue.rabbitmq")?)),
            None => None,
        };
        let mut last = None;
        for _ in 0..addresses.len() {
            let Some(uri) = addresses.get(*first % addresses.len()) else { break };
            let (host, port) = (&uri.authority.host, uri.authority.port);
            let connecting = tokio::time::timeout(REQUEST_TIMEOUT, connect(self.name, uri, tls.clone()));
            last = Some(match connecting.await {
                Ok(Ok(connection)) => {
                    self.follow(&connection);
                    metrics::CONNECTIONS.increment(1);
                    return Ok(connection);
                }
                Ok(Err(error)) => failed(&format!("failed to connect to {host}:{port}"), error),
                Err(_) => Error::unavailable(format!("attempt to connect to {host}:{port} timed out")),
            });
            *first += 1;
        }
        Err(last.unwrap_or_else(|| Error::unavailable("no broker is configured")))
    }

    /// Follows the events of a connection.
    fn follow(&self, connection: &Connection) {
        let (name, blocked) = (self.name, Arc::clone(&self.blocked));
        let mut events = Box::pin(connection.events_listener());
        *blocked.lock() = None;
        goconductor_supervisor::spawn("rabbitmq-connection", async move {
            while let Some(event) = events.next().await {
                if let Event::ConnectionBlocked(reason) = event {
                    tracing::warn!(
                        reason,
                        "RabbitMQ blocked publishes until it has free memory and disk space"
                    );
                    *blocked.lock() = Some(reason);
                } else if let Event::ConnectionUnblocked = event {
                    *blocked.lock() = None;
                } else if let Event::Error(error) = event {
                    tracing::info!(name, %error, "connection to RabbitMQ was lost and is re-established on next use");
                    break;
                }
            }
            *blocked.lock() = None;
        });
    }
}

async fn connect(
    name: &'static str,
    uri: &AMQPUri,
    tls: Option<Arc<ClientConfig>>,
) -> lapin::Result<Connection> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connect =
        async move |uri: AMQPUri, _| Ok(AsyncTcpStream::Plain(wire::connect(&uri, tls.as_ref()).await?));
    Connection::connector(uri.clone(), wire::runtime(), connect, properties).await
}
