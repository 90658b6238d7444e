//! The connection to the servers: made when it is first needed, and then kept by the library, which looks for another
//! server with a growing pause whenever it breaks.

use super::ANSWER;
use crate::Error;
use crate::settings::nats::Settings;
use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectErrorKind, Event};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What can't be reached is not tried again by the next caller within this time.
const AGAIN: Duration = Duration::from_millis(300);
/// One answer of JetStream. Above it, what was asked is asked again.
const REPLY: Duration = Duration::from_secs(3);
/// Publishes that wait for their answer at once, of the whole process.
const IN_FLIGHT: usize = 4096;

/// A connection.
#[derive(Debug, Clone)]
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) jetstream: Context,
}

/// The one connection of a queue.
pub(super) struct Link {
    settings: Settings,
    news: Arc<News>,
    connected: tokio::sync::Mutex<Tried>,
}

#[derive(Default)]
struct Tried {
    connected: Option<Connected>,
    failed: Option<(Instant, Error)>,
}

impl Link {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, news: Arc::default(), connected: tokio::sync::Mutex::default() }
    }

    /// What is heard of the connection.
    pub(super) fn news(&self) -> &Arc<News> {
        &self.news
    }

    /// The connection. Once it was made it is there, whatever becomes of it.
    pub(super) async fn get(&self) -> Result<Connected, Error> {
        let mut tried = self.connected.lock().await;
        if let Some(connected) = &tried.connected {
            return Ok(connected.clone());
        }
        if let Some((at, error)) = &tried.failed
            && at.elapsed() < AGAIN
        {
            return Err(error.clone());
        }
        match self.connect().await {
            Ok(connected) => {
                tried.connected = Some(connected.clone());
                Ok(connected)
            }
            Err(error) => {
                #[allow(clippy::disallowed_methods, reason = "a pause between tries")]
                let now = Instant::now();
                tried.failed = Some((now, error.clone()));
                Err(error)
            }
        }
    }

    /// Whether there is a connection at present.
    pub(super) async fn is_up(&self) -> bool {
        let tried = self.connected.lock().await;
        tried
            .connected
            .as_ref()
            .is_some_and(|connected| connected.client.connection_state() == State::Connected)
    }

    async fn connect(&self) -> Result<Connected, Error> {
        let news = Arc::clone(&self.news);
        let options = self.settings.options(move |event| news.hear(&event))?;
        let addresses = self.settings.addresses()?;
        let connected = tokio::time::timeout(ANSWER, options.connect(addresses)).await;
        let connected = connected.map_err(|_| self.unavailable("no server answers"))?;
        let client = connected.map_err(|error| self.refused(&error))?;
        let context = ContextBuilder::new().timeout(REPLY).max_ack_inflight(IN_FLIGHT);
        Ok(Connected { jetstream: context.build(client.clone()), client })
    }

    fn refused(&self, error: &async_nats::ConnectError) -> Error {
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                let reason = format!(
                    "{error}: the servers of queue.nats.servers do not take queue.nats.user and \
                     queue.nats.password, queue.nats.token or queue.nats.credentials"
                );
                Error::Configuration { reason }
            }
            ConnectErrorKind::Tls => Error::Configuration { reason: format!("queue.nats.tls: {error}") },
            ConnectErrorKind::ServerParse
            | ConnectErrorKind::Dns
            | ConnectErrorKind::TimedOut
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => {
                let servers = self.settings.servers.join(", ");
                Error::Unavailable { reason: format!("{servers}: {error}") }
            }
        }
    }

    /// What did not work, and what was last heard of the connection.
    pub(super) fn unavailable(&self, what: &str) -> Error {
        self.news.unavailable(what)
    }
}

/// What is heard of a connection.
#[derive(Debug)]
pub(super) struct News {
    /// How often it was made.
    connections: watch::Sender<u64>,
    /// What was last said to be wrong, since it was made.
    trouble: Mutex<Option<String>>,
}

impl Default for News {
    fn default() -> Self {
        Self { connections: watch::Sender::new(0), trouble: Mutex::default() }
    }
}

impl News {
    /// Rings each time that the connection was made anew.
    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    pub(super) fn hear(&self, event: &Event) {
        let trouble = match event {
            Event::Connected => {
                self.connections.send_modify(|count| *count += 1);
                metrics::counter!("goconductor_queue_connections_total").increment(1);
                None
            }
            Event::Disconnected => {
                tracing::info!("the connection to NATS broke, and is made again");
                Some("the connection broke".to_owned())
            }
            Event::ServerError(error) => Some(error.to_string()),
            Event::ClientError(error) => Some(error.to_string()),
            Event::LameDuckMode | Event::Draining | Event::Closed | Event::SlowConsumer(_) => {
                tracing::debug!(%event, "nats");
                return;
            }
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(super) fn unavailable(&self, what: &str) -> Error {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reason = trouble.map_or_else(|| what.to_owned(), |trouble| format!("{what}: {trouble}"));
        Error::Unavailable { reason }
    }
}
