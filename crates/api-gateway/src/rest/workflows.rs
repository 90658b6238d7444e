//! Workflows: start, read, list, count, wait for the end.

use super::extract::{Caller, JsonBody, Path, QueryParams};
use super::integer::Integer;
use crate::api::workflows::{CountField, WorkflowCounts, WorkflowPage, WorkflowStart};
use crate::api::{Api, PageRequest};
use crate::error::{ApiResult, PARAMETER, Problem, ProblemBody};
use crate::view::WorkflowView;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, start))
        .routes(routes!(get))
        .routes(routes!(result))
        .routes(routes!(counts))
}

/// A request to start a workflow.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartBody {
    /// Name of the definition
    definition: String,
    /// Version of the definition (default: the newest)
    #[schema(value_type = Option<u32>)]
    version: Option<Integer<u32>>,
    /// Input of the workflow (default: `{}`)
    input: Option<serde_json::Value>,
    /// Key that is unique in the namespace. A repeated start with the same key returns the existing workflow. The
    /// header Idempotency-Key is equivalent.
    idempotency_key: Option<String>,
    /// Labels by which lists can be filtered
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// AIP-160 filter, such as `status = ERROR AND created_at > "-24h"`
    filter: Option<String>,
    /// Elements of a page: 1 to 1000
    page_size: Option<u32>,
    /// `next_page_token` of the previous page
    page_token: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct CountQuery {
    /// `status` (default), `definition` or `error_code`
    by: Option<String>,
    /// AIP-160 filter
    filter: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WaitQuery {
    /// How long to wait for the workflow's end, such as `30s`: at most `5m` (default: no wait)
    wait: Option<String>,
}

/// Start a workflow
///
/// With `wait`, the response shows the workflow's end if it ends in time.
#[utoipa::path(post, path = "/workflows", tag = "workflows", request_body = StartBody,
    params(WaitQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "Equivalent to the field idempotency_key")),
    responses((status = 201, body = WorkflowView, description = "The workflow was started, and the start is durable"),
        (status = 200, body = WorkflowView, description = "Repeated start, with Idempotency-Replayed: true"),
        (status = 404, body = ProblemBody, description = "The definition was not found"),
        (status = 409, body = ProblemBody, description = "The key belongs to a start with another definition or input, or the header and the field differ"),
        (status = 422, body = ProblemBody, description = "The input does not match the definition's schema"),
        (status = 429, body = ProblemBody, description = "Nothing was started: retry after Retry-After")))]
async fn start(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
    QueryParams(query): QueryParams<WaitQuery>,
    JsonBody(body): JsonBody<StartBody>,
) -> ApiResult<Response> {
    let start = WorkflowStart {
        definition: body.definition,
        version: body.version.map(|Integer(version)| version),
        input: body.input,
        idempotency_key: body.idempotency_key,
        labels: body.labels.unwrap_or_default(),
        wait: parse_wait(query.wait.as_deref())?,
    };
    let context = context.with_idempotency_key(&headers)?;
    let started = api.start_workflow(&context, start).await?;
    let workflow = started.workflow;
    if started.is_replayed {
        let replayed = [("idempotency-replayed", HeaderValue::from_static("true"))];
        return Ok((StatusCode::OK, replayed, Json(workflow)).into_response());
    }
    let location = [(header::LOCATION, format!("/api/v1/workflows/{}", workflow.id))];
    Ok((StatusCode::CREATED, location, Json(workflow)).into_response())
}

/// Get a workflow
#[utoipa::path(get, path = "/workflows/{id}", tag = "workflows", params(("id" = String, Path)),
    responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody)))]
async fn get(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<WorkflowView>> {
    api.workflow(&context, &id).await.map(Json)
}

/// Wait for the end of a workflow
#[utoipa::path(get, path = "/workflows/{id}/result", tag = "workflows",
    params(("id" = String, Path), WaitQuery),
    responses((status = 200, body = WorkflowView, description = "The workflow has ended"),
        (status = 202, body = WorkflowView, description = "The workflow has not ended yet"),
        (status = 404, body = ProblemBody),
        (status = 429, body = ProblemBody, description = "Too many callers are waiting: retry after Retry-After")))]
async fn result(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<WaitQuery>,
) -> ApiResult<(StatusCode, Json<WorkflowView>)> {
    let wait = parse_wait(query.wait.as_deref())?;
    let result = api.workflow_result(&context, &id, wait).await?;
    let status = if result.has_ended { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(result.workflow)))
}

/// List workflows, newest first
#[utoipa::path(get, path = "/workflows", tag = "workflows", params(ListQuery),
    responses((status = 200, body = WorkflowPage), (status = 400, body = ProblemBody)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    QueryParams(query): QueryParams<ListQuery>,
) -> ApiResult<Json<WorkflowPage>> {
    let ListQuery { filter, page_size, page_token } = query;
    let page = PageRequest { size: page_size, token: page_token };
    api.list_workflows(&context, filter.as_deref().unwrap_or_default(), &page).await.map(Json)
}

/// Count workflows
#[utoipa::path(get, path = "/workflow-counts", tag = "workflows", params(CountQuery),
    responses((status = 200, body = WorkflowCounts), (status = 400, body = ProblemBody)))]
async fn counts(
    State(api): State<Api>,
    Caller(context): Caller,
    QueryParams(CountQuery { by, filter }): QueryParams<CountQuery>,
) -> ApiResult<Json<WorkflowCounts>> {
    let by = CountField::parse(by.as_deref())?;
    api.count_workflows(&context, by, filter.as_deref().unwrap_or_default()).await.map(Json)
}

fn parse_wait(text: Option<&str>) -> ApiResult<Duration> {
    let Some(text) = text else { return Ok(Duration::ZERO) };
    goconductor_service_kit::duration::parse(text)
        .map_err(|error| Problem::new(PARAMETER, format!("invalid wait {text:?}: {error}")))
}
