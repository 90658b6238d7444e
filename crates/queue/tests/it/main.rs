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

use futures::{StreamExt, stream};
use goconductor_queue::Queue;
use goconductor_queue::conformance::{CASES, Case, Factory};
use std::sync::Arc;

/// The cases that start servers of their own. One of them runs at a time, because their servers need memory.
const OWN_SERVERS: [&str; 3] = [
    "messages_of_a_killed_consumer_are_redelivered",
    "paused_consumer_is_notified_of_lost_messages",
    "killed_server_loses_nothing",
];
/// The case that runs alone, after all others, because it uses all of the server.
const ALONE: &str = "many_messages_are_delivered_exactly_once";
/// The number of other cases that run at once. Each has topics of its own, and mostly waits: for a rebalance, a lease, or
/// the time after which a new queue is durable.
const AT_ONCE: usize = 2;

/// Runs all cases and reports all violations together. `GOCONDUCTOR_TEST_CASE` selects a single case.
async fn run_all_cases(factory: Arc<dyn Factory>) {
    run_cases_except(factory, &[]).await;
}

/// Runs all cases except those in `skipped`.
async fn run_cases_except(factory: Arc<dyn Factory>, skipped: &[&str]) {
    let exists = |name: &&str| CASES.iter().any(|case| case.name == *name);
    assert!(OWN_SERVERS.iter().chain([&ALONE]).chain(skipped).all(exists), "a named case does not exist");
    let selected = std::env::var("GOCONDUCTOR_TEST_CASE").ok();
    let is_selected = |case: &&Case| {
        !skipped.contains(&case.name) && selected.as_ref().is_none_or(|selected| case.name == selected)
    };
    let (alone, others): (Vec<&Case>, Vec<&Case>) =
        CASES.iter().filter(is_selected).partition(|case| case.name == ALONE);
    let (own_servers, shared): (Vec<&Case>, Vec<&Case>) =
        others.into_iter().partition(|case| OWN_SERVERS.contains(&case.name));
    let (mut violations, of_own_servers) =
        tokio::join!(run_cases(&factory, shared, AT_ONCE), run_cases(&factory, own_servers, 1));
    violations.extend(of_own_servers);
    violations.extend(run_cases(&factory, alone, 1).await);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Runs cases, `at_once` of them at a time, and returns the violations.
async fn run_cases(factory: &Arc<dyn Factory>, cases: Vec<&'static Case>, at_once: usize) -> Vec<String> {
    let checks = cases.into_iter().map(|case| {
        let factory = Arc::clone(factory);
        async move {
            let begun = std::time::Instant::now();
            let checked = tokio::spawn(case.check(factory)).await.unwrap();
            println!("{} took {:.1} s", case.name, begun.elapsed().as_secs_f32());
            checked.err().map(|violation| format!("{}: {violation}", case.name))
        }
    });
    let ended: Vec<Option<String>> = stream::iter(checks).buffer_unordered(at_once).collect().await;
    ended.into_iter().flatten().collect()
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
