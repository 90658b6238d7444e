//! A process that holds a lock is paused past its lease. It is refused by its token, because another holder has a higher
//! one.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use goconductor_harness::{Api, Dev, DevOptions};
use parking_lot::Mutex;
use serde_json::json;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, Command};

/// The addresses of the server and of the resource, for the process of a holder.
const ADDRESSES: &str = "GOCONDUCTOR_TEST_HOLDER_OF";
/// The prefix of a line of the holder, which distinguishes it from other output of the test binary.
const PREFIX: &str = "> ";
const LEASE: &str = "1500ms";
const PATIENCE: Duration = Duration::from_secs(30);

/// The highest token that the resource has seen. It refuses lower ones.
#[derive(Clone, Default)]
struct Resource(Arc<Mutex<u64>>);

async fn write(State(resource): State<Resource>, Path(token): Path<u64>) -> StatusCode {
    let mut highest = resource.0.lock();
    if token < *highest {
        return StatusCode::CONFLICT;
    }
    *highest = token;
    StatusCode::OK
}

async fn resource() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{token}", post(write)).with_state(Resource::default());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn acquire(api: &Api, owner: &str) -> Option<u64> {
    let body = json!({"owner": owner, "ttl": LEASE});
    let (status, held) = api.send("POST", "/locks/desk/acquire", Some(body)).await.unwrap();
    (status == 200).then(|| held["fencing_token"].as_u64().unwrap())
}

async fn write_with(resource: &str, token: u64) -> u16 {
    let response = reqwest::Client::new().post(format!("{resource}/{token}")).send().await.unwrap();
    response.status().as_u16()
}

/// Not a test: the process of a holder. It renews its lease and writes to the resource until a write is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_holder_process() {
    let Ok(addresses) = std::env::var(ADDRESSES) else { return };
    let (server, resource) = addresses.split_once(' ').unwrap();
    let api = Api::new(server.to_owned());
    let token = acquire(&api, "paused").await.unwrap();
    loop {
        let body = json!({"owner": "paused", "ttl": LEASE});
        let (renewed, _) = api.send("POST", "/locks/desk/renew", Some(body)).await.unwrap();
        let written = write_with(resource, token).await;
        eprintln!("{PREFIX}{token} {renewed} {written}");
        if written != 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

struct Holder {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Holder {
    fn start(addresses: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["fenced_locks::lock_holder_process", "--exact", "--nocapture"])
            .env(ADDRESSES, addresses)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line: the token, and the status codes of the renewal and of the write.
    async fn next(&mut self) -> Option<(u64, u16, u16)> {
        let next = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if let Some((_, line)) = line.split_once(PREFIX) {
                    let mut parts = line.split(' ');
                    let mut number = || parts.next().unwrap();
                    let token = number().parse().unwrap();
                    return Some((token, number().parse().unwrap(), number().parse().unwrap()));
                }
            }
            None
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap()
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder_paused_past_its_lease_is_refused_by_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let resource = resource().await;
    let mut holder = Holder::start(&format!("{} {resource}", dev.api.base()));
    let (low, renewed, written) = holder.next().await.unwrap();
    assert_eq!((renewed, written), (200, 200));
    assert_eq!(acquire(&dev.api, "next").await, None, "the lock is held");
    holder.signal("-STOP").await;
    let acquired = async {
        loop {
            if let Some(token) = acquire(&dev.api, "next").await {
                return token;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let high = tokio::time::timeout(PATIENCE, acquired).await.unwrap();
    assert!(high > low, "{high} after {low}");
    assert_eq!(write_with(&resource, high).await, 200);
    holder.signal("-CONT").await;
    let mut last = None;
    while let Some(line) = holder.next().await {
        last = Some(line);
    }
    let (token, renewed, written) = last.unwrap();
    assert_eq!((token, written), (low, 409), "the resource refuses the token of the former holder");
    // The renewal can have been answered before the pause.
    assert!(renewed == 409 || renewed == 200, "{renewed}");
    let (status, body) = dev
        .api
        .send("POST", "/locks/desk/renew", Some(json!({"owner": "next", "ttl": LEASE})))
        .await
        .unwrap();
    assert_eq!(status, 200, "{body}");
}
