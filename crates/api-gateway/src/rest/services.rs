//! Services: address, limits and backlog.

use super::extract::{Caller, JsonBody, Path};
use crate::api::Api;
use crate::api::services::{PutService, ServiceList, ServiceView};
use crate::error::{ApiResult, ProblemBody};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put))
}

/// The address and the limits of a service.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ServiceBody {
    /// HTTP address (default: the service is reached through workers only)
    http: Option<HttpBody>,
    /// Most commands in flight, for each side (default: the executor's limit)
    max_in_flight: Option<u32>,
    /// Limits of individual actions, by name
    actions: Option<BTreeMap<String, ActionBody>>,
}

/// The limits of an action.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ActionBody {
    /// Most commands of the action in flight, for each side. The limit does not delay other actions.
    max_in_flight: u32,
}

/// The HTTP address of a service.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HttpBody {
    /// URL to which `/{action}` is appended
    url: String,
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
    let limits = |actions: BTreeMap<String, ActionBody>| {
        actions.into_iter().map(|(name, action)| (name, action.max_in_flight)).collect()
    };
    let put = PutService {
        name,
        http_url: body.http.map(|http| http.url),
        max_in_flight: body.max_in_flight,
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
