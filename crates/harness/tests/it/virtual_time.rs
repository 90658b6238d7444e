//! A server whose clock tests move: `goconductor dev --ephemeral --virtual-time`.

use goconductor_harness::{Dev, DevOptions, Participants, goconductor};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const DAY_US: u64 = 24 * 3600 * 1_000_000;
const IN_TIME: Duration = Duration::from_secs(30);

const TRIAL: &str = "workflow: trial
timeout: 60d
steps:
  - { name: open, run: shop/open, compensate: shop/close }
  - { name: cool_down, sleep: 30d }
  - { name: charge, run: shop/charge, compensate: shop/refund, retry: { initial: 1h, max: 1h, jitter: 0 } }
";
const FAMILY: &str = "workflow: family
timeout: 60d
steps:
  - { name: trial, child: trial }
  - { name: ship, run: shop/ship, compensate: shop/unship }
";
const LATE: &str = "workflow: late
timeout: 10d
steps:
  - { name: open, run: shop/open, compensate: shop/close }
  - { name: cool_down, sleep: 30d }
";
const REPORT: &str = "workflow: report
steps: [ { name: cool_down, sleep: 1h } ]
";

async fn server(folder: &std::path::Path) -> (Dev, Participants) {
    let args = ["--ephemeral", "--virtual-time"].map(str::to_owned).to_vec();
    let dev = Dev::start(folder, DevOptions { args }).await.unwrap();
    let participants = Participants::start().await.unwrap();
    dev.api.serve("shop", &participants.url("shop")).await.unwrap();
    for (name, yaml) in [("trial", TRIAL), ("family", FAMILY), ("late", LATE), ("report", REPORT)] {
        dev.api.apply(name, yaml).await.unwrap();
    }
    (dev, participants)
}

async fn advance(dev: &Dev, body: &Value) -> Value {
    let url = format!("{}/dev/clock/advance", dev.api.base());
    let response = dev.api.http().post(url).json(body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// Moves the clock to the next due time until a workflow has ended.
async fn run_to_end(dev: &Dev, id: &str) -> Value {
    for _ in 0..200 {
        advance(dev, &json!({"to": "next", "at_most": "0s"})).await;
        let workflow = dev.api.get(&format!("/workflows/{id}")).await.unwrap();
        if ["COMPLETED", "ROLLED_BACK"].contains(&workflow["status"].as_str().unwrap()) {
            return workflow;
        }
        let moved = advance(dev, &json!({"to": "next"})).await;
        assert_eq!(moved["result"], "advanced", "{moved} {workflow:#}");
    }
    panic!("the workflow did not end");
}

fn actions(participants: &Participants, workflow: &str) -> Vec<String> {
    participants.calls_of(workflow).into_iter().map(|call| call.action).collect()
}

#[tokio::test]
async fn thirty_days_pass_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, participants) = server(folder.path()).await;
    let began = Instant::now();
    let input = json!({"script": {"charge": ["fail", "busy", "ok"]}});
    let id = dev.api.start("trial", input, None).await.unwrap();
    let workflow = run_to_end(&dev, &id).await;
    assert_eq!(workflow["status"], "COMPLETED", "{workflow:#}");
    assert_eq!(actions(&participants, &id), ["shop/open", "shop/charge", "shop/charge", "shop/charge"]);
    let clock: Value = dev
        .api
        .http()
        .get(format!("{}/dev/clock", dev.api.base()))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(clock["offset_us"].as_u64().unwrap() >= 30 * DAY_US, "{clock}");
    // Participants receive deadlines of their own clock.
    let calls = participants.calls_of(&id);
    assert!(calls[3].deadline.as_str() < clock["now"].as_str().unwrap(), "{calls:?} {clock}");

    let id = dev.api.start("late", json!({}), None).await.unwrap();
    let workflow = run_to_end(&dev, &id).await;
    assert_eq!((&workflow["status"], &workflow["cause"]), (&json!("ROLLED_BACK"), &json!("TIMED_OUT")));
    assert_eq!(actions(&participants, &id), ["shop/open", "shop/close"]);

    let id = dev.api.start("family", json!({}), None).await.unwrap();
    let workflow = run_to_end(&dev, &id).await;
    assert_eq!(workflow["status"], "COMPLETED", "{workflow:#}");
    assert_eq!(actions(&participants, &id), ["shop/ship"]);
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
}

#[tokio::test]
async fn move_does_not_deliver_an_attempt_in_flight_again() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, participants) = server(folder.path()).await;
    let input = json!({"script": {"open": "slow:1500"}});
    let id = dev.api.start("trial", input, None).await.unwrap();
    while participants.calls_of(&id).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let moved = advance(&dev, &json!({"by": "20d"})).await;
    assert_eq!((&moved["advanced_us"], &moved["result"]), (&json!(20 * DAY_US), &json!("advanced")));
    // It waits for the end of the attempt.
    let moved = advance(&dev, &json!({"to": "next"})).await;
    assert!(moved["advanced_us"].as_u64().unwrap() > 29 * DAY_US, "{moved}");
    let workflow = run_to_end(&dev, &id).await;
    assert_eq!(workflow["status"], "COMPLETED", "{workflow:#}");
    assert_eq!(actions(&participants, &id), ["shop/open", "shop/charge"]);
}

#[tokio::test]
async fn schedule_starts_at_each_due_time_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, _participants) = server(folder.path()).await;
    assert_eq!(advance(&dev, &json!({"to": "next"})).await["result"], "nothing_due");
    let schedule = json!({"definition": "report", "every": "12h"});
    let (status, created) = dev.api.send("PUT", "/schedules/report", Some(schedule)).await.unwrap();
    assert_eq!(status, 201, "{created}");
    let mut left = 5 * DAY_US;
    while left > 0 {
        let at_most = format!("{}ms", left.div_ceil(1000));
        let moved = advance(&dev, &json!({"to": "next", "at_most": at_most})).await;
        left = left.saturating_sub(moved["advanced_us"].as_u64().unwrap());
    }
    advance(&dev, &json!({"to": "next", "at_most": "0s"})).await;
    let page = dev.api.get("/workflows?filter=definition%20%3D%20report").await.unwrap();
    let workflows = page["workflows"].as_array().unwrap();
    assert_eq!(workflows.len(), 10, "{page:#}");
    assert!(workflows[1..].iter().all(|workflow| workflow["status"] == "COMPLETED"), "{page:#}");
}

#[tokio::test]
async fn clock_stands_still_while_a_command_waits_for_a_worker() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, _participants) = server(folder.path()).await;
    let yaml = "workflow: alone\ntimeout: 1d\nsteps: [ { name: a, run: absent/a, compensate: none } ]\n";
    dev.api.apply("alone", yaml).await.unwrap();
    dev.api.start("alone", json!({}), None).await.unwrap();
    let moved = advance(&dev, &json!({"to": "next"})).await;
    assert_eq!((&moved["result"], &moved["advanced_us"]), (&json!("busy"), &json!(0)), "{moved}");
    assert_eq!(moved["due"].as_u64().unwrap() + moved["in_flight"].as_u64().unwrap(), 1, "{moved}");
}

#[tokio::test]
async fn virtual_time_is_refused_with_stored_data() {
    let output = goconductor().unwrap().args(["dev", "--virtual-time"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--ephemeral"), "{output:?}");
}
