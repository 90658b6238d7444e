//! The whole system as processes, broken in every way while orders run: every saga ends, and right.

mod pairs;
mod switching;

use futures::StreamExt;
use goconductor_harness::check::{Clocks, Coverage, Fault, Run, Start, UtcTime, check, digest};
use goconductor_harness::{
    Api, Broker, Cluster, ClusterOptions, ElectionServers, Participants, collect, doctor,
};
use goconductor_queue::kafka::{KafkaQueue, Settings};
use goconductor_queue::{Message, Queue, Topic};
use goconductor_store::postgres::PostgresStore;
use goconductor_store::{Field, WorkflowStore};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Three steps of two services.
const ORDER: &str = "
workflow: order
steps:
  - { name: reserve, run: stock/reserve, compensate: stock/release, timeout: 3s }
  - { name: charge, run: payments/charge, compensate: payments/refund, timeout: 3s }
  - { name: ship, run: stock/ship, compensate: stock/unship, timeout: 3s }
";

/// How many orders run while things are broken: enough to see something, few enough for each test run. The
/// full check is asked for by `GOCONDUCTOR_HARNESS_ORDERS=2000`.
pub(crate) fn orders() -> usize {
    std::env::var("GOCONDUCTOR_HARNESS_ORDERS").ok().and_then(|count| count.parse().ok()).unwrap_or(400)
}

/// Whether there is anything to start a cluster with.
pub(crate) fn possible() -> bool {
    let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
    if !required {
        eprintln!("not run: GOCONDUCTOR_TEST_REQUIRE_SERVICES is not 1");
    }
    required
}

/// One cluster at a time: each is a dozen processes.
pub(crate) static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn cluster(brokers: u32) -> (Cluster, Participants) {
    cluster_over(Broker::Kafka(brokers)).await
}

async fn cluster_over(queue: Broker) -> (Cluster, Participants) {
    cluster_with(queue, ElectionServers::Postgres).await
}

pub(crate) async fn cluster_with(queue: Broker, election: ElectionServers) -> (Cluster, Participants) {
    cluster_of(queue, Vec::new(), election).await
}

async fn cluster_of(
    queue: Broker,
    more_queues: Vec<Broker>,
    election: ElectionServers,
) -> (Cluster, Participants) {
    let services = ["stock", "payments"].map(str::to_owned).to_vec();
    let settings = String::new();
    let options = ClusterOptions { queue, more_queues, each: 2, services, proxied: true, election, settings };
    let cluster = Cluster::start(options).await.unwrap();
    let participants = Participants::start().await.unwrap();
    let api = &cluster.gateways[0];
    for service in ["stock", "payments"] {
        api.serve(service, &participants.url(service)).await.unwrap();
    }
    api.apply("order", ORDER).await.unwrap();
    (cluster, participants)
}

/// What an order's participants do, by its number: some refuse, some are busy, slow, or break.
fn script(number: usize) -> Value {
    match number % 11 {
        0 => json!({"ship": "refuse"}),
        1 => json!({"charge": ["reset", "ok"]}),
        // Long enough for its start to be on record when its executor is killed or paused.
        2 => json!({"charge": "slow:1500"}),
        3 => json!({"reserve": ["busy", "ok"], "ship": "refuse"}),
        4 => json!({"ship": ["fail", "slow:50"]}),
        5 => json!({"charge": "refuse"}),
        6 => json!({"ship": "refuse", "refund": ["fail", "busy", "ok"]}),
        7 => json!({"reserve": "slow:1500"}),
        // Its answer comes when its time is up.
        8 => json!({"ship": ["slow:4000", "ok"]}),
        9 => json!({"charge": "slow:2500"}),
        _ => json!({}),
    }
}

/// The most calls that a start has taken, in this process.
static MOST_TRIES: AtomicUsize = AtomicUsize::new(0);

/// Starts an order until somebody acknowledges it; a repeat has the same key.
async fn start(gateways: &[Api], number: usize) -> Start {
    let key = format!("order-{number}");
    let at = UtcTime(i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap());
    for attempt in 0..2000 {
        let api = &gateways[(number + attempt) % gateways.len()];
        let input = json!({"script": script(number), "number": number});
        let started =
            tokio::time::timeout(Duration::from_secs(5), api.start("order", input, Some(&key))).await;
        if let Ok(Ok(id)) = started {
            MOST_TRIES.fetch_max(attempt + 1, Ordering::Relaxed);
            let input = digest(&json!({"script": script(number), "number": number}));
            let definition = "order".to_owned();
            return Start { key: Some(key), definition, input, acknowledged: Some(id), at };
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("order {number} could not be started");
}

/// How many orders of one caller may not have ended when it starts another one.
const UNDER_WAY: usize = 8;
const CALLERS: u32 = 16;
/// As many start at a rate: what is broken holds up those who wait for it, and not the rate.
const CALLERS_AT_A_RATE: u32 = 256;

/// How many orders are started each second, whatever became of those before, if
/// `GOCONDUCTOR_HARNESS_RATE` says so: the full check is run at half of what the cluster can do.
fn rate() -> Option<u32> {
    std::env::var("GOCONDUCTOR_HARNESS_RATE").ok().and_then(|rate| rate.parse().ok()).filter(|rate| *rate > 0)
}

/// Starts orders, a few at a time, until all are acknowledged or `enough` says so; their ids by key.
pub(crate) struct Load {
    tasks: tokio::task::JoinSet<Vec<(usize, Start)>>,
    stop: Arc<AtomicUsize>,
}

impl Load {
    pub(crate) fn begin(cluster: &Cluster, pause: Duration) -> Self {
        let mut tasks = tokio::task::JoinSet::new();
        let stop = Arc::new(AtomicUsize::new(usize::MAX));
        let next = Arc::new(AtomicUsize::new(0));
        let (callers, pause, under_way) = match rate() {
            Some(rate) => (CALLERS_AT_A_RATE, Duration::from_secs(1) * CALLERS_AT_A_RATE / rate, usize::MAX),
            None => (CALLERS, pause, UNDER_WAY),
        };
        for _ in 0..callers {
            let (gateways, next, stop) = (cluster.gateways.clone(), Arc::clone(&next), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut started: Vec<(usize, Start)> = Vec::new();
                let mut turns = tokio::time::interval(pause);
                turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    turns.tick().await;
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= stop.load(Ordering::Relaxed) {
                        return started;
                    }
                    started.push((number, start(&gateways, number).await));
                    // No more are under way than a slow machine can end in time. What is broken just now may
                    // say nothing, or that it is not there: whether all end is asked of them all afterwards.
                    if let Some((_, earlier)) = started.iter().rev().nth(under_way) {
                        let api = &gateways[number % gateways.len()];
                        let id = earlier.acknowledged.as_ref().unwrap();
                        let _any = api.ended(id, Duration::from_secs(2)).await;
                    }
                }
            });
        }
        Self { tasks, stop }
    }

    /// No more starts, once there are this many; all of them.
    pub(crate) async fn end(mut self, count: usize) -> Vec<Start> {
        self.stop.store(count, Ordering::Relaxed);
        let mut all = BTreeMap::new();
        while let Some(ended) = self.tasks.join_next().await {
            for (number, start) in ended.unwrap() {
                assert!(all.insert(number, start).is_none());
            }
        }
        all.into_values().collect()
    }
}

/// Waits until all have ended, and proves every guarantee for each of them; what the run has met.
pub(crate) async fn all_end_right(
    cluster: &Cluster,
    participants: &Participants,
    starts: Vec<Start>,
    within: Duration,
) -> Coverage {
    let give_up = Instant::now() + within;
    futures::stream::iter(starts.iter().zip(cluster.gateways.iter().cycle()))
        .for_each_concurrent(16, |(start, api)| async move {
            let left = give_up.saturating_duration_since(Instant::now());
            api.ended(start.acknowledged.as_ref().unwrap(), left).await.unwrap();
        })
        .await;
    let run = Run {
        starts,
        workflows: collect(&cluster.gateways[0]).await.unwrap(),
        effects: participants.effects(),
        doctor: Some(doctor(["--state-store-url", &cluster.database]).await.unwrap()),
        refused_writes: counted(cluster, "goconductor_late_answers_total").await,
        ..Run::default()
    };
    let findings = check(&run, Clocks::default());
    assert!(findings.is_empty(), "{findings:#?}");
    let coverage = Coverage::of(&run, Clocks::default());
    assert!(coverage.completed * 3 > coverage.workflows, "nothing was tried: {coverage:#?}");
    assert!(coverage.rollbacks * 5 > coverage.workflows, "nothing was tried: {coverage:#?}");
    coverage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_paused_one_after_the_other() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let whole = orders() >= 2000;
    let (mut cluster, participants) = cluster(if whole { 3 } else { 1 }).await;
    let load = Load::begin(&cluster, Duration::from_millis(40));
    let pause = if whole { Duration::from_secs(20) } else { Duration::from_secs(8) };
    for name in ["gateway-1", "store-1", "elector-1", "executor-stock-1", "executor-payments-2"] {
        cluster.kill(name).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.restart(name).await.unwrap();
    }
    for name in ["gateway-2", "store-2", "elector-2", "executor-stock-2", "executor-payments-1"] {
        cluster.pause(name).await.unwrap();
        tokio::time::sleep(pause).await;
        cluster.resume(name).await.unwrap();
    }
    for _ in 0..3 {
        cluster.services().call("postgres.sh", &["kill"]).await.unwrap();
        cluster.services().call("postgres.sh", &["start"]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    // In the middle of commits: whether they were done is found out by reading.
    for _ in 0..5 {
        cluster.cut_database(Duration::from_millis(200)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    if whole {
        cluster.services().call("kafka.sh", &["kill", "2"]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        cluster.services().call("kafka.sh", &["start", "2"]).await.unwrap();
    }
    let starts = load.end(orders()).await;
    let coverage = all_end_right(&cluster, &participants, starts, Duration::from_secs(120)).await;
    // A run in which nothing happened proves nothing.
    let met = [
        Fault::Rollback,
        Fault::Retry,
        Fault::Unknown,
        Fault::LostAttempt,
        Fault::Takeover,
        Fault::Duplicate,
        Fault::Refused,
        Fault::Late,
        Fault::NullCompensation,
        Fault::Zombie,
    ];
    let deficiencies = coverage.deficiencies(&met);
    assert!(deficiencies.is_empty(), "{deficiencies:#?} {coverage:#?}");
    println!("{coverage:#?}");
    cluster.down().await.unwrap();
}

/// What all executors have counted since they were started.
async fn counted(cluster: &Cluster, metric: &str) -> u64 {
    let sum = cluster.measured("saga-executor", metric).await.unwrap();
    format!("{sum:.0}").parse().unwrap()
}

/// Publishes raw messages to a service's topic.
async fn publish(queue: &KafkaQueue, service: &str, payloads: Vec<(String, Vec<u8>)>) {
    let messages = payloads
        .into_iter()
        .map(|(key, payload)| Message { key, payload: payload.into(), published_at_ms: 1_700_000_000_000 })
        .collect();
    queue.publish(&Topic::execute(service), messages).await.unwrap();
}

async fn dead_letters(api: &Api) -> usize {
    let page = api.get("/dead-letters?page_size=1000").await.unwrap();
    page["dead_letters"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_copies_and_the_loss_of_the_queue_harm_nobody() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (cluster, participants) = cluster(1).await;
    let queue = KafkaQueue::new(Settings::new(vec![cluster.brokers.clone()])).unwrap();
    let load = Load::begin(&cluster, Duration::from_millis(40));
    tokio::time::sleep(Duration::from_secs(3)).await;
    // What is no command, or names what does not exist, is kept with the reason.
    let unknown = |number: u128| {
        let id = format!("01890000-0000-7000-8000-{number:012x}");
        let text = json!({"format": 1, "id": id, "seq": 1, "step": 0, "side": "execute", "attempt": 1,
            "redelivery": 0, "published_at": 1_700_000_000_000_000_i64});
        (id, text.to_string().into_bytes())
    };
    let mut garbage: Vec<(String, Vec<u8>)> = (0..100_u8)
        .map(|number| {
            (format!("k{number}"), (0..number).map(|byte| byte.wrapping_mul(37) ^ number).collect())
        })
        .collect();
    garbage.extend((0..50).map(unknown));
    garbage.extend((50..100).map(unknown).map(|(key, mut cut)| {
        cut.truncate(cut.len() / 2);
        (key, cut)
    }));
    let count = garbage.len();
    publish(&queue, "stock", garbage).await;
    let give_up = Instant::now() + Duration::from_secs(30);
    while dead_letters(&cluster.gateways[0]).await < count && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(dead_letters(&cluster.gateways[0]).await, count);
    // Every command of every workflow so far, and some that are not issued yet, twice more in another order.
    let page = cluster.gateways[0].get("/workflows?page_size=1000").await.unwrap();
    let mut copies = 0;
    for (service, steps) in [("stock", &[2_u32, 0][..]), ("payments", &[1])] {
        let mut records = Vec::new();
        for workflow in page["workflows"].as_array().unwrap() {
            let id = workflow["id"].as_str().unwrap().to_owned();
            for step in steps {
                let command = json!({"format": 1, "id": id, "seq": 1, "step": step, "side": "execute",
                    "attempt": 1, "redelivery": 0, "published_at": 1_700_000_000_000_000_i64});
                records.push((id.clone(), command.to_string().into_bytes()));
            }
        }
        copies += records.len();
        publish(&queue, service, records.clone()).await;
        publish(&queue, service, records).await;
    }
    assert!(copies > 50, "only {copies} records were copied");
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.services().call("kafka.sh", &["lose"]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let starts = load.end(orders() / 2).await;
    all_end_right(&cluster, &participants, starts, Duration::from_secs(120)).await;
    let refused = cluster.measured("saga-executor", "goconductor_commands_refused_total").await.unwrap();
    assert!(refused > 0.0, "no copy was refused");
    cluster.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_can_be_ended_in_order_and_gateways_and_electors_are_not_needed() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (mut cluster, participants) = cluster(3).await;
    let load = Load::begin(&cluster, Duration::from_millis(60));
    tokio::time::sleep(Duration::from_secs(2)).await;
    MOST_TRIES.store(0, Ordering::Relaxed);
    for name in ["gateway-1", "store-1", "elector-1", "executor-stock-1", "executor-payments-1"] {
        let took = cluster.terminate(name).await.unwrap();
        assert!(took < Duration::from_secs(15), "{name} took {took:?} to end");
        cluster.restart(name).await.unwrap();
    }
    let tries = MOST_TRIES.load(Ordering::Relaxed);
    assert!(tries <= 2, "a start took {tries} calls");
    // One broker of three may be lost.
    cluster.services().call("kafka.sh", &["kill", "2"]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.services().call("kafka.sh", &["start", "2"]).await.unwrap();
    let starts = load.end(orders() / 2).await;
    for name in ["gateway-1", "gateway-2", "elector-1", "elector-2"] {
        cluster.terminate(name).await.unwrap();
    }
    let database = PostgresStore::connect(&cluster.database, 1).await.unwrap();
    let give_up = Instant::now() + Duration::from_secs(120);
    loop {
        let counts = database.counts("default", Field::Status, None).await.unwrap();
        let mut open = counts.iter().filter(|each| !["COMPLETED", "ROLLED_BACK"].contains(&&*each.value));
        if open.all(|each| each.count == 0) {
            break;
        }
        assert!(Instant::now() < give_up, "with gateways and electors stopped, some do not end: {counts:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for name in ["gateway-1", "gateway-2"] {
        cluster.restart(name).await.unwrap();
    }
    all_end_right(&cluster, &participants, starts, Duration::from_secs(60)).await;
    cluster.down().await.unwrap();
}

/// It stays away: what it led is led by another, and commands are published and taken without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_one_nats_server_of_three_sagas_go_on() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (cluster, participants) = cluster_over(Broker::Nats(3)).await;
    let load = Load::begin(&cluster, Duration::from_millis(40));
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.services().call("nats.sh", &["kill", "1"]).await.unwrap();
    let taken = async || cluster.measured("saga-executor", "goconductor_queue_taken_total").await.unwrap();
    let before = taken().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let starts = load.end(orders() / 8).await;
    all_end_right(&cluster, &participants, starts, Duration::from_secs(180)).await;
    let after = taken().await;
    assert!(after > before, "nothing was taken without it: {before} commands, then {after}");
    cluster.down().await.unwrap();
}
