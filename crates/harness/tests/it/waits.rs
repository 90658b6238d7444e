//! Steps that wait for a time or a signal: forward, back, over a restart.

use crate::world::{World, step, steps};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const NAP: &str = "workflow: nap
steps:
  - { name: one, run: a/one, compensate: a/undo_one }
  - { name: nap, sleep: 300ms }
  - { name: two, run: b/two, compensate: none, retry: none }
";

const APPROVAL: &str = "workflow: approval
steps:
  - { name: one, run: a/one, compensate: a/undo_one }
  - name: approval
    wait_for_signal:
      signal: manager-approval
      schema: { type: object, required: [by], properties: { by: { type: string } } }
    timeout: 30s
  - { name: two, run: b/two, compensate: none, input: { by: \"${ steps.approval.output.by }\" } }
";

async fn signal(world: &World, id: &str, name: &str, payload: Value) -> (u16, Value) {
    world.verb(id, &format!("signals/{name}"), payload).await
}

#[tokio::test]
async fn sleep_delays_the_steps_after_it() {
    let world = World::new().await;
    let ended = world.run(NAP, json!({})).await;
    assert_eq!(ended.actions(), ["a/one", "b/two"]);
    assert!(ended.calls[1].at - ended.calls[0].at >= Duration::from_millis(300));
    assert_eq!(ended.steps(), ["one=COMPLETED", "nap=COMPLETED", "two=COMPLETED"]);
    let rolled_back = world.run(NAP, json!({"two": "refuse"})).await;
    assert_eq!(rolled_back.actions(), ["a/one", "b/two", "a/undo_one"]);
    assert_eq!(rolled_back.status(), "ROLLED_BACK");
}

#[tokio::test]
async fn cancel_ends_a_long_sleep_at_once() {
    let world = World::new().await;
    let long = NAP.replace("300ms", "1h").replace("workflow: nap", "workflow: long-nap");
    let id = world.start(&long, json!({})).await;
    let view = world.until(&id, "the sleep", |view| step(view, "nap")["status"] == "IN_PROGRESS").await;
    assert_eq!(view["waiting_on"][0]["kind"], "TIMER");
    assert_eq!(world.verb(&id, "cancel", json!({})).await.0, 200);
    let ended = world.ended(&id).await;
    assert_eq!(ended.steps(), ["one=COMPENSATED", "nap=PENDING", "two=PENDING"]);
}

#[tokio::test]
async fn sleep_survives_a_restart() {
    let mut world = World::new().await;
    let id = world.start(&NAP.replace("300ms", "1s"), json!({})).await;
    world.until(&id, "the sleep", |view| step(view, "nap")["status"] == "IN_PROGRESS").await;
    world.dev.kill().await.unwrap();
    world.dev.restart().await.unwrap();
    assert_eq!(world.ended(&id).await.status(), "COMPLETED");
}

#[tokio::test]
async fn pause_stops_the_clock_of_a_sleep() {
    let world = World::new().await;
    let started = Instant::now();
    let id = world.start(NAP, json!({})).await;
    world.until(&id, "the sleep", |view| step(view, "nap")["status"] == "IN_PROGRESS").await;
    assert_eq!(world.verb(&id, "pause", json!({})).await.0, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(step(&world.view(&id).await, "nap")["status"], "IN_PROGRESS");
    assert_eq!(world.verb(&id, "resume", json!({})).await.0, 200);
    assert_eq!(world.ended(&id).await.status(), "COMPLETED");
    assert!(started.elapsed() >= Duration::from_millis(1300));
}

#[tokio::test]
async fn signal_completes_the_wait_and_is_checked() {
    let world = World::new().await;
    let id = world.start(APPROVAL, json!({})).await;
    let view = world.until(&id, "the wait", |view| view["waiting_on"][0]["kind"] == "SIGNAL").await;
    assert_eq!(steps(&view), ["one=COMPLETED", "approval=IN_PROGRESS", "two=PENDING"]);
    let (status, body) = signal(&world, &id, "manager-approval", json!({"by": 7})).await;
    assert_eq!(
        (status, &body["code"], &body["errors"][0]["pointer"]),
        (422, &json!("GC2101"), &json!("/by"))
    );
    assert_eq!(signal(&world, &id, "manager-approval", json!({"by": "ada"})).await.0, 200);
    let ended = world.ended(&id).await;
    assert_eq!(ended.calls[1].body, json!({"by": "ada"}));
    let (status, body) = signal(&world, &id, "manager-approval", json!({"by": "ada"})).await;
    assert_eq!((status, &body["code"]), (409, &json!("GC2015")));
}

#[tokio::test]
async fn early_signal_is_kept_and_a_limit_on_signals_holds() {
    let world = World::new().await;
    let id = world.start(APPROVAL, json!({"one": "slow:400"})).await;
    assert_eq!(signal(&world, &id, "manager-approval", json!({"by": "early"})).await.0, 200);
    assert_eq!(world.ended(&id).await.calls[1].body, json!({"by": "early"}));

    let id = world.start(APPROVAL, json!({})).await;
    for _ in 0..100 {
        assert_eq!(signal(&world, &id, "other", json!([1, 2])).await.0, 200);
    }
    let (status, body) = signal(&world, &id, "other", Value::Null).await;
    assert_eq!((status, &body["code"]), (409, &json!("GC2100")));
    assert_eq!(signal(&world, &id, "a b", Value::Null).await.0, 400);
    world.verb(&id, "cancel", json!({})).await;
    assert_eq!(world.ended(&id).await.steps()[0], "one=COMPENSATED");
}

#[tokio::test]
async fn expired_limit_fails_or_continues() {
    let world = World::new().await;
    for (on_timeout, status) in [("fail", "ROLLED_BACK"), ("continue", "COMPLETED")] {
        let yaml = format!(
            "workflow: limit-{on_timeout}
steps:
  - {{ name: one, run: a/one, compensate: a/undo_one }}
  - {{ name: go, wait_for_signal: {{ signal: go, until: 200ms, on_timeout: {on_timeout} }} }}
"
        );
        let ended = world.run(&yaml, json!({})).await;
        assert_eq!(ended.status(), status);
        if on_timeout == "fail" {
            assert_eq!(ended.view["error"]["code"], "SIGNAL_TIMEOUT");
        }
    }
}

#[tokio::test]
async fn condition_reads_the_last_signal() {
    let world = World::new().await;
    let yaml = "workflow: urgent
steps:
  - { name: one, run: a/one, compensate: none }
  - { name: two, run: b/two, compensate: none, when: \"has(signals.urgent) && signals.urgent\" }
";
    let id = world.start(yaml, json!({"one": "slow:400"})).await;
    signal(&world, &id, "urgent", json!(true)).await;
    assert_eq!(world.ended(&id).await.steps(), ["one=COMPLETED", "two=COMPLETED"]);
    let ended = world.run(yaml, json!({})).await;
    assert_eq!(ended.steps(), ["one=COMPLETED", "two=SKIPPED"]);
}
