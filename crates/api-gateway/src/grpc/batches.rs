//! `BatchService`.

use super::operation::RestOperation;
use super::{GrpcServices, RpcResult, message, operation, optional, optional_number, page, path_name};
use crate::api::batches::{BatchControl, BatchItemView, BatchView, CreateBatch, CreatedBatch};
use crate::error::ApiResult;
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::batch_service_server::BatchService;
use prost::Message;
use tonic::{Request, Response};

#[tonic::async_trait]
impl BatchService for GrpcServices {
    async fn create_batch(
        &self,
        request: Request<wire::CreateBatchRequest>,
    ) -> RpcResult<wire::CreateBatchResponse> {
        let created = self
            .serve(operation::CREATE_BATCH, request, |api, call| async move {
                let context = call.context()?;
                let wire = call.message;
                let create = CreateBatch {
                    operation: wire.operation,
                    filter: wire.filter,
                    step: optional(wire.step),
                    reason: optional(wire.reason),
                    expected_count: wire.expected_count,
                    rate: optional_number(wire.rate),
                    dry_run: wire.dry_run,
                };
                api.create_batch(&context, create).await
            })
            .await?;
        Ok(Response::new(match created {
            CreatedBatch::Batch(view) => {
                let count = view.total;
                wire::CreateBatchResponse { batch: Some(batch(*view)), count, sample: Vec::new() }
            }
            CreatedBatch::Preview(preview) => wire::CreateBatchResponse {
                batch: None,
                count: preview.count,
                sample: preview.sample.into_iter().map(message::summary).collect(),
            },
        }))
    }

    async fn get_batch(&self, request: Request<wire::GetBatchRequest>) -> RpcResult<wire::GetBatchResponse> {
        let view = self
            .serve(operation::GET_BATCH, request, |api, call| async move {
                let context = call.context()?;
                api.batch(&context, path_name("id", &call.message.id)?).await
            })
            .await?;
        Ok(Response::new(wire::GetBatchResponse { batch: Some(batch(view)) }))
    }

    async fn list_batches(
        &self,
        request: Request<wire::ListBatchesRequest>,
    ) -> RpcResult<wire::ListBatchesResponse> {
        let list = self
            .serve(operation::LIST_BATCHES, request, |api, call| async move {
                let context = call.context()?;
                let wire::ListBatchesRequest { page_size, page_token } = call.message;
                api.list_batches(&context, &page(page_size, page_token)).await
            })
            .await?;
        let batches = list.batches.into_iter().map(batch).collect();
        Ok(Response::new(wire::ListBatchesResponse { batches, next_page_token: list.next_page_token }))
    }

    async fn list_batch_items(
        &self,
        request: Request<wire::ListBatchItemsRequest>,
    ) -> RpcResult<wire::ListBatchItemsResponse> {
        let list = self
            .serve(operation::LIST_BATCH_ITEMS, request, |api, call| async move {
                let context = call.context()?;
                let wire::ListBatchItemsRequest { id, status, page_size, page_token } = call.message;
                let (status, page) = (optional(status), page(page_size, page_token));
                api.list_batch_items(&context, path_name("id", &id)?, status.as_deref(), &page).await
            })
            .await?;
        let items = list.items.into_iter().map(item).collect();
        Ok(Response::new(wire::ListBatchItemsResponse { items, next_page_token: list.next_page_token }))
    }

    async fn pause_batch(
        &self,
        request: Request<wire::PauseBatchRequest>,
    ) -> RpcResult<wire::PauseBatchResponse> {
        let fields = |wire: wire::PauseBatchRequest| (wire.id, wire.reason);
        let view = self.control(operation::PAUSE_BATCH, request, BatchControl::Pause, fields).await?;
        Ok(Response::new(wire::PauseBatchResponse { batch: Some(batch(view)) }))
    }

    async fn resume_batch(
        &self,
        request: Request<wire::ResumeBatchRequest>,
    ) -> RpcResult<wire::ResumeBatchResponse> {
        let fields = |wire: wire::ResumeBatchRequest| (wire.id, wire.reason);
        let view = self.control(operation::RESUME_BATCH, request, BatchControl::Resume, fields).await?;
        Ok(Response::new(wire::ResumeBatchResponse { batch: Some(batch(view)) }))
    }

    async fn cancel_batch(
        &self,
        request: Request<wire::CancelBatchRequest>,
    ) -> RpcResult<wire::CancelBatchResponse> {
        let fields = |wire: wire::CancelBatchRequest| (wire.id, wire.reason);
        let view = self.control(operation::CANCEL_BATCH, request, BatchControl::Cancel, fields).await?;
        Ok(Response::new(wire::CancelBatchResponse { batch: Some(batch(view)) }))
    }
}

impl GrpcServices {
    /// Serves a change of a batch. `fields` returns the id and the reason of the request.
    async fn control<M: Message + 'static>(
        &self,
        operation: RestOperation,
        request: Request<M>,
        control: BatchControl,
        fields: fn(M) -> (String, String),
    ) -> ApiResult<BatchView> {
        self.serve(operation, request, move |api, call| async move {
            let context = call.context()?;
            let (id, reason) = fields(call.message);
            api.control_batch(&context, path_name("id", &id)?, control, optional(reason)).await
        })
        .await
    }
}

fn batch(view: BatchView) -> wire::Batch {
    wire::Batch {
        id: view.id,
        namespace: view.namespace,
        status: view.status.to_owned(),
        operation: view.operation.to_owned(),
        step: view.step.unwrap_or_default(),
        filter: view.filter,
        reason: view.reason,
        actor: view.actor.unwrap_or_default(),
        rate: view.rate,
        created_at: Some(message::timestamp(view.created_at)),
        ended_at: view.ended_at.map(message::timestamp),
        total: view.total,
        pending: view.pending,
        done: view.done,
        refused: view.refused,
        failed: view.failed,
    }
}

fn item(view: BatchItemView) -> wire::BatchItem {
    wire::BatchItem {
        workflow_id: view.workflow_id.to_string(),
        status: view.status.to_owned(),
        code: view.code.unwrap_or_default(),
        detail: view.detail.unwrap_or_default(),
        ended_at: view.ended_at.map(message::timestamp),
    }
}
