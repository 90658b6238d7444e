//! Schedules: each due time starts one workflow, over triggers, pauses, restarts and killed leaders.

use crate::cluster::{ONE, cluster_with, possible};
use goconductor_harness::{Api, Broker, Cluster, Dev, DevOptions, ElectionServers};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A definition whose workflows complete at once, without a service.
const TICK: &str =
    "workflow: tick\nsteps:\n- {name: step, run: none/none, compensate: none, when: 'false'}\n";
/// A definition whose workflows wait for a service that does not exist.
const STUCK: &str = "workflow: stuck\nsteps:\n- {name: step, run: absent/work, compensate: none}\n";

async fn dev(folder: &tempfile::TempDir) -> Dev {
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    dev.api.apply("tick", TICK).await.unwrap();
    dev.api.apply("stuck", STUCK).await.unwrap();
    dev
}

async fn put(api: &Api, name: &str, body: Value) -> Value {
    let (status, body) = api.send("PUT", &format!("/schedules/{name}"), Some(body)).await.unwrap();
    assert!(status == 200 || status == 201, "{status} {body}");
    body
}

async fn post(api: &Api, path: &str, body: Value) -> (u16, Value) {
    api.send("POST", path, Some(body)).await.unwrap()
}

fn every_second(definition: &str, overlap: &str) -> Value {
    json!({
        "definition": definition,
        "every": "1s",
        "overlap": overlap,
        "input": {"at": "${ schedule.time }", "by": "${ schedule.name }"},
    })
}

/// The due times of all workflows of a definition, in seconds, sorted. Fails if one occurs twice.
async fn due_seconds(api: &Api, definition: &str) -> Vec<i64> {
    let mut seconds = Vec::new();
    let mut token = String::new();
    loop {
        let page = api
            .get(&format!("/workflows?filter=definition%3D{definition}&page_size=1000&page_token={token}"))
            .await
            .unwrap();
        for workflow in page["workflows"].as_array().unwrap() {
            let time = workflow["labels"]["goconductor.schedule_time"].as_str().unwrap();
            let time: jiff::Timestamp = time.parse().unwrap();
            assert_eq!(time.subsec_nanosecond(), 0, "{workflow}");
            seconds.push(time.as_second());
        }
        token = page["next_page_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    let unique: BTreeSet<i64> = seconds.iter().copied().collect();
    assert_eq!(unique.len(), seconds.len(), "a due time has two workflows: {seconds:?}");
    unique.into_iter().collect()
}

fn assert_without_gaps(seconds: &[i64]) {
    for pair in seconds.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "a due time has no workflow: {seconds:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_second_starts_one_workflow_until_the_schedule_is_paused() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = dev(&folder).await;
    let created = put(&dev.api, "ticker", every_second("tick", "allow")).await;
    assert_eq!((&created["generation"], &created["catch_up"]), (&json!(1), &json!("1h")), "{created}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    dev.kill().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    dev.restart().await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (status, paused) = post(&dev.api, "/schedules/ticker/pause", json!({"reason": "test"})).await;
    assert_eq!((status, &paused["paused"]["reason"]), (200, &json!("test")));
    assert_eq!(paused["next_due"], Value::Null);
    // A start that was in progress ends.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let seconds = due_seconds(&dev.api, "tick").await;
    assert!(seconds.len() >= 8, "{seconds:?}");
    assert_without_gaps(&seconds);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(due_seconds(&dev.api, "tick").await, seconds, "a paused schedule starts nothing");

    let shown = dev.api.get("/schedules/ticker").await.unwrap();
    assert_eq!(shown["recent"].as_array().unwrap().len(), seconds.len().min(10));
    assert_eq!(shown["recent"][0]["status"], "COMPLETED");
    let id = shown["recent"][0]["workflow"].as_str().unwrap();
    let workflow = dev.api.get(&format!("/workflows/{id}")).await.unwrap();
    let time = workflow["labels"]["goconductor.schedule_time"].clone();
    assert_eq!(workflow["input"], json!({"at": time, "by": "ticker"}));
    assert_eq!(workflow["labels"]["goconductor.schedule"], "ticker");
    let key = format!("schedule/ticker/{}", time.as_str().unwrap());
    assert_eq!(workflow["idempotency_key"], key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlaps_are_skipped_and_triggers_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(&folder).await;
    put(&dev.api, "stuck", every_second("stuck", "skip")).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(due_seconds(&dev.api, "stuck").await.len(), 1);
    let shown = dev.api.get("/schedules/stuck").await.unwrap();
    assert!(shown["skipped"].as_u64().unwrap() >= 2, "{shown}");
    let (status, triggered) = post(&dev.api, "/schedules/stuck/trigger", json!({})).await;
    assert_eq!(status, 201, "{triggered}");
    let shown = dev.api.get("/schedules/stuck").await.unwrap();
    assert_eq!(shown["recent"][0]["kind"], "trigger");
    assert_eq!(shown["recent"][0]["workflow"], triggered["workflow"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_neither_hide_a_running_workflow_nor_are_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(&folder).await;
    put(&dev.api, "stuck", every_second("stuck", "skip")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..12 {
        let (status, triggered) = post(&dev.api, "/schedules/stuck/trigger", json!({})).await;
        assert_eq!(status, 201, "{triggered}");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let of_kind = |shown: &Value, kind: &str| -> Vec<Value> {
        let recent = shown["recent"].as_array().unwrap();
        recent.iter().filter(|run| run["kind"] == kind).cloned().collect()
    };
    let shown = dev.api.get("/schedules/stuck").await.unwrap();
    assert_eq!((of_kind(&shown, "due").len(), of_kind(&shown, "trigger").len()), (1, 10), "{shown}");
    put(&dev.api, "stuck", every_second("stuck", "cancel_other")).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let shown = dev.api.get("/schedules/stuck").await.unwrap();
    assert!(of_kind(&shown, "buffered").len() + of_kind(&shown, "due").len() > 1, "{shown}");
    for run in of_kind(&shown, "trigger") {
        assert_ne!(run["status"], "ROLLED_BACK", "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_workflow_is_cancelled_before_the_next_one_starts() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(&folder).await;
    put(&dev.api, "stuck", every_second("stuck", "cancel_other")).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    post(&dev.api, "/schedules/stuck/pause", json!({})).await;
    let shown = dev.api.get("/schedules/stuck").await.unwrap();
    let statuses: Vec<&str> =
        shown["recent"].as_array().unwrap().iter().map(|run| run["status"].as_str().unwrap()).collect();
    assert!(statuses.len() >= 2, "{shown}");
    let running = statuses.iter().filter(|status| **status != "ROLLED_BACK").count();
    assert!(running <= 1, "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backfill_starts_past_due_times_once() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(&folder).await;
    let body = json!({"definition": "tick", "cron": "@daily", "timezone": "Europe/Berlin"});
    put(&dev.api, "daily", body).await;
    let next = dev.api.get("/schedules/daily/next?count=3").await.unwrap();
    assert_eq!(next["due_times"].as_array().unwrap().len(), 3, "{next}");
    let range = json!({"from": "2026-03-27T00:00:00Z", "until": "2026-03-31T12:00:00Z"});
    for _ in 0..2 {
        backfilled(&dev.api, "daily", &range).await;
    }
    let seconds = due_seconds(&dev.api, "tick").await;
    let steps: Vec<i64> = seconds.windows(2).map(|pair| (pair[1] - pair[0]) / 3600).collect();
    assert_eq!(steps, [24, 23, 24], "the clock changes on March 29: {seconds:?}");
    let future = json!({"from": "2026-03-27T00:00:00Z", "until": "2100-01-01T00:00:00Z"});
    let (status, refused) = post(&dev.api, "/schedules/daily/backfill", future).await;
    assert_eq!((status, &refused["code"]), (422, &json!("GC2109")));
}

/// Waits for the end of a backfill.
async fn backfilled(api: &Api, name: &str, range: &Value) {
    let (status, body) = post(api, &format!("/schedules/{name}/backfill"), range.clone()).await;
    assert_eq!(status, 200, "{body}");
    let begun = Instant::now();
    while api.get(&format!("/schedules/{name}")).await.unwrap()["backfill"] != Value::Null {
        assert!(begun.elapsed() < Duration::from_secs(30), "the backfill does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// In Berlin, 02:30 occurs twice on 2025-10-26, and not at all on 2026-03-29, when 03:00 follows 02:00.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_and_skipped_hours_start_one_workflow_for_each_due_time() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(&folder).await;
    let body = json!({"definition": "tick", "cron": "30 2 * * *", "timezone": "Europe/Berlin"});
    put(&dev.api, "nightly", body).await;
    let mut expected = Vec::new();
    for (from, until, due) in [
        (
            "2025-10-25T00:00:00Z",
            "2025-10-27T12:00:00Z",
            ["2025-10-25T00:30:00Z", "2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"],
        ),
        (
            "2026-03-28T00:00:00Z",
            "2026-03-30T12:00:00Z",
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
    ] {
        backfilled(&dev.api, "nightly", &json!({"from": from, "until": until})).await;
        expected.extend(due.map(|time| time.parse::<jiff::Timestamp>().unwrap().as_second()));
    }
    assert_eq!(due_seconds(&dev.api, "tick").await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedule_follows_its_definition() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(&folder).await;
    let with = format!("{TICK}schedule: {{cron: '0 3 * * *', timezone: Europe/Berlin}}\n");
    dev.api.apply("tick", &with).await.unwrap();
    let shown = dev.api.get("/schedules/tick").await.unwrap();
    assert_eq!((&shown["origin"], &shown["cron"]), (&json!("definition"), &json!("0 3 * * *")));
    dev.api.apply("tick", &with).await.unwrap();
    assert_eq!(dev.api.get("/schedules/tick").await.unwrap()["generation"], 1, "nothing has changed");
    dev.api.send("DELETE", "/definitions/tick", None).await.unwrap();
    let shown = dev.api.get("/schedules/tick").await.unwrap();
    assert_eq!(shown["paused"]["reason"], "the definition was archived");
    dev.api.apply("tick", &with).await.unwrap();
    assert_eq!(dev.api.get("/schedules/tick").await.unwrap()["paused"], Value::Null);
    dev.api.apply("tick", TICK).await.unwrap();
    let (status, body) = dev.api.send("GET", "/schedules/tick", None).await.unwrap();
    assert_eq!((status, &body["code"]), (404, &json!("GC2108")));
    // A schedule of the API does not belong to the definition.
    put(&dev.api, "tick", json!({"definition": "tick", "every": "1h"})).await;
    dev.api.apply("tick", TICK).await.unwrap();
    assert_eq!(dev.api.get("/schedules/tick").await.unwrap()["origin"], "api");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_schedules_are_refused_with_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(&folder).await;
    for (body, code, pointer) in [
        (json!({"definition": "tick"}), "GC2109", "/cron"),
        (json!({"definition": "tick", "cron": "@daily", "every": "1s"}), "GC2109", "/cron"),
        (json!({"definition": "tick", "cron": "* * *"}), "GC2109", "/cron"),
        (json!({"definition": "tick", "cron": "@daily", "timezone": "Mars"}), "GC2109", "/timezone"),
        (json!({"definition": "tick", "every": "10ms"}), "GC2109", "/every"),
        (json!({"definition": "tick", "every": "1s", "catch_up": "31d"}), "GC2109", "/catch_up"),
        (json!({"definition": "tick", "every": "1s", "overlap": "queue"}), "GC2109", "/overlap"),
        (json!({"definition": "tick", "every": "1s", "input": "${ schedule.x }"}), "GC2109", "/input"),
    ] {
        let (status, refused) = dev.api.send("PUT", "/schedules/s", Some(body.clone())).await.unwrap();
        assert_eq!((status, &refused["code"]), (422, &json!(code)), "{body} {refused}");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{body} {refused}");
    }
    let body = json!({"definition": "nothing", "every": "1s"});
    let (status, refused) = dev.api.send("PUT", "/schedules/s", Some(body)).await.unwrap();
    assert_eq!((status, &refused["code"]), (404, &json!("GC2011")));
}

/// The name of the process that leads the schedules.
async fn leader(cluster: &Cluster) -> String {
    let api = &cluster.gateways[0];
    let begun = Instant::now();
    loop {
        let led = api.send("GET", "/elections/duties%2Fschedules", None).await;
        if let (Ok((200, led)), Ok(known)) = (led, api.get("/processes").await) {
            let processes = known["processes"].as_array().unwrap();
            if let Some(process) = processes.iter().find(|each| each["instance"] == led["candidate"]) {
                let address = format!("http://{}", process["address"].as_str().unwrap());
                let is_it = |name: &String| cluster.address(name).as_deref() == Some(&address);
                if let Some(name) = cluster.names().into_iter().find(is_it) {
                    return name;
                }
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the schedules have no leader");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_paused_leaders_start_each_due_time_once() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (mut cluster, _participants) = cluster_with(Broker::Kafka(1), ElectionServers::Postgres).await;
    let api = cluster.gateways[0].clone();
    api.apply("tick", TICK).await.unwrap();
    put(&api, "ticker", every_second("tick", "allow")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for round in 0..3 {
        let name = leader(&cluster).await;
        // At a due second.
        let now = jiff::Timestamp::now();
        let rest = 1_000_000_000 - u64::try_from(now.subsec_nanosecond()).unwrap();
        tokio::time::sleep(Duration::from_nanos(rest)).await;
        if round == 1 {
            cluster.pause(&name).await.unwrap();
            tokio::time::sleep(Duration::from_secs(12)).await;
            cluster.resume(&name).await.unwrap();
        } else {
            cluster.kill(&name).await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            cluster.restart(&name).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    leader(&cluster).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (status, _) = post(&api, "/schedules/ticker/pause", json!({})).await;
    assert_eq!(status, 200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let seconds = due_seconds(&api, "tick").await;
    assert!(seconds.len() > 25, "{seconds:?}");
    assert_without_gaps(&seconds);
    let shown = api.get("/schedules/ticker").await.unwrap();
    assert_eq!((&shown["missed"], &shown["failed"]), (&json!(0), &json!(0)), "{shown}");
    cluster.down().await.unwrap();
}
