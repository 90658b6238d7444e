//! Ten times what can be done, from one namespace, while another asks for a fifth of it: who is refused, what of
//! the accepted ends, how much of its rate the modest one gets, how much memory each process had at most, and
//! how soon orders are as quick as before.
//!
//! The flood is bounded: a fixed number of connections, each with its own pace, and what a connection could not
//! send in its time is left out and counted.

use crate::{now, percentile, print_percentiles};
use anyhow::Context;
use goconductor_harness::{Broker, Cluster, ClusterOptions, Dev, DevOptions, ElectionServers, ORDER};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const SERVICES: [&str; 3] = ["stock", "payments", "shipping"];
const GREEDY: &str = "greedy";
const MODEST: &str = "modest";
/// How long the capacity is measured, after it has warmed up for as long.
const CAPACITY: Duration = Duration::from_secs(10);
/// Orders under way when it is.
const IN_FLIGHT: usize = 64;
/// Connections of the flood, and of the modest one: so many that neither waits for its own answers.
const FLOOD: usize = 2500;
const MODEST_CONNECTIONS: usize = 128;
/// The flood's part of the capacity, and the modest one's.
const TIMES: f64 = 10.0;
const PART: f64 = 0.2;
/// When latency has to be as before.
const RECOVERED: Duration = Duration::from_secs(30);
/// How long is waited for what was accepted to end.
const ENDS: Duration = Duration::from_secs(300);

/// Services that do what they are asked to, at once, and keep no log.
struct Participants {
    url: String,
}

impl Participants {
    async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let done = || async { axum::Json(json!({"ok": true})) };
        let router = axum::Router::new().route("/{service}/{action}", axum::routing::post(done));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url })
    }

    fn url(&self, service: &str) -> String {
        format!("{}/{service}", self.url)
    }
}

/// A namespace's way into the system.
#[derive(Clone)]
pub(crate) struct Door {
    http: reqwest::Client,
    base: String,
    namespace: &'static str,
}

/// What came of a start.
pub(crate) enum Start {
    Accepted(String),
    Refused(Duration),
}

impl Door {
    pub(crate) fn new(base: &str, namespace: &'static str) -> Self {
        Self { http: reqwest::Client::new(), base: base.to_owned(), namespace }
    }

    /// The same over a connection of its own.
    fn another(&self) -> Self {
        Self { http: reqwest::Client::new(), ..self.clone() }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: String,
    ) -> anyhow::Result<(u16, Option<u64>, Value)> {
        let request = self.http.request(method.parse()?, format!("{}/api/v1{path}", self.base));
        let request = request.header("goconductor-namespace", self.namespace).header("content-type", kind);
        let answer = request.body(body).send().await?;
        let after = answer.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
        Ok((answer.status().as_u16(), after, answer.json().await.unwrap_or_default()))
    }

    pub(crate) async fn put(&self, path: &str, kind: &str, body: String) -> anyhow::Result<()> {
        let (status, _, answer) = self.call("PUT", path, kind, body).await?;
        anyhow::ensure!(status < 300, "PUT {path}: {status} {answer}");
        Ok(())
    }

    pub(crate) async fn start(&self, definition: &str) -> anyhow::Result<Start> {
        let body = json!({"definition": definition, "input": {"order_id": "o-1", "amount": 42}}).to_string();
        let (status, after, answer) = self.call("POST", "/workflows", "application/json", body).await?;
        match (status, after) {
            (201, _) => {
                let id = answer.get("id").and_then(Value::as_str).context("no id")?;
                Ok(Start::Accepted(id.to_owned()))
            }
            (429, Some(after)) => Ok(Start::Refused(Duration::from_secs(after))),
            (status, after) => anyhow::bail!("start: {status}, Retry-After {after:?}: {answer}"),
        }
    }

    /// An order from its start to its end; none if it was refused.
    async fn order(&self) -> anyhow::Result<Option<Duration>> {
        let begun = now();
        let Start::Accepted(id) = self.start("order").await? else { return Ok(None) };
        loop {
            let path = format!("/workflows/{id}/result?wait=30s");
            match self.call("GET", &path, "application/json", String::new()).await? {
                (200, _, _) => return Ok(Some(begun.elapsed())),
                (202 | 429, _, _) => {}
                (status, _, answer) => anyhow::bail!("result: {status} {answer}"),
            }
        }
    }

    /// How many workflows there are of each status.
    async fn counts(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let path = "/workflow-counts?by=status";
        let (status, _, answer) = self.call("GET", path, "application/json", String::new()).await?;
        anyhow::ensure!(status == 200, "{path}: {status} {answer}");
        let counts = answer.get("counts").and_then(Value::as_array).into_iter().flatten();
        let count =
            |count: &Value| Some((count.get("value")?.as_str()?.to_owned(), count.get("count")?.as_u64()?));
        Ok(counts.filter_map(count).collect())
    }
}

/// What is flooded.
enum System {
    Dev { dev: Box<Dev>, _data: tempfile::TempDir },
    Cluster(Box<Cluster>),
}

impl System {
    async fn start(of: &str) -> anyhow::Result<Self> {
        if of == "cluster" {
            let services = SERVICES.map(str::to_owned).to_vec();
            let options = ClusterOptions {
                queue: Broker::Kafka(1),
                more_queues: Vec::new(),
                each: 2,
                services,
                proxied: false,
                election: ElectionServers::Postgres,
                settings: String::new(),
            };
            return Ok(Self::Cluster(Box::new(Cluster::start(options).await?)));
        }
        let data = tempfile::tempdir()?;
        let dev = Box::new(Dev::start(data.path(), DevOptions::default()).await?);
        Ok(Self::Dev { dev, _data: data })
    }

    fn gateways(&self) -> Vec<String> {
        match self {
            Self::Dev { dev, .. } => vec![dev.api.base().to_owned()],
            Self::Cluster(cluster) => cluster.gateways.iter().map(|api| api.base().to_owned()).collect(),
        }
    }

    fn peaks(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        match self {
            Self::Dev { dev, .. } => Ok(BTreeMap::from([("dev".to_owned(), dev.peak_kib()?)])),
            Self::Cluster(cluster) => cluster.peak_kib(),
        }
    }
}

/// One namespace's doors, one a gateway.
fn doors(system: &System, namespace: &'static str) -> Vec<Door> {
    system.gateways().iter().map(|base| Door::new(base, namespace)).collect()
}

fn first(doors: &[Door]) -> anyhow::Result<&Door> {
    doors.first().context("no gateway")
}

/// What became of starts at a pace.
#[derive(Default)]
struct Tally {
    accepted: AtomicUsize,
    refused: AtomicUsize,
    /// Connections that broke, and answers that are none.
    failed: AtomicUsize,
    /// What a connection had no time to send.
    left_out: AtomicUsize,
}

impl Tally {
    fn count(of: &AtomicUsize) -> usize {
        of.load(Ordering::Relaxed)
    }
}

/// Starts at a pace, over so many connections, until `stop`.
fn pace(
    doors: &[Door],
    connections: usize,
    rate: f64,
    stop: &Arc<AtomicBool>,
) -> (Arc<Tally>, tokio::task::JoinSet<()>) {
    let tally = Arc::new(Tally::default());
    let mut lanes = tokio::task::JoinSet::new();
    let every = Duration::from_secs_f64(connections as f64 / rate.max(0.1));
    for (number, door) in doors.iter().cycle().take(connections).enumerate() {
        let (door, tally, stop) = (door.another(), Arc::clone(&tally), Arc::clone(stop));
        let offset = every.mul_f64(number as f64 / connections as f64);
        lanes.spawn(async move {
            let mut next = now() + offset;
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep_until(next.into()).await;
                let counted = match door.start("order").await {
                    Ok(Start::Accepted(_)) => &tally.accepted,
                    Ok(Start::Refused(_)) => &tally.refused,
                    Err(error) => {
                        eprint_once(&error);
                        &tally.failed
                    }
                };
                counted.fetch_add(1, Ordering::Relaxed);
                next += every;
                while next < now() {
                    tally.left_out.fetch_add(1, Ordering::Relaxed);
                    next += every;
                }
            }
        });
    }
    (tally, lanes)
}

#[allow(clippy::print_stderr, reason = "why a figure is not what it should be")]
fn eprint_once(error: &anyhow::Error) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        eprintln!("a start failed: {error:#}");
    }
}

/// Orders a second, so many under way at once.
async fn capacity(doors: &[Door]) -> anyhow::Result<f64> {
    let mut rate = 0.0;
    for _ in 0..2 {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut lanes = tokio::task::JoinSet::new();
        for door in doors.iter().cycle().take(IN_FLIGHT) {
            let (door, stop, done) = (door.clone(), Arc::clone(&stop), Arc::clone(&done));
            lanes.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match door.order().await? {
                        Some(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        None => tokio::time::sleep(Duration::from_millis(100)).await,
                    }
                }
                anyhow::Ok(())
            });
        }
        let begun = now();
        tokio::time::sleep(CAPACITY).await;
        rate = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        while let Some(lane) = lanes.join_next().await {
            lane??;
        }
    }
    Ok(rate)
}

async fn idle(door: &Door, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..count {
        times.extend(door.order().await?);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(times)
}

/// The check, over `dev` or a cluster, for so many seconds.
pub(crate) async fn overload(of: &str, seconds: usize) -> anyhow::Result<()> {
    let system = System::start(of).await?;
    let participants = Participants::start().await?;
    let (greedy, modest) = (doors(&system, GREEDY), doors(&system, MODEST));
    for door in [first(&greedy)?, first(&modest)?] {
        for service in SERVICES {
            let way = json!({"http": {"url": participants.url(service)}}).to_string();
            door.put(&format!("/services/{service}"), "application/json", way).await?;
        }
        door.put("/definitions/order", "application/yaml", ORDER.to_owned()).await?;
    }
    // Topics are made and shared out.
    let settle = if matches!(system, System::Cluster(_)) { 15 } else { 1 };
    tokio::time::sleep(Duration::from_secs(settle)).await;
    let mut before = idle(first(&modest)?, 100).await?;
    print_percentiles("idle before, start to end", &mut before);
    let usual = percentile(&mut before, 0.5);
    let capacity = capacity(&greedy).await?;
    println!("capacity: {capacity:.0} sagas/s, {IN_FLIGHT} at once");

    let stop = Arc::new(AtomicBool::new(false));
    let begun = now();
    let (flood, mut flooding) = pace(&greedy, FLOOD, TIMES * capacity, &stop);
    let (part, mut asking) = pace(&modest, MODEST_CONNECTIONS, PART * capacity, &stop);
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    stop.store(true, Ordering::Relaxed);
    while flooding.join_next().await.is_some() || asking.join_next().await.is_some() {}
    let took = begun.elapsed().as_secs_f64();
    print_tally(GREEDY, &flood, TIMES * capacity, took);
    print_tally(MODEST, &part, PART * capacity, took);
    let achieved = Tally::count(&part.accepted) as f64 / (PART * capacity * took);
    println!("the modest namespace got {:.1} % of its rate (80 % is asked for)", achieved * 100.0);
    recover(first(&modest)?, usual).await?;
    all_ended(&[first(&greedy)?, first(&modest)?]).await?;
    for (name, kib) in system.peaks()? {
        println!("most memory of {name}: {:.1} MiB (512 may be)", kib as f64 / 1024.0);
    }
    match system {
        System::Dev { .. } => Ok(()),
        System::Cluster(cluster) => cluster.down().await,
    }
}

fn print_tally(name: &str, tally: &Tally, rate: f64, took: f64) {
    let [accepted, refused, failed, left_out] =
        [&tally.accepted, &tally.refused, &tally.failed, &tally.left_out].map(Tally::count);
    println!(
        "{name}: {rate:.0}/s meant, {:.0}/s sent for {took:.0} s: {accepted} accepted, {refused} refused with \
         Retry-After, {failed} failed, {left_out} left out by the generator",
        (accepted + refused + failed) as f64 / took
    );
}

/// When orders take as long as before.
async fn recover(door: &Door, usual: f64) -> anyhow::Result<()> {
    let begun = now();
    while begun.elapsed() < RECOVERED * 2 {
        let mut times = idle(door, 20).await?;
        let median = percentile(&mut times, 0.5);
        if !times.is_empty() && median <= usual * 2.0 {
            println!(
                "latency as before {:.1} s after the flood: p50 {median:.2} ms (usually {usual:.2}; {} s may pass)",
                begun.elapsed().as_secs_f64(),
                RECOVERED.as_secs()
            );
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("latency is not as before {} s after the flood", (RECOVERED * 2).as_secs());
    Ok(())
}

async fn all_ended(doors: &[&Door]) -> anyhow::Result<()> {
    let begun = now();
    for door in doors {
        loop {
            let counts = door.counts().await?;
            let open: u64 =
                counts.iter().filter(|(status, _)| !is_final(status)).map(|(_, count)| count).sum();
            if open == 0 {
                println!("{}: all that was accepted has ended: {counts:?}", door.namespace);
                break;
            }
            if begun.elapsed() > ENDS {
                println!("{}: {open} have not ended: {counts:?}", door.namespace);
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    Ok(())
}

fn is_final(status: &str) -> bool {
    matches!(status, "COMPLETED" | "ROLLED_BACK" | "TERMINATED")
}

/// A saga that nobody serves, and one whose service is away, which is asked again in an hour.
const NOBODY: &str = "workflow: nobody\nsteps:\n- {name: s, run: nobody/do, compensate: none}\n";
const AWAY: &str = "workflow: away\nsteps:\n- {name: s, run: away/do, compensate: none, \
                    retry: {max_attempts: 9, initial: 1h, max: 1h}}\n";

/// What others notice of so many workflows that wait, half of them for a service that nobody serves and half in
/// a long back-off.
pub(crate) async fn waiting(count: usize) -> anyhow::Result<()> {
    let system = System::start("dev").await?;
    let participants = Participants::start().await?;
    let doors = doors(&system, "default");
    let door = first(&doors)?;
    let json = "application/json";
    for service in SERVICES {
        let way = json!({"http": {"url": participants.url(service)}}).to_string();
        door.put(&format!("/services/{service}"), json, way).await?;
    }
    door.put("/services/away", json, json!({"http": {"url": "http://127.0.0.1:9"}}).to_string()).await?;
    for (name, yaml) in [("order", ORDER), ("nobody", NOBODY), ("away", AWAY)] {
        door.put(&format!("/definitions/{name}"), "application/yaml", yaml.to_owned()).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (rate, median) = fares(&doors, "none waiting").await?;
    let begun = now();
    fill(door, count).await?;
    println!("{count} workflows wait, started in {:.0} s", begun.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (rate_then, median_then) = fares(&doors, "with them waiting").await?;
    println!(
        "throughput {:+.1} %, latency {:+.1} % (10 % may be)",
        (rate_then / rate - 1.0) * 100.0,
        (median_then / median - 1.0) * 100.0
    );
    Ok(())
}

async fn fares(doors: &[Door], when: &str) -> anyhow::Result<(f64, f64)> {
    let mut times = idle(first(doors)?, 200).await?;
    print_percentiles(&format!("{when}, start to end"), &mut times);
    let rate = capacity(doors).await?;
    println!("{when}: {rate:.0} sagas/s, {IN_FLIGHT} at once");
    Ok((rate, percentile(&mut times, 0.5)))
}

async fn fill(door: &Door, count: usize) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (door, next) = (door.clone(), Arc::clone(&next));
        lanes.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                let definition = if number.is_multiple_of(2) { "nobody" } else { "away" };
                while let Start::Refused(after) = door.start(definition).await? {
                    tokio::time::sleep(after).await;
                }
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane??;
    }
    Ok(())
}
