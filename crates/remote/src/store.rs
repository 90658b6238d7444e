//! A state store in another process.

mod changes;

use crate::endpoints::{Endpoints, Fate, fate};
use async_trait::async_trait;
use goconductor_saga::{Event, Timestamp, WorkflowId};
use goconductor_store::{
    Announcement, Claim, ClaimRequest, Count, DeadLetter, DeadLetterPlace, DefinitionName, DefinitionRecord,
    Error, Field, Filter, LeaseMark, LeaseTake, LedgerRow, LedgerRowKey, ListPage, ListRequest, Lock,
    LockAnswer, LockHold, LockRequest, Member, NewDefinition, NewLease, PutDefinition, Seen, ServiceRecord,
    ShardLease, Store, Stored, Upkeep, UpkeepRequest, Write, WriteOutcome,
};
use goconductor_wire::internal as wire;
use goconductor_wire::internal::state_store_service_client::StateStoreServiceClient;
use goconductor_wire::status;
use goconductor_wire::store::filter::field;
use goconductor_wire::store::{Malformed, id_bytes, lock, parsed, required, write_bytes};
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Response, Status};

pub use changes::ChangesFeed;

/// A message holds a group of writes at most, or a page of a history.
const MESSAGE_BYTES: usize = 64 << 20;

/// A call of this method with this request, each time it is sent.
macro_rules! rpc {
    ($method:ident, $request:expr) => {{
        let request = $request;
        move |mut to: Client| {
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

    /// As [`write`](Store::write), of a group that was made ready beforehand.
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
        Err(Error::OutcomeUnknown { reason: format!("{} answers to {expected} writes", outcomes.len()) })
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
                return Err(Error::Unavailable { reason: "there is no state store".to_owned() });
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
                (Fate::NotSent, _) => return Err(Error::Unavailable { reason: said(&status) }),
                (Fate::Lost, _) => return Err(Error::OutcomeUnknown { reason: said(&status) }),
            }
        }
    }

    async fn read<T, F>(&self, send: impl Fn(Client) -> F + Send) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        match self.call(Repeat::Harmless, send).await {
            // Nothing was to be written.
            Err(Error::OutcomeUnknown { reason }) => Err(Error::Unavailable { reason }),
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
    Err(Error::OutcomeUnknown { reason: format!("{} answers to {expected} leases", answers.len()) })
}

#[async_trait]
impl Store for RemoteStore {
    async fn write(&self, group: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        self.write_ready(ReadyGroup::new(&group)?).await
    }

    async fn stored(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Stored>>, Error> {
        let request = wire::LoadRequest { ids: ids.iter().copied().map(id_bytes).collect() };
        let answer = self.read(rpc!(load, request)).await?;
        let each = |found: wire::MaybeLoaded| found.workflow.map(|found| one(found.try_into())).transpose();
        answer.workflows.into_iter().map(each).collect()
    }

    async fn history(&self, id: WorkflowId, after_seq: u64, limit: u32) -> Result<Vec<Event>, Error> {
        let request = wire::HistoryRequest { id: id_bytes(id), after_seq, limit };
        let answer = self.read(rpc!(history, request)).await?;
        answer.event_jsons.iter().map(|event| one(parsed("an event", event))).collect()
    }

    async fn seen(&self, ids: &[WorkflowId]) -> Result<Vec<Seen>, Error> {
        let request = wire::SeenRequest { ids: ids.iter().copied().map(id_bytes).collect() };
        all(self.read(rpc!(seen, request)).await?.workflows)
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, Error> {
        let request = wire::ListRequest::from(request);
        one(self.read(rpc!(list, request)).await?.try_into())
    }

    async fn counts(&self, namespace: &str, by: Field, filter: Option<&Filter>) -> Result<Vec<Count>, Error> {
        let (of, label) = field(&by);
        let filter = filter.map(Into::into);
        let request = wire::CountsRequest { namespace: namespace.to_owned(), by: of.into(), label, filter };
        let answer = self.read(rpc!(counts, request)).await?;
        let count = |count: wire::Count| Count { by: by.clone(), value: count.value, count: count.count };
        Ok(answer.counts.into_iter().map(count).collect())
    }

    async fn put_definition(&self, new: NewDefinition) -> Result<PutDefinition, Error> {
        let request = one(wire::PutDefinitionRequest::try_from(&new))?;
        let answer = self.call(Repeat::Harmless, rpc!(put_definition, request)).await?;
        let record = one(required(answer.definition, "a definition").and_then(TryInto::try_into))?;
        Ok(PutDefinition { record: Arc::new(record), created: answer.created })
    }

    async fn newest(&self, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error> {
        let name = |each: &DefinitionName| {
            let DefinitionName { namespace, name } = each.clone();
            wire::DefinitionName { namespace, name }
        };
        let request = wire::NewestVersionsRequest { names: names.iter().map(name).collect() };
        let versions = self.read(rpc!(newest_versions, request)).await?.versions;
        Ok(versions.into_iter().map(|version| (version > 0).then_some(version)).collect())
    }

    async fn definition(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let request = wire::GetDefinitionRequest { namespace, name, version };
        let answer = self.read(rpc!(get_definition, request)).await?;
        answer.definition.map(|found| one(found.try_into())).transpose()
    }

    async fn definitions(&self, namespace: &str, name: Option<&str>) -> Result<Vec<DefinitionRecord>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.map(str::to_owned));
        let request = wire::ListDefinitionsRequest { namespace, name };
        all(self.read(rpc!(list_definitions, request)).await?.definitions)
    }

    async fn put_service(&self, service: ServiceRecord) -> Result<(), Error> {
        let request = wire::PutServiceRequest { service: Some(one((&service).try_into())?) };
        self.call(Repeat::Harmless, rpc!(put_service, request)).await?;
        Ok(())
    }

    async fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        all(self.read(rpc!(list_services, wire::ListServicesRequest {})).await?.services)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Error> {
        let request = wire::ClaimRequest::from(request);
        one(self.call(Repeat::Never, rpc!(claim, request)).await?.try_into())
    }

    async fn extend(&self, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error> {
        let rows = rows.iter().map(Into::into).collect();
        let request = wire::ExtendRequest { rows, due_at: due_at.0 };
        self.call(Repeat::Harmless, rpc!(extend, request)).await?;
        Ok(())
    }

    async fn release(&self, rows: &[LedgerRowKey]) -> Result<(), Error> {
        let request = wire::ReleaseRequest { rows: rows.iter().map(Into::into).collect() };
        self.call(Repeat::Never, rpc!(release, request)).await?;
        Ok(())
    }

    async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, Error> {
        let request = wire::ExpireDeliveriesRequest { now: now.0 };
        let answer = self.call(Repeat::Harmless, rpc!(expire_deliveries, request)).await?;
        Ok(answer.expired)
    }

    async fn ledger(&self, ids: &[WorkflowId]) -> Result<Vec<LedgerRow>, Error> {
        let request = wire::LedgerRequest { ids: ids.iter().copied().map(id_bytes).collect() };
        all(self.read(rpc!(ledger, request)).await?.rows)
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<(String, u64)>, Error> {
        let request = wire::BacklogRequest { now: now.0 };
        let answer = self.read(rpc!(backlog, request)).await?;
        Ok(answer.lanes.into_iter().map(|lane| (lane.value, lane.count)).collect())
    }

    async fn ids(&self, after: Option<WorkflowId>, limit: u32) -> Result<Vec<WorkflowId>, Error> {
        let request = wire::IdsRequest { after: after.map(id_bytes).unwrap_or_default(), limit };
        let answer = self.read(rpc!(ids, request)).await?;
        one(goconductor_wire::store::ids(&answer.ids))
    }

    async fn orphans(&self, limit: u32) -> Result<Vec<LedgerRow>, Error> {
        let request = wire::OrphansRequest { limit };
        all(self.read(rpc!(orphans, request)).await?.rows)
    }

    async fn raise_epoch(&self, name: &str) -> Result<u64, Error> {
        let request = wire::RaiseEpochRequest { name: name.to_owned() };
        // A counter that was raised twice has still risen.
        let answer = self.call(Repeat::Harmless, rpc!(raise_epoch, request)).await?;
        Ok(answer.epoch)
    }

    async fn agreement(&self, name: &str) -> Result<Option<goconductor_store::Agreement>, Error> {
        let request = wire::AgreementRequest { name: name.to_owned() };
        let answer = self.read(rpc!(agreement, request)).await?;
        answer.agreed.map(|agreed| one(agreed.try_into())).transpose()
    }

    async fn agree(
        &self,
        name: &str,
        revision: u64,
        value: &goconductor_saga::Json,
    ) -> Result<Option<goconductor_store::Agreement>, Error> {
        let value_json = one(goconductor_wire::store::value("an agreement", value))?;
        let request = wire::AgreeRequest { name: name.to_owned(), revision, value_json };
        let answer = self.call(Repeat::Never, rpc!(agree, request)).await?;
        answer.agreed.map(|agreed| one(agreed.try_into())).transpose()
    }

    async fn announce(&self, member: &Announcement) -> Result<(), Error> {
        let request = wire::AnnounceRequest { member: Some(one(member.try_into())?) };
        self.call(Repeat::Harmless, rpc!(announce, request)).await?;
        Ok(())
    }

    async fn members(&self) -> Result<Vec<Member>, Error> {
        all(self.read(rpc!(members, wire::MembersRequest {})).await?.members)
    }

    async fn put_dead_letters(&self, letters: &[DeadLetter]) -> Result<u64, Error> {
        let request = wire::PutDeadLettersRequest { letters: letters.iter().map(Into::into).collect() };
        let answer = self.call(Repeat::Harmless, rpc!(put_dead_letters, request)).await?;
        Ok(answer.created)
    }

    async fn dead_letters(
        &self,
        before: Option<&DeadLetterPlace>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        let before_id = before.map(|place| place.id.clone()).unwrap_or_default();
        let before_at = before.map(|place| place.at.0);
        let request = wire::ListDeadLettersRequest { before_at, before_id, limit };
        let answer = self.read(rpc!(list_dead_letters, request)).await?;
        Ok(answer.letters.into_iter().map(Into::into).collect())
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        let request = wire::GetDeadLetterRequest { id: id.to_owned() };
        let answer = self.read(rpc!(get_dead_letter, request)).await?;
        Ok(answer.letter.map(Into::into))
    }

    async fn delete_dead_letter(&self, id: &str) -> Result<bool, Error> {
        let request = wire::DeleteDeadLetterRequest { id: id.to_owned() };
        let answer = self.call(Repeat::Never, rpc!(delete_dead_letter, request)).await?;
        Ok(answer.deleted)
    }

    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockAnswer, Error> {
        let LockRequest { namespace, key, owner, ttl } = request.clone();
        let request = wire::AcquireLockRequest { namespace, key, owner, ttl_us: lock::micros(ttl) };
        let answer = self.call(Repeat::Harmless, rpc!(acquire_lock, request)).await?.answer;
        one(required(answer, "an answer about a lock").and_then(TryInto::try_into))
    }

    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockAnswer, Error> {
        let request = wire::RenewLockRequest { hold: Some(hold.into()), ttl_us: lock::micros(ttl) };
        let answer = self.call(Repeat::Harmless, rpc!(renew_lock, request)).await?.answer;
        one(required(answer, "an answer about a lock").and_then(TryInto::try_into))
    }

    async fn release_lock(&self, hold: &LockHold) -> Result<LockAnswer, Error> {
        let request = wire::ReleaseLockRequest { hold: Some(hold.into()) };
        let answer = self.call(Repeat::Harmless, rpc!(release_lock, request)).await?.answer;
        one(required(answer, "an answer about a lock").and_then(TryInto::try_into))
    }

    async fn locks(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<Lock>, Error> {
        let (namespace, after) = (namespace.to_owned(), after.map(str::to_owned));
        let request = wire::ListLocksRequest { namespace, after, limit };
        Ok(self.read(rpc!(list_locks, request)).await?.locks.into_iter().map(Into::into).collect())
    }

    async fn leases(&self, stream: &str) -> Result<Vec<ShardLease>, Error> {
        let request = wire::ListLeasesRequest { stream: stream.to_owned() };
        all(self.read(rpc!(list_leases, request)).await?.leases)
    }

    async fn sync_leases(&self, stream: &str, new: &[NewLease], gone: &[String]) -> Result<(), Error> {
        let (stream, new) = (stream.to_owned(), new.iter().map(Into::into).collect());
        let request = wire::SyncLeasesRequest { stream, new, gone: gone.to_vec() };
        self.call(Repeat::Harmless, rpc!(sync_leases, request)).await?;
        Ok(())
    }

    async fn take_leases(&self, stream: &str, take: &LeaseTake) -> Result<Vec<bool>, Error> {
        let request = wire::TakeLeasesRequest::of(stream, take);
        let answer = self.call(Repeat::Never, rpc!(take_leases, request)).await?;
        of_each(answer.taken, take.shards.len())
    }

    async fn mark_leases(&self, stream: &str, owner: &str, marks: &[LeaseMark]) -> Result<Vec<bool>, Error> {
        let (stream, owner) = (stream.to_owned(), owner.to_owned());
        let request =
            wire::MarkLeasesRequest { stream, owner, marks: marks.iter().map(Into::into).collect() };
        let answer = self.call(Repeat::Harmless, rpc!(mark_leases, request)).await?;
        of_each(answer.kept, marks.len())
    }

    async fn upkeep(&self, request: &UpkeepRequest) -> Result<Upkeep, Error> {
        let keep_us = request.keep.map(|keep| u64::try_from(keep.as_micros()).unwrap_or(u64::MAX));
        let request = wire::UpkeepRequest { now: request.now.0, keep_us };
        let answer = self.call(Repeat::Harmless, rpc!(upkeep, request)).await?;
        Ok(Upkeep { removed: answer.removed, more: answer.more })
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        let answer = self.read(rpc!(now, wire::NowRequest {})).await?;
        Ok(Timestamp(answer.now))
    }

    async fn check(&self) -> Result<(), Error> {
        self.read(rpc!(check, wire::CheckRequest {})).await?;
        Ok(())
    }
}
