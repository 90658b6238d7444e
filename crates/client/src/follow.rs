//! Following the history of a workflow across broken connections.

use crate::{Client, Error, Event};
use backon::{ExponentialBuilder, Retryable};
use eventsource_stream::{EventStreamError, Eventsource};
use futures::stream::{BoxStream, Stream, StreamExt};
use reqwest::{Method, header};
use std::fmt;
use std::string::FromUtf8Error;
use std::time::Duration;
use tokio::time::Instant;

/// The first delay before a reconnect. It doubles up to [`MAX_RETRY_DELAY`].
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// The longest delay before a reconnect. A longer one would add to the delay after the server is back.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);
/// The time after which an unavailable server is given up.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// The time after which a connection without data is replaced. The server sends keep-alive comments.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The events of a workflow as they happen: in order, each once, until the last.
///
/// After a broken connection, the stream resumes after the last event that it returned. Only a failure of the first
/// connection is returned at once.
pub struct Follow {
    client: Client,
    id: String,
    last_seq: u64,
    messages: Option<Messages>,
    was_connected: bool,
    has_ended: bool,
}

type Messages = BoxStream<'static, Result<eventsource_stream::Event, EventStreamError<Disconnected>>>;

/// The connection broke or was idle for too long.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("disconnected")]
struct Disconnected;

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("id", &self.id)
            .field("last_seq", &self.last_seq)
            .finish_non_exhaustive()
    }
}

impl Follow {
    pub(crate) fn new(client: Client, id: String, after_seq: u64) -> Self {
        Self { client, id, last_seq: after_seq, messages: None, was_connected: false, has_ended: false }
    }

    /// Returns the next event, or `None` after the last.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the workflow does not exist, [`Error::Unreachable`] if the server is unavailable
    /// for 60 seconds, and [`Error::Unreadable`] if a message is malformed. Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        if self.has_ended {
            return None;
        }
        match self.advance().await {
            Ok(Some(event)) => {
                self.last_seq = event.seq;
                self.has_ended = event.is_last();
                Some(Ok(event))
            }
            Ok(None) => {
                self.has_ended = true;
                None
            }
            Err(error) => {
                self.has_ended = true;
                Some(Err(error))
            }
        }
    }

    /// Returns the events as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Event, Error>> + Send {
        futures::stream::unfold(self, |mut follow| async move {
            let item = follow.next().await?;
            Some((item, follow))
        })
    }

    async fn advance(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if self.messages.is_none() {
                if self.was_connected && self.is_complete().await? {
                    return Ok(None);
                }
                self.connect().await?;
            }
            // A resumed stream may repeat events. A message without a number is not an event of the history.
            if let Some(event) = self.receive().await?
                && event.seq > self.last_seq
            {
                return Ok(Some(event));
            }
        }
    }

    /// Receives a message. Returns `None` if the connection ended or broke; the caller then reconnects.
    async fn receive(&mut self) -> Result<Option<Event>, Error> {
        let Some(messages) = &mut self.messages else { return Ok(None) };
        match messages.next().await {
            Some(Ok(message)) => serde_json::from_str(&message.data)
                .map(Some)
                .map_err(|error| Error::unreadable(self.client.address(), error)),
            None | Some(Err(EventStreamError::Transport(Disconnected))) => {
                self.messages = None;
                Ok(None)
            }
            Some(Err(EventStreamError::Utf8(error))) if is_cut_off(&error) => {
                self.messages = None;
                Ok(None)
            }
            Some(Err(error)) => Err(Error::unreadable(self.client.address(), error)),
        }
    }

    /// Whether the workflow has ended with the last event that was returned.
    async fn is_complete(&mut self) -> Result<bool, Error> {
        let reply = retry(|| self.client.workflow(&self.id)).await?;
        Ok(reply.value.status.is_final() && reply.value.seq <= self.last_seq)
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let last_seq = self.last_seq.to_string();
        let open = || {
            let request = self
                .client
                .api(Method::GET, &["workflows", &self.id, "events"])
                .query(&[("after_seq", &last_seq)])
                .header(header::ACCEPT, "text/event-stream")
                .header("last-event-id", &last_seq);
            self.client.send(request)
        };
        let response = if self.was_connected { retry(open).await? } else { open().await? };
        self.was_connected = true;
        let bytes = tokio_stream::StreamExt::timeout(response.bytes_stream(), IDLE_TIMEOUT)
            .map(|bytes| bytes.map_err(|_| Disconnected)?.map_err(|_| Disconnected));
        self.messages = Some(bytes.eventsource().boxed());
        Ok(())
    }
}

/// Whether the connection broke within a character.
fn is_cut_off(error: &FromUtf8Error) -> bool {
    error.utf8_error().error_len().is_none()
}

/// Retries a read with exponential backoff while the server is unavailable.
async fn retry<T, F: Future<Output = Result<T, Error>>>(read: impl FnMut() -> F) -> Result<T, Error> {
    let deadline = Instant::now() + RETRY_TIMEOUT;
    let backoff = ExponentialBuilder::default()
        .with_min_delay(MIN_RETRY_DELAY)
        .with_max_delay(MAX_RETRY_DELAY)
        .without_max_times();
    read.retry(backoff).when(|error: &Error| error.is_retryable() && Instant::now() < deadline).await
}
