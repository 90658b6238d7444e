//! The deadline, the limit and the result of a task.

use super::{
    ActionError, CancellationToken, ConnectRequest, Context, Instant, Outcome, ToExecutor, Value, run_task,
    timeout, to_wire, wire,
};
use crate::service::Service;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

fn task() -> wire::Task {
    wire::Task { action: "work".to_owned(), input_json: "null".to_owned(), ..wire::Task::default() }
}

/// Runs the action `work` of a service, with a deadline in so many milliseconds.
async fn work(service: &Service, milliseconds: u64) -> Result<Value, ActionError> {
    let deadline = Instant::now() + Duration::from_millis(milliseconds);
    let (requests, _) = tokio::sync::mpsc::channel(1);
    run_task(service, task(), deadline, CancellationToken::new(), requests).await
}

fn code(result: Result<Value, ActionError>) -> String {
    result.map_or_else(|error| error.code().to_owned(), |output| output.to_string())
}

#[tokio::test]
async fn action_is_cancelled_at_its_deadline() {
    let service = Service::new("shop").action("work", |context: Context, _: Value| async move {
        context.cancelled().await;
        Ok((context.action().to_owned(), context.time_left().is_zero()))
    });
    assert_eq!(code(work(&service, 50).await), r#"["work",true]"#);
}

#[tokio::test]
async fn action_is_not_started_after_its_deadline() {
    let service = Service::new("shop").action("work", |_: Context, _: Value| async { Ok(1) });
    assert_eq!(code(work(&service, 0).await), "NOT_STARTED");
    assert_eq!(code(work(&service, 10_000).await), "1");
}

#[tokio::test]
async fn action_of_a_cancelled_attempt_is_not_started() {
    let service = Service::new("shop").action("work", |_: Context, _: Value| async { Ok(1) });
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let deadline = Instant::now() + Duration::from_secs(10);
    let (requests, _) = tokio::sync::mpsc::channel(1);
    let result = run_task(&service, task(), deadline, cancelled, requests).await;
    assert_eq!(code(result), "NOT_STARTED");
}

#[tokio::test]
async fn attempt_beyond_the_limit_of_its_action_waits_until_its_deadline() {
    let running = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&running);
    let action = move |context: Context, _: Value| {
        let counter = Arc::clone(&counter);
        async move {
            assert_eq!(counter.fetch_add(1, Ordering::Relaxed), 0, "one attempt is in flight");
            context.cancelled().await;
            counter.fetch_sub(1, Ordering::Relaxed);
            Ok(1)
        }
    };
    let service = Service::new("shop").action("work", action).max_in_flight("work", 1);
    let (first, short, long) = tokio::join!(work(&service, 200), work(&service, 50), work(&service, 400));
    assert_eq!((code(first), code(short), code(long)), ("1".into(), "NOT_STARTED".into(), "1".into()));
}

#[tokio::test]
async fn attempt_that_waits_for_a_slot_sends_heartbeats() {
    let action = |context: Context, _: Value| async move {
        context.cancelled().await;
        Ok(1)
    };
    let service = Service::new("shop").action("work", action).max_in_flight("work", 1);
    let (requests, mut sent) = tokio::sync::mpsc::channel(16);
    let waiting = wire::Task { heartbeat_timeout: Duration::from_millis(60).try_into().ok(), ..task() };
    let deadline = Instant::now() + Duration::from_millis(600);
    let waits = run_task(&service, waiting, deadline, CancellationToken::new(), requests);
    let (first, waited) = tokio::join!(work(&service, 800), waits);
    assert_eq!((code(first), code(waited)), ("1".into(), "NOT_STARTED".into()));
    let heartbeat = sent.recv().await;
    assert!(
        matches!(heartbeat, Some(ConnectRequest { message: Some(ToExecutor::TaskHeartbeat(_)) })),
        "{heartbeat:?}"
    );
}

#[test]
fn clock_of_the_executor_counts_only_without_a_timeout() {
    let minute = Duration::from_secs(60);
    let past = wire::Task { deadline: Some(SystemTime::UNIX_EPOCH.into()), ..wire::Task::default() };
    assert_eq!(timeout(&past), Duration::ZERO);
    assert_eq!(timeout(&wire::Task { timeout: minute.try_into().ok(), ..past }), minute);
    let far = wire::Task {
        deadline: Some((SystemTime::UNIX_EPOCH + 1_000_000 * minute * 60).into()),
        ..wire::Task::default()
    };
    assert!(timeout(&far) > minute);
    let longest =
        wire::Task { timeout: Duration::from_secs(1 << 62).try_into().ok(), ..wire::Task::default() };
    assert!(Instant::now().checked_add(timeout(&longest)).is_some());
}

#[test]
fn result_that_exceeds_the_limit_is_not_sent() {
    let (small, large) = (json!("x".repeat(8)), json!("x".repeat(9)));
    assert!(matches!(to_wire(Ok(small.clone()), 10), Outcome::Done(done) if done.output_json.len() == 10));
    let Outcome::Unknown(unknown) = to_wire(Ok(large.clone()), 10) else { panic!("it is sent") };
    assert_eq!(unknown.failure.unwrap().code, "OUTPUT_TOO_LARGE");
    let refused = |detail| ActionError::Refused { code: "NO".into(), message: "no".into(), detail };
    for (detail, expected) in [(small, "no"), (large, "no [cut: details of 11 bytes]")] {
        let Outcome::Refused(sent) = to_wire(Err(refused(Some(detail))), 10) else { panic!("not refused") };
        assert_eq!(sent.failure.unwrap().message, expected);
    }
}
