//! Measures the effect of faults on others, in a cluster on this machine: two processes of each service over PostgreSQL
//! and Kafka, and three services with two executors each. `goconductor bench` measures speed.
//!
//!     measure take-over [ROUNDS]          kill executors; time until others take over their work
//!     measure hand-over [ROUNDS]          terminate each kind; failed calls and the longest delay
//!     measure garbage [RATE]              publish unreadable messages; latency of orders
//!     measure overload [SECONDS]          offer dev ten times its capacity; share of a modest namespace
//!     measure overload-cluster [SECONDS]  the same with a cluster
//!     measure switch [RATE]               start orders at a rate during queue migrations
//!     measure waiting [COUNT]             effect of many waiting workflows on others
#![allow(clippy::print_stdout, reason = "the report on standard output is the purpose of the program")]
#![allow(clippy::cast_precision_loss, reason = "the figures are for people")]

mod faults;
mod overload;
mod switch;

use anyhow::Context;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let known = "take-over, hand-over, garbage, overload, overload-cluster, switch or waiting";
    let what = arguments.next().with_context(|| format!("usage: measure WHAT, where WHAT is {known}"))?;
    let number = arguments.next().map(|text| text.parse::<usize>()).transpose()?;
    match what.as_str() {
        "take-over" => faults::take_over(number.unwrap_or(12)).await,
        "hand-over" => faults::hand_over(number.unwrap_or(10)).await,
        "garbage" => faults::garbage(u64::try_from(number.unwrap_or(300))?).await,
        "overload" => overload::overload("dev", number.unwrap_or(60)).await,
        "overload-cluster" => overload::overload("cluster", number.unwrap_or(60)).await,
        "switch" => switch::switch(u32::try_from(number.unwrap_or(200))?).await,
        "waiting" => overload::waiting(number.unwrap_or(100_000)).await,
        other => anyhow::bail!("unknown measurement {other}; choose {known}"),
    }
}

fn print_percentiles(what: &str, times: &mut [Duration]) {
    let [p50, p95, p99, most] = [0.5, 0.95, 0.99, 1.0].map(|part| percentile(times, part));
    println!("{what}: p50 {p50:.2} ms, p95 {p95:.2} ms, p99 {p99:.2} ms, longest {most:.2} ms");
}

/// The percentile of the sorted times, in milliseconds.
fn percentile(times: &mut [Duration], part: f64) -> f64 {
    times.sort();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
    let index = ((times.len() as f64 - 1.0) * part).max(0.0) as usize;
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

fn now() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "the program measures time")]
    Instant::now()
}
