//! A stub of the API, for responses that a real server does not produce on demand.

use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Returns an id whose last digit selects the status of the workflow.
pub(crate) fn id(nth: u32) -> String {
    format!("01999999-0000-7000-8000-00000000000{nth}")
}

/// The statuses by the last digit of the id.
const STATUSES: [&str; 5] = ["COMPLETED", "ROLLED_BACK", "ERROR", "IN_PROGRESS", "TERMINATED"];

fn nth(id: &str) -> Option<usize> {
    id.strip_prefix("01999999-0000-7000-8000-00000000000")?.parse().ok().filter(|nth| *nth < STATUSES.len())
}

fn workflow(nth: usize) -> Value {
    let status = STATUSES[nth];
    let mut workflow = json!({
        "id": id(u32::try_from(nth).unwrap()), "definition": "d", "version": 1, "status": status, "seq": 2,
        "input": {"z": 1, "a": 2}, "created_at": "2026-01-01T00:00:00Z", "steps": [], "waiting_on": [],
    });
    if status == "COMPLETED" {
        workflow["output"] = json!({"total": 3});
    }
    if status == "ROLLED_BACK" {
        workflow["cause"] = json!("STEP_FAILED");
        workflow["error"] = json!({"code": "NO_STOCK", "message": "out of stock"});
    }
    workflow
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({"status": status.as_u16(), "title": "t", "detail": detail, "code": "GC2999"});
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

async fn describe(Path(id): Path<String>) -> Response {
    match nth(&id) {
        Some(nth) => Json(workflow(nth)).into_response(),
        None => problem(StatusCode::NOT_FOUND, "workflow not found"),
    }
}

async fn start(Json(body): Json<Value>) -> Response {
    match body["definition"].as_str().unwrap() {
        "missing" => problem(StatusCode::NOT_FOUND, "definition not found"),
        "conflict" => problem(StatusCode::CONFLICT, "the idempotency key belongs to another start"),
        "forbidden" => problem(StatusCode::FORBIDDEN, "permission denied"),
        "invalid" => problem(StatusCode::UNPROCESSABLE_ENTITY, "the input does not match the schema"),
        "broken" => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        digit => (StatusCode::CREATED, Json(workflow(digit.parse().unwrap()))).into_response(),
    }
}

async fn events(Path(id): Path<String>, headers: HeaderMap) -> Response {
    let Some(nth) = nth(&id) else { return problem(StatusCode::NOT_FOUND, "workflow not found") };
    let event = |seq: u64, kind: &str| json!({"seq": seq, "time": "2026-01-01T00:00:00Z", "type": kind});
    let mut events = vec![event(1, "WORKFLOW_STARTED")];
    match STATUSES[nth] {
        "COMPLETED" => events.push(event(2, "WORKFLOW_COMPLETED")),
        "ROLLED_BACK" => events.push(event(2, "WORKFLOW_ROLLED_BACK")),
        "TERMINATED" => events.push(event(2, "WORKFLOW_TERMINATED")),
        "ERROR" => events.push(event(2, "COMPENSATION_FAILED")),
        _ => events.push(event(2, "STEP_QUEUED")),
    }
    if headers.get(header::ACCEPT).is_some_and(|accept| accept == "text/event-stream") {
        let text: String =
            events.iter().map(|event| format!("id: {}\ndata: {event}\n\n", event["seq"])).collect();
        let body = futures::stream::iter([Ok::<_, std::io::Error>(text)]);
        // The stream of a running workflow stays open.
        let open = futures::stream::pending();
        let body = futures::StreamExt::chain(body, open);
        let body = axum::body::Body::from_stream(body);
        return ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response();
    }
    Json(json!({ "events": events })).into_response()
}

async fn result(Path(id): Path<String>) -> Response {
    match nth(&id) {
        Some(nth) if matches!(nth, 0 | 1 | 4) => Json(workflow(nth)).into_response(),
        Some(nth) => (StatusCode::ACCEPTED, Json(workflow(nth))).into_response(),
        None => problem(StatusCode::NOT_FOUND, "workflow not found"),
    }
}

async fn list(Query(query): Query<BTreeMap<String, String>>) -> Response {
    let page = |from: usize, next: Option<&str>| {
        let workflows: Vec<Value> = (from..from + 2).map(workflow).collect();
        Json(json!({"workflows": workflows, "next_page_token": next})).into_response()
    };
    match query.get("page_token").map(String::as_str) {
        None => page(0, Some("more")),
        Some(_) => page(2, None),
    }
}

async fn cancel(Path(id): Path<String>) -> Response {
    match nth(&id) {
        Some(3) => Json(workflow(3)).into_response(),
        Some(_) => problem(StatusCode::CONFLICT, "the workflow has ended"),
        None => problem(StatusCode::NOT_FOUND, "workflow not found"),
    }
}

/// The batch of the stub: one workflow was changed, and one refused the operation.
const BATCH: &str = "01999999-0000-7000-8000-0000000000ba";

fn batch(status: &str) -> Value {
    let is_ended = status == "COMPLETED";
    json!({
        "id": BATCH, "operation": "cancel", "status": status, "total": 2, "pending": if is_ended { 0 } else { 2 },
        "done": u8::from(is_ended), "refused": u8::from(is_ended), "failed": 0, "filter": "definition = \"d\"",
        "reason": "r", "rate": 200, "created_at": "2026-01-01T00:00:00Z",
    })
}

async fn create_batch(Json(body): Json<Value>) -> Response {
    match body["expected_count"].as_u64() {
        None => {
            Json(json!({"dry_run": true, "count": 2, "sample": [workflow(2), workflow(3)]})).into_response()
        }
        Some(2) => (StatusCode::CREATED, Json(batch("RUNNING"))).into_response(),
        Some(_) => problem(StatusCode::CONFLICT, "2 workflows match the filter"),
    }
}

async fn get_batch(Path(id): Path<String>) -> Response {
    if id == BATCH {
        Json(batch("COMPLETED")).into_response()
    } else {
        problem(StatusCode::NOT_FOUND, "batch not found")
    }
}

async fn batch_items(Query(query): Query<BTreeMap<String, String>>) -> Response {
    let refused = json!({"workflow_id": id(2), "status": "REFUSED", "code": "GC2015", "detail": "in error"});
    let done = json!({"workflow_id": id(3), "status": "DONE"});
    let items = match query.get("status").map(String::as_str) {
        None => vec![refused, done],
        Some("REFUSED") => vec![refused],
        Some(_) => vec![],
    };
    Json(json!({"items": items, "next_page_token": ""})).into_response()
}

async fn list_batches() -> Response {
    Json(json!({"batches": [batch("COMPLETED")], "next_page_token": ""})).into_response()
}

/// Starts the stub and returns its URL.
pub(crate) fn serve() -> String {
    let router = Router::new()
        .route("/api/v1/workflows", post(start).get(list))
        .route("/api/v1/workflows/{id}", get(describe))
        .route("/api/v1/workflows/{id}/events", get(events))
        .route("/api/v1/workflows/{id}/result", get(result))
        .route("/api/v1/workflows/{id}/cancel", post(cancel))
        .route("/api/v1/batches", post(create_batch).get(list_batches))
        .route("/api/v1/batches/{id}", get(get_batch))
        .route("/api/v1/batches/{id}/items", get(batch_items))
        .route("/api/v1/definitions/{name}", get(definition).put(apply))
        .route("/api/v1/definitions/{name}/versions/2", get(definition))
        .route("/readyz", get(|| async { Json(json!({"status": "ok", "ready": true, "checks": []})) }))
        .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/unready/readyz", get(unready))
        .route("/unready/healthz", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/silent/readyz", get(std::future::pending::<Response>))
        .fallback(any(|| async { problem(StatusCode::NOT_FOUND, "resource not found") }));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
    });
    format!("http://{address}")
}

async fn unready() -> Response {
    let checks =
        json!([{"name": "queue", "ok": true}, {"name": "database", "ok": false, "detail": "refused"}]);
    let body = json!({"status": "unready", "ready": false, "checks": checks});
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

async fn definition(Path(name): Path<String>) -> Response {
    if name != "shop" {
        return problem(StatusCode::NOT_FOUND, "definition not found");
    }
    Json(json!({"name": "shop", "version": 2, "source": "workflow: shop\nsteps: []\n"})).into_response()
}

async fn apply(Path(name): Path<String>, body: String) -> Response {
    if body.contains("wrong") {
        let errors = json!([{"line": 2, "column": 3, "code": "GC1004", "detail": "missing compensation"}]);
        let body = json!({"status": 422, "detail": "1 problem", "code": "GC1000", "errors": errors});
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response();
    }
    (StatusCode::CREATED, Json(json!({"name": name, "version": 1, "digest": "d"}))).into_response()
}
