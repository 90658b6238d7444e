//! Measures a three-step saga with HTTP participants over a durable `goconductor dev`: idle latency start to
//! end, throughput forward and undone, processor time, memory. Everything runs on this machine, the client
//! and the participants among it.
//!
//!     measure [IDLE [COUNT [AT_REST]]]    how many of each; 200, 6000 and 10000 by default
//!     measure cluster [IDLE [COUNT]]      the same over two of each service, PostgreSQL and Kafka;
//!                                         GOCONDUCTOR_SERVICES_DURABLE=1 has PostgreSQL sync its disk
//!     measure take-over [ROUNDS]          executors of such a cluster killed: when others do their work
//!     measure hand-over [ROUNDS]          each kind ended by SIGTERM: failed calls, the longest wait
//!     measure garbage [RATE]              so many messages a second that are none: what orders notice
#![allow(clippy::print_stdout, reason = "its output is what it is for")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod faults;

use goconductor_harness::{Api, Cluster, ClusterOptions, Dev, DevOptions, ORDER, Participants};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    let what = arguments.next_if(|argument| argument.parse::<usize>().is_err());
    let mut numbers = arguments.map(|arg| arg.parse::<usize>());
    match what.as_deref() {
        Some("take-over") => return faults::take_over(numbers.next().transpose()?.unwrap_or(12)).await,
        Some("hand-over") => return faults::hand_over(numbers.next().transpose()?.unwrap_or(10)).await,
        Some("garbage") => {
            let rate = numbers.next().transpose()?.unwrap_or(300);
            return faults::garbage(u64::try_from(rate)?).await;
        }
        Some("cluster") | None => {}
        Some(other) => anyhow::bail!("there is no measurement {other}"),
    }
    let idle = numbers.next().transpose()?.unwrap_or(200);
    let count = numbers.next().transpose()?.unwrap_or(6000);
    if what.is_some() {
        return measure_cluster(idle, count).await;
    }
    let at_rest = numbers.next().transpose()?.unwrap_or(10_000);
    let data = tempfile::tempdir()?;
    let begun = now();
    let dev = Dev::start(data.path(), DevOptions::default()).await?;
    println!("ready after {:.0} ms", millis(begun.elapsed()));
    let participants = Participants::start_silent().await?;
    for service in ["stock", "payments", "shipping"] {
        dev.api.serve(service, &participants.url(service)).await?;
    }
    dev.api.apply("order", ORDER).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    print_memory("idle", &dev)?;
    measure_idle(&dev.api, idle).await?;
    let busy = || dev.processor_seconds();
    let forward = json!({"order_id": "o-1"});
    let undone = json!({"order_id": "o-1", "script": {"ship": ["refuse"]}});
    measure_load("forward", &dev.api, &busy, count, 64, forward.clone()).await?;
    measure_load("forward", &dev.api, &busy, count, 256, forward).await?;
    measure_load("undone", &dev.api, &busy, count, 64, undone).await?;
    print_memory("after the load", &dev)?;
    drop(dev);
    measure_rest(at_rest).await
}

/// The same over processes of their own.
async fn measure_cluster(idle: usize, count: usize) -> anyhow::Result<()> {
    let services = ["stock", "payments", "shipping"].map(str::to_owned);
    let options = ClusterOptions {
        brokers: 1,
        each: 2,
        services: services.to_vec(),
        proxied: false,
        settings: String::new(),
    };
    let cluster = Cluster::start(options).await?;
    let participants = Participants::start_silent().await?;
    let api = cluster.gateways.first().ok_or_else(|| anyhow::anyhow!("no gateway"))?;
    for service in &services {
        api.serve(service, &participants.url(service)).await?;
    }
    api.apply("order", ORDER).await?;
    let forward = json!({"order_id": "o-1"});
    let undone = json!({"order_id": "o-1", "script": {"ship": ["refuse"]}});
    // Topics are made and shared out.
    tokio::time::sleep(Duration::from_secs(10)).await;
    measure_idle(api, idle).await?;
    let busy = || cluster.processor_seconds();
    measure_load("forward", api, &busy, count, 64, forward.clone()).await?;
    measure_load("forward", api, &busy, count, 256, forward).await?;
    measure_load("undone", api, &busy, count, 64, undone).await?;
    cluster.down().await
}

/// A saga that nobody serves: it stays where it is.
const AT_REST: &str = "workflow: rest\nsteps:\n- {name: s, run: nobody/do, compensate: nobody/undo}\n";

/// Over a server of its own: one that was busy has room to spare.
async fn measure_rest(count: usize) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let dev = Dev::start(data.path(), DevOptions::default()).await?;
    dev.api.apply("rest", AT_REST).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = dev.resident_kib()?;
    for _ in 0..count {
        dev.api.start("rest", json!({"order_id": "o-1", "amount": 42}), None).await?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let added = dev.resident_kib()?.saturating_sub(before) as f64 / 1024.0;
    println!("{count} workflows at rest add {added:.1} MiB");
    Ok(())
}

fn print_memory(when: &str, dev: &Dev) -> anyhow::Result<()> {
    println!("memory {when}: {:.1} MiB", dev.resident_kib()? as f64 / 1024.0);
    Ok(())
}

async fn measure_idle(api: &Api, count: usize) -> anyhow::Result<()> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = now();
        let id = api.start("order", json!({"order_id": "o-1"}), None).await?;
        api.ended(&id, Duration::from_secs(10)).await?;
        times.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    print_percentiles("idle, start to end", &mut times);
    Ok(())
}

async fn measure_load(
    what: &str,
    api: &Api,
    busy: &dyn Fn() -> anyhow::Result<f64>,
    count: usize,
    in_flight: usize,
    input: serde_json::Value,
) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let (begun, before) = (now(), busy()?);
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (api, next, input) = (api.clone(), Arc::clone(&next), input.clone());
        lanes.spawn(async move {
            let mut times = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let begun = now();
                let id = api.start("order", input.clone(), None).await?;
                api.ended(&id, Duration::from_secs(60)).await?;
                times.push(begun.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::with_capacity(count);
    while let Some(lane) = lanes.join_next().await {
        times.extend(lane??);
    }
    let took = begun.elapsed();
    let busy = (busy()? - before) * 1000.0 / count as f64;
    let rate = count as f64 / took.as_secs_f64();
    println!(
        "{count} sagas {what}, {in_flight} in flight: {rate:.0} sagas/s, {busy:.2} CPU s per 1000 in the server"
    );
    print_percentiles("  start to end", &mut times);
    Ok(())
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
    times.get(index).map_or(0.0, |time| millis(*time))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn now() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "measuring is what it is for")]
    Instant::now()
}
