//! An elector keeps the promises of its election, and says who leads.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't set itself up has failed")]

mod remote;

use std::sync::Arc;

use async_trait::async_trait;
use goconductor_election::conformance::{CASES, Factory};
use goconductor_election::{Election, LocalElection};
use goconductor_leader_elector::LeaderElector;
use goconductor_service_kit::config::{LogFormat, TelemetryConfig};
use goconductor_service_kit::telemetry::{self, Metrics};

#[derive(Debug)]
struct Elector;

#[async_trait]
impl Factory for Elector {
    async fn open(&self) -> Result<Arc<dyn Election>, String> {
        Ok(Arc::new(LeaderElector::new(Arc::new(LocalElection::new(1)))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conformance() {
    for case in CASES {
        assert_eq!(case.check(Arc::new(Elector)).await, Ok(()), "{}", case.name);
    }
}

#[tokio::test]
async fn terms_are_counted() {
    let settings = TelemetryConfig { log_level: "warn".to_owned(), log_format: LogFormat::Text };
    let metrics = telemetry::init(&settings).expect("installed");
    let elector = LeaderElector::new(Arc::new(LocalElection::new(1)));
    let first = elector.campaign("counted", "executor-1").await.expect("won");
    says(&metrics, 1, 1).await;
    elector.step_down("counted").await.expect("answers");
    says(&metrics, 1, 0).await;
    let second = elector.campaign("counted", "executor-1").await.expect("won");
    drop(first);
    says(&metrics, 2, 1).await;
    second.resign().await.expect("given up");
    says(&metrics, 2, 0).await;
    let described = "# HELP goconductor_election_is_leader 1 while this process leads the election, else 0.";
    assert!(metrics.render().contains(described));
}

/// The end of a term is told by a task, so it is counted a moment later.
async fn says(metrics: &Metrics, won: u32, leads: u32) {
    let lines = [
        format!("goconductor_elections_won_total{{election=\"counted\"}} {won}"),
        format!("goconductor_election_is_leader{{election=\"counted\"}} {leads}"),
    ];
    let said = || {
        let text = metrics.render();
        lines.iter().all(|line| text.lines().any(|found| found == line))
    };
    for _ in 0..100 {
        if said() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(said(), "{lines:?} are not in\n{}", metrics.render());
}
