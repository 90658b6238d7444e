//! A workflow with a long history: it is read page by page without gaps, is rolled back, and takes no more memory than a
//! short one.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use goconductor_harness::{Dev, DevOptions};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// The number of events, unless `GOCONDUCTOR_TEST_EVENTS` overrides it.
const EVENTS: u64 = 2_000;
/// The memory that a long history may take besides that of its first events.
const MAX_GROWTH_KIB: u64 = 48 << 10;
const PAGE: u64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(3_600);

const LONG: &str = "
workflow: long
steps:
  - name: poll
    run: long/poll
    compensate: long/undo
    retry: { max_attempts: unlimited, backoff: fixed, initial: 1ms, max: 1ms, jitter: 0 }
  - { name: last, run: long/last, compensate: none, retry: none }
";

/// A participant that is busy for a number of polls.
#[derive(Clone)]
struct Busy {
    polls: Arc<AtomicU64>,
    until: u64,
    undone: Arc<AtomicU64>,
}

async fn answer(State(busy): State<Busy>, Path(action): Path<String>) -> Response {
    match action.as_str() {
        "poll" if busy.polls.fetch_add(1, Ordering::Relaxed) < busy.until => {
            (StatusCode::TOO_MANY_REQUESTS, axum::Json(json!({"code": "BUSY"}))).into_response()
        }
        "last" => (StatusCode::CONFLICT, axum::Json(json!({"code": "REFUSED"}))).into_response(),
        "undo" => {
            busy.undone.fetch_add(1, Ordering::Relaxed);
            axum::Json(json!({})).into_response()
        }
        _ => axum::Json(json!({})).into_response(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_history_is_read_and_rolled_back_with_flat_memory() {
    let events = std::env::var("GOCONDUCTOR_TEST_EVENTS").ok().and_then(|text| text.parse().ok());
    let until: u64 = events.unwrap_or(EVENTS);
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let busy = Busy { polls: Arc::default(), until, undone: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{action}", post(answer)).with_state(busy.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    dev.api.serve("long", &url).await.unwrap();
    dev.api.apply("long", LONG).await.unwrap();
    let id = dev.api.start("long", json!({}), None).await.unwrap();
    while busy.polls.load(Ordering::Relaxed) < until / 10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = dev.peak_kib().unwrap();
    let ended = dev.api.ended(&id, PATIENCE).await.unwrap();
    assert_eq!(ended["status"], "ROLLED_BACK", "{:#}", ended["error"]);
    assert_eq!(busy.undone.load(Ordering::Relaxed), 1);

    let view = dev.api.get(&format!("/workflows/{id}")).await.unwrap();
    let last = view["seq"].as_u64().unwrap();
    assert!(last > until, "{last} events");
    let mut seq = 0;
    while seq < last {
        let path = format!("/workflows/{id}/events?page_size={PAGE}&after_seq={seq}");
        let page = dev.api.get(&path).await.unwrap();
        for event in page["events"].as_array().unwrap() {
            assert_eq!(event["seq"].as_u64(), Some(seq + 1), "{event}");
            seq += 1;
        }
    }
    let grown = dev.peak_kib().unwrap().saturating_sub(before);
    eprintln!("{last} events: the peak of memory grew from {before} KiB by {grown} KiB");
    assert!(grown < MAX_GROWTH_KIB, "{last} events took {grown} KiB");
}
