//! A proxy in front of an emulator. It injects the faults of the real service: throttling, partial failures, expired
//! iterators, slow responses and denied requests.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The faults that a proxy injects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// None.
    Transparent,
    /// Throttles every third request, refuses every third record of a request, expires the iterator of every seventh
    /// read, and delays every fifth response.
    Flaky,
    /// Throttles every request that writes records.
    WritesThrottled,
    /// Denies every request.
    Denied,
}

#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) url: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The emulator, as `host:port`.
    to: String,
    mode: Mutex<Mode>,
    requests: AtomicUsize,
    reads: AtomicUsize,
    records: AtomicUsize,
    /// How often each fault was injected.
    faults: Mutex<BTreeMap<&'static str, usize>>,
}

impl Proxy {
    pub(super) async fn start(endpoint: &str, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            to: endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            mode: Mutex::new(mode),
            requests: AtomicUsize::default(),
            reads: AtomicUsize::default(),
            records: AtomicUsize::default(),
            faults: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move { serve(client, &shared).await });
            }
        });
        Self { url, shared }
    }

    pub(super) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// Returns how often a fault was injected.
    pub(super) fn faults(&self, fault: &str) -> usize {
        self.shared.faults.lock().unwrap().get(fault).copied().unwrap_or(0)
    }

    /// Returns the number of records that were read.
    pub(super) fn records(&self) -> usize {
        self.shared.records.load(Ordering::Relaxed)
    }
}

/// Serves one request and closes the connection.
async fn serve(mut client: TcpStream, shared: &Shared) {
    let Some((head, body)) = message(&mut client, false).await else { return };
    let operation = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("x-amz-target:")?.rsplit('.').next().map(str::to_owned)
    });
    let operation = operation.unwrap_or_default();
    let (status, response) = shared.respond(&head, &operation, body).await;
    let head = format!(
        "HTTP/1.1 {status} Proxied\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        response.len()
    );
    drop(client.write_all(head.as_bytes()).await);
    drop(client.write_all(&response).await);
    drop(client.shutdown().await);
}

fn error(code: &str) -> (u16, Vec<u8>) {
    (400, json!({"__type": code, "message": "injected by the proxy"}).to_string().into_bytes())
}

impl Shared {
    fn count(&self, fault: &'static str) {
        *self.faults.lock().unwrap().entry(fault).or_default() += 1;
    }

    async fn respond(&self, head: &str, operation: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::Denied => return error("AccessDeniedException"),
            Mode::WritesThrottled if operation == "putrecords" => {
                return error("ProvisionedThroughputExceededException");
            }
            Mode::Flaky if number % 3 == 2 => {
                self.count("throttled");
                return error(match operation {
                    "putrecords" | "getrecords" | "getsharditerator" => {
                        "ProvisionedThroughputExceededException"
                    }
                    _ => "LimitExceededException",
                });
            }
            Mode::Flaky
                if operation == "getrecords" && self.reads.fetch_add(1, Ordering::Relaxed) % 7 == 6 =>
            {
                self.count("expired");
                return error("ExpiredIteratorException");
            }
            Mode::Flaky if number % 5 == 4 => {
                self.count("slow");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Mode::Transparent | Mode::WritesThrottled | Mode::Flaky => {}
        }
        if mode == Mode::Flaky && operation == "putrecords" {
            return self.put_partially(head, &body).await;
        }
        let (status, response) = self.forward(head, &body).await;
        if operation == "getrecords"
            && let Ok(read) = serde_json::from_slice::<Value>(&response)
        {
            self.records.fetch_add(read["Records"].as_array().map_or(0, Vec::len), Ordering::Relaxed);
        }
        (status, response)
    }

    /// Forwards two of three records, and reports the third as throttled.
    async fn put_partially(&self, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut request: Value = serde_json::from_slice(body).unwrap();
        let records = request["Records"].as_array().unwrap().clone();
        let passes = |index: usize| records.len() < 3 || index % 3 != 1;
        let passing = records.iter().enumerate().filter(|(index, _)| passes(*index));
        request["Records"] = passing.map(|(_, record)| record.clone()).collect();
        let (status, response) = self.forward(head, request.to_string().as_bytes()).await;
        if status != 200 || records.len() < 3 {
            return (status, response);
        }
        self.count("refused in part");
        let response: Value = serde_json::from_slice(&response).unwrap();
        let mut stored = response["Records"].as_array().unwrap().iter();
        let refused =
            json!({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"});
        let all: Vec<Value> = (0..records.len())
            .map(|index| if passes(index) { stored.next().unwrap().clone() } else { refused.clone() })
            .collect();
        let failed = all.iter().filter(|each| !each["ErrorCode"].is_null()).count();
        (200, json!({"FailedRecordCount": failed, "Records": all}).to_string().into_bytes())
    }

    async fn forward(&self, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let Ok(mut server) = TcpStream::connect(&self.to).await else { return error("ServiceUnavailable") };
        let is_kept = |line: &&str| {
            let line = line.to_ascii_lowercase();
            !line.starts_with("content-length:") && !line.starts_with("connection:") && !line.is_empty()
        };
        let mut head: String = head.lines().filter(is_kept).flat_map(|line| [line, "\r\n"]).collect();
        head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()));
        server.write_all(head.as_bytes()).await.unwrap();
        server.write_all(body).await.unwrap();
        let Some((head, body)) = message(&mut server, true).await else { return error("ServiceUnavailable") };
        (head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(500), body)
    }
}

/// Reads the head and the body of an HTTP message. A response ends with its connection.
async fn message(from: &mut TcpStream, is_response: bool) -> Option<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut part = vec![0; 16 * 1024];
    let mut end = None;
    loop {
        if end.is_none() {
            end = all.windows(4).position(|four| four == b"\r\n\r\n");
        }
        if let Some(end) = end
            && !is_response
        {
            let head = String::from_utf8_lossy(&all[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
            });
            if all.len() >= end + 4 + length.unwrap_or(0) {
                return Some((head, all.split_off(end + 4)));
            }
        }
        match from.read(&mut part).await {
            Ok(0) | Err(_) => break,
            Ok(count) => all.extend_from_slice(&part[..count]),
        }
    }
    let end = end?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let body = all.split_off(end + 4);
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some((head, if is_chunked { decode_chunks(&body) } else { body }))
}

fn decode_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
    }
    whole
}
