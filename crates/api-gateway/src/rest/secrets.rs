//! Secrets. They are write-only.

use super::PageQuery;
use super::extract::{Caller, Path, QueryParams, SecretBody};
use crate::api::Api;
use crate::api::secrets::{PayloadKeyView, RotationView, SecretPage, SecretView};
use crate::error::{ApiResult, ProblemBody};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(put, get, delete))
        .routes(routes!(rotate))
        .routes(routes!(rotate_payload))
}

/// The value of a secret. [`SecretBody`] reads it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it describes the body")]
struct SecretValueBody {
    /// Text of 1 to 65536 bytes. No response ever contains it.
    #[schema(write_only)]
    value: String,
}

/// List the secrets of the namespace, ordered by name, without their values
#[utoipa::path(get, path = "/secrets", tag = "secrets", params(PageQuery),
    responses((status = 200, body = SecretPage), (status = 400, body = ProblemBody)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    QueryParams(query): QueryParams<PageQuery>,
) -> ApiResult<Json<SecretPage>> {
    api.list_secrets(&context, &query.into()).await.map(Json)
}

/// Set the value of a secret: create its next version
///
/// The value is encrypted before it is stored.
#[utoipa::path(put, path = "/secrets/{name}", tag = "secrets", params(("name" = String, Path)),
    request_body = SecretValueBody, responses((status = 200, body = SecretView),
        (status = 409, body = ProblemBody, description = "No usable master key is configured"),
        (status = 422, body = ProblemBody)))]
async fn put(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
    SecretBody(value): SecretBody,
) -> ApiResult<Json<SecretView>> {
    api.put_secret(&context, &name, &value).await.map(Json)
}

/// Get a secret without its value
#[utoipa::path(get, path = "/secrets/{name}", tag = "secrets", params(("name" = String, Path)),
    responses((status = 200, body = SecretView), (status = 404, body = ProblemBody)))]
async fn get(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
) -> ApiResult<Json<SecretView>> {
    api.secret(&context, &name).await.map(Json)
}

/// Delete a secret with all its versions
#[utoipa::path(delete, path = "/secrets/{name}", tag = "secrets", params(("name" = String, Path)),
    responses((status = 204, description = "The secret was deleted"), (status = 404, body = ProblemBody)))]
async fn delete(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    api.delete_secret(&context, &name).await.map(|()| StatusCode::NO_CONTENT)
}

/// Make the first master key of this process the current one
///
/// The process reads its master keys again. The data keys of secrets are wrapped again in the background. A repeated
/// request shows the progress.
#[utoipa::path(post, path = "/secrets/rotate-key", tag = "secrets",
    responses((status = 200, body = RotationView),
        (status = 409, body = ProblemBody, description = "No usable master key is configured")))]
async fn rotate(State(api): State<Api>) -> ApiResult<Json<RotationView>> {
    api.rotate_master_key().await.map(Json)
}

/// Create the next key for the payloads of the namespace
///
/// Payloads with earlier keys stay readable. All processes use the new key within five seconds.
#[utoipa::path(post, path = "/secrets/rotate-payload-key", tag = "secrets",
    responses((status = 200, body = PayloadKeyView),
        (status = 409, body = ProblemBody, description = "No usable master key is configured")))]
async fn rotate_payload(State(api): State<Api>, Caller(context): Caller) -> ApiResult<Json<PayloadKeyView>> {
    api.rotate_payload_key(&context).await.map(Json)
}
