//! The store's port over gRPC: what comes in is read, handed to the store, and its answer written.

use futures::stream::{BoxStream, StreamExt};
use goconductor_saga::Timestamp;
use goconductor_store::{
    DeadLetterPlace, DefinitionName, Error, LockRequest, Seen, Store, UpkeepRequest, Write,
};
use goconductor_wire::internal::state_store_service_server::{StateStoreService, StateStoreServiceServer};
use goconductor_wire::internal::{self as wire};
use goconductor_wire::status::of_store;
use goconductor_wire::store::filter::field_of;
use goconductor_wire::store::{Malformed, id, ids, value, write_of};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// A message holds a group of writes at most, or a page of a history.
const MESSAGE_BYTES: usize = 64 << 20;
/// Changes in one message of the stream.
const CHANGES: usize = 512;

type Answer<T> = Result<Response<T>, Status>;

/// Serves a store.
#[derive(Debug)]
pub struct Service {
    store: Arc<dyn Store>,
    changes: broadcast::Sender<Seen>,
    stop: CancellationToken,
}

/// A service over a store; streams of changes end at `stop`.
#[must_use]
pub fn service(
    store: Arc<dyn Store>,
    changes: broadcast::Sender<Seen>,
    stop: CancellationToken,
) -> StateStoreServiceServer<Service> {
    StateStoreServiceServer::new(Service { store, changes, stop })
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
}

fn answered<T>(result: Result<T, Error>) -> Result<T, Status> {
    result.map_err(|error| of_store(&error))
}

/// What was read can be written: if not, it is the store's fault and no caller's.
fn written<T>(result: Result<T, Malformed>) -> Answer<T> {
    result.map(Response::new).map_err(|error| {
        of_store(&Error::Corrupt { what: "an answer".to_owned(), reason: error.to_string() })
    })
}

fn listed<A, B>(list: Vec<A>) -> Result<Vec<B>, Malformed>
where
    B: TryFrom<A, Error = Malformed>,
{
    list.into_iter().map(TryInto::try_into).collect()
}

#[tonic::async_trait]
impl StateStoreService for Service {
    type ChangesStream = BoxStream<'static, Result<wire::ChangesResponse, Status>>;

    async fn write(&self, request: Request<wire::WriteRequest>) -> Answer<wire::WriteResponse> {
        let writes = request.into_inner().writes.into_iter();
        let group: Vec<Write> = writes.map(write_of).collect::<Result<_, _>>()?;
        let outcomes = answered(self.store.write(group).await)?;
        let outcomes: Result<_, _> = outcomes.iter().map(TryInto::try_into).collect();
        written(outcomes.map(|outcomes| wire::WriteResponse { outcomes }))
    }

    async fn load(&self, request: Request<wire::LoadRequest>) -> Answer<wire::LoadResponse> {
        let found = answered(self.store.stored(&ids(&request.get_ref().ids)?).await)?;
        let workflows =
            found.iter().map(|found| wire::MaybeLoaded { workflow: found.as_ref().map(Into::into) });
        Ok(Response::new(wire::LoadResponse { workflows: workflows.collect() }))
    }

    async fn history(&self, request: Request<wire::HistoryRequest>) -> Answer<wire::HistoryResponse> {
        let wire::HistoryRequest { id: bytes, after_seq, limit } = request.into_inner();
        let events = answered(self.store.history(id(&bytes)?, after_seq, limit).await)?;
        let events: Result<_, _> = events.iter().map(|event| value("an event", event)).collect();
        written(events.map(|event_jsons| wire::HistoryResponse { event_jsons }))
    }

    async fn seen(&self, request: Request<wire::SeenRequest>) -> Answer<wire::SeenResponse> {
        let seen = answered(self.store.seen(&ids(&request.get_ref().ids)?).await)?;
        Ok(Response::new(wire::SeenResponse { workflows: seen.into_iter().map(Into::into).collect() }))
    }

    async fn changes(&self, _: Request<wire::ChangesRequest>) -> Answer<Self::ChangesStream> {
        let open = futures::stream::once(async { Ok(wire::ChangesResponse::default()) });
        let follow = futures::stream::unfold(self.changes.subscribe(), |mut changes| async move {
            next_changes(&mut changes).await.map(|told| (Ok(told), changes))
        });
        let until_stop = follow.take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(open.chain(until_stop).boxed()))
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Answer<wire::ListResponse> {
        let page = answered(self.store.list(&request.into_inner().try_into()?).await)?;
        written((&page).try_into())
    }

    async fn counts(&self, request: Request<wire::CountsRequest>) -> Answer<wire::CountsResponse> {
        let request = request.into_inner();
        let by = field_of(request.by(), request.label)?;
        let filter = request.filter.map(TryInto::try_into).transpose()?;
        let counts = answered(self.store.counts(&request.namespace, by, filter.as_ref()).await)?;
        let counts = counts.into_iter().map(|count| wire::Count { value: count.value, count: count.count });
        Ok(Response::new(wire::CountsResponse { counts: counts.collect() }))
    }

    async fn put_definition(
        &self,
        request: Request<wire::PutDefinitionRequest>,
    ) -> Answer<wire::PutDefinitionResponse> {
        let put = answered(self.store.put_definition(request.into_inner().try_into()?).await)?;
        let definition: Result<_, _> = (&*put.record).try_into();
        written(definition.map(|definition| wire::PutDefinitionResponse {
            definition: Some(definition),
            created: put.created,
        }))
    }

    async fn newest_versions(
        &self,
        request: Request<wire::NewestVersionsRequest>,
    ) -> Answer<wire::NewestVersionsResponse> {
        let name = |wire::DefinitionName { namespace, name }| DefinitionName { namespace, name };
        let names: Vec<_> = request.into_inner().names.into_iter().map(name).collect();
        let found = answered(self.store.newest(&names).await)?;
        let versions = found.into_iter().map(Option::unwrap_or_default).collect();
        Ok(Response::new(wire::NewestVersionsResponse { versions }))
    }

    async fn get_definition(
        &self,
        request: Request<wire::GetDefinitionRequest>,
    ) -> Answer<wire::GetDefinitionResponse> {
        let wire::GetDefinitionRequest { namespace, name, version } = request.into_inner();
        let found = answered(self.store.definition(&namespace, &name, version).await)?;
        let definition = found.as_ref().map(TryInto::try_into).transpose();
        written(definition.map(|definition| wire::GetDefinitionResponse { definition }))
    }

    async fn list_definitions(
        &self,
        request: Request<wire::ListDefinitionsRequest>,
    ) -> Answer<wire::ListDefinitionsResponse> {
        let wire::ListDefinitionsRequest { namespace, name } = request.into_inner();
        let found = answered(self.store.definitions(&namespace, name.as_deref()).await)?;
        let definitions: Result<_, _> = found.iter().map(TryInto::try_into).collect();
        written(definitions.map(|definitions| wire::ListDefinitionsResponse { definitions }))
    }

    async fn put_service(
        &self,
        request: Request<wire::PutServiceRequest>,
    ) -> Answer<wire::PutServiceResponse> {
        let service = goconductor_wire::store::required(request.into_inner().service, "a service")?;
        answered(self.store.put_service(service.try_into()?).await)?;
        Ok(Response::new(wire::PutServiceResponse {}))
    }

    async fn list_services(
        &self,
        _: Request<wire::ListServicesRequest>,
    ) -> Answer<wire::ListServicesResponse> {
        let services = answered(self.store.services().await)?;
        let services: Result<_, _> = services.iter().map(TryInto::try_into).collect();
        written(services.map(|services| wire::ListServicesResponse { services }))
    }

    async fn claim(&self, request: Request<wire::ClaimRequest>) -> Answer<wire::ClaimResponse> {
        let claim = answered(self.store.claim(&request.into_inner().try_into()?).await)?;
        Ok(Response::new((&claim).into()))
    }

    async fn extend(&self, request: Request<wire::ExtendRequest>) -> Answer<wire::ExtendResponse> {
        let wire::ExtendRequest { rows, due_at } = request.into_inner();
        answered(self.store.extend(&listed(rows)?, Timestamp(due_at)).await)?;
        Ok(Response::new(wire::ExtendResponse {}))
    }

    async fn release(&self, request: Request<wire::ReleaseRequest>) -> Answer<wire::ReleaseResponse> {
        answered(self.store.release(&listed(request.into_inner().rows)?).await)?;
        Ok(Response::new(wire::ReleaseResponse {}))
    }

    async fn expire_deliveries(
        &self,
        request: Request<wire::ExpireDeliveriesRequest>,
    ) -> Answer<wire::ExpireDeliveriesResponse> {
        let expired = answered(self.store.expire_deliveries(Timestamp(request.get_ref().now)).await)?;
        Ok(Response::new(wire::ExpireDeliveriesResponse { expired }))
    }

    async fn ledger(&self, request: Request<wire::LedgerRequest>) -> Answer<wire::LedgerResponse> {
        let rows = answered(self.store.ledger(&ids(&request.get_ref().ids)?).await)?;
        Ok(Response::new(wire::LedgerResponse { rows: rows.iter().map(Into::into).collect() }))
    }

    async fn backlog(&self, request: Request<wire::BacklogRequest>) -> Answer<wire::BacklogResponse> {
        let lanes = answered(self.store.backlog(Timestamp(request.get_ref().now)).await)?;
        let lanes = lanes.into_iter().map(|(value, count)| wire::Count { value, count }).collect();
        Ok(Response::new(wire::BacklogResponse { lanes }))
    }

    async fn ids(&self, request: Request<wire::IdsRequest>) -> Answer<wire::IdsResponse> {
        let wire::IdsRequest { after, limit } = request.into_inner();
        let after = if after.is_empty() { None } else { Some(id(&after)?) };
        let found = answered(self.store.ids(after, limit).await)?;
        let ids = found.into_iter().map(goconductor_wire::store::id_bytes).collect();
        Ok(Response::new(wire::IdsResponse { ids }))
    }

    async fn orphans(&self, request: Request<wire::OrphansRequest>) -> Answer<wire::OrphansResponse> {
        let rows = answered(self.store.orphans(request.get_ref().limit).await)?;
        Ok(Response::new(wire::OrphansResponse { rows: rows.iter().map(Into::into).collect() }))
    }

    async fn raise_epoch(
        &self,
        request: Request<wire::RaiseEpochRequest>,
    ) -> Answer<wire::RaiseEpochResponse> {
        let epoch = answered(self.store.raise_epoch(&request.get_ref().name).await)?;
        Ok(Response::new(wire::RaiseEpochResponse { epoch }))
    }

    async fn agreement(&self, request: Request<wire::AgreementRequest>) -> Answer<wire::AgreementResponse> {
        let found = answered(self.store.agreement(&request.get_ref().name).await)?;
        let agreed = found.as_ref().map(TryInto::try_into).transpose();
        written(agreed.map(|agreed| wire::AgreementResponse { agreed }))
    }

    async fn agree(&self, request: Request<wire::AgreeRequest>) -> Answer<wire::AgreeResponse> {
        let wire::AgreeRequest { name, revision, value_json } = request.into_inner();
        let value = goconductor_wire::store::parsed("an agreement", &value_json)?;
        let agreed = answered(self.store.agree(&name, revision, &value).await)?;
        let agreed = agreed.as_ref().map(TryInto::try_into).transpose();
        written(agreed.map(|agreed| wire::AgreeResponse { agreed }))
    }

    async fn announce(&self, request: Request<wire::AnnounceRequest>) -> Answer<wire::AnnounceResponse> {
        let member = goconductor_wire::store::required(request.into_inner().member, "a member")?;
        answered(self.store.announce(&member.try_into()?).await)?;
        Ok(Response::new(wire::AnnounceResponse {}))
    }

    async fn members(&self, _: Request<wire::MembersRequest>) -> Answer<wire::MembersResponse> {
        let members = answered(self.store.members().await)?;
        let members: Result<_, _> = members.iter().map(TryInto::try_into).collect();
        written(members.map(|members| wire::MembersResponse { members }))
    }

    async fn put_dead_letters(
        &self,
        request: Request<wire::PutDeadLettersRequest>,
    ) -> Answer<wire::PutDeadLettersResponse> {
        let letters: Vec<_> = request.into_inner().letters.into_iter().map(Into::into).collect();
        let created = answered(self.store.put_dead_letters(&letters).await)?;
        Ok(Response::new(wire::PutDeadLettersResponse { created }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<wire::ListDeadLettersRequest>,
    ) -> Answer<wire::ListDeadLettersResponse> {
        let wire::ListDeadLettersRequest { before_at, before_id, limit } = request.into_inner();
        let before = before_at.map(|at| DeadLetterPlace { at: Timestamp(at), id: before_id });
        let letters = answered(self.store.dead_letters(before.as_ref(), limit).await)?;
        let letters = letters.iter().map(Into::into).collect();
        Ok(Response::new(wire::ListDeadLettersResponse { letters }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<wire::GetDeadLetterRequest>,
    ) -> Answer<wire::GetDeadLetterResponse> {
        let letter = answered(self.store.dead_letter(&request.get_ref().id).await)?;
        Ok(Response::new(wire::GetDeadLetterResponse { letter: letter.as_ref().map(Into::into) }))
    }

    async fn delete_dead_letter(
        &self,
        request: Request<wire::DeleteDeadLetterRequest>,
    ) -> Answer<wire::DeleteDeadLetterResponse> {
        let deleted = answered(self.store.delete_dead_letter(&request.get_ref().id).await)?;
        Ok(Response::new(wire::DeleteDeadLetterResponse { deleted }))
    }

    async fn acquire_lock(
        &self,
        request: Request<wire::AcquireLockRequest>,
    ) -> Answer<wire::AcquireLockResponse> {
        let wire::AcquireLockRequest { namespace, key, owner, ttl_us } = request.into_inner();
        let request = LockRequest { namespace, key, owner, ttl: Duration::from_micros(ttl_us) };
        let answer = answered(self.store.acquire_lock(&request).await)?;
        Ok(Response::new(wire::AcquireLockResponse { answer: Some((&answer).into()) }))
    }

    async fn renew_lock(&self, request: Request<wire::RenewLockRequest>) -> Answer<wire::RenewLockResponse> {
        let wire::RenewLockRequest { hold, ttl_us } = request.into_inner();
        let hold = goconductor_wire::store::required(hold, "a hold")?.into();
        let answer = answered(self.store.renew_lock(&hold, Duration::from_micros(ttl_us)).await)?;
        Ok(Response::new(wire::RenewLockResponse { answer: Some((&answer).into()) }))
    }

    async fn release_lock(
        &self,
        request: Request<wire::ReleaseLockRequest>,
    ) -> Answer<wire::ReleaseLockResponse> {
        let hold = goconductor_wire::store::required(request.into_inner().hold, "a hold")?.into();
        let answer = answered(self.store.release_lock(&hold).await)?;
        Ok(Response::new(wire::ReleaseLockResponse { answer: Some((&answer).into()) }))
    }

    async fn list_locks(&self, request: Request<wire::ListLocksRequest>) -> Answer<wire::ListLocksResponse> {
        let wire::ListLocksRequest { namespace, after, limit } = request.into_inner();
        let locks = answered(self.store.locks(&namespace, after.as_deref(), limit).await)?;
        Ok(Response::new(wire::ListLocksResponse { locks: locks.iter().map(Into::into).collect() }))
    }

    async fn list_leases(
        &self,
        request: Request<wire::ListLeasesRequest>,
    ) -> Answer<wire::ListLeasesResponse> {
        let leases = answered(self.store.leases(&request.get_ref().stream).await)?;
        Ok(Response::new(wire::ListLeasesResponse { leases: leases.iter().map(Into::into).collect() }))
    }

    async fn sync_leases(
        &self,
        request: Request<wire::SyncLeasesRequest>,
    ) -> Answer<wire::SyncLeasesResponse> {
        let wire::SyncLeasesRequest { stream, new, gone } = request.into_inner();
        let new: Vec<_> = new.into_iter().map(Into::into).collect();
        answered(self.store.sync_leases(&stream, &new, &gone).await)?;
        Ok(Response::new(wire::SyncLeasesResponse {}))
    }

    async fn take_leases(
        &self,
        request: Request<wire::TakeLeasesRequest>,
    ) -> Answer<wire::TakeLeasesResponse> {
        let (stream, take) = request.into_inner().into();
        let taken = answered(self.store.take_leases(&stream, &take).await)?;
        Ok(Response::new(wire::TakeLeasesResponse { taken }))
    }

    async fn mark_leases(
        &self,
        request: Request<wire::MarkLeasesRequest>,
    ) -> Answer<wire::MarkLeasesResponse> {
        let wire::MarkLeasesRequest { stream, owner, marks } = request.into_inner();
        let kept = answered(self.store.mark_leases(&stream, &owner, &listed(marks)?).await)?;
        Ok(Response::new(wire::MarkLeasesResponse { kept }))
    }

    async fn upkeep(&self, request: Request<wire::UpkeepRequest>) -> Answer<wire::UpkeepResponse> {
        let wire::UpkeepRequest { now, keep_us } = request.into_inner();
        let request = UpkeepRequest { now: Timestamp(now), keep: keep_us.map(Duration::from_micros) };
        let done = answered(self.store.upkeep(&request).await)?;
        Ok(Response::new(wire::UpkeepResponse { removed: done.removed, more: done.more }))
    }

    async fn now(&self, _: Request<wire::NowRequest>) -> Answer<wire::NowResponse> {
        Ok(Response::new(wire::NowResponse { now: answered(self.store.now().await)?.0 }))
    }

    async fn check(&self, _: Request<wire::CheckRequest>) -> Answer<wire::CheckResponse> {
        answered(self.store.check().await)?;
        Ok(Response::new(wire::CheckResponse {}))
    }
}

/// All that waits now, but at least one; none: there will be no more.
async fn next_changes(changes: &mut broadcast::Receiver<Seen>) -> Option<wire::ChangesResponse> {
    let mut told = wire::ChangesResponse::default();
    match changes.recv().await {
        Ok(seen) => told.changes.push(seen.into()),
        Err(broadcast::error::RecvError::Lagged(_)) => told.missed = true,
        Err(broadcast::error::RecvError::Closed) => return None,
    }
    while told.changes.len() < CHANGES {
        match changes.try_recv() {
            Ok(seen) => told.changes.push(seen.into()),
            Err(broadcast::error::TryRecvError::Lagged(_)) => told.missed = true,
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => break,
        }
    }
    Some(told)
}
