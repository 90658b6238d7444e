//! Probes and the policies of failures, over a real server and real participants.

use crate::world::World;
use serde_json::json;
use std::time::Duration;

const PROBED: &str = "workflow: probed
steps:
  - { name: one, run: a/one, compensate: a/undo_one }
  - { name: two, run: b/two, probe: b/find, compensate: b/undo_two, timeout: 500ms, retry: { max_attempts: 1, initial: 10ms } }
";

#[tokio::test]
async fn probe_completes_a_step_that_took_effect() {
    let world = World::new().await;
    for script in ["reset", "hang-applied"] {
        let ended = world.run(PROBED, json!({"two": script})).await;
        assert_eq!(ended.status(), "COMPLETED", "{script}");
        assert_eq!(ended.actions(), ["a/one", "b/two", "b/find"], "{script}");
        let [_, execute, probe] = ended.calls.as_slice() else { panic!("{:?}", ended.calls) };
        assert_eq!((probe.operation.as_str(), &probe.key), ("probe", &execute.key));
        assert_eq!(probe.body, execute.body);
        assert_eq!(ended.step("two")["output"]["action"], "find");
        if script == "hang-applied" {
            assert!(
                probe.at - execute.at >= Duration::from_millis(490),
                "before the deadline it proves nothing"
            );
        }
    }
}

#[tokio::test]
async fn probe_removes_the_doubt_of_a_step_without_effect() {
    let world = World::new().await;
    let ended = world.run(PROBED, json!({"two": "hang"})).await;
    assert_eq!(ended.actions(), ["a/one", "b/two", "b/find", "a/undo_one"]);
    assert_eq!(ended.steps(), ["one=COMPENSATED", "two=FAILED"]);
    assert_eq!(ended.view["error"]["code"], "NOT_DONE");
}

#[tokio::test]
async fn refused_probe_leaves_the_outcome_unknown_unless_it_is_stated() {
    let world = World::new().await;
    let ended = world.run(PROBED, json!({"two": "reset", "find": "refuse"})).await;
    assert_eq!(ended.actions(), ["a/one", "b/two", "b/find", "b/undo_two", "a/undo_one"]);
    let ended = world.run(PROBED, json!({"two": "fail", "find": "stated:refused:200"})).await;
    assert_eq!(ended.actions(), ["a/one", "b/two", "b/find", "a/undo_one"]);
    let ended = world.run(PROBED, json!({"two": "fail", "find": "stated:done:200"})).await;
    assert_eq!(ended.status(), "COMPLETED");
}

#[tokio::test]
async fn pivot_is_probed_until_it_answers() {
    let world = World::new().await;
    let yaml = "workflow: probed-pivot
steps:
  - { name: one, run: a/one, compensate: a/undo_one }
  - { name: pay, kind: pivot, run: b/pay, probe: b/find, timeout: 300ms, retry: { max_attempts: 1, initial: 10ms, max: 50ms } }
";
    let ended = world.run(yaml, json!({"pay": "reset", "find": ["busy", "fail", "garbage", "ok"]})).await;
    assert_eq!(ended.status(), "COMPLETED");
    assert_eq!(ended.actions().iter().filter(|action| **action == "b/pay").count(), 1);
    assert_eq!(ended.actions().iter().filter(|action| **action == "b/find").count(), 4);
}

#[tokio::test]
async fn policies_continue_pause_and_park() {
    let world = World::new().await;
    let yaml = |policy: &str, name: &str| {
        format!(
            "workflow: {name}
steps:
  - {{ name: one, run: a/one, compensate: a/undo_one, timeout: 300ms, retry: none, {policy} }}
  - {{ name: two, run: b/two, compensate: none, input: {{ status: \"${{ steps.one.status }}\" }} }}
"
        )
    };
    let ended = world.run(&yaml("on_error: continue", "goes-on"), json!({"one": "refuse"})).await;
    assert_eq!(
        (ended.status(), ended.steps()),
        ("COMPLETED", vec!["one=FAILED".into(), "two=COMPLETED".into()])
    );
    assert_eq!(ended.calls[1].body["status"], "FAILED");
    for (name, policy, script) in
        [("pauses", "on_error: pause", "refuse"), ("parks", "on_unknown: park", "reset")]
    {
        let id = world.start(&yaml(policy, name), json!({"one": script})).await;
        world.until_status(&id, "ERROR").await;
        let body = json!({"reason": "seen by hand", "output": 1});
        assert_eq!(world.verb(&id, "steps/one/complete", body).await.0, 200);
        assert_eq!(world.ended(&id).await.status(), "COMPLETED");
    }
}

#[tokio::test]
async fn compensations_run_in_parallel_have_conditions_and_can_be_passed_over() {
    let world = World::new().await;
    let yaml = "workflow: parallel-undo
compensation: { order: parallel, on_error: continue, retry: none }
steps:
  - { name: one, run: a/one, compensate: a/undo_one }
  - { name: two, run: b/two, compensate: { run: b/undo_two, when: \"steps.two.output.action != 'two'\" } }
  - { name: three, run: c/three, compensate: c/undo_three }
  - { name: four, run: d/four, compensate: none }
";
    let script = json!({"four": "refuse", "undo_three": "slow:400", "undo_one": "refuse"});
    let ended = world.run(yaml, script).await;
    assert_eq!(ended.status(), "ROLLED_BACK");
    let expected = ["one=COMPENSATION_FAILED", "two=COMPLETED", "three=COMPENSATED", "four=FAILED"];
    assert_eq!(ended.steps(), expected);
    let undone = |action: &str| ended.calls.iter().find(|call| call.action == action).unwrap().at;
    assert!(undone("a/undo_one") < undone("c/undo_three") + Duration::from_millis(300));
    assert!(!ended.actions().contains(&"b/undo_two"));
}
