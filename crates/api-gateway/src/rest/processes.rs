//! The processes of the cluster, and dead letters.

use super::PageQuery;
use super::extract::{Caller, Path, QueryParams};
use crate::api::Api;
use crate::api::dead_letters::{DeadLetterPage, DeadLetterView};
use crate::api::processes::ProcessList;
use crate::error::{ApiResult, ProblemBody};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(processes))
        .routes(routes!(list))
        .routes(routes!(get, delete))
        .routes(routes!(requeue))
}

/// List the running processes
#[utoipa::path(get, path = "/processes", tag = "processes", responses((status = 200, body = ProcessList)))]
async fn processes(State(api): State<Api>, Caller(context): Caller) -> ApiResult<Json<ProcessList>> {
    api.list_processes(&context).await.map(Json)
}

/// List the dead letters, newest first
#[utoipa::path(get, path = "/dead-letters", tag = "dead letters", params(PageQuery),
    responses((status = 200, body = DeadLetterPage), (status = 400, body = ProblemBody)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    QueryParams(query): QueryParams<PageQuery>,
) -> ApiResult<Json<DeadLetterPage>> {
    api.list_dead_letters(&context, &query.into()).await.map(Json)
}

/// Get a dead letter
#[utoipa::path(get, path = "/dead-letters/{id}", tag = "dead letters", params(("id" = String, Path)),
    responses((status = 200, body = DeadLetterView), (status = 404, body = ProblemBody)))]
async fn get(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<DeadLetterView>> {
    api.dead_letter(&context, &id).await.map(Json)
}

/// Delete a dead letter
#[utoipa::path(delete, path = "/dead-letters/{id}", tag = "dead letters", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
async fn delete(State(api): State<Api>, Path(id): Path<String>) -> ApiResult<StatusCode> {
    api.delete_dead_letter(&id).await.map(|()| StatusCode::NO_CONTENT)
}

/// Publish a dead letter to its topic again
#[utoipa::path(post, path = "/dead-letters/{id}/requeue", tag = "dead letters", params(("id" = String, Path)),
    responses((status = 200, body = DeadLetterView), (status = 404, body = ProblemBody)))]
async fn requeue(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<DeadLetterView>> {
    api.requeue_dead_letter(&context, &id).await.map(Json)
}
