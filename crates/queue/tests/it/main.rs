//! The conformance cases against the in-process queue, and against queues that are broken on purpose.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that can't set itself up has failed, or says why it was not run"
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

/// Every case, and all that they have found together. `GOCONDUCTOR_TEST_CASE` names one of them.
async fn keeps_every_promise(factory: Arc<dyn Factory>) {
    keeps_promises(factory, &[]).await;
}

/// The same, but for some cases.
async fn keeps_promises(factory: Arc<dyn Factory>, without: &[&str]) {
    let one = std::env::var("GOCONDUCTOR_TEST_CASE").ok();
    let mut broken = Vec::new();
    for case in CASES {
        if without.contains(&case.name) || one.as_ref().is_some_and(|one| case.name != one) {
            continue;
        }
        let begun = std::time::Instant::now();
        if let Err(why) = case.check(Arc::clone(&factory)).await {
            broken.push(format!("{}: {why}", case.name));
        }
        println!("{} took {:.1} s", case.name, begun.elapsed().as_secs_f32());
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The queue that a consumer in a process of its own is to consume: the adapter's name, and what it needs.
fn open(text: &str) -> Arc<dyn Queue> {
    let (adapter, rest) = text.split_once(' ').unwrap();
    match adapter {
        "kafka" => kafka::open(rest),
        "kinesis" => kinesis::open(rest),
        "nats" => nats::open(rest),
        "rabbitmq" => rabbitmq::open(rest),
        other => panic!("{other} is no adapter"),
    }
}
