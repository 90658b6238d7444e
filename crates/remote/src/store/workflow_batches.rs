//! Batches of operations on workflows.

use super::{RemoteStore, Repeat, all, one, rpc};
use async_trait::async_trait;
use goconductor_saga::WorkflowId;
use goconductor_store::{
    BatchChange, BatchId, BatchItem, BatchItemResult, BatchItemStatus, BatchLease, BatchSelection, Error,
    ListRequest, TakenItem, WorkflowBatch, WorkflowBatchStore,
};
use goconductor_wire::internal as wire;
use goconductor_wire::store::batch::{batch_bytes, micros, optional_id};
use goconductor_wire::store::id_bytes;
use std::time::Duration;

#[async_trait]
impl WorkflowBatchStore for RemoteStore {
    async fn create_batch(&self, batch: &WorkflowBatch) -> Result<bool, Error> {
        let request = wire::CreateBatchRequest { batch: Some(batch.into()) };
        Ok(self.call(Repeat::Never, rpc!(create_batch, request)).await?.created)
    }

    async fn select_batch_items(&self, id: BatchId, page: &ListRequest) -> Result<BatchSelection, Error> {
        let request = wire::SelectBatchItemsRequest { id: batch_bytes(id), page: Some(page.into()) };
        let response = self.call(Repeat::Idempotent, rpc!(select_batch_items, request)).await?;
        let last = one(optional_id(&response.last))?;
        Ok(BatchSelection { count: response.count, last, more: response.more })
    }

    async fn change_batch(
        &self,
        namespace: &str,
        id: BatchId,
        change: &BatchChange,
    ) -> Result<Option<(WorkflowBatch, bool)>, Error> {
        let request = wire::ChangeBatchRequest {
            namespace: namespace.to_owned(),
            id: batch_bytes(id),
            from: change.from.iter().map(|status| status.as_str().to_owned()).collect(),
            to: change.to.as_str().to_owned(),
            total: change.total,
        };
        let response = self.call(Repeat::Never, rpc!(change_batch, request)).await?;
        let Some(batch) = response.batch else { return Ok(None) };
        let batch: WorkflowBatch = one(batch.try_into())?;
        Ok(Some((batch, response.changed)))
    }

    async fn batch(&self, namespace: &str, id: BatchId) -> Result<Option<WorkflowBatch>, Error> {
        let request = wire::GetStoredBatchRequest { namespace: namespace.to_owned(), id: batch_bytes(id) };
        let batch = self.read(rpc!(get_stored_batch, request)).await?.batch;
        one(batch.map(TryInto::<WorkflowBatch>::try_into).transpose())
    }

    async fn batches(
        &self,
        namespace: &str,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Vec<WorkflowBatch>, Error> {
        let before = before.map(batch_bytes).unwrap_or_default();
        let request = wire::ListStoredBatchesRequest { namespace: namespace.to_owned(), before, limit };
        all(self.read(rpc!(list_stored_batches, request)).await?.batches)
    }

    async fn batch_items(
        &self,
        id: BatchId,
        status: Option<BatchItemStatus>,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<BatchItem>, Error> {
        let request = wire::ListStoredBatchItemsRequest {
            id: batch_bytes(id),
            status: status.map_or_else(String::new, |status| status.as_str().to_owned()),
            after: after.map(id_bytes).unwrap_or_default(),
            limit,
        };
        all(self.read(rpc!(list_stored_batch_items, request)).await?.items)
    }

    async fn lease_batch(&self, ttl: Duration) -> Result<Option<(WorkflowBatch, BatchLease)>, Error> {
        let request = wire::LeaseBatchRequest { ttl_us: micros(ttl) };
        let response = self.call(Repeat::Never, rpc!(lease_batch, request)).await?;
        let Some(batch) = response.batch else { return Ok(None) };
        let batch: WorkflowBatch = one(batch.try_into())?;
        let lease = BatchLease { id: batch.id, token: response.token };
        Ok(Some((batch, lease)))
    }

    async fn take_batch_items(
        &self,
        lease: BatchLease,
        ttl: Duration,
        limit: u32,
    ) -> Result<Option<Vec<TakenItem>>, Error> {
        let request = wire::TakeBatchItemsRequest {
            id: batch_bytes(lease.id),
            token: lease.token,
            ttl_us: micros(ttl),
            limit,
        };
        let response = self.call(Repeat::Never, rpc!(take_batch_items, request)).await?;
        if response.held { all(response.items).map(Some) } else { Ok(None) }
    }

    async fn finish_batch_items(
        &self,
        lease: BatchLease,
        results: &[BatchItemResult],
    ) -> Result<bool, Error> {
        let request = wire::FinishBatchItemsRequest {
            id: batch_bytes(lease.id),
            token: lease.token,
            results: results.iter().map(Into::into).collect(),
        };
        Ok(self.call(Repeat::Idempotent, rpc!(finish_batch_items, request)).await?.held)
    }
}
