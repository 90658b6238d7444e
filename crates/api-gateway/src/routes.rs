//! Every route, and what all calls go through.

mod definitions;
pub(crate) mod elections;
mod events;
mod later;
pub(crate) mod locks;
mod operate;
mod operational;
mod processes;
mod queues;
mod services;
mod watch;
mod workflows;

use crate::error::{METHOD, NO_ROUTE, Problem};
use crate::{App, guard, measure};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

#[derive(OpenApi)]
#[openapi(info(
    title = "GoConductor",
    description = "Sagas that finish or are undone. The namespace of a call is the header \
                   GoConductor-Namespace; errors are application/problem+json, each with a code that has a \
                   page at /errors/{code}.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Document;

/// The router of everything.
pub(crate) fn all(app: App) -> Router {
    let api = OpenApiRouter::new()
        .merge(definitions::routes())
        .merge(services::routes())
        .merge(workflows::routes())
        .merge(events::routes())
        .merge(operate::routes())
        .merge(processes::routes())
        .merge(elections::routes())
        .merge(locks::routes())
        .merge(queues::routes())
        .merge(watch::routes());
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .nest("/api/v1", api)
        .merge(operational::routes())
        .split_for_parts();
    // Bytes: the router is cloned for each connection, and a document of objects with it.
    let document = Bytes::from(described(serde_json::to_value(document).unwrap_or_default()).to_string());
    let kind = [(header::CONTENT_TYPE, "application/json")];
    router
        .route("/openapi.json", get(|| async move { (kind, document) }))
        .nest("/api/v1", later::routes())
        .merge(operational::pages())
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_route)
        .layer(axum::middleware::from_fn(guard::same_site))
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::whole_body))
        .layer(axum::middleware::from_fn_with_state(app.clone(), admit))
        .layer(axum::middleware::from_fn(measure::measure))
        .layer(CatchPanicLayer::custom(guard::panicked))
        .with_state(app)
}

/// What people and tools ask to see how the gateway fares is answered even when it is busy.
async fn admit(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/api/") {
        guard::admit(State(app), request, next).await
    } else {
        next.run(request).await
    }
}

/// What the document needs beyond what the handlers say: names of operations that are unique, and a
/// description of each answer, which is its status in words where there is nothing to add.
fn described(mut document: Value) -> Value {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    let operations = paths.filter_map(|(_, path)| path.as_object_mut()).flatten();
    for (_, operation) in operations {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = format!("{}_{}", text(operation.pointer("/tags/0")), text(operation.get("operationId")));
        let Some(operation) = operation.as_object_mut() else { continue };
        operation.insert("operationId".to_owned(), name.into());
        let answers = operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten();
        for (status, answer) in answers {
            let status = status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok());
            let reason = status.and_then(|status| status.canonical_reason()).unwrap_or_default();
            if let Some(answer) = answer.as_object_mut() {
                answer.entry("description").or_insert_with(|| reason.into());
            }
        }
    }
    document
}

async fn no_route(request: Request) -> Response {
    let detail = format!("nothing is at {}; /openapi.json lists what there is", request.uri().path());
    Problem::new(NO_ROUTE, detail).into_response()
}

async fn wrong_method(request: Request) -> Response {
    let detail = format!("{} is not known at {}", request.method(), request.uri().path());
    Problem::new(METHOD, detail).into_response()
}
