//! Migrations of running workflows to another version of their definition.

use crate::world::{World, step, steps};
use goconductor_harness::goconductor;
use serde_json::{Value, json};

const FIRST: &str = "workflow: moving
steps:
  - { name: one, run: a/one, compensate: a/undo_one }
  - { name: two, run: b/two, compensate: b/undo_two }
  - { name: three, run: c/three, compensate: c/undo_three }
";
/// The third step is another one, and a fourth follows.
const SECOND: &str = "workflow: moving
steps:
  - { name: one, title: The first, run: a/one, compensate: a/undo_one }
  - { name: two, run: b/two, compensate: b/undo_two }
  - { name: other, run: d/other, compensate: d/undo_other }
  - { name: last, run: a/last, compensate: a/undo_last }
";

/// Starts a workflow and pauses it after its second step.
async fn paused(world: &World, script: Value) -> String {
    let id = world.start(FIRST, script).await;
    world.until(&id, "two", |view| step(view, "two")["status"] == "IN_PROGRESS").await;
    assert_eq!(world.verb(&id, "pause", json!({})).await.0, 200);
    world.until(&id, "two", |view| step(view, "two")["status"] == "COMPLETED").await;
    id
}

#[tokio::test]
async fn paused_workflow_goes_on_by_the_new_version() {
    let world = World::new().await;
    let id = paused(&world, json!({"two": "slow:600", "last": "refuse"})).await;
    world.apply(SECOND).await;
    let check = json!({"to_version": 2, "dry_run": true});
    let (status, view) = world.verb(&id, "migrate", check).await;
    assert_eq!((status, &view["added"]), (200, &json!(["other", "last"])), "{view:#}");
    assert_eq!((&view["removed"], &view["changed"]), (&json!(["three"]), &json!([])), "{view:#}");
    assert_eq!(world.view(&id).await["version"], 1, "a dry run changes nothing");
    let (status, view) = world.verb(&id, "migrate", json!({"to_version": 2, "reason": "new partner"})).await;
    assert_eq!((status, &view["from_version"], &view["to_version"]), (200, &json!(1), &json!(2)), "{view:#}");
    let view = world.view(&id).await;
    assert_eq!((&view["version"], &view["status"]), (&json!(2), &json!("PAUSED")));
    assert_eq!(steps(&view), ["one=COMPLETED", "two=COMPLETED", "other=PENDING", "last=PENDING"]);
    let listed = world.dev.api.get("/workflows?filter=version%20%3D%202").await.unwrap();
    assert_eq!(listed["workflows"][0]["id"], json!(id), "{listed:#}");
    assert_eq!(world.verb(&id, "resume", json!({})).await.0, 200);
    let ended = world.ended(&id).await;
    assert_eq!(ended.status(), "ROLLED_BACK");
    assert_eq!(
        ended.actions(),
        ["a/one", "b/two", "d/other", "a/last", "d/undo_other", "b/undo_two", "a/undo_one"]
    );
}

#[tokio::test]
async fn refused_migration_names_each_step_that_differs() {
    let world = World::new().await;
    let id = paused(&world, json!({"two": "slow:600"})).await;
    let other_undo = FIRST.replace("a/undo_one", "a/undo_all");
    let moved = "workflow: moving
steps:
  - { name: zero, run: a/zero, compensate: a/undo_zero }
  - { name: one, run: a/one, compensate: a/undo_one }
  - { name: two, run: b/two, compensate: b/undo_two }
";
    let gone = "workflow: moving\nsteps:\n  - { name: one, run: a/one, compensate: a/undo_one }\n";
    for (version, yaml, expected) in [
        (2, other_undo.as_str(), "step `one` is COMPLETED and differs in compensate"),
        (3, moved, "step `one` is COMPLETED and moved from position 1 to position 2"),
        (4, gone, "step `two` is COMPLETED and does not exist in version 4"),
    ] {
        world.apply(yaml).await;
        let (status, body) = world.verb(&id, "migrate", json!({"to_version": version})).await;
        assert_eq!((status, &body["code"]), (409, &json!("GC2135")), "{body:#}");
        assert!(body["detail"].as_str().unwrap().contains(expected), "{body:#}");
    }
    let (status, body) = world.verb(&id, "migrate", json!({"to_version": 9})).await;
    assert_eq!((status, &body["code"]), (404, &json!("GC2011")), "{body:#}");
    assert_eq!(world.verb(&id, "resume", json!({})).await.0, 200);
    assert_eq!(world.ended(&id).await.status(), "COMPLETED");
    let (status, body) = world.verb(&id, "migrate", json!({"to_version": 2})).await;
    assert_eq!((status, &body["code"]), (409, &json!("GC2015")), "{body:#}");
}

#[tokio::test]
async fn command_line_checks_and_migrates() {
    let world = World::new().await;
    let id = paused(&world, json!({"two": "slow:600"})).await;
    world.apply(SECOND).await;
    for (extra, text) in [(&["--dry-run"][..], "can follow version 2"), (&[][..], "follows version 2")] {
        let output = goconductor()
            .unwrap()
            .args(["workflow", "migrate", &id, "--to-version", "2"])
            .args(extra)
            .args(["--server", world.dev.api.base()])
            .output()
            .await
            .unwrap();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(shown.contains(text), "{shown}");
    }
    assert_eq!(world.verb(&id, "resume", json!({})).await.0, 200);
    assert_eq!(world.ended(&id).await.status(), "COMPLETED");
}
