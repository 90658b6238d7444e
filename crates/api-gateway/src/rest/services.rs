//! Services: address, limits and backlog.

use super::extract::{Caller, JsonBody, Path};
use super::integer::Integer;
use super::object::JsonObject;
use crate::api::Api;
use crate::api::services::{DeletedServiceView, PutService, ServiceList, ServiceView};
use crate::error::{ApiResult, ProblemBody};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put, delete))
}

/// The address and the limits of a service.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ServiceBody {
    /// HTTP address (default: the service is reached through workers only)
    #[schema(value_type = Option<HttpBody>)]
    http: Option<JsonObject<HttpBody>>,
    /// Most commands in flight, for each side (default: the executor's limit)
    #[schema(value_type = Option<u32>)]
    max_in_flight: Option<Integer<u32>>,
    /// Limits of individual actions, by name
    #[schema(value_type = Option<BTreeMap<String, ActionBody>>)]
    actions: Option<BTreeMap<String, JsonObject<ActionBody>>>,
}

/// The limits of an action.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ActionBody {
    /// Most commands of the action in flight, for each side. The limit does not delay other actions.
    #[schema(value_type = u32)]
    max_in_flight: Integer<u32>,
}

/// The HTTP address of a service.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HttpBody {
    /// URL to which `/{action}` is appended, or a reference to the secret that contains it, such as
    /// `secret://payments-url`
    url: String,
    /// Headers of each request, by name. The values are references to secrets, such as `secret://payments-token`.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// Set the address and the limits of a service
#[utoipa::path(put, path = "/services/{name}", tag = "services", params(("name" = String, Path)),
    request_body = ServiceBody,
    responses((status = 200, body = ServiceView), (status = 422, body = ProblemBody)))]
async fn put(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<ServiceBody>,
) -> ApiResult<Json<ServiceView>> {
    let limits = |actions: BTreeMap<String, JsonObject<ActionBody>>| {
        actions.into_iter().map(|(name, JsonObject(action))| (name, action.max_in_flight.0)).collect()
    };
    let (http_url, http_headers) = match body.http {
        Some(JsonObject(http)) => (Some(http.url), http.headers),
        None => (None, BTreeMap::new()),
    };
    let put = PutService {
        name,
        http_url,
        http_headers,
        max_in_flight: body.max_in_flight.map(|Integer(limit)| limit),
        max_in_flight_by_action: body.actions.map(limits),
    };
    api.put_service(&context, put).await.map(Json)
}

/// List the services
#[utoipa::path(get, path = "/services", tag = "services", responses((status = 200, body = ServiceList)))]
async fn list(State(api): State<Api>, Caller(context): Caller) -> ApiResult<Json<ServiceList>> {
    api.list_services(&context).await.map(Json)
}

/// Get a service
#[utoipa::path(get, path = "/services/{name}", tag = "services", params(("name" = String, Path)),
    responses((status = 200, body = ServiceView), (status = 404, body = ProblemBody)))]
async fn get(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
) -> ApiResult<Json<ServiceView>> {
    api.service(&context, &name).await.map(Json)
}

/// Delete the settings of a service
///
/// The response states what still uses the service. Due commands wait until the service is set again or a worker serves
/// it.
#[utoipa::path(delete, path = "/services/{name}", tag = "services", params(("name" = String, Path)),
    responses((status = 200, body = DeletedServiceView), (status = 404, body = ProblemBody)))]
async fn delete(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
) -> ApiResult<Json<DeletedServiceView>> {
    api.delete_service(&context, &name).await.map(Json)
}
