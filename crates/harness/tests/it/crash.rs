//! `kill -9` under load, twice: nothing acknowledged is lost, nothing is done under two keys, and the
//! database is sound.

use goconductor_harness::{Api, Dev, DevOptions, ORDER, Participants, check_effects, goconductor};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_twice_under_load_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let participants = Participants::start().await.unwrap();
    for service in ["stock", "payments", "shipping"] {
        dev.api.serve(service, &participants.url(service)).await.unwrap();
    }
    dev.api.apply("order", ORDER).await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let mut starters = tokio::task::JoinSet::new();
    for lane in 0..8 {
        let (api, stop) = (dev.api.clone(), Arc::clone(&stop));
        starters.spawn(async move { keep_starting(&api, lane, &stop).await });
    }
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        dev.kill().await.unwrap();
        dev.restart().await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let mut ids = Vec::new();
    while let Some(lane) = starters.join_next().await {
        ids.extend(lane.unwrap());
    }
    let last_start = Instant::now();
    let mut ended = BTreeMap::new();
    for id in &ids {
        let result = dev.api.ended(id, Duration::from_secs(60)).await.unwrap();
        ended.insert(id.clone(), result["status"].as_str().unwrap().to_owned());
    }
    let took = last_start.elapsed();
    assert!(took < Duration::from_secs(15), "the last ended {took:?} after the last start");
    assert!(ids.len() > 100, "only {} orders: the run proves nothing", ids.len());
    let rolled_back = ended.values().filter(|status| *status == "ROLLED_BACK").count();
    assert!(rolled_back > 10, "only {rolled_back} were rolled back: the run proves nothing");
    let findings = check_effects(&participants.calls(), &ended);
    assert!(findings.is_empty(), "{findings:#?}");
    doctor_finds_nothing(folder.path()).await;
}

/// Starts orders until `stop`; the ids of those that were acknowledged.
async fn keep_starting(api: &Api, lane: usize, stop: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let script = match number % 4 {
            0 => json!({"ship": "refuse"}),
            1 => json!({"charge": ["busy", "ok"]}),
            2 => json!({"ship": "slow:50"}),
            _ => json!({}),
        };
        // The same key until it is acknowledged: an answer that was lost is no second order.
        let key = format!("order-{lane}-{number}");
        loop {
            match api.start("order", json!({"script": script}), Some(&key)).await {
                Ok(id) => {
                    acknowledged.push(id);
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
    acknowledged
}

async fn doctor_finds_nothing(folder: &Path) {
    let doctor = goconductor()
        .unwrap()
        .args(["doctor", "--data-dir"])
        .arg(folder.join("data"))
        .output()
        .await
        .unwrap();
    let text = [doctor.stdout, doctor.stderr].concat();
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&text));
}
