//! Health, metrics, version, documents, the console.

use crate::App;
use crate::error::{NO_ROUTE, Problem};
use crate::extract::Path;
use crate::pages::PAGES;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const CONSOLE: &str = include_str!("../console.html");
/// The page brings everything with it, and talks to nobody but this server.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(version))
}

/// What is for people and tools, and not for the document.
pub(super) fn pages() -> Router<App> {
    Router::new()
        .route("/", get(console))
        .route("/schema/v1/workflow.json", get(schema))
        .route("/errors/{code}", get(page))
}

/// Whether the process lives
#[utoipa::path(get, path = "/healthz", tag = "operational", responses((status = 200)))]
async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Whether it can serve, and why not
#[utoipa::path(get, path = "/readyz", tag = "operational", responses((status = 200), (status = 503)))]
async fn readyz(State(app): State<App>) -> Response {
    let report = app.readiness.report().await;
    let draining = app.stop.is_cancelled();
    let ready = report.ready && !draining;
    let status = match (ready, draining) {
        (true, _) => "ok",
        (false, true) => "draining",
        (false, false) => "unready",
    };
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({"status": status, "ready": ready, "checks": report.checks}))).into_response()
}

/// What was measured, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "operational",
    responses((status = 200, content((String = "text/plain")))))]
async fn metrics(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render())
        .into_response()
}

/// Which release this is
#[utoipa::path(get, path = "/version", tag = "operational", responses((status = 200)))]
async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

async fn schema() -> Response {
    let kind = [(header::CONTENT_TYPE, "application/schema+json")];
    (kind, goconductor_definition::schema().to_string()).into_response()
}

async fn page(Path(code): Path<String>) -> Response {
    let wanted = code.trim_end_matches(".md");
    match PAGES.iter().find(|page| page.code.eq_ignore_ascii_case(wanted)) {
        Some(page) => ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], page.text).into_response(),
        None => Problem::new(NO_ROUTE, format!("no error has the code {code}")).into_response(),
    }
}

async fn console() -> Response {
    let mut response = Html(CONSOLE).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}
