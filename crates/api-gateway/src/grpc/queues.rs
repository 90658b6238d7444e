//! `QueueService`.

use super::answer::{backlog, each, queue_move, text};
use super::{Door, Rest};
use axum::http::Method;
use goconductor_wire::v1::queue_service_server::QueueService;
use goconductor_wire::v1::{self as wire};
use serde_json::json;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl QueueService for Door {
    async fn list_queues(
        &self,
        request: Request<wire::ListQueuesRequest>,
    ) -> Answer<wire::ListQueuesResponse> {
        let (_, body) = self.call(&request, Rest::get(&["queues"])).await?;
        let services = each(&body, "services").map(backlog).collect();
        Ok(Response::new(wire::ListQueuesResponse { queue: text(&body, "queue"), services }))
    }

    async fn get_queue_move(
        &self,
        request: Request<wire::GetQueueMoveRequest>,
    ) -> Answer<wire::GetQueueMoveResponse> {
        let (_, body) = self.call(&request, Rest::get(&["queues", "switch"])).await?;
        Ok(Response::new(wire::GetQueueMoveResponse { r#move: Some(queue_move(&body)) }))
    }

    async fn switch_queue(
        &self,
        request: Request<wire::SwitchQueueRequest>,
    ) -> Answer<wire::SwitchQueueResponse> {
        let body = json!({"to": request.get_ref().to});
        let (_, body) =
            self.call(&request, Rest::of(Method::POST, &["queues", "switch"]).json(&body)).await?;
        Ok(Response::new(wire::SwitchQueueResponse { r#move: Some(queue_move(&body)) }))
    }
}
