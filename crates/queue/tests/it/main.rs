//! The conformance cases with every adapter, and with queues that are broken on purpose.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test whose setup fails has failed; a skipped test prints the reason"
)]

mod broken;
mod kafka;
mod kinesis;
mod memory;
mod nats;
mod rabbitmq;
mod servers;
mod switching;

use goconductor_queue::Queue;
use goconductor_queue::conformance::{CASES, Factory};
use std::sync::Arc;

/// Runs all cases and reports all violations together. `GOCONDUCTOR_TEST_CASE` selects a single case.
async fn run_all_cases(factory: Arc<dyn Factory>) {
    run_cases_except(factory, &[]).await;
}

/// Runs all cases except those in `skipped`.
async fn run_cases_except(factory: Arc<dyn Factory>, skipped: &[&str]) {
    let selected = std::env::var("GOCONDUCTOR_TEST_CASE").ok();
    let mut violations = Vec::new();
    for case in CASES {
        if skipped.contains(&case.name) || selected.as_ref().is_some_and(|selected| case.name != selected) {
            continue;
        }
        let begun = std::time::Instant::now();
        if let Err(violation) = case.check(Arc::clone(&factory)).await {
            violations.push(format!("{}: {violation}", case.name));
        }
        println!("{} took {:.1} s", case.name, begun.elapsed().as_secs_f32());
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Opens the queue of a consumer in another process from the name of the adapter and its arguments.
fn open(description: &str) -> Arc<dyn Queue> {
    let (adapter, rest) = description.split_once(' ').unwrap();
    match adapter {
        "kafka" => kafka::open(rest),
        "kinesis" => kinesis::open(rest),
        "nats" => nats::open(rest),
        "rabbitmq" => rabbitmq::open(rest),
        other => panic!("unknown adapter {other}"),
    }
}
