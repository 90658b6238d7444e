//! Client of the state stores.

mod access_keys;
mod audit;
mod changes;
mod cluster;
mod dead_letters;
mod definitions;
mod leases;
mod ledger;
mod locks;
mod maintenance;
mod payloads;
mod schedules;
mod secrets;
mod workflow_batches;
mod workflows;

use crate::endpoints::{DeliveryStatus, Endpoints, delivery};
use crate::resolver::{NameResolver, SystemResolver};
use goconductor_store::{Error, Write, WriteOutcome};
use goconductor_wire::handshake::StateProtocol;
use goconductor_wire::internal as wire;
use goconductor_wire::internal::state_store_service_client::StateStoreServiceClient;
use goconductor_wire::status;
use goconductor_wire::store::{Malformed, write_bytes};
use std::sync::Arc;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Response, Status};

pub use changes::ChangesFeed;

/// The largest messages are a batch of writes and a page of a history.
const MESSAGE_BYTES: usize = 64 << 20;

/// Creates a closure that sends a request. It can be called for each attempt.
macro_rules! rpc {
    ($method:ident, $request:expr) => {{
        let request = $request;
        move |mut client: $crate::store::StateStoreClient| {
            let request = request.clone();
            async move { client.$method(request).await }
        }
    }};
}

type StateStoreClient = StateStoreServiceClient<InterceptedService<Channel, StateProtocol>>;

/// A client of one or several equivalent state stores.
#[derive(Debug, Clone)]
pub struct RemoteStore {
    endpoints: Arc<Endpoints>,
}

/// An encoded batch of writes.
#[derive(Debug, Clone)]
pub struct ReadyBatch {
    request: wire::WriteRequest,
}

impl ReadyBatch {
    /// Encodes a batch.
    ///
    /// # Errors
    /// Returns `Error::Corrupt` if a write cannot be encoded.
    pub fn new(batch: &[Write]) -> Result<Self, Error> {
        let writes = one(batch.iter().map(write_bytes).collect::<Result<_, _>>())?;
        Ok(Self { request: wire::WriteRequest { writes } })
    }
}

/// Whether a request is retried if its response was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// The request is idempotent.
    Idempotent,
    /// The request is not retried. The caller gets `OutcomeUnknown`.
    Never,
}

impl RemoteStore {
    /// Creates a client of the state stores at these endpoints.
    #[must_use]
    pub fn new(endpoints: Endpoints) -> Self {
        Self { endpoints: Arc::new(endpoints) }
    }

    /// Subscribes to the durable changes of all state stores. The subscription ends when the feed is dropped.
    #[must_use]
    pub fn changes(&self) -> ChangesFeed {
        self.changes_with(Arc::new(SystemResolver))
    }

    /// Like [`changes`](Self::changes), with another resolver of host names.
    #[must_use]
    pub fn changes_with(&self, resolver: Arc<dyn NameResolver>) -> ChangesFeed {
        ChangesFeed::follow(&self.endpoints, &resolver)
    }

    /// Writes an encoded batch, see [`write`](goconductor_store::WorkflowStore::write).
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    pub async fn write_ready(&self, batch: ReadyBatch) -> Result<Vec<WriteOutcome>, Error> {
        let (request, expected) = (&batch.request, batch.request.writes.len());
        let response = self.call(Repeat::Never, rpc!(write, request)).await?;
        let outcomes: Vec<WriteOutcome> = all(response.outcomes)?;
        if outcomes.len() == expected {
            return Ok(outcomes);
        }
        Err(Error::outcome_unknown(format!("{} outcomes for {expected} writes", outcomes.len())))
    }

    async fn call<T, F>(
        &self,
        repeat: Repeat,
        send: impl Fn(StateStoreClient) -> F + Send,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        // One attempt for each endpoint, and a second one for the first: its idle connection may just have been closed.
        let mut attempts = self.endpoints.count() + 1;
        loop {
            attempts -= 1;
            let (index, channel) = self.endpoints.current();
            let Some(channel) = channel else {
                return Err(Error::unavailable("no state store is configured"));
            };
            let status = match send(client(channel)).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            let delivery = delivery(&status, status::is_of_store(&status));
            if delivery != DeliveryStatus::Answered {
                self.endpoints.move_on(index);
            }
            match (delivery, repeat) {
                (DeliveryStatus::Answered, _) => return Err(status::to_store(&status)),
                (DeliveryStatus::NotSent, _) | (DeliveryStatus::Lost, Repeat::Idempotent) if attempts > 0 => {
                }
                (DeliveryStatus::NotSent, _) => {
                    return Err(Error::unavailable(chain(&status)).caused_by(status));
                }
                (DeliveryStatus::Lost, _) => {
                    return Err(Error::outcome_unknown(chain(&status)).caused_by(status));
                }
            }
        }
    }

    async fn read<T, F>(&self, send: impl Fn(StateStoreClient) -> F + Send) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        match self.call(Repeat::Idempotent, send).await {
            // A read has no outcome that could be unknown.
            Err(Error::OutcomeUnknown { reason, source }) => Err(Error::Unavailable { reason, source }),
            other => other,
        }
    }
}

fn client(channel: Channel) -> StateStoreClient {
    StateStoreServiceClient::with_interceptor(channel, StateProtocol)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
}

/// Returns the message of a status with its causes.
fn chain(status: &Status) -> String {
    let mut text = format!("the state store: {}", status.message());
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
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

/// Checks that the response has one result for each lease.
fn of_each(results: Vec<bool>, expected: usize) -> Result<Vec<bool>, Error> {
    if results.len() == expected {
        return Ok(results);
    }
    Err(Error::outcome_unknown(format!("{} results for {expected} leases", results.len())))
}

use rpc;
