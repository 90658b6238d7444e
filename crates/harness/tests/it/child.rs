//! Child workflows, and the rollback of completed workflows, over `dev` and over processes that are killed.

use crate::cluster::{ONE, cluster_with, possible};
use goconductor_harness::{Api, Broker, Dev, DevOptions, ElectionServers, Participants, goconductor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// The definition of the children.
const TRIP: &str = "
workflow: trip
steps:
  - { name: flight, run: stock/reserve, compensate: stock/release }
  - { name: hotel, run: payments/charge, compensate: payments/refund }
";

/// A parent whose last step can be refused, after its child has completed.
const HOLIDAY: &str = "
workflow: holiday
output: { trip: '${ steps.trip.status }' }
steps:
  - { name: visa, run: stock/visa, compensate: stock/unvisa }
  - { name: trip, child: trip }
  - { name: ship, run: stock/ship, compensate: stock/unship }
";

async fn serve(api: &Api) -> Participants {
    let participants = Participants::start().await.unwrap();
    for service in ["stock", "payments"] {
        api.serve(service, &participants.url(service)).await.unwrap();
    }
    api.apply("trip", TRIP).await.unwrap();
    api.apply("holiday", HOLIDAY).await.unwrap();
    participants
}

async fn dev() -> (Dev, Participants, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let participants = serve(&dev.api).await;
    (dev, participants, folder)
}

async fn view(api: &Api, id: &str) -> Value {
    api.get(&format!("/workflows/{id}")).await.unwrap()
}

/// Returns the view of the child of the step `trip`.
async fn child_of(api: &Api, parent: &Value) -> Value {
    let children = parent["children"].as_array().unwrap_or_else(|| panic!("no child: {parent:#}"));
    assert_eq!((children.len(), &children[0]["step"]), (1, &json!("trip")), "{parent:#}");
    view(api, children[0]["id"].as_str().unwrap()).await
}

/// Waits until a workflow has a status.
async fn reaches(api: &Api, id: &str, status: &str) -> Value {
    let wait = async {
        loop {
            let view = view(api, id).await;
            if view["status"] == status {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{id} is not {status}"))
}

/// Returns how often each operation took effect for a workflow.
fn effects(participants: &Participants, workflow: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in participants.calls_of(workflow).into_iter().filter(|call| call.effect == "applied") {
        *counts.entry(call.action).or_default() += 1;
    }
    counts
}

fn once(actions: &[&str]) -> BTreeMap<String, usize> {
    actions.iter().map(|action| ((*action).to_owned(), 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parent_completes_with_its_child_and_both_roll_back_later() {
    let (dev, participants, _folder) = dev().await;
    let id = dev.api.start("holiday", json!({}), None).await.unwrap();
    let parent = dev.api.ended(&id, PATIENCE).await.unwrap();
    assert_eq!(parent["status"], "COMPLETED", "{parent:#}");
    let child = child_of(&dev.api, &parent).await;
    assert_eq!((&child["status"], &child["parent"]["id"]), (&json!("COMPLETED"), &json!(id)), "{child:#}");
    assert_eq!(child["parent"]["step"], "trip");
    assert_eq!(child["idempotency_key"], json!(format!("{id}/trip/execute")));
    let child = child["id"].as_str().unwrap();
    assert_eq!(effects(&participants, child), once(&["stock/reserve", "payments/charge"]));

    let (status, body) = dev
        .api
        .send("POST", &format!("/workflows/{id}/compensate"), Some(json!({"reason": "storm"})))
        .await
        .unwrap();
    assert_eq!((status, &body["cause"]), (200, &json!("OPERATOR")), "{body:#}");
    let parent = reaches(&dev.api, &id, "ROLLED_BACK").await;
    assert_eq!(parent["steps"][1]["status"], "COMPENSATED", "{parent:#}");
    let undone = view(&dev.api, child).await;
    assert_eq!((&undone["status"], &undone["cause"]), (&json!("ROLLED_BACK"), &json!("PARENT")));
    let all = ["stock/reserve", "payments/charge", "stock/release", "payments/refund"];
    assert_eq!(effects(&participants, child), once(&all));
    let (status, body) = dev.api.send("POST", &format!("/workflows/{id}/compensate"), None).await.unwrap();
    assert_eq!((status, &body["code"]), (409, &json!("GC2015")), "{body:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completed_child_is_not_compensated_while_its_parent_goes_on() {
    let (dev, _participants, _folder) = dev().await;
    let id = dev.api.start("holiday", json!({"script": {"ship": "hang"}}), None).await.unwrap();
    let find = async {
        loop {
            let parent = view(&dev.api, &id).await;
            if parent["children"].as_array().is_some_and(|children| !children.is_empty()) {
                return child_of(&dev.api, &parent).await["id"].as_str().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let child = tokio::time::timeout(PATIENCE, find).await.unwrap();
    reaches(&dev.api, &child, "COMPLETED").await;
    let (status, body) = dev.api.send("POST", &format!("/workflows/{child}/compensate"), None).await.unwrap();
    assert_eq!((status, &body["code"]), (409, &json!("GC2103")), "{body:#}");
    assert!(body["detail"].as_str().unwrap().contains(&id), "{body:#}");
    assert_eq!(view(&dev.api, &child).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_after_a_child_undoes_the_child_first() {
    let (dev, participants, _folder) = dev().await;
    let id = dev.api.start("holiday", json!({"script": {"ship": "refuse"}}), None).await.unwrap();
    let parent = dev.api.ended(&id, PATIENCE).await.unwrap();
    assert_eq!((&parent["status"], &parent["cause"]), (&json!("ROLLED_BACK"), &json!("STEP_FAILED")));
    let child = child_of(&dev.api, &parent).await;
    assert_eq!((&child["status"], &child["cause"]), (&json!("ROLLED_BACK"), &json!("PARENT")));
    let calls = participants.calls();
    let of = |action: &str| calls.iter().position(|call| call.action == action);
    assert!(of("payments/refund") < of("stock/release") && of("stock/release") < of("stock/unvisa"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_rolls_back_fails_its_step() {
    let (dev, participants, _folder) = dev().await;
    let id = dev.api.start("holiday", json!({"script": {"charge": "refuse"}}), None).await.unwrap();
    let parent = dev.api.ended(&id, PATIENCE).await.unwrap();
    assert_eq!(parent["status"], "ROLLED_BACK", "{parent:#}");
    assert_eq!(parent["error"]["code"], "CHILD_ROLLED_BACK", "{parent:#}");
    assert_eq!(parent["steps"][1]["status"], "FAILED", "{parent:#}");
    assert_eq!(effects(&participants, &id), once(&["stock/visa", "stock/unvisa"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_parent_cancels_its_running_child() {
    let (dev, _participants, _folder) = dev().await;
    let id = dev.api.start("holiday", json!({"script": {"charge": "slow:2000"}}), None).await.unwrap();
    let running = async {
        loop {
            let parent = view(&dev.api, &id).await;
            if parent["children"].is_array() {
                return parent;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let parent = tokio::time::timeout(PATIENCE, running).await.unwrap();
    assert_eq!(parent["waiting_on"][0]["kind"], "CHILD", "{parent:#}");
    dev.api.send("POST", &format!("/workflows/{id}/cancel"), None).await.unwrap();
    let parent = dev.api.ended(&id, PATIENCE).await.unwrap();
    assert_eq!(parent["status"], "ROLLED_BACK", "{parent:#}");
    assert_eq!(child_of(&dev.api, &parent).await["status"], "ROLLED_BACK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_child_puts_its_parent_in_error() {
    let (dev, _participants, _folder) = dev().await;
    let id = dev.api.start("holiday", json!({"script": {"charge": "slow:3000"}}), None).await.unwrap();
    let child = loop {
        let parent = view(&dev.api, &id).await;
        if let Some(child) = parent["children"][0]["id"].as_str() {
            break child.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let calls = format!("/workflows/{child}");
    let reserved = async {
        while view(&dev.api, &child).await["steps"][0]["status"] != "COMPLETED" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reserved).await.unwrap();
    let reason = Some(json!({"reason": "enough"}));
    dev.api.send("POST", &format!("{calls}/terminate"), reason.clone()).await.unwrap();
    let parent = reaches(&dev.api, &id, "ERROR").await;
    assert_eq!(parent["steps"][1]["error"]["code"], "CHILD_TERMINATED", "{parent:#}");
    dev.api.send("POST", &format!("/workflows/{id}/steps/trip/skip"), reason).await.unwrap();
    assert_eq!(dev.api.ended(&id, PATIENCE).await.unwrap()["status"], "ROLLED_BACK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusable_child_definitions_are_refused() {
    let (dev, _participants, _folder) = dev().await;
    let pivot = "workflow: final\nsteps: [{name: a, run: stock/a, kind: pivot}]\n";
    dev.api.apply("final", pivot).await.unwrap();
    for (child, expected) in [
        ("nowhere", "does not exist"),
        ("{workflow: trip, version: 9}", "version 9"),
        ("final", "has a pivot"),
    ] {
        let yaml = format!("workflow: bad\nsteps: [{{name: a, child: {child}}}]\n");
        let refused = dev.api.apply("bad", &yaml).await.unwrap_err().to_string();
        assert!(refused.contains("GC1023") && refused.contains(expected), "{refused}");
    }
    let yaml = "workflow: good\nsteps: [{name: a, child: {workflow: final, on_parent_close: abandon}}]\n";
    dev.api.apply("good", yaml).await.unwrap();
    let recursive = "workflow: again\nsteps: [{name: a, child: again}]\n";
    dev.api.apply("again", recursive).await.unwrap();
    let id = dev.api.start("again", json!({}), None).await.unwrap();
    let ended = dev.api.ended(&id, PATIENCE).await.unwrap();
    assert_eq!(ended["status"], "ROLLED_BACK", "{ended:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_line_compensates_and_shows_the_family() {
    let (dev, _participants, _folder) = dev().await;
    let id = dev.api.start("holiday", json!({}), None).await.unwrap();
    dev.api.ended(&id, PATIENCE).await.unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = goconductor().unwrap();
        let output =
            command.args(arguments).env("GOCONDUCTOR_SERVER", dev.api.base()).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["workflow", "describe", &id]).await.contains("Child"));
    assert!(run(&["workflow", "compensate", &id, "--reason", "storm"]).await.contains("ROLLING_BACK"));
    reaches(&dev.api, &id, "ROLLED_BACK").await;
}

/// Starts holidays, some of which are refused at the end, and returns their ids.
async fn start_holidays(api: &Api, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let script = match number % 3 {
            0 => json!({"ship": "refuse", "charge": "slow:200"}),
            1 => json!({"charge": "refuse"}),
            _ => json!({"reserve": "slow:300"}),
        };
        let key = format!("holiday-{number}");
        ids.push(api.start("holiday", json!({ "script": script }), Some(&key)).await.unwrap());
    }
    ids
}

/// Checks that every holiday ended, with exactly one child, whose end agrees with that of the holiday.
async fn families_agree(api: &Api, ids: &[String]) {
    for id in ids {
        let parent = api.ended(id, Duration::from_secs(120)).await.unwrap();
        let key = format!("{id}/trip/execute");
        let filter = format!("/workflows?filter=idempotency_key%20%3D%20%22{}%22", key.replace('/', "%2F"));
        let children = api.get(&filter).await.unwrap();
        let children = children["workflows"].as_array().unwrap();
        assert_eq!(children.len(), 1, "{parent:#}");
        assert_eq!(children[0]["status"], parent["status"], "{parent:#} {:#}", children[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_dev_leave_one_child_for_each_parent() {
    let (mut dev, participants, _folder) = dev().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids = start_holidays(&dev.api, 12).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        dev.kill().await.unwrap();
        dev.restart().await.unwrap();
    }
    families_agree(&dev.api, &ids).await;
    let doubled: Vec<_> =
        ids.iter().map(|id| effects(&participants, id)).filter(|all| all.values().any(|n| *n > 1)).collect();
    assert!(doubled.is_empty(), "{doubled:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_processes_leave_one_child_for_each_parent() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (mut cluster, _orders) = cluster_with(Broker::Kafka(1), ElectionServers::Postgres).await;
    let _participants = serve(&cluster.gateways[0]).await;
    let ids = start_holidays(&cluster.gateways[0], 60).await;
    for name in ["executor-stock-1", "executor-payments-2", "store-1", "executor-stock-2"] {
        cluster.kill(name).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.restart(name).await.unwrap();
    }
    families_agree(&cluster.gateways[0], &ids).await;
    cluster.down().await.unwrap();
}
