//! Queues: backlog, and the switch to another queue.

use super::extract::{Caller, JsonBody};
use crate::api::Api;
use crate::api::queues::{QueueList, SwitchView};
use crate::error::{ApiResult, ProblemBody};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(status, switch))
}

/// A request to switch all processes to another queue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SwitchBody {
    /// Target: `kafka`, `kinesis`, `nats`, `rabbitmq`. During a switch, the queue that is being left: this reverses
    /// the switch.
    to: String,
}

/// List the backlog of the services of all namespaces
#[utoipa::path(get, path = "/queues", tag = "queues", responses((status = 200, body = QueueList)))]
async fn list(State(api): State<Api>) -> ApiResult<Json<QueueList>> {
    api.list_queues().await.map(Json)
}

/// Get the queue in use and the progress of a switch
#[utoipa::path(get, path = "/queues/switch", tag = "queues", responses((status = 200, body = SwitchView)))]
async fn status(State(api): State<Api>) -> ApiResult<Json<SwitchView>> {
    api.queue_switch().await.map(Json)
}

/// Switch all processes to another queue while they run
///
/// The switch continues without further requests.
#[utoipa::path(post, path = "/queues/switch", tag = "queues", request_body = SwitchBody,
    responses((status = 200, body = SwitchView),
        (status = 409, body = ProblemBody, description = "The queue is already in use, another switch is in progress, or not all processes are configured for the queue"),
        (status = 422, body = ProblemBody, description = "The queue does not exist"),
        (status = 503, body = ProblemBody, description = "The queue does not respond")))]
async fn switch(
    State(api): State<Api>,
    Caller(context): Caller,
    JsonBody(SwitchBody { to }): JsonBody<SwitchBody>,
) -> ApiResult<Json<SwitchView>> {
    api.switch_queue(&context, &to).await.map(Json)
}
