//! Offers ten times the capacity from one namespace while another asks for a fifth of it. Measures the refused starts,
//! the end of the accepted ones, the share of the modest namespace, the peak memory of each process, and the time until
//! the latency is back to normal.
//!
//! The load is bounded: a fixed number of connections, each with its own pace. Requests that a connection cannot send in
//! time are skipped and counted.

use crate::{now, percentile, print_percentiles};
use anyhow::Context;
use goconductor_harness::{Broker, Cluster, ClusterOptions, Dev, DevOptions, ORDER};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const SERVICES: [&str; 3] = ["stock", "payments", "shipping"];
const GREEDY: &str = "greedy";
const MODEST: &str = "modest";
/// The duration of the capacity measurement, and of the warm-up before it.
const CAPACITY: Duration = Duration::from_secs(10);
/// The number of concurrent orders during that measurement.
const IN_FLIGHT: usize = 64;
/// The connections of the flood and of the modest namespace. They suffice to never wait for a response.
const FLOOD: usize = 2500;
const MODEST_CONNECTIONS: usize = 128;
/// The rates of the flood and of the modest namespace, relative to the capacity.
const TIMES: f64 = 10.0;
const PART: f64 = 0.2;
/// The time within which the latency must be back to normal.
const RECOVERED: Duration = Duration::from_secs(30);
/// The time within which accepted workflows must end.
const ENDS: Duration = Duration::from_secs(300);

/// Services that succeed at once and keep no log.
struct OverloadParticipants {
    url: String,
}

impl OverloadParticipants {
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

/// A namespace's connection to the system.
#[derive(Clone)]
pub(crate) struct GatewayConnection {
    http: reqwest::Client,
    base: String,
    namespace: &'static str,
}

/// The result of a start.
pub(crate) enum StartResponse {
    Accepted(String),
    Refused(Duration),
}

impl GatewayConnection {
    pub(crate) fn new(base: &str, namespace: &'static str) -> Self {
        Self { http: reqwest::Client::new(), base: base.to_owned(), namespace }
    }

    /// The same with a separate connection.
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

    pub(crate) async fn start(&self, definition: &str) -> anyhow::Result<StartResponse> {
        let body = json!({"definition": definition, "input": {"order_id": "o-1", "amount": 42}}).to_string();
        let (status, after, answer) = self.call("POST", "/workflows", "application/json", body).await?;
        match (status, after) {
            (201, _) => {
                let id = answer.get("id").and_then(Value::as_str).context("no id")?;
                Ok(StartResponse::Accepted(id.to_owned()))
            }
            (429, Some(after)) => Ok(StartResponse::Refused(Duration::from_secs(after))),
            (status, after) => anyhow::bail!("start: {status}, Retry-After {after:?}: {answer}"),
        }
    }

    /// Runs an order to its end. Returns `None` if the start was refused.
    async fn order(&self) -> anyhow::Result<Option<Duration>> {
        let begun = now();
        let StartResponse::Accepted(id) = self.start("order").await? else { return Ok(None) };
        loop {
            let path = format!("/workflows/{id}/result?wait=30s");
            match self.call("GET", &path, "application/json", String::new()).await? {
                (200, _, _) => return Ok(Some(begun.elapsed())),
                (202 | 429, _, _) => {}
                (status, _, answer) => anyhow::bail!("result: {status} {answer}"),
            }
        }
    }

    /// The number of workflows by status.
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

/// The system under load.
enum System {
    Dev { dev: Box<Dev>, _data: tempfile::TempDir },
    Cluster(Box<Cluster>),
}

impl System {
    async fn start(of: &str) -> anyhow::Result<Self> {
        if of == "cluster" {
            let services = SERVICES.map(str::to_owned).to_vec();
            let options = ClusterOptions { services, ..ClusterOptions::new(Broker::Kafka(1), 2) };
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

/// The connections of one namespace, one for each gateway.
fn gateways(system: &System, namespace: &'static str) -> Vec<GatewayConnection> {
    system.gateways().iter().map(|base| GatewayConnection::new(base, namespace)).collect()
}

fn first(gateways: &[GatewayConnection]) -> anyhow::Result<&GatewayConnection> {
    gateways.first().context("no gateway")
}

/// The results of starts at a fixed pace.
#[derive(Default)]
struct Tally {
    accepted: AtomicUsize,
    refused: AtomicUsize,
    /// Broken connections and unreadable responses.
    failed: AtomicUsize,
    /// Requests that were skipped because their connection was busy.
    left_out: AtomicUsize,
}

impl Tally {
    fn count(of: &AtomicUsize) -> usize {
        of.load(Ordering::Relaxed)
    }
}

/// Starts workflows at a pace over a number of connections until `stop`.
fn pace(
    gateways: &[GatewayConnection],
    connections: usize,
    rate: f64,
    stop: &Arc<AtomicBool>,
) -> (Arc<Tally>, tokio::task::JoinSet<()>) {
    let tally = Arc::new(Tally::default());
    let mut lanes = tokio::task::JoinSet::new();
    let every = Duration::from_secs_f64(connections as f64 / rate.max(0.1));
    for (number, gateway) in gateways.iter().cycle().take(connections).enumerate() {
        let (gateway, tally, stop) = (gateway.another(), Arc::clone(&tally), Arc::clone(stop));
        let offset = every.mul_f64(number as f64 / connections as f64);
        lanes.spawn(async move {
            let mut next = now() + offset;
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep_until(next.into()).await;
                let counted = match gateway.start("order").await {
                    Ok(StartResponse::Accepted(_)) => &tally.accepted,
                    Ok(StartResponse::Refused(_)) => &tally.refused,
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

#[allow(clippy::print_stderr, reason = "explains an unexpected figure")]
fn eprint_once(error: &anyhow::Error) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        eprintln!("a start failed: {error:#}");
    }
}

/// Orders per second at a fixed concurrency.
async fn capacity(gateways: &[GatewayConnection]) -> anyhow::Result<f64> {
    let mut rate = 0.0;
    for _ in 0..2 {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut lanes = tokio::task::JoinSet::new();
        for gateway in gateways.iter().cycle().take(IN_FLIGHT) {
            let (gateway, stop, done) = (gateway.clone(), Arc::clone(&stop), Arc::clone(&done));
            lanes.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match gateway.order().await? {
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

async fn idle(gateway: &GatewayConnection, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..count {
        times.extend(gateway.order().await?);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(times)
}

/// Runs the measurement over `dev` or a cluster.
pub(crate) async fn overload(of: &str, seconds: usize) -> anyhow::Result<()> {
    let system = System::start(of).await?;
    let participants = OverloadParticipants::start().await?;
    let (greedy, modest) = (gateways(&system, GREEDY), gateways(&system, MODEST));
    for gateway in [first(&greedy)?, first(&modest)?] {
        for service in SERVICES {
            let way = json!({"http": {"url": participants.url(service)}}).to_string();
            gateway.put(&format!("/services/{service}"), "application/json", way).await?;
        }
        gateway.put("/definitions/order", "application/yaml", ORDER.to_owned()).await?;
    }
    // Topics are created and assigned.
    let settle = if matches!(system, System::Cluster(_)) { 15 } else { 1 };
    tokio::time::sleep(Duration::from_secs(settle)).await;
    let mut before = idle(first(&modest)?, 100).await?;
    print_percentiles("idle before, start to end", &mut before);
    let usual = percentile(&mut before, 0.5);
    let capacity = capacity(&greedy).await?;
    println!("capacity: {capacity:.0} sagas/s with {IN_FLIGHT} in flight");

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
    println!("the modest namespace got {:.1} % of its rate (required: 80 %)", achieved * 100.0);
    recover(first(&modest)?, usual).await?;
    all_ended(&[first(&greedy)?, first(&modest)?]).await?;
    for (name, kib) in system.peaks()? {
        println!("peak memory of {name}: {:.1} MiB (limit: 512 MiB)", kib as f64 / 1024.0);
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

/// Measures when the latency is back to normal.
async fn recover(gateway: &GatewayConnection, usual: f64) -> anyhow::Result<()> {
    let begun = now();
    while begun.elapsed() < RECOVERED * 2 {
        let mut times = idle(gateway, 20).await?;
        let median = percentile(&mut times, 0.5);
        if !times.is_empty() && median <= usual * 2.0 {
            println!(
                "latency back to normal {:.1} s after the flood: p50 {median:.2} ms (before: {usual:.2} ms; limit: {} s)",
                begun.elapsed().as_secs_f64(),
                RECOVERED.as_secs()
            );
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("latency not back to normal {} s after the flood", (RECOVERED * 2).as_secs());
    Ok(())
}

async fn all_ended(gateways: &[&GatewayConnection]) -> anyhow::Result<()> {
    let begun = now();
    for gateway in gateways {
        loop {
            let counts = gateway.counts().await?;
            let open: u64 =
                counts.iter().filter(|(status, _)| !is_final(status)).map(|(_, count)| count).sum();
            if open == 0 {
                println!("{}: all accepted workflows have ended: {counts:?}", gateway.namespace);
                break;
            }
            if begun.elapsed() > ENDS {
                println!("{}: {open} workflows have not ended: {counts:?}", gateway.namespace);
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

/// A saga without a worker, and one whose service is unreachable and is retried after an hour.
const UNSERVED: &str = "workflow: unserved\nsteps:\n- {name: s, run: unserved/do, compensate: none}\n";
const AWAY: &str = "workflow: away\nsteps:\n- {name: s, run: away/do, compensate: none, \
                    retry: {max_attempts: 9, initial: 1h, max: 1h}}\n";

/// Measures the effect of many waiting workflows, half of them without a worker and half in a long backoff.
pub(crate) async fn waiting(count: usize) -> anyhow::Result<()> {
    let system = System::start("dev").await?;
    let participants = OverloadParticipants::start().await?;
    let gateways = gateways(&system, "default");
    let gateway = first(&gateways)?;
    let json = "application/json";
    for service in SERVICES {
        let way = json!({"http": {"url": participants.url(service)}}).to_string();
        gateway.put(&format!("/services/{service}"), json, way).await?;
    }
    gateway.put("/services/away", json, json!({"http": {"url": "http://127.0.0.1:9"}}).to_string()).await?;
    for (name, yaml) in [("order", ORDER), ("unserved", UNSERVED), ("away", AWAY)] {
        gateway.put(&format!("/definitions/{name}"), "application/yaml", yaml.to_owned()).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (rate, median) = measure_orders(&gateways, "none waiting").await?;
    let begun = now();
    fill(gateway, count).await?;
    println!("{count} workflows wait, started in {:.0} s", begun.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (rate_then, median_then) = measure_orders(&gateways, "with waiting workflows").await?;
    println!(
        "throughput {:+.1} %, latency {:+.1} % (limit: 10 %)",
        (rate_then / rate - 1.0) * 100.0,
        (median_then / median - 1.0) * 100.0
    );
    Ok(())
}

async fn measure_orders(gateways: &[GatewayConnection], when: &str) -> anyhow::Result<(f64, f64)> {
    let mut times = idle(first(gateways)?, 200).await?;
    print_percentiles(&format!("{when}, start to end"), &mut times);
    let rate = capacity(gateways).await?;
    println!("{when}: {rate:.0} sagas/s with {IN_FLIGHT} in flight");
    Ok((rate, percentile(&mut times, 0.5)))
}

async fn fill(gateway: &GatewayConnection, count: usize) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (gateway, next) = (gateway.clone(), Arc::clone(&next));
        lanes.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                let definition = if number.is_multiple_of(2) { "unserved" } else { "away" };
                while let StartResponse::Refused(after) = gateway.start(definition).await? {
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
