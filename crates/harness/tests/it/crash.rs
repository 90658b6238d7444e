//! SIGKILL under load, twice. Every guarantee holds for every workflow, and the run exhibited the wanted faults.

use goconductor_harness::check::{Clocks, Coverage, Fault, Run, Start, UtcTime, check, digest};
use goconductor_harness::{Api, Dev, DevOptions, ORDER, Participants, collect, doctor};
use serde_json::json;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_kills_under_load_lose_nothing() {
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
    let mut starts = Vec::new();
    while let Some(lane) = starters.join_next().await {
        starts.extend(lane.unwrap());
    }
    let last_start = Instant::now();
    for start in &starts {
        dev.api.ended(start.acknowledged.as_ref().unwrap(), Duration::from_secs(60)).await.unwrap();
    }
    let took = last_start.elapsed();
    assert!(took < Duration::from_secs(15), "the last order ended {took:?} after the last start");
    let run = Run {
        starts,
        workflows: collect(&dev.api).await.unwrap(),
        effects: participants.effects(),
        doctor: Some(
            doctor([OsStr::new("--data-dir"), folder.path().join("data").as_os_str()]).await.unwrap(),
        ),
        ..Run::default()
    };
    let findings = check(&run, Clocks::default());
    assert!(findings.is_empty(), "{findings:#?}");
    let coverage = Coverage::of(&run, Clocks::default());
    let deficiencies =
        coverage.deficiencies(&[Fault::Rollback, Fault::Retry, Fault::Refused, Fault::LostAttempt]);
    assert!(deficiencies.is_empty(), "{deficiencies:#?} {coverage:#?}");
    assert!(coverage.workflows > 100 && coverage.rollbacks > 10, "the run proves nothing: {coverage:#?}");
}

/// Starts orders until `stop` is set, and returns them. Each is acknowledged in the end.
async fn keep_starting(api: &Api, lane: usize, stop: &AtomicBool) -> Vec<Start> {
    let mut starts = Vec::new();
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
        // Repeat the key until it is acknowledged. A lost response must not cause a second order.
        let key = format!("order-{lane}-{number}");
        let input = json!({"script": script});
        let at = UtcTime(i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap());
        loop {
            match api.start("order", input.clone(), Some(&key)).await {
                Ok(id) => {
                    let (definition, input) = ("order".to_owned(), digest(&input));
                    let (key, acknowledged) = (Some(key), Some(id));
                    starts.push(Start { key, definition, input, acknowledged, at });
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
    starts
}
