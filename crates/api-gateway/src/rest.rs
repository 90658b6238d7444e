//! The REST API: routes and middleware.
//!
//! A handler translates HTTP to an operation of [`Api`] and its view to JSON. It decides nothing itself.

mod access_keys;
mod audit;
mod batches;
mod body_buffer;
mod config;
mod definitions;
mod elections;
mod events;
mod extract;
mod guard;
mod insight;
mod integer;
mod locks;
mod object;
mod openapi;
mod operate;
mod operational;
mod payloads;
mod processes;
mod queues;
mod repair;
mod schedules;
mod secret_value;
mod secrets;
mod services;
mod session;
mod shape;
mod virtual_clock;
mod watch;
mod workflows;

pub(crate) use operational::may_see_errors;

pub(crate) use guard::body_limit;

use crate::api::{Api, PageRequest};
use crate::error::{METHOD, NO_ROUTE, Problem};
use crate::{request, server_span};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde::Deserialize;
use std::any::Any;
use std::sync::Arc;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::router::OpenApiRouter;

#[derive(OpenApi)]
#[openapi(info(
    title = "GoConductor",
    description = "GoConductor runs sagas: workflows that complete or are rolled back. The header \
                   GoConductor-Namespace selects the namespace of a request, and GoConductor-Actor names the caller \
                   in the history: see components/parameters. A body in JSON must not have a key twice in one object, \
                   and its numbers must be 64-bit integers or doubles in their shortest form: others are refused with \
                   422. Errors are application/problem+json; \
                   each error code has a page at /errors/{code}.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct OpenApiDocument;

/// The parameters of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    /// Elements of a page: 1 to 1000
    page_size: Option<u32>,
    /// `next_page_token` of the previous page
    page_token: Option<String>,
}

impl From<PageQuery> for PageRequest {
    fn from(query: PageQuery) -> Self {
        Self { size: query.page_size, token: query.page_token }
    }
}

/// Builds the router of the REST API, the console and the operational endpoints.
pub(crate) fn router(api: Api) -> Router {
    let (router, document) = documented().split_for_parts();
    let document = openapi::complete(serde_json::to_value(document).unwrap_or_default());
    let guard = guard::Guard {
        api: api.clone(),
        without_query: Arc::new(openapi::operations_without_query(&document)),
    };
    // Serialized once: the router is cloned for each connection.
    let document = Bytes::from(document.to_string());
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    router
        .route("/openapi.json", get(|| async move { (content_type, document) }))
        .merge(operational::pages())
        .merge(virtual_clock::pages())
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_path)
        .layer(
            ServiceBuilder::new()
                .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| {
                    Problem::from_panic(&*panic).into_response()
                }))
                .layer(axum::middleware::from_fn_with_state(guard, measure)),
        )
        .with_state(api)
}

/// The routes of the OpenAPI document.
fn documented() -> OpenApiRouter<Api> {
    let api = OpenApiRouter::new()
        .merge(access_keys::routes())
        .merge(config::routes())
        .merge(definitions::routes())
        .merge(services::routes())
        .merge(session::routes())
        .merge(workflows::routes())
        .merge(events::routes())
        .merge(insight::routes())
        .merge(payloads::routes())
        .merge(operate::routes())
        .merge(repair::routes())
        .merge(processes::routes())
        .merge(elections::routes())
        .merge(locks::routes())
        .merge(audit::routes())
        .merge(queues::routes())
        .merge(schedules::routes())
        .merge(secrets::routes())
        .merge(batches::routes())
        .merge(watch::routes());
    OpenApiRouter::with_openapi(OpenApiDocument::openapi()).nest("/api/v1", api).merge(operational::routes())
}

async fn measure(guard: State<guard::Guard>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let method = method_name(request.method());
    server_span::record_route(method, route);
    request::observed(method, route, guard::guarded(guard, request, next), Response::status).await
}

/// Returns the name of a standard method, or `other`: clients could otherwise create any number of label values.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

async fn unknown_path(request: Request) -> Response {
    let detail = format!("unknown path {}; /openapi.json lists all paths", request.uri().path());
    Problem::new(NO_ROUTE, detail).into_response()
}

async fn method_not_allowed(request: Request) -> Response {
    let detail = format!(
        "method {} is not allowed for {}; the header Allow lists the allowed methods",
        request.method(),
        request.uri().path()
    );
    Problem::new(METHOD, detail).into_response()
}

#[cfg(test)]
pub(crate) fn document() -> serde_json::Value {
    let (_, document) = documented().split_for_parts();
    serde_json::to_value(document).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_known_for_every_operation() {
        let without = openapi::operations_without_query(&document());
        let has_none = |method: &str, path: &str| without.contains(&(method.to_owned(), path.to_owned()));
        for (method, path) in [
            ("GET", "/api/v1/workflows"),
            ("POST", "/api/v1/workflows"),
            ("GET", "/api/v1/workflows/{id}/result"),
            ("GET", "/api/v1/workflows/{id}/events"),
            ("GET", "/api/v1/workflow-counts"),
            ("GET", "/api/v1/watch"),
            ("GET", "/api/v1/locks"),
            ("GET", "/api/v1/dead-letters"),
            ("PUT", "/api/v1/definitions/{name}"),
        ] {
            assert!(!has_none(method, path), "{method} {path} has query parameters");
        }
        for (method, path) in [("GET", "/api/v1/services"), ("POST", "/api/v1/workflows/{id}/cancel")] {
            assert!(has_none(method, path), "{method} {path} has no query parameters");
        }
    }
}
