//! Batches of operations on workflows.

use super::{into_status, listed};
use goconductor_store::{
    BatchChange, BatchId, BatchItemResult, BatchLease, ListRequest, WorkflowBatch, WorkflowBatchStore,
};
use goconductor_wire::internal as wire;
use goconductor_wire::store::batch::{batch_id, batch_status, duration, item_status, optional_id};
use goconductor_wire::store::{id_bytes, required};
use tonic::Status;

pub(super) async fn create_batch(
    store: &dyn WorkflowBatchStore,
    request: wire::CreateBatchRequest,
) -> Result<wire::CreateBatchResponse, Status> {
    let batch: WorkflowBatch = required(request.batch, "a batch")?.try_into()?;
    Ok(wire::CreateBatchResponse { created: into_status(store.create_batch(&batch).await)? })
}

pub(super) async fn select_batch_items(
    store: &dyn WorkflowBatchStore,
    request: wire::SelectBatchItemsRequest,
) -> Result<wire::SelectBatchItemsResponse, Status> {
    let page: ListRequest = required(request.page, "a page")?.try_into()?;
    let selection = into_status(store.select_batch_items(batch_id(&request.id)?, &page).await)?;
    Ok(wire::SelectBatchItemsResponse {
        count: selection.count,
        last: selection.last.map(id_bytes).unwrap_or_default(),
        more: selection.more,
    })
}

pub(super) async fn change_batch(
    store: &dyn WorkflowBatchStore,
    request: wire::ChangeBatchRequest,
) -> Result<wire::ChangeBatchResponse, Status> {
    let change = BatchChange {
        from: request.from.iter().map(|name| batch_status(name)).collect::<Result<_, _>>()?,
        to: batch_status(&request.to)?,
        total: request.total,
    };
    let id = batch_id(&request.id)?;
    let changed = into_status(store.change_batch(&request.namespace, id, &change).await)?;
    Ok(match changed {
        Some((batch, changed)) => wire::ChangeBatchResponse { batch: Some((&batch).into()), changed },
        None => wire::ChangeBatchResponse::default(),
    })
}

pub(super) async fn get_stored_batch(
    store: &dyn WorkflowBatchStore,
    request: wire::GetStoredBatchRequest,
) -> Result<wire::GetStoredBatchResponse, Status> {
    let batch = into_status(store.batch(&request.namespace, batch_id(&request.id)?).await)?;
    Ok(wire::GetStoredBatchResponse { batch: batch.as_ref().map(Into::into) })
}

pub(super) async fn list_stored_batches(
    store: &dyn WorkflowBatchStore,
    request: wire::ListStoredBatchesRequest,
) -> Result<wire::ListStoredBatchesResponse, Status> {
    let before = optional_id(&request.before)?.map(|id| BatchId(id.0));
    let batches = into_status(store.batches(&request.namespace, before, request.limit).await)?;
    Ok(wire::ListStoredBatchesResponse { batches: batches.iter().map(Into::into).collect() })
}

pub(super) async fn list_stored_batch_items(
    store: &dyn WorkflowBatchStore,
    request: wire::ListStoredBatchItemsRequest,
) -> Result<wire::ListStoredBatchItemsResponse, Status> {
    let status = (!request.status.is_empty()).then(|| item_status(&request.status)).transpose()?;
    let (id, after) = (batch_id(&request.id)?, optional_id(&request.after)?);
    let items = into_status(store.batch_items(id, status, after, request.limit).await)?;
    Ok(wire::ListStoredBatchItemsResponse { items: items.into_iter().map(Into::into).collect() })
}

pub(super) async fn lease_batch(
    store: &dyn WorkflowBatchStore,
    request: wire::LeaseBatchRequest,
) -> Result<wire::LeaseBatchResponse, Status> {
    Ok(match into_status(store.lease_batch(duration(request.ttl_us)).await)? {
        Some((batch, lease)) => wire::LeaseBatchResponse { batch: Some((&batch).into()), token: lease.token },
        None => wire::LeaseBatchResponse::default(),
    })
}

pub(super) async fn take_batch_items(
    store: &dyn WorkflowBatchStore,
    request: wire::TakeBatchItemsRequest,
) -> Result<wire::TakeBatchItemsResponse, Status> {
    let lease = BatchLease { id: batch_id(&request.id)?, token: request.token };
    let taken = into_status(store.take_batch_items(lease, duration(request.ttl_us), request.limit).await)?;
    let held = taken.is_some();
    let items = taken.unwrap_or_default().into_iter().map(Into::into).collect();
    Ok(wire::TakeBatchItemsResponse { held, items })
}

pub(super) async fn finish_batch_items(
    store: &dyn WorkflowBatchStore,
    request: wire::FinishBatchItemsRequest,
) -> Result<wire::FinishBatchItemsResponse, Status> {
    let lease = BatchLease { id: batch_id(&request.id)?, token: request.token };
    let results: Vec<BatchItemResult> = listed(request.results)?;
    Ok(wire::FinishBatchItemsResponse { held: into_status(store.finish_batch_items(lease, &results).await)? })
}
