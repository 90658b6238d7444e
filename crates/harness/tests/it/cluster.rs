//! The whole system as separate processes, with faults of every kind while orders run. Every saga must end correctly.

mod config;
mod pairs;
mod switching;

use futures::StreamExt;
use goconductor_harness::check::{Clocks, Coverage, Fault, Run, Start, UtcTime, check, digest};
use goconductor_harness::{
    Api, Broker, Call, Cluster, ClusterOptions, ElectionServers, Participants, collect, doctor,
};
use goconductor_queue::kafka::{KafkaQueue, Settings};
use goconductor_queue::{Message, Queue, Topic};
use goconductor_saga::WorkflowId;
use goconductor_store::postgres::PostgresStore;
use goconductor_store::{Field, LedgerStore, WorkflowStore};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Three steps of two services.
pub(crate) const ORDER: &str = "
workflow: order
steps:
  - { name: reserve, run: stock/reserve, compensate: stock/release, timeout: 3s }
  - { name: charge, run: payments/charge, compensate: payments/refund, timeout: 3s }
  - { name: ship, run: stock/ship, compensate: stock/unship, timeout: 3s }
";

/// The number of orders during the faults. The default keeps a test run short. `GOCONDUCTOR_HARNESS_ORDERS=2000` requests
/// the full check.
pub(crate) fn orders() -> usize {
    std::env::var("GOCONDUCTOR_HARNESS_ORDERS").ok().and_then(|count| count.parse().ok()).unwrap_or(400)
}

/// Whether the services for a cluster are available.
pub(crate) fn possible() -> bool {
    let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
    if !required {
        eprintln!("skipped: GOCONDUCTOR_TEST_REQUIRE_SERVICES is not 1");
    }
    required
}

/// One cluster at a time in a process of tests, because each consists of a dozen processes.
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
    let settings = crate::traces::settings();
    let (proxied, binaries) = (true, None);
    let options =
        ClusterOptions { queue, more_queues, each: 2, services, proxied, election, settings, binaries };
    let cluster = Cluster::start(options).await.unwrap();
    let participants = serve_order(&cluster.gateways[0]).await;
    (cluster, participants)
}

/// Starts the participants of orders, and registers them and the definition.
pub(crate) async fn serve_order(api: &Api) -> Participants {
    let participants = Participants::start().await.unwrap();
    for service in ["stock", "payments"] {
        api.serve(service, &participants.url(service)).await.unwrap();
    }
    api.apply("order", ORDER).await.unwrap();
    participants
}

/// The script of an order by its number: some refuse, are busy, are slow, or break the connection.
fn script(number: usize) -> Value {
    match number % 11 {
        0 => json!({"ship": "refuse"}),
        1 => json!({"charge": ["reset", "ok"]}),
        // Long enough for the start to be written before its executor is killed or paused.
        2 => json!({"charge": "slow:1500"}),
        3 => json!({"reserve": ["busy", "ok"], "ship": "refuse"}),
        4 => json!({"ship": ["fail", "slow:50"]}),
        // The first attempt may have taken effect, so the later refusal leaves the outcome unknown, and the rollback
        // compensates a step that was never executed.
        5 => json!({"charge": ["gateway", "refuse"]}),
        6 => json!({"ship": "refuse", "refund": ["fail", "busy", "ok"]}),
        7 => json!({"reserve": "slow:1500"}),
        // The response arrives when the attempt has timed out.
        8 => json!({"ship": ["slow:4000", "ok"]}),
        9 => json!({"charge": "slow:2500"}),
        _ => json!({}),
    }
}

/// Orders that [`take_over`] starts, beyond the numbers of any load.
const TAKEN_OVER: std::ops::Range<usize> = 1_000_000..1_000_016;

/// Starts slow orders and pauses an executor that holds some of their attempts, until the other executor has completed
/// all of them. The results of the paused executor are late.
async fn take_over(cluster: &mut Cluster, participants: &Participants, paused: &str) -> Vec<Start> {
    let slow = |_: usize| json!({"charge": "slow:2500"});
    let starts =
        futures::future::join_all(TAKEN_OVER.map(|number| start(&cluster.gateways, number, slow))).await;
    let ids: Vec<&str> = starts.iter().filter_map(|start| start.acknowledged.as_deref()).collect();
    let of_these = |call: &Call| call.action == "payments/charge" && ids.contains(&call.workflow.as_str());
    let most_are_in_flight = async {
        while participants.calls().iter().filter(|call| of_these(call)).count() < ids.len() * 3 / 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), most_are_in_flight).await.expect("the orders are charged");
    cluster.pause(paused).await.unwrap();
    let give_up = Instant::now() + Duration::from_secs(120);
    for (id, api) in ids.iter().zip(cluster.gateways.iter().cycle()) {
        api.ended(id, give_up.saturating_duration_since(Instant::now())).await.unwrap();
    }
    cluster.resume(paused).await.unwrap();
    starts
}

/// The failed requests of the start that had the most of them, in this process.
static MOST_FAILURES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Starts an order, and repeats the request with the same key until it is acknowledged.
async fn start(gateways: &[Api], number: usize, script: fn(usize) -> Value) -> Start {
    let key = format!("order-{number}");
    let at = UtcTime(i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap());
    let input = json!({"script": script(number), "number": number});
    let mut failures = Vec::new();
    while failures.len() < 2000 {
        let gateway = (number + failures.len()) % gateways.len();
        let started = gateways[gateway].start("order", input.clone(), Some(&key));
        let began = Instant::now();
        let failure = match tokio::time::timeout(Duration::from_secs(5), started).await {
            Ok(Ok(id)) => {
                let mut most = MOST_FAILURES.lock();
                if failures.len() > most.len() {
                    *most = failures;
                }
                let (definition, input) = ("order".to_owned(), digest(&input));
                return Start { key: Some(key), definition, input, acknowledged: Some(id), at };
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no response".to_owned(),
        };
        failures.push(format!("gateway {gateway} after {:?}: {failure}", began.elapsed()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("order {number} was not acknowledged")
}

/// Unfinished orders of one caller, at most, when it starts another one.
const UNDER_WAY: usize = 8;
const CALLERS: u32 = 16;
/// The interval between two orders of a caller. The rate is about a quarter of what a machine with two processors sustains,
/// so that other tests can run at the same time, and few orders are left when the faults are over.
const INTERVAL: Duration = Duration::from_secs(2);
/// The same limit for starts at a fixed rate. A fault then delays orders but not the rate.
const CALLERS_AT_A_RATE: u32 = 256;

/// The number of starts per second, independent of earlier orders, from `GOCONDUCTOR_HARNESS_RATE`. The full check uses
/// half of the cluster's capacity.
fn rate() -> Option<u32> {
    std::env::var("GOCONDUCTOR_HARNESS_RATE").ok().and_then(|rate| rate.parse().ok()).filter(|rate| *rate > 0)
}

/// Starts orders until all are acknowledged or `enough` is set. Returns their ids by key.
pub(crate) struct Load {
    tasks: tokio::task::JoinSet<Vec<(usize, Start)>>,
    stop: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
}

impl Load {
    pub(crate) fn begin(cluster: &Cluster) -> Self {
        Self::begin_with(cluster, script)
    }

    /// Starts orders with other scripts, by the number of the order.
    pub(crate) fn begin_with(cluster: &Cluster, script: fn(usize) -> Value) -> Self {
        let mut tasks = tokio::task::JoinSet::new();
        let stop = Arc::new(AtomicUsize::new(usize::MAX));
        let next = Arc::new(AtomicUsize::new(0));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let (callers, interval, under_way) = match rate() {
            Some(rate) => (CALLERS_AT_A_RATE, Duration::from_secs(1) * CALLERS_AT_A_RATE / rate, usize::MAX),
            None => (CALLERS, INTERVAL, UNDER_WAY),
        };
        let begin = tokio::time::Instant::now();
        for caller in 0..callers {
            let (gateways, next, stop) = (cluster.gateways.clone(), Arc::clone(&next), Arc::clone(&stop));
            let acknowledged = Arc::clone(&acknowledged);
            tasks.spawn(async move {
                let mut started: Vec<(usize, Start)> = Vec::new();
                // The callers take turns, so that the starts are spread over the interval.
                let mut turns = tokio::time::interval_at(begin + interval * caller / callers, interval);
                turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    turns.tick().await;
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= stop.load(Ordering::Relaxed) {
                        return started;
                    }
                    started.push((number, start(&gateways, number, script).await));
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    // A slow machine must be able to end all open orders in time. Responses during a fault may be missing or
                    // negative; the end of each order is checked afterwards.
                    if let Some((_, earlier)) = started.iter().rev().nth(under_way) {
                        let api = &gateways[number % gateways.len()];
                        let id = earlier.acknowledged.as_ref().unwrap();
                        let _any = api.ended(id, Duration::from_secs(2)).await;
                    }
                }
            });
        }
        Self { tasks, stop, acknowledged }
    }

    /// Waits until this many further orders are acknowledged.
    pub(crate) async fn continues(&self, orders: usize) {
        let enough = self.acknowledged.load(Ordering::Relaxed) + orders;
        while self.acknowledged.load(Ordering::Relaxed) < enough {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops the load when it has started this many orders, and returns all orders.
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

/// Waits until all workflows have ended, checks every guarantee, and returns the coverage.
pub(crate) async fn all_end_right(
    cluster: &Cluster,
    participants: &Participants,
    starts: Vec<Start>,
    within: Duration,
) -> Coverage {
    let give_up = Instant::now() + within;
    let open: Vec<(WorkflowId, String)> =
        futures::stream::iter(starts.iter().zip(cluster.gateways.iter().cycle()))
            .map(async |(start, api)| {
                let left = give_up.saturating_duration_since(Instant::now());
                let id = start.acknowledged.as_ref().unwrap();
                let error = api.ended(id, left).await.err()?;
                Some((WorkflowId(id.parse().unwrap()), format!("{error:#}")))
            })
            .buffer_unordered(16)
            .filter_map(std::future::ready)
            .collect()
            .await;
    if !open.is_empty() {
        let (ids, errors): (Vec<_>, Vec<_>) = open.into_iter().unzip();
        let database = PostgresStore::connect(&cluster.database, 1).await.unwrap();
        let ledger = database.ledger(&ids).await.unwrap();
        let diagnosis = cluster.diagnosis().await;
        panic!("{} workflows did not end: {}\n{ledger:#?}\n{diagnosis}", ids.len(), errors.join("\n"));
    }
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
    assert!(coverage.completed * 3 > coverage.workflows, "too few workflows completed: {coverage:#?}");
    assert!(coverage.rollbacks * 5 > coverage.workflows, "too few workflows rolled back: {coverage:#?}");
    coverage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_paused_processes_break_no_guarantee() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let whole = orders() >= 2000;
    let (mut cluster, participants) = cluster(if whole { 3 } else { 1 }).await;
    let load = Load::begin(&cluster);
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
    // Cut the connections during commits, whose outcome must then be read.
    for _ in 0..5 {
        cluster.cut_database(Duration::from_millis(200)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    if whole {
        cluster.services().call("kafka.sh", &["kill", "2"]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        cluster.services().call("kafka.sh", &["start", "2"]).await.unwrap();
    }
    let mut starts = take_over(&mut cluster, &participants, "executor-payments-1").await;
    starts.extend(load.end(orders()).await);
    let coverage = all_end_right(&cluster, &participants, starts, Duration::from_secs(120)).await;
    // A run without faults proves nothing.
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

/// A counter of all executors since their start.
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

pub(crate) async fn dead_letters(api: &Api) -> usize {
    let page = api.get("/dead-letters?page_size=1000").await.unwrap();
    page["dead_letters"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_duplicates_and_loss_of_the_queue_break_no_guarantee() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (cluster, participants) = cluster(1).await;
    let queue = KafkaQueue::new(Settings::new(vec![cluster.brokers.clone()])).unwrap();
    let load = Load::begin(&cluster);
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Unreadable messages, and messages about unknown workflows, are kept as dead letters with the reason.
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
    // Publish two more copies of every command so far, and of some that were not issued yet, in another order.
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
async fn terminated_processes_drain_and_sagas_continue_without_gateways_and_electors() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (mut cluster, participants) = cluster(3).await;
    let load = Load::begin(&cluster);
    tokio::time::sleep(Duration::from_secs(2)).await;
    MOST_FAILURES.lock().clear();
    for name in ["gateway-1", "store-1", "elector-1", "executor-stock-1", "executor-payments-1"] {
        let took = cluster.terminate(name).await.unwrap();
        assert!(took < Duration::from_secs(15), "{name} took {took:?} to end");
        cluster.restart(name).await.unwrap();
    }
    let failures = MOST_FAILURES.lock().clone();
    assert!(failures.len() <= 1, "requests of one start failed: {failures:#?}");
    // One of three brokers may be lost.
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
        assert!(
            Instant::now() < give_up,
            "workflows did not end with gateways and electors stopped: {counts:#?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for name in ["gateway-1", "gateway-2"] {
        cluster.restart(name).await.unwrap();
    }
    all_end_right(&cluster, &participants, starts, Duration::from_secs(60)).await;
    cluster.down().await.unwrap();
}

/// The server stays down. Another server leads its streams, and commands are published and delivered without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_continue_without_one_of_three_nats_servers() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (cluster, participants) = cluster_over(Broker::Nats(3)).await;
    let load = Load::begin(&cluster);
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.services().call("nats.sh", &["kill", "1"]).await.unwrap();
    let taken = async || cluster.measured("saga-executor", "goconductor_queue_taken_total").await.unwrap();
    let before = taken().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let starts = load.end(orders() / 8).await;
    all_end_right(&cluster, &participants, starts, Duration::from_secs(180)).await;
    let after = taken().await;
    assert!(after > before, "no command was delivered without the server: {before} commands, then {after}");
    cluster.down().await.unwrap();
}
