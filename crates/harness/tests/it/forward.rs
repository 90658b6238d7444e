//! Forward execution: order, mappings, conditions, retries, limits.

use crate::world::World;
use serde_json::json;
use std::time::Duration;

const THREE: &str = "workflow: three
steps:
  - { name: one, run: a/one, compensate: a/undo_one }
  - { name: two, run: b/two, compensate: b/undo_two, retry: { initial: 20ms, max_attempts: 4 } }
  - { name: three, run: c/three, compensate: c/undo_three }
";

#[tokio::test]
async fn steps_run_in_list_order_with_every_header() {
    let world = World::new().await;
    let ended = world.run(THREE, json!({})).await;
    assert_eq!(ended.status(), "COMPLETED");
    assert_eq!(ended.actions(), ["a/one", "b/two", "c/three"]);
    let call = &ended.calls[0];
    assert_eq!(call.key, format!("{}/one/execute", ended.id));
    assert_eq!((call.operation.as_str(), call.attempt), ("execute", 1));
    assert!(call.deadline.ends_with('Z') && call.traceparent.starts_with("00-"), "{call:?}");
    let step = ended.step("one");
    assert_eq!((step["attempts"].as_u64(), step["compensation_attempts"].as_u64()), (Some(1), Some(0)));
    assert!(step["queued_at"].is_string() && step["started_at"].is_string() && step["ended_at"].is_string());
}

#[tokio::test]
async fn retryable_failures_are_retried_with_the_same_key() {
    let world = World::new().await;
    for script in ["busy", "fail", "garbage", "redirect", "reset"] {
        let ended = world.run(THREE, json!({"two": [script, script, "ok"]})).await;
        assert_eq!(ended.status(), "COMPLETED", "{script}");
        let tries: Vec<_> = ended.calls.iter().filter(|call| call.action == "b/two").collect();
        assert_eq!(tries.iter().map(|call| call.attempt).collect::<Vec<_>>(), [1, 2, 3], "{script}");
        assert!(tries.iter().all(|call| call.key == tries[0].key));
        assert_eq!(ended.step("two")["attempts"], 3);
    }
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let world = World::new().await;
    let ended = world.run(THREE, json!({"two": ["retry-after:1", "ok"]})).await;
    let tries: Vec<_> = ended.calls.iter().filter(|call| call.action == "b/two").collect();
    let waited = tries[1].at - tries[0].at;
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(3), "{waited:?}");
}

#[tokio::test]
async fn participant_can_state_the_outcome_and_respond_with_text() {
    let world = World::new().await;
    let texts = [("text:done", json!("done")), ("text:42", json!("42")), ("stated:done:500", json!({}))];
    for (script, output) in texts {
        let ended = world.run(THREE, json!({"two": script})).await;
        assert_eq!(ended.status(), "COMPLETED", "{script}");
        let found = &ended.step("two")["output"];
        assert!(*found == output || (output.is_object() && found["action"] == "two"), "{script}: {found}");
    }
    let retried = world.run(THREE, json!({"two": ["stated:retry:409", "ok"]})).await;
    assert_eq!((retried.status(), retried.step("two")["attempts"].as_u64()), ("COMPLETED", Some(2)));
    let refused = world.run(THREE, json!({"two": "stated:refused:500"})).await;
    assert_eq!(refused.steps(), ["one=COMPENSATED", "two=FAILED", "three=PENDING"]);
}

#[tokio::test]
async fn lack_of_files_is_no_attempt() {
    // The files of a process that is not dumpable are shown to root only.
    let world = World::with_settings(&["process.core_dumps=true"]).await;
    let pid = world.dev.pid().unwrap();
    let limit = |files: String| async move {
        let mut command = tokio::process::Command::new("prlimit");
        command.args([format!("--pid={pid}"), format!("--nofile={files}:")]);
        assert!(command.status().await.unwrap().success());
    };
    let once = "workflow: once
steps: [{ name: one, run: a/one, compensate: none, retry: none }]
";
    world.apply(once).await;
    // The connection of this test is open, and none to a participant is. The limit is a bound of the numbers of files,
    // and the lowest free number is used next.
    let is_open = |file: &u32| std::path::Path::new(&format!("/proc/{pid}/fd/{file}")).exists();
    let open = (0..).find(|file| !is_open(file)).unwrap();
    let before = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let before = before.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
    limit(open.to_string()).await;
    let id = world.start(once, json!({})).await;
    let logged = || std::fs::read_to_string(world.dev.log()).unwrap().contains("for lack of a resource");
    for _ in 0..1000 {
        if logged() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(logged(), "the shortage is in the log");
    let view = world.view(&id).await;
    assert_eq!(view["steps"][0]["attempts"], 0, "{view:#}");
    limit(before.split_whitespace().nth(3).unwrap().to_owned()).await;
    let ended = world.ended(&id).await;
    assert_eq!((ended.status(), ended.step("one")["attempts"].as_u64()), ("COMPLETED", Some(1)));
}

#[tokio::test]
async fn parallel_branches_join_and_keep_types() {
    let world = World::new().await;
    let yaml = "workflow: diamond
steps:
  - { name: first, run: a/first, compensate: none }
  - name: both
    parallel:
      left: [{ name: left, run: b/left, compensate: none, input: { n: '${ steps.first.output.attempt + 1 }', script: '${ input.script }' } }]
      right: [{ name: right, run: c/right, compensate: none }]
  - { name: last, run: d/last, compensate: none, input: { text: 'left ${ steps.left.output.action }!', list: ['${ input.script }', 2.5, null] } }
output: { sum: '${ steps.left.output.attempt + steps.right.output.attempt }' }
";
    let ended = world.run(yaml, json!({"left": "slow:100", "right": "slow:100"})).await;
    assert_eq!(ended.status(), "COMPLETED");
    assert_eq!(ended.view["output"], json!({"sum": 2}));
    let last = ended.calls.last().unwrap();
    assert_eq!(
        last.body,
        json!({"text": "left left!", "list": [{"left": "slow:100", "right": "slow:100"}, 2.5, null]})
    );
    let at = |action: &str| ended.calls.iter().find(|call| call.action == action).unwrap().at;
    assert!(at("b/left").abs_diff(at("c/right")) < Duration::from_millis(90), "the branches run in parallel");
    assert_eq!(ended.calls[1].body["n"].as_i64().or(ended.calls[2].body["n"].as_i64()), Some(2));
}

#[tokio::test]
async fn conditions_skip_steps_and_edges_decide_their_successors() {
    let world = World::new().await;
    let yaml = "workflow: skips
steps:
  - { name: one, run: a/one, compensate: none }
  - { name: no, run: b/no, compensate: none, when: 'has(input.never)' }
  - { name: follows, run: b/follows, compensate: none }
  - { name: named, run: b/named, compensate: none, depends_on: [no] }
  - { name: settled, run: c/settled, compensate: none, depends_on: [no], join: settled }
  - { name: unmatched, switch: [{ when: 'false', steps: [{ name: x, run: b/x, compensate: none }, { name: y, run: b/y, compensate: none }] }] }
  - { name: onward, run: c/onward, compensate: none }
  - name: block
    depends_on: [named]
    parallel: { only: [{ name: first, run: b/first, compensate: none }, { name: second, run: b/second, compensate: none }], other: [{ name: third, run: b/third, compensate: none }] }
  - name: choice
    depends_on: [one]
    switch:
      - { when: 'steps.one.output.attempt > 5', steps: [{ name: many, run: b/many, compensate: none }] }
      - { when: 'steps.one.output.attempt == 1', steps: [{ name: single, run: b/single, compensate: none }] }
      - { steps: [{ name: other, run: b/other, compensate: none }] }
  - { name: after, run: d/after, compensate: none }
";
    let ended = world.run(yaml, json!({})).await;
    assert_eq!(
        ended.steps(),
        [
            "one=COMPLETED",
            "no=SKIPPED",
            "follows=COMPLETED",
            "named=SKIPPED",
            "settled=COMPLETED",
            "x=SKIPPED",
            "y=SKIPPED",
            "onward=COMPLETED",
            "first=SKIPPED",
            "second=SKIPPED",
            "third=SKIPPED",
            "many=SKIPPED",
            "single=COMPLETED",
            "other=SKIPPED",
            "after=COMPLETED"
        ]
    );
}

#[tokio::test]
async fn fifty_starts_with_one_key_start_one_workflow() {
    let world = World::new().await;
    world.apply(THREE).await;
    let starts = (0..50).map(|_| world.dev.api.start("three", json!({}), Some("the-key")));
    let ids: std::collections::BTreeSet<_> =
        futures::future::join_all(starts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(ids.len(), 1);
    let other = json!({"definition": "three", "input": {"x": 1}, "idempotency_key": "the-key"});
    assert_eq!(world.dev.api.send("POST", "/workflows", Some(other)).await.unwrap().0, 409);
}

#[tokio::test]
async fn service_without_workers_does_not_delay_others() {
    let world = World::new().await;
    let waits = "workflow: waits
steps: [{ name: one, run: absent/one, compensate: absent/undo }]
";
    world.apply(waits).await;
    let mut ids = Vec::new();
    for _ in 0..200 {
        ids.push(world.dev.api.start("waits", json!({}), None).await.unwrap());
    }
    let view = world.view(&ids[0]).await;
    assert_eq!(view["status"], "QUEUED");
    assert_eq!(view["waiting_on"][0]["kind"], "NO_WORKER", "{view:#}");
    assert_eq!(world.run(THREE, json!({})).await.status(), "COMPLETED");
    // Cancel one of them while it waits. Nothing was sent, so nothing is compensated.
    assert_eq!(world.verb(&ids[1], "cancel", json!({})).await.0, 200);
    assert_eq!(world.ended(&ids[1]).await.status(), "ROLLED_BACK");
    world.dev.api.serve("absent", &world.participants.url("a")).await.unwrap();
    for (number, id) in ids.iter().enumerate().filter(|(number, _)| *number != 1) {
        let ended = world.ended(id).await;
        assert_eq!(ended.status(), "COMPLETED", "{number}");
        assert_eq!(ended.calls.len(), 1);
        assert_eq!(ended.calls[0].attempt, 1);
    }
}

#[tokio::test]
async fn running_workflow_keeps_its_version() {
    let world = World::new().await;
    let version = |last: &str| {
        format!(
            "workflow: versions
steps:
  - {{ name: one, run: a/one, compensate: none }}
  - {{ name: two, run: b/{last}, compensate: none }}
"
        )
    };
    let id = world.start(&version("old"), json!({"one": "slow:400"})).await;
    world.apply(&version("new")).await;
    let ended = world.ended(&id).await;
    assert_eq!(ended.actions(), ["a/one", "b/old"]);
    assert_eq!(ended.view["version"], 1);
    assert_eq!(world.run(&version("new"), json!({})).await.actions(), ["a/one", "b/new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrency_of_a_service_stays_within_its_limit() {
    let world = World::new().await;
    let slow = "workflow: slow\nsteps: [{name: s, run: a/slow, compensate: none}]";
    let limit = |most: u32| json!({"http": {"url": world.participants.url("a")}, "max_in_flight": most});
    // Measure the concurrency of six calls of 600 ms each.
    for (most, at_least) in [(1, 1), (6, 3), (2, 2)] {
        let (status, _) = world.dev.api.send("PUT", "/services/a", Some(limit(most))).await.unwrap();
        assert_eq!(status, 200);
        // The executor applies the limit within a second.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let mut ids = Vec::new();
        for _ in 0..6 {
            ids.push(world.start(slow, json!({"slow": "slow:600"})).await);
        }
        let mut begun = Vec::new();
        for id in &ids {
            begun.extend(world.ended(id).await.calls.iter().map(|call| call.at.as_millis()));
        }
        // A little less than the duration of a call, because the next call begins as soon as one has ended.
        let under_way = |at: &u128| begun.iter().filter(|other| (*at..*at + 550).contains(other)).count();
        let together = begun.iter().map(under_way).max().unwrap();
        assert!((at_least..=most as usize).contains(&together), "at most {most}: {together}, {begun:?}");
    }
}
