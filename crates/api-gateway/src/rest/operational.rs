//! Health, metrics, version, error pages and the console.

use super::extract::Path;
use crate::api::Api;
use crate::audit::peer_address;
use crate::error::{NO_ROUTE, Problem};
use crate::pages::PAGES;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use goconductor_access::AccessControl;
use goconductor_process::PeerAddress;
use goconductor_saga::Namespace;
use goconductor_service_kit::permission::Permission;
use goconductor_tls::Peer;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The paths of the console begin with it. Those of the API do not.
const CONSOLE: &str = "/ui/";

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(version))
}

/// Endpoints that the OpenAPI document does not list.
pub(super) fn pages() -> Router<Api> {
    Router::new()
        .route("/", get(console))
        .route("/ui", get(console))
        .route("/ui/", get(console))
        .route("/ui/{*path}", get(console_file))
        .route("/schema/v1/workflow.json", get(schema))
        .route("/errors/{code}", get(page))
}

/// Check that the process is alive
#[utoipa::path(get, path = "/healthz", tag = "operational", responses((status = 200, body = Value)))]
async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Check whether the process is ready, and why not
#[utoipa::path(get, path = "/readyz", tag = "operational", 
    responses((status = 200, body = Value), (status = 503, body = Value, description = "The process is not ready")))]
async fn readyz(State(api): State<Api>, headers: HeaderMap, extensions: Extensions) -> Response {
    let report = api.readiness.report().await;
    let shows_errors = match &api.gate {
        Some(gate) => may_see_errors(&gate.access, &headers, &extensions).await,
        // A request without an address did not come by a listener.
        None => peer_address(&extensions).is_none_or(|address| address.to_canonical().is_loopback()),
    };
    let report = if shows_errors { report } else { report.without_details() };
    let draining = api.stop.is_cancelled();
    let ready = report.ready && !draining;
    let status = match (ready, draining) {
        (true, _) => "ok",
        (false, true) => "draining",
        (false, false) => "unready",
    };
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({"status": status, "ready": ready, "checks": report.checks}))).into_response()
}

/// Whether a caller may see the errors of the checks in `/readyz`.
pub(crate) async fn may_see_errors(
    access: &AccessControl,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> bool {
    let network = extensions.get::<PeerAddress>().map(|peer| peer.network());
    let permission = Permission::MetricsRead;
    access.allows(headers, extensions.get::<Peer>(), network, permission, Namespace::DEFAULT).await
}

/// Get the metrics in the Prometheus text format, or in OpenMetrics
#[utoipa::path(get, path = "/metrics", tag = "operational",
    responses((status = 200, content((String = "text/plain"), (String = "application/openmetrics-text")))))]
async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let (kind, text) = api.metrics.respond(accept);
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Get the version of the server
#[utoipa::path(get, path = "/version", tag = "operational", responses((status = 200, body = Value)))]
async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

async fn schema() -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/schema+json")];
    (content_type, goconductor_definition::schema().to_string()).into_response()
}

async fn page(Path(code): Path<String>) -> Response {
    let wanted = code.trim_end_matches(".md");
    match PAGES.iter().find(|page| page.code.eq_ignore_ascii_case(wanted)) {
        Some(page) => ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], page.text).into_response(),
        None => Problem::new(NO_ROUTE, format!("unknown error code {code}; codes have the form GC2010"))
            .into_response(),
    }
}

async fn console(headers: HeaderMap) -> Response {
    crate::console::index(&headers).await
}

/// Responds with a file of the console, or with its page, which shows what the path names.
async fn console_file(uri: Uri, headers: HeaderMap) -> Response {
    // The path as it was sent: the names of files need no escapes.
    let path = uri.path().strip_prefix(CONSOLE).unwrap_or_default();
    match crate::console::file(path, &headers).await {
        Some(response) => response,
        None => Problem::new(NO_ROUTE, format!("the console has no file {path}")).into_response(),
    }
}
