//! Following a history across broken connections.

use crate::responses::serve;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sends a repeated event and two new ones on each connection, then breaks it in the middle of a message.
async fn three_per_connection(State(connections): State<Arc<AtomicU64>>, headers: HeaderMap) -> Response {
    let nth = connections.fetch_add(1, Ordering::SeqCst);
    if nth == 1 {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let last: u64 = headers["last-event-id"].to_str().unwrap().parse().unwrap();
    let mut body = String::from(": hello\n\n");
    for seq in last..=(last + 2).min(5) {
        let kind = if seq == 5 { "WORKFLOW_COMPLETED" } else { "STEP_QUEUED" };
        let event = json!({"seq": seq, "type": kind, "time": "t"});
        body.push_str(&format!("id: {seq}\ndata: {event}\n\n"));
    }
    body.push_str("data: {\"seq\":");
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

#[tokio::test]
async fn broken_connections_do_not_lose_or_repeat_events() {
    let connections = Arc::new(AtomicU64::new(0));
    let router = Router::new()
        .route("/api/v1/workflows/w/events", get(three_per_connection))
        .route("/api/v1/workflows/w", get(|| async { Json(json!({"status": "IN_PROGRESS", "seq": 4})) }))
        .with_state(Arc::clone(&connections));
    let mut follow = serve(router).await.follow("w", 0);
    let mut seqs = Vec::new();
    while let Some(event) = follow.next().await {
        seqs.push(event.unwrap().seq);
    }
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    assert_eq!(connections.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn complete_history_ends_the_stream() {
    let router = Router::new()
        .route("/api/v1/workflows/w/events", get(|| async { ": nothing more\n\n" }))
        .route("/api/v1/workflows/w", get(|| async { Json(json!({"status": "ROLLED_BACK", "seq": 7})) }));
    let mut follow = serve(router).await.follow("w", 7);
    assert!(follow.next().await.is_none());
}

#[tokio::test]
async fn failed_first_connection_is_returned_at_once() {
    let mut follow = serve(Router::new()).await.follow("w", 0);
    let error = follow.next().await.unwrap().unwrap_err();
    assert!(matches!(error, goconductor_client::Error::NotFound(_)));
    assert!(follow.next().await.is_none());
}
