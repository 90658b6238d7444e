//! Requests and their responses.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use axum::{Json, Router};
use goconductor_client::{Client, Error, Outcome, StartWorkflow};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) async fn serve(router: Router) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::new(&format!("http://{address}/"), "shop").unwrap()
}

#[tokio::test]
async fn repeated_start_is_marked_as_replayed() {
    let router = Router::new().route(
        "/api/v1/workflows",
        post(|headers: HeaderMap, Json(body): Json<Value>| async move {
            assert_eq!(headers["goconductor-namespace"], "shop");
            let workflow = json!({"id": "w", "status": "QUEUED", "later": body["input"]});
            if body["idempotency_key"] == "again" {
                return (StatusCode::OK, [("idempotency-replayed", "true")], Json(workflow)).into_response();
            }
            (StatusCode::CREATED, Json(workflow)).into_response()
        }),
    );
    let client = serve(router).await;
    let mut start = StartWorkflow { definition: "d".to_owned(), ..StartWorkflow::default() };
    start.input = Some(json!({"b": 1, "a": 2}));
    let first = client.start_workflow(&start).await.unwrap();
    assert!(!first.value.replayed);
    assert!(first.text.contains("later"));
    start.idempotency_key = Some("again".to_owned());
    assert!(client.start_workflow(&start).await.unwrap().value.replayed);
}

#[tokio::test]
async fn refused_start_is_retried_after_the_delay_of_the_server() {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let router = Router::new().route(
        "/api/v1/workflows",
        post(move || {
            let nth = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                if nth == 1 {
                    return (StatusCode::CREATED, Json(json!({"id": "w"}))).into_response();
                }
                let problem =
                    json!({"detail": "payments is overloaded", "code": "GC2033", "retryable": true});
                (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], Json(problem)).into_response()
            }
        }),
    );
    let client = serve(router).await;
    let start = StartWorkflow { definition: "d".to_owned(), ..StartWorkflow::default() };
    let started_at = tokio::time::Instant::now();
    let started = client.start_workflow_within(Duration::from_secs(10), &start).await.unwrap();
    assert_eq!((started.value.workflow.id.as_str(), calls.load(Ordering::Relaxed)), ("w", 2));
    assert!(started_at.elapsed() >= Duration::from_secs(1), "the retry came too early");
    // If the delay is over the timeout, the refusal is returned at once.
    let refused = client.start_workflow_within(Duration::from_millis(500), &start).await.unwrap_err();
    assert_eq!(refused.retry_delay(), Some(Duration::from_secs(1)));
    assert!(refused.is_retryable());
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn path_segments_are_escaped() {
    let router = Router::new().route(
        "/api/v1/workflows/{id}",
        get(|Path(id): Path<String>| async move { Json(json!({"id": id})) }),
    );
    let client = serve(router).await;
    assert_eq!(client.workflow("a/b c?d").await.unwrap().value.id, "a/b c?d");
}

#[tokio::test]
async fn status_of_a_long_poll_determines_the_outcome() {
    let router = Router::new().route(
        "/api/v1/workflows/{id}/result",
        get(|Path(id): Path<String>, uri: Uri| async move {
            assert_eq!(uri.query(), Some("wait=1500ms"));
            let status = if id == "ended" { StatusCode::OK } else { StatusCode::ACCEPTED };
            (status, Json(json!({"id": id, "status": "ROLLED_BACK"})))
        }),
    );
    let client = serve(router).await;
    let wait = Duration::from_millis(1500);
    assert!(matches!(client.result("ended", wait).await.unwrap(), Outcome::Ended(_)));
    assert!(matches!(client.result("runs", wait).await.unwrap(), Outcome::NotYet(_)));
}

#[tokio::test]
async fn problems_are_parsed() {
    let problem = json!({
        "type": "t", "title": "Invalid", "status": 422, "detail": "2 problems", "code": "GC1001",
        "errors": [{"pointer": "/steps/0", "line": 3, "column": 5, "code": "GC1004", "detail": "no undo"}],
        "retryable": false, "trace_id": "x", "addition": true
    });
    let router = Router::new().fallback(any(move || {
        let problem = problem.clone();
        async move { (StatusCode::UNPROCESSABLE_ENTITY, Json(problem)) }
    }));
    let client = serve(router).await;
    let error = client.apply_definition("d", "application/yaml", "x", true).await.unwrap_err();
    let Error::Invalid(problem) = error else { panic!("{error:?}") };
    assert_eq!(problem.errors[0].line, Some(3));
    assert_eq!(problem.to_string(), "2 problems");
}

#[tokio::test]
async fn missing_server_is_unreachable_and_other_protocol_is_unreadable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(&format!("http://{address}"), "default").unwrap();
    assert!(matches!(client.workflow("w").await, Err(Error::Unreachable { .. })));

    let client = serve(Router::new().fallback(any(|| async { "hello" }))).await;
    assert!(matches!(client.workflow("w").await, Err(Error::Unreadable { .. })));
}

#[test]
fn invalid_address_is_refused() {
    for invalid in ["", "127.0.0.1:8470", "ftp://a", "mailto:a"] {
        assert!(matches!(Client::new(invalid, "default"), Err(Error::Address { .. })), "{invalid}");
    }
    assert!(Client::new("http://127.0.0.1:8470", "with\nbreak").is_err());
}
