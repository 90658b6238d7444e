//! Batches: one operation on many workflows.

use super::PageQuery;
use super::extract::{Caller, JsonBody, OptionalJsonBody, Path, QueryParams};
use super::integer::Integer;
use crate::api::batches::{
    BatchControl, BatchItemPage, BatchPage, BatchPreview, BatchView, CreateBatch, CreatedBatch,
};
use crate::api::{Api, PageRequest};
use crate::error::{ApiResult, ProblemBody};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(items))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
}

/// A request to create a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BatchBody {
    /// `retry`, `cancel`, `pause`, `resume`, `skip` or `terminate`
    operation: String,
    /// AIP-160 filter of the workflows (default: all that have not ended)
    filter: Option<String>,
    /// Step to retry or to skip (default for `retry`: each step that needs an operator)
    step: Option<String>,
    /// Reason, recorded in the history of each workflow
    reason: Option<String>,
    /// Number of matching workflows. Without it, the request is a dry run.
    #[schema(value_type = Option<u64>)]
    expected_count: Option<Integer<u64>>,
    /// Maximum number of operations per second (default: 200)
    #[schema(value_type = Option<u32>)]
    rate: Option<Integer<u32>>,
    /// Only count and show the workflows
    dry_run: Option<bool>,
}

/// The reason of a change of a batch.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BatchReasonBody {
    /// Reason, recorded in the audit log
    reason: Option<String>,
}

/// The workflows of a batch to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ItemQuery {
    /// `PENDING`, `STARTED`, `DONE`, `REFUSED` or `FAILED` (default: all)
    status: Option<String>,
    /// Elements of a page: 1 to 1000
    page_size: Option<u32>,
    /// `next_page_token` of the previous page
    page_token: Option<String>,
}

/// Create a batch: apply an operation to all workflows that match a filter
///
/// The workflows are selected once, and only those that have not ended. A request without `expected_count`, or with
/// `dry_run`, changes nothing and returns their number with a sample.
#[utoipa::path(post, path = "/batches", tag = "batches", request_body = BatchBody,
    responses((status = 201, body = BatchView, description = "The batch was created"),
        (status = 200, body = BatchPreview, description = "The result of a dry run"),
        (status = 409, body = ProblemBody, description = "Another number of workflows matches the filter"),
        (status = 422, body = ProblemBody)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    JsonBody(body): JsonBody<BatchBody>,
) -> ApiResult<Response> {
    let create = CreateBatch {
        operation: body.operation,
        filter: body.filter.unwrap_or_default(),
        step: body.step,
        reason: body.reason,
        expected_count: body.expected_count.map(|Integer(count)| count),
        rate: body.rate.map(|Integer(rate)| rate),
        dry_run: body.dry_run.unwrap_or_default(),
    };
    Ok(match api.create_batch(&context, create).await? {
        CreatedBatch::Preview(preview) => Json(preview).into_response(),
        CreatedBatch::Batch(batch) => {
            let location = [(header::LOCATION, format!("/api/v1/batches/{}", batch.id))];
            (StatusCode::CREATED, location, Json(batch)).into_response()
        }
    })
}

/// List batches, newest first
#[utoipa::path(get, path = "/batches", tag = "batches", params(PageQuery),
    responses((status = 200, body = BatchPage), (status = 400, body = ProblemBody)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    QueryParams(query): QueryParams<PageQuery>,
) -> ApiResult<Json<BatchPage>> {
    api.list_batches(&context, &query.into()).await.map(Json)
}

/// Get a batch with the numbers of its results
#[utoipa::path(get, path = "/batches/{id}", tag = "batches", params(("id" = String, Path)),
    responses((status = 200, body = BatchView), (status = 404, body = ProblemBody)))]
async fn get(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<BatchView>> {
    api.batch(&context, &id).await.map(Json)
}

/// List the workflows of a batch with their results
#[utoipa::path(get, path = "/batches/{id}/items", tag = "batches", params(("id" = String, Path), ItemQuery),
    responses((status = 200, body = BatchItemPage), (status = 400, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
async fn items(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<ItemQuery>,
) -> ApiResult<Json<BatchItemPage>> {
    let ItemQuery { status, page_size, page_token } = query;
    let page = PageRequest { size: page_size, token: page_token };
    api.list_batch_items(&context, &id, status.as_deref(), &page).await.map(Json)
}

type ControlResult = ApiResult<Json<BatchView>>;

/// Pause a batch
///
/// Operations in flight end.
#[utoipa::path(post, path = "/batches/{id}/pause", tag = "batches", params(("id" = String, Path)),
    request_body = Option<BatchReasonBody>, responses((status = 200, body = BatchView),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody, description = "The batch has ended")))]
async fn pause(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<BatchReasonBody>,
) -> ControlResult {
    api.control_batch(&context, &id, BatchControl::Pause, body.reason).await.map(Json)
}

/// Resume a paused batch
#[utoipa::path(post, path = "/batches/{id}/resume", tag = "batches", params(("id" = String, Path)),
    request_body = Option<BatchReasonBody>, responses((status = 200, body = BatchView),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody, description = "The batch has ended")))]
async fn resume(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<BatchReasonBody>,
) -> ControlResult {
    api.control_batch(&context, &id, BatchControl::Resume, body.reason).await.map(Json)
}

/// Cancel a batch
///
/// Operations that were applied are not undone.
#[utoipa::path(post, path = "/batches/{id}/cancel", tag = "batches", params(("id" = String, Path)),
    request_body = Option<BatchReasonBody>, responses((status = 200, body = BatchView),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody, description = "The batch has completed")))]
async fn cancel(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<BatchReasonBody>,
) -> ControlResult {
    api.control_batch(&context, &id, BatchControl::Cancel, body.reason).await.map(Json)
}
