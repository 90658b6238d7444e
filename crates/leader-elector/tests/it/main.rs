//! An elector meets the guarantees of its election and reports its leaders.

#![allow(clippy::expect_used, clippy::panic, reason = "a test panics on failure")]

mod remote;

use std::sync::Arc;

use async_trait::async_trait;
use goconductor_election::conformance::{CASES, Factory};
use goconductor_election::{Election, LocalElection};
use goconductor_leader_elector::LeaderElector;
use goconductor_service_kit::config::TelemetryConfig;
use goconductor_service_kit::telemetry::{self, Identity, Metrics};

#[derive(Debug)]
struct Elector;

#[async_trait]
impl Factory for Elector {
    async fn open(&self) -> Result<Arc<dyn Election>, String> {
        Ok(Arc::new(LeaderElector::new(Arc::new(LocalElection::new(1)))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn elector_meets_every_guarantee() {
    for case in CASES {
        assert_eq!(case.check(Arc::new(Elector)).await, Ok(()), "{}", case.name);
    }
}

#[tokio::test]
async fn terms_are_counted_in_metrics() {
    let settings = TelemetryConfig { log_level: "warn".to_owned(), ..TelemetryConfig::default() };
    let metrics =
        telemetry::init(&settings, Identity { service: "test", instance: "test-1" }).expect("installed");
    let elector = LeaderElector::new(Arc::new(LocalElection::new(1)));
    let first = elector.campaign("counted", "executor-1").await.expect("won");
    await_metrics(&metrics, 1, 1).await;
    elector.step_down("counted").await.expect("answers");
    await_metrics(&metrics, 1, 0).await;
    let second = elector.campaign("counted", "executor-1").await.expect("won");
    drop(first);
    await_metrics(&metrics, 2, 1).await;
    second.resign().await.expect("given up");
    await_metrics(&metrics, 2, 0).await;
    let described = "# HELP goconductor_election_is_leader 1 while this process leads the election, else 0.";
    assert!(metrics.render().contains(described));
}

/// Waits for the values of the metrics, because a task reports the end of a term.
async fn await_metrics(metrics: &Metrics, won: u32, leads: u32) {
    let lines = [
        format!("goconductor_elections_won_total{{election=\"counted\"}} {won}"),
        format!("goconductor_election_is_leader{{election=\"counted\"}} {leads}"),
    ];
    let matches_metrics = || {
        let text = metrics.render();
        lines.iter().all(|line| text.lines().any(|found| found == line))
    };
    for _ in 0..100 {
        if matches_metrics() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(matches_metrics(), "the metrics lack {lines:?}:\n{}", metrics.render());
}
