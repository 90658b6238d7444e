//! A connection to a broker, made when it is needed and again after it broke: at once the first time, then with a
//! growing pause, in which whoever asks hears why there is none.

use super::ANSWER;
use super::wire;
use crate::Error;
use crate::settings::rabbitmq::Settings;
use futures::StreamExt;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::AsyncTcpStream;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, Event};
use rustls::ClientConfig;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between tries to connect: doubled from the first to the last.
const BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// One connection of a queue.
pub(super) struct Link {
    /// What for, as the broker shows it.
    name: &'static str,
    settings: Settings,
    state: tokio::sync::Mutex<State>,
    /// Why the broker takes nothing in at present.
    blocked: Arc<Mutex<Option<String>>>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// The host that is tried first: the one that worked, or the next one.
    host: usize,
    failed: Option<Failed>,
}

struct Failed {
    at: Instant,
    pause: Duration,
    error: Error,
}

#[allow(clippy::disallowed_methods, reason = "a pause between tries")]
fn now() -> Instant {
    Instant::now()
}

impl Link {
    pub(super) fn new(name: &'static str, settings: Settings) -> Self {
        Self { name, settings, state: tokio::sync::Mutex::default(), blocked: Arc::default() }
    }

    /// A channel of the connection that there is, or of a new one.
    pub(super) async fn channel(&self) -> Result<Channel, Error> {
        let opening = async {
            let connection = self.connection().await?;
            connection.create_channel().await.map_err(|error| failed(&error))
        };
        let opened = tokio::time::timeout(2 * ANSWER, opening).await;
        opened
            .unwrap_or_else(|_| Err(Error::Unavailable { reason: "the broker opens no channel".to_owned() }))
    }

    /// Why the broker takes nothing in at present, if it does not.
    pub(super) fn blocked(&self) -> Option<String> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn connection(&self) -> Result<Arc<Connection>, Error> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection
            && connection.status().connected()
        {
            return Ok(Arc::clone(connection));
        }
        if let Some(failed) = &state.failed
            && failed.at.elapsed() < failed.pause
        {
            return Err(failed.error.clone());
        }
        state.connection = None;
        let pause = state.failed.as_ref().map_or(BACKOFF[0], |failed| (failed.pause * 2).min(BACKOFF[1]));
        match self.connect(&mut state.host).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                (state.connection, state.failed) = (Some(Arc::clone(&connection)), None);
                Ok(connection)
            }
            Err(error) => {
                state.failed = Some(Failed { at: now(), pause, error: error.clone() });
                Err(error)
            }
        }
    }

    /// Tries each host once.
    async fn connect(&self, first: &mut usize) -> Result<Connection, Error> {
        let addresses = self.settings.addresses()?;
        let tls = match &self.settings.tls {
            Some(tls) => Some(Arc::new(tls.client("queue.rabbitmq")?)),
            None => None,
        };
        let mut last = None;
        for _ in 0..addresses.len() {
            let Some(uri) = addresses.get(*first % addresses.len()) else { break };
            let trying = tokio::time::timeout(ANSWER, open(self.name, uri, tls.clone()));
            let error = match trying.await {
                Ok(Ok(connection)) => {
                    self.follow(&connection);
                    metrics::counter!("goconductor_queue_connections_total").increment(1);
                    return Ok(connection);
                }
                Ok(Err(error)) => failed(&error),
                Err(_) => Error::Unavailable { reason: "does not answer".to_owned() },
            };
            let at = format!("{}:{}", uri.authority.host, uri.authority.port);
            last = Some(if let Error::Unavailable { reason } = error {
                Error::Unavailable { reason: format!("{at}: {reason}") }
            } else {
                error
            });
            *first += 1;
        }
        Err(last.unwrap_or(Error::Unavailable { reason: "there is no broker".to_owned() }))
    }

    /// Hears whether the broker takes anything in.
    fn follow(&self, connection: &Connection) {
        let (name, blocked) = (self.name, Arc::clone(&self.blocked));
        let mut events = Box::pin(connection.events_listener());
        let says = |blocked: &Mutex<Option<String>>, what| {
            *blocked.lock().unwrap_or_else(PoisonError::into_inner) = what;
        };
        says(&blocked, None);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Event::ConnectionBlocked(reason) = event {
                    tracing::warn!(reason, "RabbitMQ takes nothing in, until it has memory or disk again");
                    says(&blocked, Some(reason));
                } else if let Event::ConnectionUnblocked = event {
                    says(&blocked, None);
                } else if let Event::Error(error) = event {
                    tracing::info!(name, %error, "the connection to RabbitMQ broke, and is made again when needed");
                    break;
                }
            }
            says(&blocked, None);
        });
    }
}

async fn open(
    name: &'static str,
    uri: &AMQPUri,
    tls: Option<Arc<ClientConfig>>,
) -> lapin::Result<Connection> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connect =
        async move |uri: AMQPUri, _| Ok(AsyncTcpStream::Plain(wire::connect(&uri, tls.as_ref()).await?));
    Connection::connector(uri.clone(), wire::runtime(), connect, properties).await
}

/// What the library or the broker said, by what can be done about it.
pub(super) fn failed(error: &lapin::Error) -> Error {
    let reason = error.to_string();
    let ErrorKind::ProtocolError(said) = error.kind() else { return Error::Unavailable { reason } };
    let advice = match said.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
            "queue.rabbitmq.user and queue.rabbitmq.password have to be known to the broker, with the right to \
             configure, write and read what begins with queue.prefix"
        }
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
            "what is there by that name was made with other arguments: remove it, and it is made as it has to be, or \
             set queue.prefix"
        }
        AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
            "queue.rabbitmq.vhost has to be there, and open to queue.rabbitmq.user"
        }
        AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => return Error::Unavailable { reason },
    };
    Error::Configuration { reason: format!("{reason}; {advice}") }
}

/// Whether what was asked for is not there.
pub(super) fn is_missing(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(said) = error.kind() else { return false };
    matches!(said.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}
