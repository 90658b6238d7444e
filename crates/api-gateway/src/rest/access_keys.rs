//! Access keys.

use super::PageQuery;
use super::extract::{Caller, JsonBody, OptionalJsonBody, Path, QueryParams};
use crate::api::Api;
use crate::api::access_keys::{AccessKeyPage, AccessKeyView, CreateAccessKey, CreatedAccessKey, invalid};
use crate::error::{ApiResult, ProblemBody};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use goconductor_service_kit::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, revoke)).routes(routes!(rotate))
}

/// A request to create an access key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AccessKeyBody {
    /// Purpose of the key
    name: String,
    /// Roles: `viewer`, `operator`, `developer`, `worker`, `admin`, and those of the setting `access.roles`
    roles: Vec<String>,
    /// Namespaces in which the roles apply, or `*` for all (default: the namespace of the request)
    namespaces: Option<Vec<String>>,
    /// Services that a worker with the key may serve (default: all)
    services: Option<Vec<String>>,
    /// Time after which the key is refused, such as `90d` (default: it does not expire)
    expires_in: Option<String>,
}

/// A request to rotate an access key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotationBody {
    /// Time for which the previous key is still accepted, such as `1h` (default: it is refused at once)
    overlap: Option<String>,
}

/// A new access key with its token.
#[derive(Debug, Serialize, ToSchema)]
struct AccessKeyCreated {
    key: AccessKeyView,
    /// Token of the key, for the header Authorization. It cannot be shown again.
    token: String,
}

/// List the access keys, ordered by id
#[utoipa::path(get, path = "/access/keys", tag = "access", params(PageQuery),
    responses((status = 200, body = AccessKeyPage), (status = 400, body = ProblemBody)))]
async fn list(
    State(api): State<Api>,
    QueryParams(query): QueryParams<PageQuery>,
) -> ApiResult<Json<AccessKeyPage>> {
    api.list_access_keys(&query.into()).await.map(Json)
}

/// Create an access key
///
/// The response shows the token of the key, which cannot be shown again.
#[utoipa::path(post, path = "/access/keys", tag = "access", request_body = AccessKeyBody,
    responses((status = 201, body = AccessKeyCreated),
        (status = 403, body = ProblemBody, description = "The key would have rights that its creator does not have"),
        (status = 422, body = ProblemBody)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    JsonBody(body): JsonBody<AccessKeyBody>,
) -> ApiResult<Response> {
    let create = CreateAccessKey {
        name: body.name,
        roles: body.roles,
        namespaces: body.namespaces.unwrap_or_default(),
        services: body.services.unwrap_or_default(),
        expires_in: parse(body.expires_in.as_deref(), "/expires_in")?,
    };
    Ok(created(api.create_access_key(&context, create).await?))
}

/// Get an access key
#[utoipa::path(get, path = "/access/keys/{id}", tag = "access", params(("id" = String, Path)),
    responses((status = 200, body = AccessKeyView), (status = 404, body = ProblemBody)))]
async fn get(State(api): State<Api>, Path(id): Path<String>) -> ApiResult<Json<AccessKeyView>> {
    api.access_key(&id).await.map(Json)
}

/// Revoke an access key
///
/// Every process refuses the key within 2 seconds, and ends its streams.
#[utoipa::path(delete, path = "/access/keys/{id}", tag = "access", params(("id" = String, Path)),
    responses((status = 200, body = AccessKeyView), (status = 404, body = ProblemBody)))]
async fn revoke(State(api): State<Api>, Path(id): Path<String>) -> ApiResult<Json<AccessKeyView>> {
    api.revoke_access_key(&id).await.map(Json)
}

/// Replace an access key by one with the same rights
///
/// The previous key expires after the overlap.
#[utoipa::path(post, path = "/access/keys/{id}/rotate", tag = "access", params(("id" = String, Path)),
    request_body = RotationBody,
    responses((status = 201, body = AccessKeyCreated), (status = 404, body = ProblemBody),
        (status = 422, body = ProblemBody)))]
async fn rotate(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<RotationBody>,
) -> ApiResult<Response> {
    let overlap = parse(body.overlap.as_deref(), "/overlap")?.unwrap_or_default();
    Ok(created(api.rotate_access_key(&context, &id, overlap).await?))
}

fn created(created: CreatedAccessKey) -> Response {
    let token = created.token();
    let key = created.key;
    let location = [(header::LOCATION, format!("/api/v1/access/keys/{}", key.id))];
    (StatusCode::CREATED, location, Json(AccessKeyCreated { key, token })).into_response()
}

fn parse(text: Option<&str>, pointer: &str) -> ApiResult<Option<Duration>> {
    let parse = |text: &str| {
        duration::parse(text).map_err(|error| invalid(pointer, format!("invalid duration {text:?}: {error}")))
    };
    text.map(parse).transpose()
}
