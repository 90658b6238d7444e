//! The latency of orders while all processes move from one queue to another.

use crate::faults::{Done, SETTLE, cluster, order};
use crate::{now, percentile, print_percentiles};
use goconductor_harness::{Api, Broker};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The duration without a move, before the first move and after each.
const QUIET: Duration = Duration::from_secs(15);
/// The time limit of a move.
const MOVED: Duration = Duration::from_secs(120);
/// The targets of the moves.
const WAY: [&str; 4] = ["nats", "kinesis", "rabbitmq", "kafka"];

/// Orders that start at a steady rate, independent of earlier ones.
struct Arrivals {
    ticking: tokio::task::JoinHandle<JoinSet<anyhow::Result<()>>>,
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<Done>>>,
}

impl Arrivals {
    fn begin(gateways: Vec<Api>, rate: u32) -> Self {
        let (done, stop) = (Arc::<Mutex<Vec<Done>>>::default(), Arc::<AtomicBool>::default());
        let (of, until) = (Arc::clone(&done), Arc::clone(&stop));
        let ticking = tokio::spawn(async move {
            let mut orders = JoinSet::new();
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
            for number in 0_usize.. {
                ticks.tick().await;
                if until.load(Ordering::Relaxed) {
                    break;
                }
                let (mut gateways, done) = (gateways.clone(), Arc::clone(&of));
                let turn = number % gateways.len();
                gateways.rotate_left(turn);
                orders.spawn(async move {
                    let one = order(&gateways, &format!("order-{number}"), &json!({})).await?;
                    done.lock().push(one);
                    Ok(())
                });
                while let Some(ended) = orders.try_join_next() {
                    if let Ok(Err(error)) = ended {
                        println!("an order did not end: {error:#}");
                    }
                }
            }
            orders
        });
        Self { ticking, stop, done }
    }

    async fn end(self) -> anyhow::Result<Vec<Done>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut orders = self.ticking.await?;
        while let Some(ended) = orders.join_next().await {
            ended??;
        }
        Ok(std::mem::take(&mut *self.done.lock()))
    }
}

/// Moves from Kafka to NATS, Kinesis, RabbitMQ and back, with orders at the given rate per second.
pub(crate) async fn switch(rate: u32) -> anyhow::Result<()> {
    let more = vec![Broker::Nats(1), Broker::Kinesis, Broker::RabbitMq];
    let (cluster, _participants) = cluster(more).await?;
    let api = cluster.gateways.first().ok_or_else(|| anyhow::anyhow!("no gateway"))?;
    let arrivals = Arrivals::begin(cluster.gateways.clone(), rate);
    tokio::time::sleep(SETTLE).await;
    let mut spans: Vec<(String, Instant, Instant)> = Vec::new();
    let quiet = async |queue: &str| {
        let begun = now();
        tokio::time::sleep(QUIET).await;
        (format!("{queue}, no move"), begun, now())
    };
    spans.push(quiet("kafka").await);
    for to in WAY {
        let begun = now();
        moved(api, to).await?;
        spans.push((format!("move to {to}"), begun, now()));
        spans.push(quiet(to).await);
    }
    let done = arrivals.end().await?;
    let mut slowest = Vec::new();
    for (what, from, to) in spans {
        // Include the orders that were in flight at the beginning.
        let noticed = |one: &&Done| one.begun < to && one.begun + one.took > from;
        let mut took: Vec<Duration> = done.iter().filter(noticed).map(|one| one.took).collect();
        println!("{what}: {:.1} s, {} orders", (to - from).as_secs_f64(), took.len());
        print_percentiles("  orders, start to end", &mut took);
        slowest.push((what, percentile(&mut took, 0.99)));
    }
    // A move uses both of its queues.
    for around in slowest.windows(3).step_by(2) {
        if let [(_, before), (what, during), (_, after)] = around {
            println!("{what}: p99 is {:.2} times that of the slower queue", during / before.max(*after));
        }
    }
    println!("{} orders, all ended", done.len());
    cluster.down().await
}

async fn moved(api: &Api, to: &str) -> anyhow::Result<()> {
    let begun = now();
    let (status, said) = api.send("POST", "/queues/switch", Some(json!({"to": to}))).await?;
    anyhow::ensure!(status == 200, "the move to {to} was refused: {said}");
    let mut known = String::new();
    loop {
        let standing = api.get("/queues/switch").await?;
        let phase = standing.get("phase").and_then(Value::as_str).unwrap_or("over").to_owned();
        if phase != known {
            println!("  {to}: {phase} after {:.1} s", begun.elapsed().as_secs_f64());
            known = phase;
        }
        if known == "over" {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < MOVED, "the move to {to} did not end: {standing}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
