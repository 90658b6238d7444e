//! Abuse of the gateway's port: requests beyond a rate, floods of HTTP/2 frames, and peers that are slow on purpose. Other
//! clients are served meanwhile, and the memory of the process stays bounded.

mod frames;

use frames::{Closed, Flood};
use goconductor_harness::{Dev, DevOptions};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::workflow_service_client::WorkflowServiceClient;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Request};
use tonic_types::StatusExt;

const FLOOD_TIME: Duration = Duration::from_secs(2);
/// Maximum memory of the process: that of the check list of the project.
const MEMORY_KIB: u64 = 512 << 10;
/// Number of slow peers of each kind.
const SLOW_PEERS: usize = 1000;

struct Server {
    dev: Dev,
    http: Client,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let args = settings.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect();
        let dev = Dev::start(folder.path(), DevOptions { args }).await.unwrap();
        Self { dev, http: Client::new(), _folder: folder }
    }

    /// The address of the port.
    fn address(&self) -> String {
        self.dev.api.base().trim_start_matches("http://").to_owned()
    }

    async fn list(&self, namespace: &str) -> Response {
        let url = format!("{}/api/v1/workflows", self.dev.api.base());
        self.http.get(url).header("goconductor-namespace", namespace).send().await.unwrap()
    }

    async fn list_by_grpc(&self, namespace: &str) -> Result<(), tonic::Status> {
        let channel = tonic::transport::Endpoint::from_shared(self.dev.api.base().to_owned()).unwrap();
        let mut workflows = WorkflowServiceClient::new(channel.connect().await.unwrap());
        let mut list = Request::new(wire::ListWorkflowsRequest::default());
        list.metadata_mut().insert("goconductor-namespace", namespace.parse().unwrap());
        workflows.list_workflows(list).await.map(drop)
    }

    /// Returns the sum of a metric over its labels that contain `label`.
    async fn metric(&self, name: &str, label: &str) -> f64 {
        let url = format!("{}/metrics", self.dev.api.base());
        let text = self.http.get(url).send().await.unwrap().text().await.unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Sends requests of another client until `done` is set, and returns the 99th percentile of their durations. All of
    /// them must succeed.
    async fn served_until(&self, done: &AtomicBool) -> Duration {
        let client = Client::new();
        let url = format!("{}/api/v1/workflows?page_size=1", self.dev.api.base());
        let mut durations = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let began = Instant::now();
            let response = client.get(&url).send().await.unwrap();
            assert_eq!(response.status().as_u16(), 200, "{:?}", response.text().await);
            durations.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        durations.sort_unstable();
        durations[durations.len() * 99 / 100]
    }

    /// Serves another client while `abuse` runs, and checks that it is served well. The bound is coarse, because other
    /// tests use the processors as well.
    async fn is_served_during(&self, what: &str, abuse: impl Future<Output = ()>) {
        let quiet = self.served_while(tokio::time::sleep(Duration::from_millis(500))).await;
        let during = self.served_while(abuse).await;
        let peak = self.dev.peak_kib().unwrap();
        eprintln!("{what}: p99 {quiet:?} before, {during:?} during; peak memory {} MiB", peak >> 10);
        assert!(during < quiet * 2 + Duration::from_secs(1), "{what}: {quiet:?} before, {during:?} during");
        assert!(peak < MEMORY_KIB, "{what}: {peak} KiB");
    }

    async fn served_while(&self, abuse: impl Future<Output = ()>) -> Duration {
        let done = AtomicBool::new(false);
        let abuse = async {
            abuse.await;
            done.store(true, Ordering::Relaxed);
        };
        tokio::join!(self.served_until(&done), abuse).0
    }
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers()[name].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_over_the_rate_states_the_limit_and_the_delay() {
    // A token in 100 seconds would be best, but the smallest rate is one per second.
    let server = Server::start(&["limits.rate.caller.per_second=1", "limits.rate.caller.burst=4"]).await;
    let mut responses = Vec::new();
    for _ in 0..20 {
        responses.push(server.list("default").await);
    }
    let first = &responses[0];
    assert_eq!(first.status().as_u16(), 200);
    assert_eq!(header(first, "ratelimit-policy"), "\"caller\";q=4;w=4");
    assert_eq!(header(first, "ratelimit"), "\"caller\";r=3;t=1");
    let refused = responses.into_iter().find(|response| response.status().as_u16() == 429).unwrap();
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(header(&refused, "ratelimit-policy"), "\"caller\";q=4;w=4");
    assert_eq!(header(&refused, "ratelimit"), "\"caller\";r=0;t=4");
    assert_eq!(header(&refused, "content-type"), "application/problem+json");
    let body: Value = refused.json().await.unwrap();
    assert_eq!((&body["code"], &body["retryable"]), (&json!("GC2095"), &json!(true)));
    for _ in 0..5 {
        // The limit of a caller also applies in other namespaces.
        let status = server.list_by_grpc("other").await;
        if let Err(status) = status {
            assert_eq!(status.code(), Code::ResourceExhausted);
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().reason, "GC2095");
            let delay = details.retry_info().unwrap().retry_delay;
            assert_eq!(delay, Some(Duration::from_secs(1)));
        }
    }
    assert!(server.metric("goconductor_rate_limited_total", "limit=\"caller\"").await >= 10.0);
    assert!(server.dev.api.is_ready().await, "health checks have no limit");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(server.list("default").await.status().as_u16(), 200, "a token has arrived");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespace_over_its_rate_does_not_affect_another_one() {
    let server = Server::start(&["limits.rate.namespace.per_second=20"]).await;
    let (mut accepted, mut refused) = (0_u32, 0_u32);
    let mut modest = 0;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        for _ in 0..20 {
            match server.list("greedy").await.status().as_u16() {
                200 => accepted += 1,
                429 => refused += 1,
                other => panic!("{other}"),
            }
        }
        assert_eq!(server.list("modest").await.status().as_u16(), 200);
        modest += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let allowed = 20 + began.elapsed().as_secs() * 20 + 20;
    assert!(u64::from(accepted) <= allowed, "{accepted} of {allowed}");
    assert!(refused > 20 && modest > 5, "{accepted} accepted, {refused} refused, {modest} of the modest one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_are_cut_off_and_others_are_served() {
    let server = Server::start(&[]).await;
    let address = server.address();
    for kind in Flood::ALL {
        let closed = Arc::new(Closed::default());
        let attack = async {
            let attackers = (0..4).map(|_| {
                let (address, closed) = (address.clone(), Arc::clone(&closed));
                tokio::spawn(async move {
                    let began = Instant::now();
                    while began.elapsed() < FLOOD_TIME {
                        let left = FLOOD_TIME * 4;
                        drop(tokio::time::timeout(left, frames::flood(kind, &address, &closed)).await);
                    }
                })
            });
            for attacker in attackers.collect::<Vec<_>>() {
                attacker.await.unwrap();
            }
        };
        server.is_served_during(&format!("{kind:?}"), attack).await;
        let (all, calm) = (closed.all.load(Ordering::Relaxed), closed.calm.load(Ordering::Relaxed));
        eprintln!("{kind:?}: {all} connections closed, {calm} with ENHANCE_YOUR_CALM");
        assert!(all >= 4, "{kind:?}: {all} connections were closed");
        if matches!(kind, Flood::RapidReset | Flood::Continuation | Flood::EmptyData) {
            assert!(calm > 0, "{kind:?}: no GOAWAY says that the client is abusive");
        }
    }
    assert!(server.metric("goconductor_connections_closed_total", "flood").await > 0.0);
}

/// Connects `SLOW_PEERS` times and sends the beginning of a request.
async fn slow_peers(address: &str, beginning: &[u8]) -> Vec<TcpStream> {
    let mut peers = Vec::with_capacity(SLOW_PEERS);
    for _ in 0..SLOW_PEERS {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(beginning).await.unwrap();
        peers.push(peer);
    }
    peers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_with_slow_headers_are_cut_off_and_others_are_served() {
    let server = Server::start(&[]).await;
    let address = server.address();
    let abuse = async {
        let mut peers = slow_peers(&address, b"GET /api/v1/workflows HTTP/1.1\r\nx-slow: ").await;
        for _ in 0..3 {
            for peer in &mut peers {
                drop(peer.write_all(b"x").await);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        for mut peer in peers {
            // A response such as 408 may precede the end.
            let mut end = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(30), peer.read_to_end(&mut end)).await;
            drop(read.expect("the connection was not closed"));
        }
    };
    server.is_served_during("slow headers", abuse).await;
    assert!(server.metric("goconductor_connections_closed_total", "idle").await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_with_slow_bodies_do_not_affect_others() {
    // The peers would use up the requests in flight, if a slow body counted.
    let server = Server::start(&["limits.calls_in_flight=200"]).await;
    let address = server.address();
    let head = "POST /api/v1/workflows HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 1000000\r\n\r\n{";
    let mut begun = Vec::new();
    // Those that are admitted give their permits to others after a second.
    let waves = async {
        for _ in 0..10 {
            for _ in 0..SLOW_PEERS / 10 {
                let mut peer = TcpStream::connect(&address).await.unwrap();
                peer.write_all(head.as_bytes()).await.unwrap();
                begun.push(peer);
            }
            tokio::time::sleep(Duration::from_millis(1200)).await;
        }
    };
    server.is_served_during("slow bodies", waves).await;
    assert_eq!(begun.len(), SLOW_PEERS);
    let messages = async {
        let mut connections = Vec::new();
        for _ in 0..10 {
            let mut connection = frames::connect(&address).await.unwrap();
            // The connection's window is 1 MiB, so this is not received completely.
            let calls = frames::begin_calls(&mut connection, 50, 900_000);
            drop(tokio::time::timeout(Duration::from_millis(300), calls).await);
            connections.push(connection);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(connections);
    };
    server.is_served_during("slow messages", messages).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_do_not_read_do_not_affect_others() {
    let server = Server::start(&[]).await;
    let address = server.address();
    let abuse = async {
        // The document is large, and more responses than the buffers hold are requested.
        let requests = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(40);
        let peers = slow_peers(&address, &requests).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(peers);
    };
    server.is_served_during("slow readers", abuse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_beyond_the_limits_are_refused() {
    let server = Server::start(&[]).await;
    let url = format!("{}/api/v1/workflows", server.dev.api.base());
    let http2 = Client::builder().http2_prior_knowledge().build().unwrap();
    for (client, is_http2) in [(&server.http, false), (&http2, true)] {
        let many = (0..150)
            .fold(client.get(&url), |request, number| request.header(format!("x-header-{number}"), "value"));
        let response = many.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 431);
        if is_http2 {
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["code"], "GC2097");
        }
        let large = client.get(&url).header("x-large", "x".repeat(40 << 10)).send().await;
        let status = large.map(|response| response.status().as_u16());
        assert!(matches!(status, Ok(431)) || status.is_err(), "{status:?}");
        assert_eq!(client.get(&url).send().await.unwrap().status().as_u16(), 200);
    }
}
