//! The effect on others when a process of a cluster is killed or terminated, and when topics contain garbage.

use crate::{now, print_percentiles};
use goconductor_harness::{Api, Broker, Call, Cluster, ClusterOptions, ORDER, Participants};
use goconductor_queue::kafka::{KafkaQueue, Settings};
use goconductor_queue::{Message, Queue, Topic};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SERVICES: [&str; 3] = ["stock", "payments", "shipping"];
/// The warm-up, during which topics are created and assigned.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);
/// A call that takes longer counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster with two processes of each kind over Kafka, the other queues, and the services of an order.
pub(crate) async fn cluster(more_queues: Vec<Broker>) -> anyhow::Result<(Cluster, Participants)> {
    let services = SERVICES.map(str::to_owned).to_vec();
    let options = ClusterOptions { more_queues, services, ..ClusterOptions::new(Broker::Kafka(1), 2) };
    let cluster = Cluster::start(options).await?;
    let participants = Participants::start().await?;
    let api = cluster.gateways.first().ok_or_else(|| anyhow::anyhow!("no gateway"))?;
    for service in SERVICES {
        api.serve(service, &participants.url(service)).await?;
    }
    api.apply("order", ORDER).await?;
    Ok((cluster, participants))
}

/// An order from its start to its end.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    id: String,
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    /// The highest number of repetitions of one call.
    calls: usize,
}

/// A steady number of concurrent orders until it is stopped.
struct OrderFlow {
    lanes: tokio::task::JoinSet<anyhow::Result<()>>,
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<Done>>>,
}

impl OrderFlow {
    fn begin(cluster: &Cluster, name: &'static str, in_flight: usize, input: &Value) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut lanes = tokio::task::JoinSet::new();
        for lane in 0..in_flight {
            let (stop, done, input) = (Arc::clone(&stop), Arc::clone(&done), input.clone());
            let mut gateways = cluster.gateways.clone();
            gateways.rotate_left(lane % cluster.gateways.len());
            lanes.spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let one = order(&gateways, &format!("{name}-{lane}-{number}"), &input).await?;
                    done.lock().push(one);
                }
                Ok(())
            });
        }
        Self { lanes, stop, done }
    }

    async fn end(mut self) -> anyhow::Result<Vec<Done>> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(lane) = self.lanes.join_next().await {
            lane??;
        }
        let done = std::mem::take(&mut *self.done.lock());
        Ok(done)
    }
}

pub(crate) async fn order(gateways: &[Api], key: &str, input: &Value) -> anyhow::Result<Done> {
    let begun = now();
    let (id, starts) = repeated(gateways, |api| api.start("order", input.clone(), Some(key))).await?;
    let (_, ends) = repeated(gateways, |api| api.ended(&id, PATIENCE)).await?;
    Ok(Done { id, begun, took: begun.elapsed(), calls: starts.max(ends) })
}

/// Repeats a failed call at the next gateway. Returns the number of calls.
async fn repeated<'a, T, F>(gateways: &'a [Api], call: impl Fn(&'a Api) -> F) -> anyhow::Result<(T, usize)>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let mut last = anyhow::anyhow!("the cluster has no gateway");
    for (api, calls) in gateways.iter().cycle().zip(1..20) {
        match call(api).await {
            Ok(answer) => return Ok((answer, calls)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn times(done: &[Done], from: Instant, to: Instant) -> Vec<Duration> {
    done.iter().filter(|one| one.begun >= from && one.begun < to).map(|one| one.took).collect()
}

/// Kills executors with attempts in flight and measures the time until another executor repeats each attempt.
pub(crate) async fn take_over(rounds: usize) -> anyhow::Result<()> {
    let (mut cluster, participants) = cluster(Vec::new()).await?;
    tokio::time::sleep(SETTLE).await;
    let slow = json!({"script": {"reserve": "slow:1500", "charge": "slow:1500", "ship": "slow:1500"}});
    let flow = OrderFlow::begin(&cluster, "slow", 64, &slow);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut kills = Vec::new();
    for (round, service) in SERVICES.iter().cycle().take(rounds).enumerate() {
        let name = format!("executor-{service}-{}", 1 + round / SERVICES.len() % 2);
        kills.push((service, participants.elapsed()));
        cluster.kill(&name).await?;
        tokio::time::sleep(Duration::from_secs(12)).await;
        cluster.restart(&name).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let done = flow.end().await?;
    let mut by_key: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    let calls = participants.calls();
    for call in &calls {
        by_key.entry(&call.key).or_default().push(call);
    }
    let mut took = Vec::new();
    for (service, killed) in kills {
        for calls in by_key.values() {
            let under_way = |call: &&&Call| {
                call.action.starts_with(*service)
                    && call.at <= killed
                    && call.at + Duration::from_millis(1500) > killed
            };
            if calls.iter().any(|call| under_way(&call))
                && let Some(again) = calls.iter().find(|call| call.at > killed)
            {
                took.push(again.at.saturating_sub(killed));
            }
        }
    }
    println!("{rounds} executors killed: {} attempts taken over of {} orders", took.len(), done.len());
    print_percentiles("  from the kill to the next attempt", &mut took);
    print_percentiles("  orders, start to end", &mut done.iter().map(|one| one.took).collect::<Vec<_>>());
    cluster.down().await
}

const KINDS: [&str; 5] = ["gateway", "store", "elector", "executor-stock", "executor-payments"];

/// Terminates and restarts each kind of process, and measures failed calls and the longest delay of an order.
pub(crate) async fn hand_over(rounds: usize) -> anyhow::Result<()> {
    let (mut cluster, _participants) = cluster(Vec::new()).await?;
    tokio::time::sleep(SETTLE).await;
    let flow = OrderFlow::begin(&cluster, "plain", 8, &json!({}));
    // A retry waits for a timer, which needs the elected leader.
    let retrying = OrderFlow::begin(&cluster, "retrying", 8, &json!({"script": {"charge": ["busy", "ok"]}}));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let quiet = now();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut spans = vec![("nothing", quiet, now())];
    let mut slowest: BTreeMap<&str, Duration> = BTreeMap::new();
    for round in 0..rounds {
        for kind in KINDS {
            let name = format!("{kind}-{}", 1 + round % 2);
            // Include the orders that were in flight at the time of the signal.
            let begun = now() - Duration::from_millis(200);
            let took = cluster.terminate(&name).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            spans.push((kind, begun, now()));
            tokio::time::sleep(Duration::from_secs(2)).await;
            let back = now();
            cluster.restart(&name).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            spans.push(("after all restarts", back, now()));
            tokio::time::sleep(Duration::from_secs(2)).await;
            let longest = slowest.entry(kind).or_default();
            *longest = took.max(*longest);
        }
    }
    let (done, retried) = (flow.end().await?, retrying.end().await?);
    for kind in ["nothing"].into_iter().chain(KINDS).chain(["after all restarts"]) {
        let within = |done: &[Done]| -> Vec<Duration> {
            let spans = spans.iter().filter(|span| span.0 == kind);
            spans.flat_map(|(_, from, to)| times(done, *from, *to)).collect()
        };
        let gone = slowest.get(kind).map_or(String::new(), |took| format!(", ended after {took:.0?}"));
        println!("{kind}{gone}");
        print_percentiles("  orders, start to end", &mut within(&done));
        print_percentiles("  with one retry", &mut within(&retried));
    }
    let all = || done.iter().chain(&retried);
    if let Some(slowest) = all().max_by_key(|one| one.took) {
        println!("the slowest took {:.0?}:", slowest.took);
        let api = cluster.gateways.first().ok_or_else(|| anyhow::anyhow!("no gateway"))?;
        let page = api.get(&format!("/workflows/{}/events", slowest.id)).await?;
        for event in page.get("events").and_then(Value::as_array).into_iter().flatten() {
            println!("  {event}");
        }
    }
    let again = all().filter(|one| one.calls > 1).count();
    let most = all().map(|one| one.calls).max().unwrap_or(0);
    println!("{} orders: {again} with a call that was repeated, at most {most} calls", all().count());
    cluster.down().await
}

/// Publishes garbage to the topics at a rate per second and measures the effect on orders.
pub(crate) async fn garbage(rate: u64) -> anyhow::Result<()> {
    let (cluster, _participants) = cluster(Vec::new()).await?;
    let queue = KafkaQueue::new(Settings::new(vec![cluster.brokers.clone()]))?;
    tokio::time::sleep(SETTLE).await;
    let flow = OrderFlow::begin(&cluster, "plain", 16, &json!({}));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut spans = Vec::new();
    let mut sent = 0_u64;
    for flooded in [false, true, false, true, false] {
        let (from, until) = (now(), now() + Duration::from_secs(10));
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while now() < until {
            tick.tick().await;
            if !flooded {
                continue;
            }
            for service in SERVICES {
                let count = rate / 10 / 3;
                let junk = |number: u64| Message {
                    key: format!("junk-{number}"),
                    payload: format!("{number}: not a command").into_bytes().into(),
                    published_at_ms: 1,
                };
                queue.publish(&Topic::execute(service), (sent..sent + count).map(junk).collect()).await?;
                sent += count;
            }
        }
        spans.push((flooded, from, now()));
    }
    let done = flow.end().await?;
    for (flooded, from, to) in spans {
        let mut took = times(&done, from, to);
        let what = if flooded { "with garbage" } else { "without garbage" };
        print_percentiles(&format!("{what}: {} orders", took.len()), &mut took);
    }
    let mut kept = 0;
    for _ in 0..100 {
        kept = 0;
        let mut token = String::new();
        loop {
            let api = cluster.gateways.first().ok_or_else(|| anyhow::anyhow!("no gateway"))?;
            let page = api.get(&format!("/dead-letters?page_size=1000&page_token={token}")).await?;
            kept += page.get("dead_letters").and_then(Value::as_array).map_or(0, Vec::len);
            let next = page.get("next_page_token").and_then(Value::as_str);
            next.unwrap_or_default().clone_into(&mut token);
            if token.is_empty() {
                break;
            }
        }
        if u64::try_from(kept)? >= sent {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{sent} messages of garbage, {kept} dead letters");
    cluster.down().await
}
