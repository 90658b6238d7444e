//! Re-runs of workflows that have ended: effects are undone first, and keys are new.

use crate::world::{Ended, World, step};
use goconductor_harness::goconductor;
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::workflow_service_client::WorkflowServiceClient;
use serde_json::{Value, json};
use tonic::transport::Endpoint;

const CHAIN: &str = "workflow: again
steps:
  - { name: one, run: a/one, compensate: a/undo_one }
  - { name: two, run: b/two, compensate: b/undo_two }
  - { name: three, run: c/three, compensate: c/undo_three }
";

fn keys(ended: &Ended) -> Vec<String> {
    ended.calls.iter().map(|call| call.key.replace(&format!("{}/", ended.id), "")).collect()
}

fn code(response: &(u16, Value)) -> (u16, &str) {
    (response.0, response.1["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn completed_workflow_is_re_run_from_a_step_after_its_effects_were_undone() {
    let world = World::new().await;
    let first = world.run(CHAIN, json!({})).await;
    assert_eq!(first.status(), "COMPLETED");
    let body = json!({"step": "two", "reason": "wrong price"});
    let (status, view) = world.verb(&first.id, "rerun", body).await;
    assert_eq!((status, &view["ended_at"]), (200, &Value::Null), "{view:#}");
    let ended = world.ended(&first.id).await;
    assert_eq!(ended.status(), "COMPLETED");
    assert_eq!(
        keys(&ended),
        [
            "one/execute",
            "two/execute",
            "three/execute",
            "three/compensate",
            "two/compensate",
            "two~2/execute",
            "three~2/execute",
        ]
    );
    assert!(ended.calls.iter().all(|call| call.effect == "applied"), "{:?}", ended.calls);
    assert_eq!(ended.step("one").get("generation"), None);
    assert_eq!(ended.step("two")["generation"], 2);
    // A later rollback undoes each effect that stands, by the key of its generation.
    assert_eq!(world.verb(&first.id, "compensate", json!({})).await.0, 200);
    let undone = world.ended(&first.id).await;
    assert_eq!(undone.status(), "ROLLED_BACK");
    assert_eq!(keys(&undone)[7..], ["three~2/compensate", "two~2/compensate", "one/compensate"]);
}

#[tokio::test]
async fn rolled_back_workflow_is_re_run_as_a_whole() {
    let world = World::new().await;
    let first = world.run(CHAIN, json!({"three": "refuse"})).await;
    assert_eq!(first.status(), "ROLLED_BACK");
    // The effects above the step were undone, so the step cannot build on them.
    let refused = world.verb(&first.id, "rerun", json!({"step": "three", "reason": "again"})).await;
    assert_eq!(code(&refused), (409, "GC2132"));
    assert!(refused.1["detail"].as_str().unwrap().contains("`one`"), "{}", refused.1);
    assert_eq!(world.verb(&first.id, "rerun", json!({"reason": "again"})).await.0, 200);
    let ended = world.ended(&first.id).await;
    assert_eq!((ended.status(), ended.cause()), ("ROLLED_BACK", "STEP_FAILED"));
    assert_eq!(
        keys(&ended)[5..],
        ["one~2/execute", "two~2/execute", "three~2/execute", "two~2/compensate", "one~2/compensate"]
    );
}

#[tokio::test]
async fn effects_stay_if_the_operator_says_so() {
    let world = World::new().await;
    let first = world.run(CHAIN, json!({})).await;
    let body = json!({"step": "three", "effects": "keep", "reason": "send it again"});
    assert_eq!(world.verb(&first.id, "rerun", body).await.0, 200);
    let ended = world.ended(&first.id).await;
    assert_eq!(keys(&ended)[3..], ["three~2/execute"]);
    let events = world.dev.api.get(&format!("/workflows/{}/events?page_size=1000", first.id)).await.unwrap();
    let events = events["events"].as_array().unwrap();
    let started = events.iter().find(|event| event["type"] == "RERUN_STARTED").unwrap();
    assert_eq!(started["detail"]["keeps"], json!(["three"]), "{started}");
    assert_eq!(started["step"], "three");
}

#[tokio::test]
async fn re_run_past_the_pivot_is_refused_unless_its_effects_may_stay() {
    let world = World::new().await;
    let yaml = "workflow: point
steps:
  - { name: before, run: a/before, compensate: a/undo_before }
  - { name: point, kind: pivot, run: b/point }
  - { name: after, kind: retriable, run: c/after }
";
    let first = world.run(yaml, json!({})).await;
    for (body, expected) in [
        (json!({"reason": "again"}), "GC2133"),
        (json!({"step": "point", "effects": "keep", "reason": "again"}), "GC2133"),
        (json!({"step": "after", "reason": "again"}), "GC2133"),
        (json!({"step": "after"}), "GC2017"),
        (json!({"step": "nothing", "reason": "again"}), "GC2013"),
        (json!({"step": "after", "effects": "both", "reason": "again"}), "GC2002"),
    ] {
        let refused = world.verb(&first.id, "rerun", body.clone()).await;
        assert_eq!(code(&refused).1, expected, "{body}: {}", refused.1);
    }
    let body = json!({"step": "after", "effects": "keep", "reason": "again"});
    assert_eq!(world.verb(&first.id, "rerun", body).await.0, 200);
    let ended = world.ended(&first.id).await;
    assert_eq!(keys(&ended)[3..], ["after~2/execute"]);
}

#[tokio::test]
async fn workflow_that_has_not_ended_is_not_re_run() {
    let world = World::new().await;
    let id = world.start(CHAIN, json!({"two": "slow:1500"})).await;
    world.until(&id, "two", |view| step(view, "two")["status"] == "IN_PROGRESS").await;
    let refused = world.verb(&id, "rerun", json!({"reason": "again"})).await;
    assert_eq!(code(&refused), (409, "GC2132"));
    assert_eq!(world.verb(&id, "terminate", json!({"reason": "stop"})).await.0, 200);
    // The attempt is in flight, and its outcome is not observed.
    let refused = world.verb(&id, "rerun", json!({"reason": "again"})).await;
    assert_eq!(code(&refused), (409, "GC2134"));
}

#[tokio::test]
async fn child_is_rolled_back_and_started_anew() {
    let world = World::new().await;
    world.apply("workflow: inner\nsteps: [{ name: in, run: a/in, compensate: a/undo_in }]\n").await;
    let yaml = "workflow: outer
steps:
  - { name: one, run: b/one, compensate: b/undo_one }
  - { name: inside, child: inner }
";
    let first = world.run(yaml, json!({})).await;
    let child = first.view["children"][0]["id"].as_str().unwrap().to_owned();
    let refused = world.verb(&child, "rerun", json!({"reason": "again"})).await;
    assert_eq!(code(&refused), (409, "GC2132"));
    assert_eq!(world.verb(&first.id, "rerun", json!({"step": "inside", "reason": "again"})).await.0, 200);
    let ended = world.ended(&first.id).await;
    assert_eq!(ended.status(), "COMPLETED");
    assert_eq!(world.view(&child).await["status"], "ROLLED_BACK");
    let second = ended.view["children"][0]["id"].as_str().unwrap();
    assert_ne!(second, child);
    assert_eq!(world.view(second).await["status"], "COMPLETED");
}

#[tokio::test]
async fn step_does_not_build_on_a_child_that_was_rolled_back() {
    let world = World::new().await;
    world.apply("workflow: inner\nsteps: [{ name: in, run: a/in, compensate: a/undo_in }]\n").await;
    let yaml = "workflow: outer
steps:
  - { name: inside, child: inner }
  - { name: last, run: b/last, compensate: b/undo_last }
";
    let first = world.run(yaml, json!({})).await;
    let child = first.view["children"][0]["id"].as_str().unwrap();
    assert_eq!(world.verb(child, "compensate", json!({})).await.0, 200);
    world.until_status(child, "ROLLED_BACK").await;
    let refused = world.verb(&first.id, "rerun", json!({"step": "last", "reason": "again"})).await;
    assert_eq!(code(&refused), (409, "GC2132"));
    assert!(refused.1["detail"].as_str().unwrap().contains("`inside`"), "{}", refused.1);
    assert_eq!(world.verb(&first.id, "rerun", json!({"reason": "again"})).await.0, 200);
    assert_eq!(world.ended(&first.id).await.status(), "COMPLETED");
}

#[tokio::test]
async fn elements_are_executed_again_with_new_keys() {
    let world = World::new().await;
    let yaml = "workflow: each
steps:
  - { name: item, for_each: { in: '${ input.items }', as: item }, run: a/item, compensate: a/undo_item }
";
    let name = world.apply(yaml).await;
    let id = world.dev.api.start(&name, json!({"items": [1, 2, 3]}), None).await.unwrap();
    let first = world.ended(&id).await;
    assert_eq!(first.calls.len(), 3);
    assert_eq!(world.verb(&id, "rerun", json!({"reason": "again"})).await.0, 200);
    let ended = world.ended(&id).await;
    assert_eq!(ended.status(), "COMPLETED");
    let mut keys = keys(&ended);
    keys.sort();
    let expected = (0..3).flat_map(|at| {
        [format!("item[{at}]/compensate"), format!("item[{at}]/execute"), format!("item[{at}]~2/execute")]
    });
    assert_eq!(keys, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn killed_server_continues_a_re_run() {
    let mut world = World::new().await;
    let first = world.run(CHAIN, json!({"undo_three": "slow:400"})).await;
    assert_eq!(world.verb(&first.id, "rerun", json!({"step": "two", "reason": "again"})).await.0, 200);
    world.until(&first.id, "undo", |view| step(view, "three")["status"] != "COMPLETED").await;
    world.dev.kill().await.unwrap();
    world.dev.restart().await.unwrap();
    let ended = world.ended(&first.id).await;
    assert_eq!(ended.status(), "COMPLETED");
    let applied: Vec<&str> =
        ended.calls.iter().filter(|call| call.effect == "applied").map(|call| call.action.as_str()).collect();
    let expected = ["a/one", "b/two", "c/three", "c/undo_three", "b/undo_two", "b/two", "c/three"];
    assert_eq!(applied, expected);
}

#[tokio::test]
async fn grpc_and_the_command_line_re_run_too() {
    let world = World::new().await;
    let first = world.run(CHAIN, json!({})).await;
    let endpoint = Endpoint::from_shared(world.dev.api.base().to_owned()).unwrap();
    let mut client = WorkflowServiceClient::new(endpoint.connect().await.unwrap());
    let request = wire::RerunWorkflowRequest {
        id: first.id.clone(),
        step: "three".to_owned(),
        effects: wire::RerunEffects::Keep.into(),
        reason: "again".to_owned(),
    };
    client.rerun_workflow(request).await.unwrap();
    let second = world.ended(&first.id).await;
    assert_eq!(keys(&second)[3..], ["three~2/execute"]);
    let output = goconductor()
        .unwrap()
        .args(["workflow", "rerun", &first.id, "--from", "three", "--reason", "again"])
        .args(["--server", world.dev.api.base()])
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let third = world.ended(&first.id).await;
    assert_eq!(keys(&third)[4..], ["three~2/compensate", "three~3/execute"]);
}
