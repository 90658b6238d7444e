//! The limits of a compensation, over `dev`.

use crate::world::{World, step};
use goconductor::{ActionError, CompensationInput, Conductor, Context, Service, Start, Status};
use goconductor_harness::{Dev, DevOptions};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn compensation_that_no_worker_starts_fails_and_can_be_retried() {
    let world = World::new().await;
    let yaml = "workflow: unserved
steps:
  - { name: one, run: a/one, compensate: { run: absent/undo, timeout: { queue: 300ms }, retry: { max_attempts: 2, initial: 10ms } } }
  - { name: two, run: b/two, compensate: none }
";
    let id = world.start(yaml, json!({"two": "refuse"})).await;
    let view = world.until_status(&id, "ERROR").await;
    let one = step(&view, "one");
    assert_eq!((&one["status"], &one["compensation_attempts"]), (&json!("COMPENSATION_FAILED"), &json!(2)));
    assert_eq!(one["error"]["code"], "QUEUE_TIMEOUT", "{one:#}");
    // The service is there now, and the executor serves it.
    world.dev.api.serve("absent", &world.participants.url("a")).await.unwrap();
    let ping = "workflow: ping
steps: [{ name: ping, run: absent/ping, compensate: none }]
";
    assert_eq!(world.run(ping, json!({})).await.status(), "COMPLETED");
    let (status, body) = world.verb(&id, "steps/one/retry", json!({})).await;
    assert!(status < 300, "{status} {body}");
    let ended = world.ended(&id).await;
    assert_eq!((ended.status(), ended.step("one")["status"].as_str()), ("ROLLED_BACK", Some("COMPENSATED")));
    let undone = ended.actions().iter().filter(|action| action.ends_with("/undo")).count();
    assert_eq!(
        undone,
        1,
        "the commands of the attempts that did not start were not sent: {:?}",
        ended.actions()
    );
}

#[tokio::test]
async fn limit_of_all_attempts_ends_the_compensation() {
    let world = World::new().await;
    let of = |name: &str, on_error: &str| {
        format!(
            "workflow: {name}
compensation: {{ on_error: {on_error} }}
steps:
  - {{ name: one, run: a/one, compensate: {{ run: a/undo_one, timeout: {{ attempt: 5s, total: 1s }}, retry: {{ initial: 50ms, max: 100ms }} }} }}
  - {{ name: two, run: b/two, compensate: none }}
"
        )
    };
    let script = json!({"two": "refuse", "undo_one": "busy"});
    let id = world.start(&of("pausing", "pause"), script.clone()).await;
    let view = world.until_status(&id, "ERROR").await;
    let one = step(&view, "one");
    assert_eq!(one["status"], "COMPENSATION_FAILED", "{view:#}");
    let calls = world.participants.calls_of(&id);
    let undos: Vec<_> = calls.iter().filter(|call| call.action == "a/undo_one").collect();
    assert!(undos.len() > 1, "{undos:?}");
    let lasted = undos.last().unwrap().at - undos[0].at;
    assert!(lasted < Duration::from_millis(1500), "the last attempt began after {lasted:?}");

    let ended = world.run(&of("continuing", "continue"), script).await;
    assert_eq!(ended.status(), "ROLLED_BACK");
    assert_eq!(ended.step("one")["status"], "COMPENSATION_FAILED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compensation_without_heartbeats_is_tried_again_before_its_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let conductor = Conductor::connect(dev.api.base()).unwrap();
    let service = Service::new("undoing")
        .action("work", |_: Context, _: Value| async move { Ok(json!({})) })
        .action("refuse", |_: Context, _: Value| async move {
            Err::<Value, _>(ActionError::refused("NO", "scripted refusal"))
        })
        .compensation("undo", |context: Context, _: CompensationInput<Value, Value>| async move {
            assert_eq!(context.heartbeat_timeout(), Some(Duration::from_millis(500)));
            // The first attempt hangs. The second is as slow but sends heartbeats.
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(150)).await;
                if context.attempt() > 1 {
                    context.heartbeat();
                }
            }
            Ok(Value::Null)
        });
    let serving = conductor.serve(service).await.unwrap();
    serving.connected().await.unwrap();
    let yaml = "
workflow: undoing
steps:
  - { name: work, run: undoing/work, compensate: { run: undoing/undo, timeout: { attempt: 60s, heartbeat: 500ms }, retry: { initial: 20ms } } }
  - { name: refuse, run: undoing/refuse, compensate: none }
";
    conductor.apply("undoing", yaml).await.unwrap();
    let handle = conductor.start(Start::of("undoing")).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), handle.result()).await.expect("it ends");
    assert_eq!(ended.unwrap().status, Status::RolledBack);
    let view = dev.api.get(&format!("/workflows/{}", handle.id())).await.unwrap();
    assert_eq!(step(&view, "work")["compensation_attempts"], 2, "{view:#}");
}
