//! Measures what others notice when something breaks in a cluster: two of each service over PostgreSQL and
//! Kafka, three services with two executors each, all on this machine. `goconductor bench` measures speed.
//!
//!     measure take-over [ROUNDS]          executors killed: when others do their work
//!     measure hand-over [ROUNDS]          each kind ended by SIGTERM: failed calls, the longest wait
//!     measure garbage [RATE]              so many messages a second that are none: what orders notice
//!     measure overload [SECONDS]          ten times what dev can do, while a modest namespace asks for a fifth
//!     measure overload-cluster [SECONDS]  the same over a cluster
//!     measure switch [RATE]               so many orders a second while all move from queue to queue
//!     measure waiting [COUNT]             what others notice of so many workflows that wait
#![allow(clippy::print_stdout, reason = "its output is what it is for")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod faults;
mod overload;
mod switch;

use anyhow::Context;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let known = "take-over, hand-over, garbage, overload, overload-cluster, switch or waiting";
    let what = arguments.next().with_context(|| format!("measure what? {known}"))?;
    let number = arguments.next().map(|text| text.parse::<usize>()).transpose()?;
    match what.as_str() {
        "take-over" => faults::take_over(number.unwrap_or(12)).await,
        "hand-over" => faults::hand_over(number.unwrap_or(10)).await,
        "garbage" => faults::garbage(u64::try_from(number.unwrap_or(300))?).await,
        "overload" => overload::overload("dev", number.unwrap_or(60)).await,
        "overload-cluster" => overload::overload("cluster", number.unwrap_or(60)).await,
        "switch" => switch::switch(u32::try_from(number.unwrap_or(200))?).await,
        "waiting" => overload::waiting(number.unwrap_or(100_000)).await,
        other => anyhow::bail!("there is no measurement {other}: {known}"),
    }
}

fn print_percentiles(what: &str, times: &mut [Duration]) {
    let [p50, p95, p99, most] = [0.5, 0.95, 0.99, 1.0].map(|part| percentile(times, part));
    println!("{what}: p50 {p50:.2} ms, p95 {p95:.2} ms, p99 {p99:.2} ms, longest {most:.2} ms");
}

/// The time, in milliseconds, that this part of them does not exceed.
fn percentile(times: &mut [Duration], part: f64) -> f64 {
    times.sort();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
    let index = ((times.len() as f64 - 1.0) * part).max(0.0) as usize;
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

fn now() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "measuring is what it is for")]
    Instant::now()
}
