//! Steps with `for_each` over `dev`: forward, and back after the failure of an element or of a later step.

use goconductor_harness::{Dev, DevOptions, Participants};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
const LONG_PATIENCE: Duration = Duration::from_secs(900);

const ORDER: &str = "
workflow: order
output: '${ size(steps.pick.output) }'
steps:
  - { name: visa, run: stock/visa, compensate: stock/unvisa }
  - name: pick
    for_each: { in: '${ input.items }', as: line, max_parallel: 32 }
    run: stock/reserve
    input: { script: '${ line.script }', number: '${ index }' }
    compensate: stock/release
    retry: none
  - { name: ship, run: stock/ship, compensate: stock/unship, retry: none }
";

async fn dev() -> (Dev, Participants, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let participants = Participants::start().await.unwrap();
    dev.api.serve("stock", &participants.url("stock")).await.unwrap();
    dev.api.apply("order", ORDER).await.unwrap();
    (dev, participants, folder)
}

fn items(length: usize, refused: Option<usize>) -> Value {
    let script = |at| if refused == Some(at) { json!({"reserve": "refuse"}) } else { json!({}) };
    (0..length).map(|at| json!({"script": script(at)})).collect()
}

/// Returns how often each operation took effect for the elements of a workflow, by operation and key.
fn effects(participants: &Participants, workflow: &str, action: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let calls = participants.calls_of(workflow).into_iter();
    for call in calls.filter(|call| call.effect == "applied" && call.action == action) {
        *counts.entry(call.key).or_default() += 1;
    }
    counts
}

async fn completes(length: usize, patience: Duration) {
    let (dev, participants, _folder) = dev().await;
    let input = json!({"items": items(length, None)});
    let id = dev.api.start("order", input, None).await.unwrap();
    let ended = dev.api.ended(&id, patience).await.unwrap();
    assert_eq!(ended["status"], "COMPLETED", "{:#}", ended["error"]);
    assert_eq!(ended["output"], length);
    assert_eq!(ended["steps"][1]["output"].as_array().map(Vec::len), Some(length));
    let reserved = effects(&participants, &id, "stock/reserve");
    assert_eq!(reserved.len(), length);
    assert!(reserved.values().all(|count| *count == 1));
    if length > 0 {
        assert!(reserved.contains_key(&format!("{id}/pick[{}]/execute", length - 1)));
    }
    let page = dev.api.get("/workflows").await.unwrap();
    assert_eq!(page["workflows"].as_array().map(Vec::len), Some(1), "{page:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_no_and_one_element_complete() {
    completes(0, PATIENCE).await;
    completes(1, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_elements_complete() {
    completes(1_000, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_elements_complete() {
    completes(10_000, LONG_PATIENCE).await;
}

async fn rolls_back(input: Value, patience: Duration) -> (Value, BTreeMap<String, usize>) {
    let (dev, participants, _folder) = dev().await;
    let id = dev.api.start("order", input, None).await.unwrap();
    let ended = dev.api.ended(&id, patience).await.unwrap();
    assert_eq!(ended["status"], "ROLLED_BACK", "{:#}", ended["error"]);
    let reserved = effects(&participants, &id, "stock/reserve");
    let released = effects(&participants, &id, "stock/release");
    assert!(released.values().all(|count| *count == 1), "{released:?}");
    let undone: BTreeMap<String, usize> =
        reserved.iter().map(|(key, count)| (key.replace("/execute", "/compensate"), *count)).collect();
    assert_eq!(undone, released);
    (ended, released)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_element_rolls_the_others_back() {
    let (ended, released) = rolls_back(json!({"items": items(250, Some(130))}), PATIENCE).await;
    assert!(released.len() >= 100, "{}", released.len());
    let message = ended["steps"][1]["error"]["message"].as_str().unwrap();
    assert!(message.contains("element 130 of step pick"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_after_the_elements_rolls_all_of_them_back() {
    let input = json!({"items": items(1_000, None), "script": {"ship": "refuse"}});
    let (_, released) = rolls_back(input, PATIENCE).await;
    assert_eq!(released.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_dev_leave_no_element_standing() {
    const LENGTH: usize = 150;
    let (mut dev, participants, _folder) = dev().await;
    let inputs = [
        json!({"items": items(LENGTH, None)}),
        json!({"items": items(LENGTH, Some(120))}),
        json!({"items": items(LENGTH, None), "script": {"ship": "refuse"}}),
    ];
    let mut ids = Vec::new();
    for (number, input) in inputs.into_iter().enumerate() {
        ids.push(dev.api.start("order", input, Some(&format!("order-{number}"))).await.unwrap());
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        dev.kill().await.unwrap();
        dev.restart().await.unwrap();
    }
    for id in ids {
        let ended = dev.api.ended(&id, PATIENCE).await.unwrap();
        let reserved = effects(&participants, &id, "stock/reserve");
        let released = effects(&participants, &id, "stock/release");
        assert!(reserved.values().chain(released.values()).all(|count| *count == 1));
        if ended["status"] == "COMPLETED" {
            assert_eq!((reserved.len(), released.len()), (LENGTH, 0), "{id}");
            continue;
        }
        assert_eq!(ended["status"], "ROLLED_BACK", "{:#}", ended["error"]);
        let stands = |key: &&String| !released.contains_key(&key.replace("/execute", "/compensate"));
        assert_eq!(reserved.keys().find(stands), None, "{id}");
    }
}
