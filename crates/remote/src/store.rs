//! A state store in another process.

mod changes;
mod cluster;
mod dead_letters;
mod definitions;
mod leases;
mod ledger;
mod locks;
mod maintenance;
mod workflows;

use crate::endpoints::{Endpoints, Fate, fate};
use goconductor_store::{Error, Write, WriteOutcome};
use goconductor_wire::internal as wire;
use goconductor_wire::internal::state_store_service_client::StateStoreServiceClient;
use goconductor_wire::status;
use goconductor_wire::store::{Malformed, write_bytes};
use std::sync::Arc;
use tonic::transport::Channel;
use tonic::{Response, Status};

pub use changes::ChangesFeed;

/// A message holds a group of writes at most, or a page of a history.
const MESSAGE_BYTES: usize = 64 << 20;

/// A call of this method with this request, each time it is sent.
macro_rules! rpc {
    ($method:ident, $request:expr) => {{
        let request = $request;
        move |mut to: $crate::store::Client| {
            let request = request.clone();
            async move { to.$method(request).await }
        }
    }};
}

type Client = StateStoreServiceClient<Channel>;

/// A state store in another process, or in any of several equal ones.
#[derive(Debug, Clone)]
pub struct RemoteStore {
    endpoints: Arc<Endpoints>,
}

/// A group of writes as it is sent.
#[derive(Debug, Clone)]
pub struct ReadyGroup {
    request: wire::WriteRequest,
}

impl ReadyGroup {
    /// These writes.
    ///
    /// # Errors
    /// When one of them can't be sent.
    pub fn new(group: &[Write]) -> Result<Self, Error> {
        let writes = one(group.iter().map(write_bytes).collect::<Result<_, _>>())?;
        Ok(Self { request: wire::WriteRequest { writes } })
    }
}

/// Whether a call may be sent again when its answer was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// Doing it twice is doing it once.
    Harmless,
    /// Never: the caller is told that nobody can say.
    Never,
}

impl RemoteStore {
    /// The state stores at these endpoints.
    #[must_use]
    pub fn new(endpoints: Endpoints) -> Self {
        Self { endpoints: Arc::new(endpoints) }
    }

    /// Every durable change that any of the state stores writes, for as long as it is held.
    #[must_use]
    pub fn changes(&self) -> ChangesFeed {
        ChangesFeed::follow(&self.endpoints)
    }

    /// As [`write`](goconductor_store::WorkflowStore::write), of a group that was made ready beforehand.
    ///
    /// # Errors
    /// As there.
    pub async fn write_ready(&self, group: ReadyGroup) -> Result<Vec<WriteOutcome>, Error> {
        let (request, expected) = (&group.request, group.request.writes.len());
        let answer = self.call(Repeat::Never, rpc!(write, request)).await?;
        let outcomes: Vec<WriteOutcome> = all(answer.outcomes)?;
        if outcomes.len() == expected {
            return Ok(outcomes);
        }
        Err(Error::outcome_unknown(format!("{} outcomes for {expected} writes", outcomes.len())))
    }

    async fn call<T, F>(&self, repeat: Repeat, send: impl Fn(Client) -> F + Send) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        // Each once, and the first again: its connection may just have been closed for lack of use.
        let mut tries = self.endpoints.count() + 1;
        loop {
            tries -= 1;
            let (index, channel) = self.endpoints.current();
            let Some(channel) = channel else {
                return Err(Error::unavailable("no state store is configured"));
            };
            let status = match send(client(channel)).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            let fate = fate(&status, status::is_of_store(&status));
            if fate != Fate::Answered {
                self.endpoints.move_on(index);
            }
            match (fate, repeat) {
                (Fate::Answered, _) => return Err(status::to_store(&status)),
                (Fate::NotSent, _) | (Fate::Lost, Repeat::Harmless) if tries > 0 => {}
                (Fate::NotSent, _) => return Err(Error::unavailable(said(&status)).caused_by(status)),
                (Fate::Lost, _) => return Err(Error::outcome_unknown(said(&status)).caused_by(status)),
            }
        }
    }

    async fn read<T, F>(&self, send: impl Fn(Client) -> F + Send) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        match self.call(Repeat::Harmless, send).await {
            // Nothing was to be written.
            Err(Error::OutcomeUnknown { reason, source }) => Err(Error::Unavailable { reason, source }),
            other => other,
        }
    }
}

fn client(channel: Channel) -> Client {
    Client::new(channel).max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES)
}

fn said(status: &Status) -> String {
    let mut text = format!("the state store: {}", status.message());
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

fn all<A, B>(list: Vec<A>) -> Result<Vec<B>, Error>
where
    B: TryFrom<A, Error = Malformed>,
{
    list.into_iter().map(|each| B::try_from(each).map_err(|error| status::malformed(&error))).collect()
}

fn one<T>(result: Result<T, Malformed>) -> Result<T, Error> {
    result.map_err(|error| status::malformed(&error))
}

/// An answer to each.
fn of_each(answers: Vec<bool>, expected: usize) -> Result<Vec<bool>, Error> {
    if answers.len() == expected {
        return Ok(answers);
    }
    Err(Error::outcome_unknown(format!("{} results for {expected} leases", answers.len())))
}

use rpc;
