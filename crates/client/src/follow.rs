//! Following a workflow's history until its end, across broken connections.

use crate::sse::Parser;
use crate::{Client, Error, Event};
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};
use reqwest::{Method, header};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The first pause before a connection is made again; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two tries: a server that is back should soon be found.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// A server that has been away for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that was silent for so long, without even a sign of life, is made again.
const SILENCE: Duration = Duration::from_secs(60);

/// A workflow's events as they happen, in order, each once, until the last.
///
/// A connection that breaks is made again and resumes after the last event that was passed on. Only a
/// first connection that can't be made is reported at once.
pub struct Follow {
    client: Client,
    id: String,
    last_seq: u64,
    connection: Option<Connection>,
    ready: VecDeque<Event>,
    connected_before: bool,
    done: bool,
}

struct Connection {
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    parser: Parser,
}

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
        Self {
            client,
            id,
            last_seq: after_seq,
            connection: None,
            ready: VecDeque::new(),
            connected_before: false,
            done: false,
        }
    }

    /// The next event; none after the last.
    ///
    /// # Errors
    /// When the workflow does not exist, or the server stayed away. Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        if self.done {
            return None;
        }
        match self.advance().await {
            Ok(Some(event)) => {
                self.last_seq = event.seq;
                self.done = event.is_last();
                Some(Ok(event))
            }
            Ok(None) => {
                self.done = true;
                None
            }
            Err(error) => {
                self.done = true;
                Some(Err(error))
            }
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Event, Error>> + Send {
        futures::stream::unfold(self, |mut follow| async move {
            let item = follow.next().await?;
            Some((item, follow))
        })
    }

    async fn advance(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                // A repeat after a resume is let go.
                if event.seq > self.last_seq {
                    return Ok(Some(event));
                }
                continue;
            }
            if self.connection.is_none() {
                if self.connected_before && self.has_ended().await? {
                    return Ok(None);
                }
                self.connect().await?;
            }
            self.receive().await?;
        }
    }

    /// Reads on; a connection that ended or broke is dropped, to be made again.
    async fn receive(&mut self) -> Result<(), Error> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let Ok(Some(Ok(bytes))) = timeout(SILENCE, connection.body.next()).await else {
            self.connection = None;
            return Ok(());
        };
        let unreadable = |reason: String| Error::Unreadable { url: self.client.address().to_owned(), reason };
        let messages = connection
            .parser
            .push(&bytes)
            .map_err(|_| unreadable("a message of the event stream is too long".to_owned()))?;
        for message in messages {
            let event: Event = serde_json::from_str(&message.data).map_err(|e| unreadable(e.to_string()))?;
            // What carries no number is no event of the history.
            if event.seq > 0 {
                self.ready.push_back(event);
            }
        }
        Ok(())
    }

    /// Whether the history ended with what was passed on: a server has no more to say then.
    async fn has_ended(&mut self) -> Result<bool, Error> {
        let (client, id) = (self.client.clone(), self.id.clone());
        let reply = patiently(|| client.workflow(&id)).await?;
        Ok(reply.value.status.is_final() && reply.value.seq <= self.last_seq)
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let (client, id, last_seq) = (self.client.clone(), self.id.clone(), self.last_seq);
        let open = || async {
            let request = client
                .api(Method::GET, &["workflows", &id, "events"])
                .query(&[("after_seq", last_seq.to_string())])
                .header(header::ACCEPT, "text/event-stream")
                .header("last-event-id", last_seq.to_string());
            client.send(request).await
        };
        let response = if self.connected_before { patiently(open).await? } else { open().await? };
        self.connected_before = true;
        self.connection =
            Some(Connection { body: response.bytes_stream().boxed(), parser: Parser::default() });
        Ok(())
    }
}

/// Tries a read again, with growing pauses, while the server is away.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(read: impl Fn() -> F) -> Result<T, Error> {
    let give_up = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        match read().await {
            Err(error) if error.is_retryable() && Instant::now() < give_up => {
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(MAX_PAUSE);
            }
            other => return other,
        }
    }
}
