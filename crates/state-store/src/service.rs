//! The gRPC service of the state store.
//!
//! Each part of the port has one file with one function for each call. A function decodes the request, calls the store
//! and encodes the response. `serve!` connects the functions to the generated service.

mod access_keys;
mod audit;
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

use futures::stream::{BoxStream, StreamExt};
use goconductor_store::{Error, Store, WorkflowHead};
use goconductor_tls::{Peer, PeerRole};
use goconductor_wire::handshake::CheckProtocol;
use goconductor_wire::internal as wire;
use goconductor_wire::internal::state_store_service_server::{StateStoreService, StateStoreServiceServer};
use goconductor_wire::status::of_store;
use goconductor_wire::store::Malformed;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};
use tracing::Instrument;

/// The largest messages are a batch of writes and a page of a history.
const MESSAGE_BYTES: usize = 64 << 20;
/// Maximum number of changes in one message of the stream.
const CHANGES: usize = 512;

type RpcResult<T> = Result<Response<T>, Status>;

/// The beginning of the actions that an executor records.
const WORKER_ACTIONS: &str = "workers.";

/// The gRPC service over a store.
#[derive(Debug)]
pub struct StoreService {
    store: Arc<dyn Store>,
    changes: broadcast::Sender<WorkflowHead>,
    stop: CancellationToken,
}

/// Creates the service over a store. It refuses peers whose protocol it does not speak. Streams of changes end when `stop`
/// is cancelled.
#[must_use]
pub fn service(
    store: Arc<dyn Store>,
    changes: broadcast::Sender<WorkflowHead>,
    stop: CancellationToken,
) -> InterceptedService<StateStoreServiceServer<StoreService>, CheckProtocol> {
    let server = StateStoreServiceServer::new(StoreService { store, changes, stop })
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    InterceptedService::new(server, CheckProtocol::new("state store"))
}

/// Checks that the settings of the API are changed by a gateway only, which checks and records each change. Without TLS, a
/// caller has no role.
fn check_agreement(request: &Request<wire::AgreeRequest>) -> Result<(), Status> {
    let is_of_api = request.get_ref().name.starts_with("config/");
    let peer = request.extensions().get::<Peer>();
    if is_of_api && peer.is_some_and(|peer| !peer.roles().contains(PeerRole::ApiGateway)) {
        return Err(Status::permission_denied(
            "only an api-gateway changes the settings of the API (GC3031)",
        ));
    }
    Ok(())
}

/// Checks that an executor records only the connections of its workers. Without TLS, a caller has no role.
fn check_audit(request: &Request<wire::AppendAuditRequest>) -> Result<(), Status> {
    let peer = request.extensions().get::<Peer>();
    if peer.is_none_or(|peer| peer.roles().contains(PeerRole::ApiGateway)) {
        return Ok(());
    }
    let is_of_workers = |event: &wire::AuditEvent| {
        // Events of too many kinds are counted together, under this action.
        event.action.starts_with(WORKER_ACTIONS) || event.action == "*"
    };
    if request.get_ref().events.iter().all(is_of_workers) {
        return Ok(());
    }
    Err(Status::permission_denied("only an api-gateway records requests in the audit log (GC3031)"))
}

/// Implements the generated service by the functions of the modules of the parts.
macro_rules! serve {
    ($($part:ident {
        $($method:ident: $request:ident => $response:ident;)*
    })*) => {
        #[tonic::async_trait]
        impl StateStoreService for StoreService {
            type ChangesStream = BoxStream<'static, Result<wire::ChangesResponse, Status>>;

            async fn changes(&self, _: Request<wire::ChangesRequest>) -> RpcResult<Self::ChangesStream> {
                Ok(Response::new(self.follow_changes()))
            }

            async fn agree(&self, request: Request<wire::AgreeRequest>) -> RpcResult<wire::AgreeResponse> {
                check_agreement(&request)?;
                let span = tracing::debug_span!("state_store_request", method = "agree");
                cluster::agree(&*self.store, request.into_inner()).instrument(span).await.map(Response::new)
            }

            async fn append_audit(
                &self,
                request: Request<wire::AppendAuditRequest>,
            ) -> RpcResult<wire::AppendAuditResponse> {
                check_audit(&request)?;
                let span = tracing::debug_span!("state_store_request", method = "append_audit");
                audit::append_audit(&*self.store, request.into_inner()).instrument(span).await.map(Response::new)
            }

            $($(async fn $method(&self, request: Request<wire::$request>) -> RpcResult<wire::$response> {
                let span = tracing::debug_span!("state_store_request", method = stringify!($method));
                $part::$method(&*self.store, request.into_inner()).instrument(span).await.map(Response::new)
            })*)*
        }
    };
}

serve! {
    workflows {
        write: WriteRequest => WriteResponse;
        load: LoadRequest => LoadResponse;
        history: HistoryRequest => HistoryResponse;
        seen: SeenRequest => SeenResponse;
        list: ListRequest => ListResponse;
        counts: CountsRequest => CountsResponse;
        ids: IdsRequest => IdsResponse;
    }
    definitions {
        put_definition: PutDefinitionRequest => PutDefinitionResponse;
        newest_versions: NewestVersionsRequest => NewestVersionsResponse;
        archive_definition: ArchiveDefinitionRequest => ArchiveDefinitionResponse;
        get_definition: GetDefinitionRequest => GetDefinitionResponse;
        list_definitions: ListDefinitionsRequest => ListDefinitionsResponse;
        put_service: PutServiceRequest => PutServiceResponse;
        delete_service: DeleteServiceRequest => DeleteServiceResponse;
        list_services: ListServicesRequest => ListServicesResponse;
    }
    ledger {
        claim: ClaimRequest => ClaimResponse;
        extend: ExtendRequest => ExtendResponse;
        release: ReleaseRequest => ReleaseResponse;
        expire_deliveries: ExpireDeliveriesRequest => ExpireDeliveriesResponse;
        ledger: LedgerRequest => LedgerResponse;
        backlog: BacklogRequest => BacklogResponse;
        orphans: OrphansRequest => OrphansResponse;
    }
    cluster {
        raise_epoch: RaiseEpochRequest => RaiseEpochResponse;
        agreement: AgreementRequest => AgreementResponse;
        announce: AnnounceRequest => AnnounceResponse;
        members: MembersRequest => MembersResponse;
        now: NowRequest => NowResponse;
        check: CheckRequest => CheckResponse;
    }
    dead_letters {
        put_dead_letters: PutDeadLettersRequest => PutDeadLettersResponse;
        list_dead_letters: ListDeadLettersRequest => ListDeadLettersResponse;
        get_dead_letter: GetDeadLetterRequest => GetDeadLetterResponse;
        delete_dead_letter: DeleteDeadLetterRequest => DeleteDeadLetterResponse;
    }
    access_keys {
        create_access_key: CreateAccessKeyRequest => CreateAccessKeyResponse;
        get_access_key: GetAccessKeyRequest => GetAccessKeyResponse;
        list_access_keys: ListAccessKeysRequest => ListAccessKeysResponse;
        end_access_key: EndAccessKeyRequest => EndAccessKeyResponse;
        access_revision: AccessRevisionRequest => AccessRevisionResponse;
    }
    audit {
        list_audit_records: ListAuditRecordsRequest => ListAuditRecordsResponse;
        get_audit_head: GetAuditHeadRequest => GetAuditHeadResponse;
        note_audit_intents: NoteAuditIntentsRequest => NoteAuditIntentsResponse;
        settle_audit_intents: SettleAuditIntentsRequest => SettleAuditIntentsResponse;
    }
    locks {
        acquire_lock: AcquireLockRequest => AcquireLockResponse;
        renew_lock: RenewLockRequest => RenewLockResponse;
        release_lock: ReleaseLockRequest => ReleaseLockResponse;
        acquire_workflow_locks: AcquireWorkflowLocksRequest => AcquireWorkflowLocksResponse;
        get_lock_holder: GetLockHolderRequest => GetLockHolderResponse;
        list_locks: ListLocksRequest => ListLocksResponse;
    }
    leases {
        list_leases: ListLeasesRequest => ListLeasesResponse;
        sync_leases: SyncLeasesRequest => SyncLeasesResponse;
        take_leases: TakeLeasesRequest => TakeLeasesResponse;
        mark_leases: MarkLeasesRequest => MarkLeasesResponse;
    }
    secrets {
        put_secret: PutSecretRequest => PutSecretResponse;
        get_secret_head: GetSecretHeadRequest => GetSecretHeadResponse;
        get_secret_version: GetSecretVersionRequest => GetSecretVersionResponse;
        list_secret_heads: ListSecretHeadsRequest => ListSecretHeadsResponse;
        delete_stored_secret: DeleteStoredSecretRequest => DeleteStoredSecretResponse;
        list_secrets_of_other_keys: ListSecretsOfOtherKeysRequest => ListSecretsOfOtherKeysResponse;
        rewrap_secret: RewrapSecretRequest => RewrapSecretResponse;
    }
    payloads {
        link_payload: LinkPayloadRequest => LinkPayloadResponse;
        put_payload_chunk: PutPayloadChunkRequest => PutPayloadChunkResponse;
        get_payload_chunk: GetPayloadChunkRequest => GetPayloadChunkResponse;
    }
    schedules {
        put_stored_schedule: PutStoredScheduleRequest => PutStoredScheduleResponse;
        get_stored_schedule: GetStoredScheduleRequest => GetStoredScheduleResponse;
        list_stored_schedules: ListStoredSchedulesRequest => ListStoredSchedulesResponse;
        list_due_schedules: ListDueSchedulesRequest => ListDueSchedulesResponse;
        delete_stored_schedule: DeleteStoredScheduleRequest => DeleteStoredScheduleResponse;
        count_stored_schedules: CountStoredSchedulesRequest => CountStoredSchedulesResponse;
    }
    workflow_batches {
        create_batch: CreateBatchRequest => CreateBatchResponse;
        select_batch_items: SelectBatchItemsRequest => SelectBatchItemsResponse;
        change_batch: ChangeBatchRequest => ChangeBatchResponse;
        get_stored_batch: GetStoredBatchRequest => GetStoredBatchResponse;
        list_stored_batches: ListStoredBatchesRequest => ListStoredBatchesResponse;
        list_stored_batch_items: ListStoredBatchItemsRequest => ListStoredBatchItemsResponse;
        lease_batch: LeaseBatchRequest => LeaseBatchResponse;
        take_batch_items: TakeBatchItemsRequest => TakeBatchItemsResponse;
        finish_batch_items: FinishBatchItemsRequest => FinishBatchItemsResponse;
    }
    maintenance {
        upkeep: UpkeepRequest => UpkeepResponse;
    }
}

impl StoreService {
    /// An empty message that confirms the subscription, followed by the changes.
    fn follow_changes(&self) -> BoxStream<'static, Result<wire::ChangesResponse, Status>> {
        let open = futures::stream::once(async { Ok(wire::ChangesResponse::default()) });
        let follow = futures::stream::unfold(self.changes.subscribe(), |mut changes| async move {
            next_changes(&mut changes).await.map(|response| (Ok(response), changes))
        });
        let until_stop = follow.take_until(self.stop.clone().cancelled_owned());
        open.chain(until_stop).boxed()
    }
}

/// Waits for at least one change and returns it with all others that are pending. Returns `None` when the stream ends.
async fn next_changes(changes: &mut broadcast::Receiver<WorkflowHead>) -> Option<wire::ChangesResponse> {
    let mut response = wire::ChangesResponse::default();
    match changes.recv().await {
        Ok(seen) => response.changes.push(seen.into()),
        Err(broadcast::error::RecvError::Lagged(_)) => response.missed = true,
        Err(broadcast::error::RecvError::Closed) => return None,
    }
    while response.changes.len() < CHANGES {
        match changes.try_recv() {
            Ok(seen) => response.changes.push(seen.into()),
            Err(broadcast::error::TryRecvError::Lagged(_)) => response.missed = true,
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => break,
        }
    }
    Some(response)
}

fn into_status<T>(result: Result<T, Error>) -> Result<T, Status> {
    result.map_err(|error| of_store(&error))
}

/// Maps a failure to encode a response. It is an error of the store and not of the caller's request.
fn encoded<T>(result: Result<T, Malformed>) -> Result<T, Status> {
    result.map_err(|error| of_store(&Error::corrupt("a response", error.to_string())))
}

fn listed<A, B>(list: Vec<A>) -> Result<Vec<B>, Malformed>
where
    B: TryFrom<A, Error = Malformed>,
{
    list.into_iter().map(TryInto::try_into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executor_records_only_connections_of_workers() {
        let event =
            |action: &str| wire::AuditEvent { action: action.to_owned(), ..wire::AuditEvent::default() };
        for (role, actions, is_allowed) in [
            (Some("api-gateway"), &["workflows.cancel"][..], true),
            (Some("saga-executor"), &["workers.connect", "workers.connect.end", "*"], true),
            (Some("saga-executor"), &["workers.connect", "workflows.cancel"], false),
            (None, &["workflows.cancel"], true),
        ] {
            let events = actions.iter().map(|action| event(action)).collect();
            let mut request = Request::new(wire::AppendAuditRequest { events });
            if let Some(role) = role {
                let uri = format!("spiffe://shop/{role}");
                request.extensions_mut().insert(Peer::new(vec![uri], None, Some("shop")));
            }
            assert_eq!(check_audit(&request).is_ok(), is_allowed, "{role:?} {actions:?}");
        }
    }
}
