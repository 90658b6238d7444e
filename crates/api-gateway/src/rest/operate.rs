//! Interventions of an operator.

use super::extract::{AnyJsonBody, Caller, OptionalJsonBody, Path};
use crate::api::Api;
use crate::error::{ApiResult, ProblemBody};
use crate::view::WorkflowView;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(cancel))
        .routes(routes!(terminate))
        .routes(routes!(compensate))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(retry))
        .routes(routes!(skip))
        .routes(routes!(complete))
        .routes(routes!(signal))
}

/// The reason of an intervention.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    /// Reason, recorded in the history
    reason: Option<String>,
}

/// The reason of an intervention that requires one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RequiredReasonBody {
    /// Reason, recorded in the history
    reason: Option<String>,
}

/// The result of a step, supplied by an operator.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Completion {
    /// Reason, recorded in the history
    reason: Option<String>,
    /// Output of the step. Ignored for a compensation.
    output: Option<serde_json::Value>,
}

type OperateResult = ApiResult<Json<WorkflowView>>;

/// Cancel a workflow
///
/// The workflow rolls back.
#[utoipa::path(post, path = "/workflows/{id}/cancel", tag = "operate", params(("id" = String, Path)),
    request_body = Option<ReasonBody>, responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody, description = "The workflow has ended, or its pivot has completed")))]
async fn cancel(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<ReasonBody>,
) -> OperateResult {
    api.cancel_workflow(&context, &id, body.reason).await.map(Json)
}

/// Roll back a completed workflow
///
/// The completed steps are compensated in reverse order. A workflow that is still running is cancelled instead.
#[utoipa::path(post, path = "/workflows/{id}/compensate", tag = "operate", params(("id" = String, Path)),
    request_body = Option<ReasonBody>, responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody,
            description = "The workflow has not completed, its pivot has completed, or its definition is gone")))]
async fn compensate(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<ReasonBody>,
) -> OperateResult {
    api.compensate_workflow(&context, &id, body.reason).await.map(Json)
}

/// Terminate a workflow without a rollback
#[utoipa::path(post, path = "/workflows/{id}/terminate", tag = "operate", params(("id" = String, Path)),
    request_body = RequiredReasonBody, responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody, description = "The reason is missing")))]
async fn terminate(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<RequiredReasonBody>,
) -> OperateResult {
    api.terminate_workflow(&context, &id, body.reason).await.map(Json)
}

/// Pause a workflow
///
/// A paused workflow issues no new commands.
#[utoipa::path(post, path = "/workflows/{id}/pause", tag = "operate", params(("id" = String, Path)),
    request_body = Option<ReasonBody>, responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
async fn pause(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<ReasonBody>,
) -> OperateResult {
    api.pause_workflow(&context, &id, body.reason).await.map(Json)
}

/// Resume a paused workflow
#[utoipa::path(post, path = "/workflows/{id}/resume", tag = "operate", params(("id" = String, Path)),
    request_body = Option<ReasonBody>, responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
async fn resume(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<ReasonBody>,
) -> OperateResult {
    api.resume_workflow(&context, &id, body.reason).await.map(Json)
}

/// Send a signal to a workflow
///
/// The body is the payload: any JSON, or nothing for null. A step that waits for the signal completes with it.
/// Otherwise, the signal is kept until a step waits for it. A repeat with the same key changes nothing.
#[utoipa::path(post, path = "/workflows/{id}/signals/{name}", tag = "operate",
    params(("id" = String, Path), ("name" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "Recognizes a repeat of the same signal")),
    request_body = Option<serde_json::Value>,
    responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody, description = "The workflow has ended or rolls back, or keeps too many signals"),
        (status = 422, body = ProblemBody, description = "The payload does not match the schema of the signal")))]
async fn signal(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
    AnyJsonBody(payload): AnyJsonBody,
) -> OperateResult {
    let context = context.with_idempotency_key(&headers)?;
    api.signal_workflow(&context, &id, &name, payload).await.map(Json)
}

/// Retry a step
///
/// During a rollback, the request applies to the step's compensation.
#[utoipa::path(post, path = "/workflows/{id}/steps/{step}/retry", tag = "operate",
    params(("id" = String, Path), ("step" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn retry(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, step)): Path<(String, String)>,
    OptionalJsonBody(body): OptionalJsonBody<ReasonBody>,
) -> OperateResult {
    api.retry_step(&context, &id, &step, body.reason).await.map(Json)
}

/// Skip a step
///
/// During a rollback, the request applies to the step's compensation.
#[utoipa::path(post, path = "/workflows/{id}/steps/{step}/skip", tag = "operate",
    params(("id" = String, Path), ("step" = String, Path)), request_body = RequiredReasonBody,
    responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody, description = "The reason is missing")))]
async fn skip(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, step)): Path<(String, String)>,
    OptionalJsonBody(body): OptionalJsonBody<RequiredReasonBody>,
) -> OperateResult {
    api.skip_step(&context, &id, &step, body.reason).await.map(Json)
}

/// Supply the result of a step
///
/// During a rollback, the request completes the step's compensation.
#[utoipa::path(post, path = "/workflows/{id}/steps/{step}/complete", tag = "operate",
    params(("id" = String, Path), ("step" = String, Path)), request_body = Completion,
    responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody, description = "The reason is missing")))]
async fn complete(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, step)): Path<(String, String)>,
    OptionalJsonBody(body): OptionalJsonBody<Completion>,
) -> OperateResult {
    api.complete_step(&context, &id, &step, body.reason, body.output).await.map(Json)
}
