//! `QueueService`.

use super::{GrpcServices, RpcResult, message, operation};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::queue_service_server::QueueService;
use tonic::{Request, Response};

#[tonic::async_trait]
impl QueueService for GrpcServices {
    async fn list_queues(
        &self,
        request: Request<wire::ListQueuesRequest>,
    ) -> RpcResult<wire::ListQueuesResponse> {
        let list = self
            .serve(operation::LIST_QUEUES, request, |api, _| async move { api.list_queues().await })
            .await?;
        let services = list.services.into_iter().map(message::backlog).collect();
        Ok(Response::new(wire::ListQueuesResponse { queue: list.queue, services }))
    }

    async fn get_queue_move(
        &self,
        request: Request<wire::GetQueueMoveRequest>,
    ) -> RpcResult<wire::GetQueueMoveResponse> {
        let switch = self
            .serve(operation::GET_QUEUE_SWITCH, request, |api, _| async move { api.queue_switch().await })
            .await?;
        Ok(Response::new(wire::GetQueueMoveResponse { r#move: Some(message::queue_move(switch)) }))
    }

    async fn switch_queue(
        &self,
        request: Request<wire::SwitchQueueRequest>,
    ) -> RpcResult<wire::SwitchQueueResponse> {
        let switch = self
            .serve(operation::SWITCH_QUEUE, request, |api, call| async move {
                api.switch_queue(&call.context()?, &call.message.to).await
            })
            .await?;
        Ok(Response::new(wire::SwitchQueueResponse { r#move: Some(message::queue_move(switch)) }))
    }
}
