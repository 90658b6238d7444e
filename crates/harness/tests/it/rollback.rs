//! Rollback: order, unknown outcomes, the pivot, cancel, operator intervention.

use crate::world::{World, step, steps};
use serde_json::json;
use std::time::Duration;

const CHAIN: &str = "workflow: chain
steps:
  - { name: one, run: a/one, compensate: a/undo_one, timeout: 1s }
  - { name: two, run: b/two, compensate: b/undo_two, timeout: 1s, retry: none }
  - { name: three, run: c/three, compensate: c/undo_three, timeout: 1s, retry: none }
";

#[tokio::test]
async fn refusal_rolls_back_in_reverse_order() {
    let world = World::new().await;
    let ended = world.run(CHAIN, json!({"three": "refuse"})).await;
    assert_eq!((ended.status(), ended.cause()), ("ROLLED_BACK", "STEP_FAILED"));
    assert_eq!(ended.actions(), ["a/one", "b/two", "c/three", "b/undo_two", "a/undo_one"]);
    assert_eq!(ended.steps(), ["one=COMPENSATED", "two=COMPENSATED", "three=FAILED"]);
    assert_eq!(ended.view["error"]["code"], "REFUSED");
    let undo = &ended.calls[3];
    assert_eq!(undo.key, format!("{}/two/compensate", ended.id));
    assert_eq!(undo.body["output"]["action"], "two");
    assert!(undo.body["input"]["script"].is_object(), "{undo:?}");
}

#[tokio::test]
async fn unknown_outcome_is_compensated_after_the_deadline_unless_it_was_answered() {
    let world = World::new().await;
    for (script, answered) in [
        ("hang", false),
        ("gateway", false),
        ("reset", true),
        ("fail", true),
        ("garbage", true),
        ("redirect", true),
        ("stated:unknown:502", true),
    ] {
        let ended = world.run(CHAIN, json!({"two": script})).await;
        assert_eq!(ended.status(), "ROLLED_BACK", "{script}");
        assert_eq!(ended.actions(), ["a/one", "b/two", "b/undo_two", "a/undo_one"], "{script}");
        assert_eq!(ended.steps(), ["one=COMPENSATED", "two=COMPENSATED", "three=PENDING"], "{script}");
        let waited = ended.calls[2].at - ended.calls[1].at;
        let at_deadline = waited >= Duration::from_millis(990);
        assert_eq!(at_deadline, !answered, "{script}: compensated after {waited:?}");
        assert!(ended.calls[2].body.get("output").is_none(), "{script}: {:?}", ended.calls[2].body);
    }
}

#[tokio::test]
async fn later_refusal_does_not_remove_earlier_doubt() {
    let world = World::new().await;
    let yaml = "workflow: doubt
steps:
  - { name: one, run: a/one, compensate: a/undo_one, timeout: 500ms, retry: { initial: 10ms } }
";
    let ended = world.run(yaml, json!({"one": ["fail", "refuse"]})).await;
    assert_eq!(ended.actions(), ["a/one", "a/one", "a/undo_one"]);
    assert_eq!(ended.steps(), ["one=COMPENSATED"]);
}

#[tokio::test]
async fn connection_that_is_not_established_leaves_no_doubt_and_says_why() {
    let world = World::new().await;
    let (full, _callers) = full_port().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap();
    let plain = world.participants.url("a").replace("http:", "https:");
    for (number, (url, code)) in [
        ("http://127.0.0.1:9".to_owned(), "CONNECTION_REFUSED"),
        (format!("http://{full}"), "CONNECT_TIMEOUT"),
        // The kernel accepts the connection, and the TLS handshake gets no answer.
        (format!("https://{silent}"), "CONNECT_TIMEOUT"),
        (plain, "TLS_FAILED"),
        ("http://no-such-host.invalid".to_owned(), "DNS_FAILED"),
    ]
    .into_iter()
    .enumerate()
    {
        world.dev.api.serve(&format!("gone{number}"), &url).await.unwrap();
        // The lookup of a name that does not exist can take a second.
        let timeout = if code == "DNS_FAILED" { "15s" } else { "300ms" };
        let yaml = format!(
            "workflow: gone{number}
steps:
  - {{ name: one, run: a/one, compensate: a/undo_one }}
  - {{ name: two, run: gone{number}/two, compensate: gone{number}/undo, timeout: {timeout}, retry: {{ max_attempts: 2, initial: 10ms }} }}
"
        );
        let ended = world.run(&yaml, json!({})).await;
        assert_eq!(ended.status(), "ROLLED_BACK", "{url}");
        assert_eq!(ended.steps(), ["one=COMPENSATED", "two=FAILED"], "{url}");
        assert_eq!(ended.step("two")["attempts"], 2, "{url}");
        assert_eq!(ended.view["error"]["code"], code, "{url}: {:#}", ended.view["error"]);
    }
}

/// Returns an address that answers no connect: its queue of connections is full. The queue is full while the streams
/// live.
async fn full_port() -> (std::net::SocketAddr, (tokio::net::TcpListener, Vec<tokio::net::TcpStream>)) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut streams = Vec::new();
    let connect = || tokio::net::TcpStream::connect(address);
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), connect()).await {
        streams.push(stream.unwrap());
        assert!(streams.len() < 100, "the queue has no limit");
    }
    (address, (listener, streams))
}

#[tokio::test]
async fn refusal_with_a_large_body_keeps_its_code() {
    let world = World::new().await;
    let ended = world.run(CHAIN, json!({"two": "refuse-large"})).await;
    assert_eq!(ended.steps(), ["one=COMPENSATED", "two=FAILED", "three=PENDING"]);
    let error = &ended.view["error"];
    assert_eq!(error["code"], "REFUSED", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("sold out… [cut: the response body has 7168"), "{message}");
}

#[tokio::test]
async fn rollback_awaits_a_branch_in_flight_and_compensates_its_late_success() {
    let world = World::new().await;
    let yaml = "workflow: branches
steps:
  - { name: first, run: a/first, compensate: a/undo_first }
  - name: both
    parallel:
      slow: [{ name: slow, run: b/slow, compensate: b/undo_slow }]
      bad: [{ name: good, run: c/good, compensate: c/undo_good }, { name: bad, run: c/bad, compensate: c/undo_bad }]
";
    let ended = world.run(yaml, json!({"slow": "slow:600", "bad": "refuse"})).await;
    assert_eq!(ended.status(), "ROLLED_BACK");
    assert_eq!(ended.steps(), ["first=COMPENSATED", "slow=COMPENSATED", "good=COMPENSATED", "bad=FAILED"]);
    let at = |action: &str| ended.calls.iter().find(|call| call.action == action).unwrap().at;
    assert!(at("c/undo_good") < at("b/undo_slow"), "a settled branch does not wait for an unrelated one");
    assert_eq!(ended.actions().last(), Some(&"a/undo_first"));
}

const PIVOT: &str = "workflow: pivot
steps:
  - { name: before, run: a/before, compensate: a/undo_before }
  - { name: point, kind: pivot, run: b/point, timeout: 400ms, retry: { max_attempts: 2, initial: 10ms, max: 50ms } }
  - { name: after, kind: retriable, run: c/after, retry: { max_attempts: 2, initial: 10ms } }
";

#[tokio::test]
async fn pivot_decides_between_rollback_and_completion() {
    let world = World::new().await;
    let refused = world.run(PIVOT, json!({"point": "refuse"})).await;
    assert_eq!(refused.steps(), ["before=COMPENSATED", "point=FAILED", "after=PENDING"]);
    let clean = world.run(PIVOT, json!({"point": "busy"})).await;
    assert_eq!((clean.status(), clean.calls.len()), ("ROLLED_BACK", 4));
    // A pivot in doubt is retried beyond its limit until its outcome is known. A cancel waits for that.
    let id = world.start(PIVOT, json!({"point": ["fail", "refuse", "busy", "fail", "slow:300", "ok"]})).await;
    world.until(&id, "doubt", |view| step(view, "point")["attempts"].as_u64() >= Some(2)).await;
    assert_eq!(world.verb(&id, "cancel", json!({"reason": "changed my mind"})).await.0, 200);
    let ended = world.ended(&id).await;
    assert_eq!(ended.status(), "COMPLETED");
    assert_eq!(ended.steps(), ["before=COMPLETED", "point=COMPLETED", "after=COMPLETED"]);
    assert_eq!(ended.cause(), "");
}

#[tokio::test]
async fn failed_retriable_step_after_the_pivot_waits_for_an_operator() {
    let world = World::new().await;
    let id = world.start(PIVOT, json!({"after": ["busy", "busy", "ok"]})).await;
    let view = world.until_status(&id, "ERROR").await;
    assert_eq!(view["waiting_on"][0]["kind"], "OPERATOR", "{view:#}");
    assert_eq!(world.verb(&id, "cancel", json!({})).await.0, 409);
    assert_eq!(world.verb(&id, "steps/after/skip", json!({})).await.0, 422);
    assert_eq!(world.verb(&id, "steps/after/retry", json!({})).await.0, 200);
    assert_eq!(world.ended(&id).await.status(), "COMPLETED");
    assert_eq!(world.verb(&id, "steps/after/retry", json!({})).await.0, 409);
}

#[tokio::test]
async fn failed_compensation_leads_to_error_and_does_not_stop_others() {
    let world = World::new().await;
    let yaml = "workflow: stuck
steps:
  - { name: one, run: a/one, compensate: a/undo_one }
  - { name: two, run: b/two, compensate: { run: b/undo_two, retry: { max_attempts: 2, initial: 10ms } } }
  - { name: three, run: c/three, compensate: none }
";
    for (verb, body) in [
        ("retry", json!({})),
        ("skip", json!({"reason": "done by hand"})),
        ("complete", json!({"reason": "done by hand", "output": {}})),
    ] {
        let id = world.start(yaml, json!({"three": "refuse", "undo_two": ["busy", "fail", "ok"]})).await;
        let view = world.until_status(&id, "ERROR").await;
        assert_eq!(steps(&view), ["one=COMPLETED", "two=COMPENSATION_FAILED", "three=FAILED"]);
        assert_eq!(step(&view, "two")["compensation_attempts"], 2);
        assert_eq!(world.verb(&id, &format!("steps/two/{verb}"), body).await.0, 200, "{verb}");
        let ended = world.ended(&id).await;
        assert_eq!(ended.status(), "ROLLED_BACK", "{verb}");
        assert_eq!(ended.actions().last(), Some(&"a/undo_one"), "{verb}");
    }
}

#[tokio::test]
async fn cancel_pause_resume_and_terminate_change_the_status() {
    let world = World::new().await;
    let id = world.start(CHAIN, json!({"two": "slow:300"})).await;
    world.until(&id, "two", |view| step(view, "two")["status"] != "PENDING").await;
    assert_eq!(world.verb(&id, "cancel", json!({"reason": "no longer wanted"})).await.0, 200);
    let ended = world.ended(&id).await;
    assert_eq!((ended.status(), ended.cause()), ("ROLLED_BACK", "CANCELLED"));
    assert_eq!(ended.actions(), ["a/one", "b/two", "b/undo_two", "a/undo_one"]);
    assert_eq!(world.verb(&id, "cancel", json!({})).await.0, 409);

    let id = world.start(CHAIN, json!({"one": "slow:300"})).await;
    assert_eq!(world.verb(&id, "pause", json!({})).await.0, 200);
    assert_eq!(world.verb(&id, "pause", json!({})).await.0, 409);
    let view = world.until(&id, "one", |view| step(view, "one")["status"] == "COMPLETED").await;
    assert_eq!(view["status"], "PAUSED");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.participants.calls_of(&id).len(), 1, "no further step is issued");
    assert_eq!(world.verb(&id, "resume", json!({})).await.0, 200);
    assert_eq!(world.ended(&id).await.status(), "COMPLETED");

    let id = world.start(CHAIN, json!({"two": "slow:300"})).await;
    assert_eq!(world.verb(&id, "terminate", json!({})).await.0, 422);
    assert_eq!(world.verb(&id, "terminate", json!({"reason": "a test order"})).await.0, 200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ended = world.ended(&id).await;
    assert_eq!(ended.status(), "TERMINATED");
    assert!(!ended.actions().iter().any(|action| action.contains("undo")));
}

#[tokio::test]
async fn paused_workflow_does_not_time_out() {
    let world = World::new().await;
    let yaml = "workflow: patient
timeout: 900ms
steps:
  - { name: one, run: a/one, compensate: a/undo_one, timeout: { attempt: 5s, total: 900ms } }
  - { name: two, run: b/two, compensate: b/undo_two, timeout: { attempt: 5s, total: 900ms } }
";
    let id = world.start(yaml, json!({"one": "slow:400"})).await;
    assert_eq!(world.verb(&id, "pause", json!({})).await.0, 200);
    world.until(&id, "one", |view| step(view, "one")["status"] == "COMPLETED").await;
    // Longer than the timeout. Only time itself can show that it has no effect.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let view = world.view(&id).await;
    assert_eq!((&view["status"], step(&view, "two")["status"].as_str()), (&json!("PAUSED"), Some("PENDING")));
    assert_eq!(world.verb(&id, "resume", json!({})).await.0, 200);
    assert_eq!(world.ended(&id).await.status(), "COMPLETED");
}

#[tokio::test]
async fn expired_workflow_timeout_rolls_back() {
    let world = World::new().await;
    let yaml = "workflow: late
timeout: 500ms
steps:
  - { name: one, run: a/one, compensate: a/undo_one }
  - { name: two, run: b/two, compensate: b/undo_two, retry: { initial: 100ms } }
";
    let ended = world.run(yaml, json!({"two": "busy"})).await;
    assert_eq!((ended.status(), ended.cause()), ("ROLLED_BACK", "TIMED_OUT"));
    assert_eq!(ended.steps(), ["one=COMPENSATED", "two=FAILED"]);
}
