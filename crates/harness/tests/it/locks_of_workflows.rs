//! Locks of steps and definitions: forward, in a rollback, over a crash, and many workflows over few keys.

use crate::world::{World, step, steps};
use goconductor_harness::check::History;
use goconductor_harness::{Call, collect};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const TRANSFER: &str = "workflow: transfer
lock: ['account/${ input.from }', 'account/${ input.to }']
steps:
  - { name: debit, run: a/debit, compensate: a/credit }
  - { name: book, run: b/book, compensate: b/unbook, retry: none }
";
const STEPS: &str = "workflow: steps
steps:
  - { name: desk, run: a/desk, compensate: a/leave, lock: { key: 'p/${ input.from }', hold: workflow } }
  - { name: line, run: b/line, compensate: b/undo, retry: none, lock: 'q/${ input.to }' }
  - { name: last, run: c/last, compensate: c/undo, retry: none }
";

async fn start(world: &World, name: &str, (from, to): (&str, &str), script: Value) -> String {
    let input = json!({"from": from, "to": to, "script": script});
    world.dev.api.start(name, input, None).await.unwrap()
}

fn tokens(call: &Call) -> BTreeMap<&str, u64> {
    call.lock_tokens.iter().map(|(key, token)| (key.as_str(), *token)).collect()
}

async fn holders(world: &World) -> BTreeMap<String, String> {
    let list = world.dev.api.get("/locks").await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list["locks"].as_array().unwrap().iter().map(|lock| (text(&lock["key"]), text(&lock["owner"]))).collect()
}

#[tokio::test]
async fn locks_of_a_definition_are_held_until_the_rollback_has_ended() {
    let world = World::new().await;
    world.apply(TRANSFER).await;
    let script = json!({"book": ["slow:300", "ok"], "credit": "slow:300"});
    let first = start(&world, "transfer", ("8", "7"), script).await;
    world.until(&first, "the second step", |view| step(view, "book")["status"] == "IN_PROGRESS").await;
    let owner = format!("workflow/{first}");
    let expected = ["account/7", "account/8"].map(|key| (key.to_owned(), owner.clone()));
    assert_eq!(holders(&world).await, BTreeMap::from(expected));
    let second = start(&world, "transfer", ("7", "9"), json!({})).await;
    let view = world.until(&second, "a wait", |view| !view["waiting_on"][0].is_null()).await;
    let waiting = &view["waiting_on"][0];
    assert_eq!(waiting["kind"], "LOCK", "{view:#}");
    assert!(waiting["detail"].as_str().unwrap().contains(&first), "{waiting}");
    let (status, _) = world.verb(&first, "cancel", json!({})).await;
    assert_eq!(status, 200);
    let (first, second) = (world.ended(&first).await, world.ended(&second).await);
    assert_eq!((first.status(), second.status()), ("ROLLED_BACK", "COMPLETED"));
    let undone = first.calls.iter().find(|call| call.operation == "compensate").unwrap();
    assert_eq!(tokens(undone), tokens(&first.calls[0]), "the rollback has the locks, too");
    let begun = second.calls[0].wall_clock;
    assert!(first.calls.iter().all(|call| call.answered.unwrap() <= begun), "the rollback ended before");
    assert!(tokens(&second.calls[0])["account/7"] > tokens(undone)["account/7"]);
    assert_eq!(holders(&world).await, BTreeMap::new());
}

#[tokio::test]
async fn lock_of_a_step_is_held_for_the_step_or_to_the_end() {
    let world = World::new().await;
    world.apply(STEPS).await;
    let id = start(&world, "steps", ("1", "1"), json!({"line": "slow:400", "last": "slow:400"})).await;
    world.until(&id, "the second step", |view| step(view, "line")["status"] == "IN_PROGRESS").await;
    assert_eq!(holders(&world).await.into_keys().collect::<Vec<_>>(), ["p/1", "q/1"]);
    world.until(&id, "the last step", |view| step(view, "last")["status"] == "IN_PROGRESS").await;
    assert_eq!(holders(&world).await.into_keys().collect::<Vec<_>>(), ["p/1"]);
    let ended = world.ended(&id).await;
    let keys = |at: usize| tokens(&ended.calls[at]).into_keys().collect::<Vec<_>>();
    assert_eq!([keys(0), keys(1), keys(2)], [vec!["p/1"], vec!["p/1", "q/1"], vec!["p/1"]]);
}

#[tokio::test]
async fn wait_that_is_too_long_fails_the_step() {
    let world = World::new().await;
    let yaml = "workflow: limited
steps:
  - { name: one, run: a/one, compensate: a/undo }
  - { name: two, run: b/two, compensate: none, lock: { key: k, wait: 300ms } }
";
    let held = json!({"owner": "a", "ttl": "1m"});
    let (status, _) = world.dev.api.send("POST", "/locks/k/acquire", Some(held)).await.unwrap();
    assert_eq!(status, 200);
    let ended = world.run(yaml, json!({})).await;
    assert_eq!((ended.status(), ended.actions()), ("ROLLED_BACK", vec!["a/one", "a/undo"]));
    assert_eq!(ended.view["error"]["code"], "LOCK_TIMEOUT", "{:#}", ended.view);
    // A workflow that waits gets the lock when a service releases it, and a service cannot acquire its lock.
    let id = world
        .start(
            "workflow: patient\nsteps: [{name: s, run: a/s, compensate: none, lock: k}]\n",
            json!({"s": "slow:500"}),
        )
        .await;
    world.until(&id, "a wait", |view| view["waiting_on"][0]["kind"] == "LOCK").await;
    let released = world.dev.api.send("POST", "/locks/k/release", Some(json!({"owner": "a"}))).await.unwrap();
    assert_eq!(released.0, 200);
    world.until(&id, "the step", |view| steps(view) == ["s=IN_PROGRESS"]).await;
    let own = json!({"owner": format!("workflow/{id}/0"), "ttl": "1m"});
    let (status, refused) = world.dev.api.send("POST", "/locks/k/acquire", Some(own)).await.unwrap();
    assert_eq!((status, &refused["code"]), (422, &json!("GC2106")));
    assert_eq!(world.ended(&id).await.status(), "COMPLETED");
}

#[tokio::test]
async fn holder_whose_lock_was_broken_has_a_lower_token() {
    let world = World::new().await;
    world.apply(TRANSFER).await;
    let first = start(&world, "transfer", ("1", "1"), json!({"debit": "slow:600"})).await;
    world.until(&first, "the first step", |view| step(view, "debit")["status"] == "IN_PROGRESS").await;
    let second = start(&world, "transfer", ("1", "1"), json!({})).await;
    let broken = json!({"owner": format!("workflow/{first}")});
    let (status, _) = world.dev.api.send("POST", "/locks/account%2F1/release", Some(broken)).await.unwrap();
    assert_eq!(status, 200);
    let second = world.ended(&second).await;
    let first = world.ended(&first).await;
    let late = first.calls.last().unwrap();
    assert!(late.wall_clock > second.calls[0].wall_clock, "the former holder continued");
    let (stale, newest) = (tokens(late)["account/1"], tokens(&second.calls[0])["account/1"]);
    assert!(stale < newest, "a participant refuses {stale}, because it has seen {newest}");
    assert_eq!(holders(&world).await, BTreeMap::new());
}

#[tokio::test]
async fn locks_survive_a_crash() {
    let mut world = World::new().await;
    // Without retries, a step that was in flight at a crash would be rolled back.
    world.apply(&TRANSFER.replace(", retry: none", "")).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(start(&world, "transfer", ("1", "2"), json!({"debit": "slow:100"})).await);
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        world.dev.kill().await.unwrap();
        world.dev.restart().await.unwrap();
    }
    for id in &ids {
        let view = world.dev.api.ended(id, Duration::from_secs(60)).await.unwrap();
        assert_eq!(view["status"], "COMPLETED", "{view:#}");
    }
    assert_eq!(holders(&world).await, BTreeMap::new());
}

/// A linear congruential generator: the same workflows in each run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// For each key: when a workflow used it, from its first request to its last answer, and its token.
fn uses(calls: &[Call]) -> BTreeMap<&str, Vec<(i64, i64, &str, u64)>> {
    let mut spans: BTreeMap<(&str, &str), (i64, i64, u64)> = BTreeMap::new();
    for call in calls {
        for (key, token) in &call.lock_tokens {
            let end = call.answered.unwrap();
            let span = spans.entry((key, &call.workflow)).or_insert((call.wall_clock, end, *token));
            (span.0, span.1) = (span.0.min(call.wall_clock), span.1.max(end));
            assert_eq!(span.2, *token, "a workflow has one token of a key");
        }
    }
    let mut all: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for ((key, workflow), (from, to, token)) in spans {
        all.entry(key).or_default().push((from, to, workflow, token));
    }
    all
}

/// The time that a request of a lock may be overtaken by others. A request is written before it is queued, and processes
/// queue requests side by side.
const OVERTAKING: Duration = Duration::from_secs(10);

/// Checks that no request of a key was granted before one that was made long before it.
fn check_that_no_request_starves(histories: &[History]) {
    let mut waits: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    for history in histories {
        let mut requests: BTreeMap<Option<&str>, (i64, &Value)> = BTreeMap::new();
        for event in &history.events {
            let step = event.step.as_deref();
            match event.kind.as_str() {
                "LOCKS_REQUESTED" => drop(requests.insert(step, (event.time.0, &event.detail["locks"]))),
                "LOCKS_ACQUIRED" => {
                    let (requested, locks) = requests[&step];
                    // The queue of the first key is joined first. It decides, because the other keys follow.
                    let key = locks[0]["key"].as_str().unwrap().to_owned();
                    waits.entry(key).or_default().push((requested, event.time.0));
                }
                _ => {}
            }
        }
    }
    assert!(waits.len() >= 20, "{:?}", waits.keys());
    let late = i64::try_from(OVERTAKING.as_micros()).unwrap();
    for (key, mut waits) in waits {
        waits.sort_unstable();
        for (at, (requested, acquired)) in waits.iter().enumerate() {
            let overtaking =
                waits[at..].iter().find(|(other, first)| *other > requested + late && first < acquired);
            assert_eq!(overtaking, None, "{key}: a request of {requested} was granted at {acquired}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_workflows_over_twenty_keys_neither_deadlock_nor_overlap() {
    const WORKFLOWS: u64 = 1000;
    let world = World::new().await;
    world.apply(TRANSFER).await;
    world.apply(STEPS).await;
    let mut noise = Noise(7);
    let mut ids = Vec::new();
    for nth in 0..WORKFLOWS {
        let (from, to) = (noise.below(10).to_string(), noise.below(10).to_string());
        let turn = if noise.below(5) == 0 { "refuse" } else { "slow:2" };
        let script =
            json!({"book": turn, "last": turn, "debit": "slow:2", "desk": "slow:2", "line": "slow:2"});
        let name = if nth % 2 == 0 { "transfer" } else { "steps" };
        ids.push(start(&world, name, (&from, &to), script).await);
    }
    for id in &ids {
        world.dev.api.ended(id, Duration::from_secs(240)).await.unwrap();
    }
    check_that_no_request_starves(&collect(&world.dev.api).await.unwrap());
    let calls = world.participants.calls();
    for (key, mut spans) in uses(&calls) {
        spans.sort_unstable();
        for pair in spans.windows(2) {
            let [(_, to, first, low), (from, _, second, high)] = pair else { continue };
            assert!(to <= from, "{first} and {second} used {key} at the same time");
            assert!(low < high, "{second} used {key} with token {high} after {low}");
        }
    }
    assert_eq!(holders(&world).await, BTreeMap::new());
}
