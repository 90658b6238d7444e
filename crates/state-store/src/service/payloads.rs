//! Payloads that workflows carry by reference.

use super::into_status;
use goconductor_store::{PayloadChunk, PayloadLink, PayloadStore, StoredPayload};
use goconductor_wire::internal as wire;
use goconductor_wire::store::{id, required};
use tonic::Status;

pub(super) async fn link_payload(
    store: &dyn PayloadStore,
    request: wire::LinkPayloadRequest,
) -> Result<wire::LinkPayloadResponse, Status> {
    let link = PayloadLink::try_from(request)?;
    let stored = into_status(store.link_payload(&link).await)?;
    Ok(wire::LinkPayloadResponse { stored })
}

pub(super) async fn put_payload_chunk(
    store: &dyn PayloadStore,
    request: wire::PutPayloadChunkRequest,
) -> Result<wire::PutPayloadChunkResponse, Status> {
    let chunk = PayloadChunk::try_from(request)?;
    into_status(store.put_payload_chunk(&chunk).await)?;
    Ok(wire::PutPayloadChunkResponse {})
}

pub(super) async fn get_payload_chunk(
    store: &dyn PayloadStore,
    request: wire::GetPayloadChunkRequest,
) -> Result<wire::GetPayloadChunkResponse, Status> {
    let payload = StoredPayload::try_from(required(request.payload, "a payload")?)?;
    let workflow = id(&request.workflow_id)?;
    let data = into_status(store.payload_chunk(&payload, workflow, request.number).await)?;
    Ok(wire::GetPayloadChunkResponse { data: data.map(Into::into) })
}
