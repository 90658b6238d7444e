//! Steps with `for_each` over `dev`: forward, and back after the failure of an element or of a later step.

use goconductor_harness::check::{Clocks, Run, Start, UtcTime, check, digest};
use goconductor_harness::{Dev, DevOptions, Participants, collect, doctor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::time::{Duration, UNIX_EPOCH};

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

async fn completes(length: usize, timeout: Duration) {
    let (dev, participants, _folder) = dev().await;
    let input = json!({"items": items(length, None)});
    let id = dev.api.start("order", input, None).await.unwrap();
    let ended = dev.api.ended(&id, timeout).await.unwrap();
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

async fn rolls_back(input: Value, timeout: Duration) -> (Value, BTreeMap<String, usize>) {
    let (dev, participants, _folder) = dev().await;
    let id = dev.api.start("order", input, None).await.unwrap();
    let ended = dev.api.ended(&id, timeout).await.unwrap();
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

/// The number of elements, unless `GOCONDUCTOR_TEST_ELEMENTS` overrides it.
const ELEMENTS: usize = 1_000;
/// The memory that a long list may take besides the memory of a short one. It suffices for debug builds of the server, and is
/// far below the memory of all elements at once.
const MAX_GROWTH_KIB: u64 = 96 << 10;
/// Maximum bytes of a row that each transition of a workflow reads or writes.
const MAX_ROW_BYTES: i64 = 64 << 10;

/// Elements whose answers are lost, are late, or arrive in another order than the requests.
fn shuffled(length: usize) -> Value {
    let script = |at: usize| match at % 7 {
        0 => json!({"reserve": ["reset", "ok"]}),
        1 => json!({"reserve": ["busy", "ok"]}),
        2 => json!({"reserve": ["fail", "ok"]}),
        _ => json!({"reserve": format!("slow:{}", at * 7919 % 40)}),
    };
    (0..length).map(|at| json!({"script": script(at)})).collect()
}

/// The definition with retries of elements.
fn retrying() -> String {
    let retry = "compensate: stock/release\n    retry: { max_attempts: 5, initial: 10ms, max: 100ms }";
    ORDER.replace("compensate: stock/release\n    retry: none", retry)
}

/// Returns the number of events of a type for a step.
async fn events(dev: &Dev, id: &str, kind: &str, step: &str) -> usize {
    let page = dev.api.get(&format!("/workflows/{id}/events?page_size=1000")).await.unwrap();
    let events = page["events"].as_array().unwrap().iter();
    events.filter(|event| event["type"] == kind && event["step"] == step).count()
}

/// Returns the size of the largest row of workflows and of events.
async fn largest_row(folder: &tempfile::TempDir) -> i64 {
    let file = folder.path().join("data/goconductor.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let sql = "SELECT max(bytes) FROM (SELECT max(length(CAST(state AS BLOB))) AS bytes FROM workflows
         UNION ALL SELECT max(length(CAST(body AS BLOB))) FROM events)";
    sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap()
}

/// One join follows all elements, and memory and rows do not grow with the length of the list. The second workflow is
/// refused after its elements, so each of them is undone once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_and_shuffled_answers_join_once_with_flat_memory_and_small_rows() {
    let length = std::env::var("GOCONDUCTOR_TEST_ELEMENTS").ok().and_then(|text| text.parse().ok());
    let length: usize = length.unwrap_or(ELEMENTS);
    let (dev, participants, folder) = dev().await;
    dev.api.apply("order", &retrying()).await.unwrap();
    let short = dev.api.start("order", json!({"items": shuffled(100)}), None).await.unwrap();
    assert_eq!(dev.api.ended(&short, PATIENCE).await.unwrap()["status"], "COMPLETED");
    let before = dev.peak_kib().unwrap();

    let long = json!({"items": shuffled(length)});
    let refused = json!({"items": shuffled(length), "script": {"ship": "refuse"}});
    for (input, status) in [(long, "COMPLETED"), (refused, "ROLLED_BACK")] {
        let id = dev.api.start("order", input, None).await.unwrap();
        let ended = dev.api.ended(&id, LONG_PATIENCE).await.unwrap();
        assert_eq!(ended["status"], status, "{:#}", ended["error"]);
        let reserved = effects(&participants, &id, "stock/reserve");
        let released = effects(&participants, &id, "stock/release");
        assert_eq!(reserved.len(), length);
        assert!(reserved.contains_key(&format!("{id}/pick[{}]/execute", length - 1)));
        assert!(reserved.values().chain(released.values()).all(|count| *count == 1));
        if status == "COMPLETED" {
            assert_eq!(ended["output"], length);
            assert_eq!(ended["steps"][1]["output"].as_array().map(Vec::len), Some(length));
        }
        assert_eq!(released.len(), if status == "ROLLED_BACK" { length } else { 0 });
        assert_eq!(participants.calls_of(&id).iter().filter(|call| call.action == "stock/ship").count(), 1);
        assert_eq!(events(&dev, &id, "STEP_COMPLETED", "pick").await, 1, "one join");
        assert_eq!(events(&dev, &id, "STEP_QUEUED", "ship").await, 1, "one join");
    }
    let grown = dev.peak_kib().unwrap().saturating_sub(before);
    eprintln!("{length} elements: the peak of memory grew from {before} KiB by {grown} KiB");
    assert!(grown < MAX_GROWTH_KIB, "{length} elements took {grown} KiB");
    let bytes = largest_row(&folder).await;
    assert!(bytes <= MAX_ROW_BYTES, "a row of workflows or events has {bytes} bytes");
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

/// The workflows that run the elements are checked like every other one, and so is the rollback of a completed workflow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarantees_hold_for_elements_and_for_rollbacks_of_completed_workflows() {
    const LENGTH: usize = 120;
    let (mut dev, participants, folder) = dev().await;
    dev.api.apply("order", &retrying()).await.unwrap();
    let mut starts = Vec::new();
    for input in [
        json!({"items": shuffled(LENGTH)}),
        json!({"items": shuffled(LENGTH)}),
        json!({"items": items(LENGTH, Some(70))}),
        json!({"items": shuffled(LENGTH), "script": {"ship": "refuse"}}),
    ] {
        let at = UtcTime(i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap());
        let id = dev.api.start("order", input.clone(), None).await.unwrap();
        let (definition, input) = ("order".to_owned(), digest(&input));
        starts.push(Start { key: None, definition, input, acknowledged: Some(id), at });
    }
    dev.kill().await.unwrap();
    dev.restart().await.unwrap();
    let ids: Vec<String> = starts.iter().filter_map(|start| start.acknowledged.clone()).collect();
    let mut statuses = Vec::new();
    for id in &ids {
        statuses.push(dev.api.ended(id, PATIENCE).await.unwrap()["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(statuses, ["COMPLETED", "COMPLETED", "ROLLED_BACK", "ROLLED_BACK"]);
    let path = format!("/workflows/{}/compensate", ids[0]);
    let (status, body) = dev.api.send("POST", &path, Some(json!({"reason": "storm"}))).await.unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(dev.api.ended(&ids[0], PATIENCE).await.unwrap()["status"], "ROLLED_BACK");
    let store = folder.path().join("data");
    let run = Run {
        starts,
        workflows: collect(&dev.api).await.unwrap(),
        effects: participants.effects(),
        doctor: Some(doctor([OsStr::new("--data-dir"), store.as_os_str()]).await.unwrap()),
        ..Run::default()
    };
    // Each list has a branch and two leaves. The leaf after the refused element does not start.
    let of_elements = run.workflows.iter().filter(|workflow| workflow.view.runs_elements()).count();
    assert!(of_elements >= 4 * 3 - 1, "{of_elements} workflows ran elements");
    let findings = check(&run, Clocks::default());
    assert!(findings.is_empty(), "{findings:#?}");
}
