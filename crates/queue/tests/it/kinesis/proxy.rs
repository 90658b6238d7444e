//! A proxy in front of an emulator, which is too kind: it throttles, refuses parts, expires iterators, answers
//! slowly and denies, as the real one does.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Nothing but counting.
    Kind,
    /// Every third call is throttled, every third record of a request refused, every seventh read finds its
    /// iterator expired, every fifth answer takes a while.
    Moody,
    /// Each request of records is throttled.
    Full,
    /// Nothing is allowed.
    Closed,
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
    mood: Mutex<Mood>,
    calls: AtomicUsize,
    reads: AtomicUsize,
    records: AtomicUsize,
    /// How often each thing was done.
    did: Mutex<BTreeMap<&'static str, usize>>,
}

impl Proxy {
    pub(super) async fn start(endpoint: &str, mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            to: endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            mood: Mutex::new(mood),
            calls: AtomicUsize::default(),
            reads: AtomicUsize::default(),
            records: AtomicUsize::default(),
            did: Mutex::default(),
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

    pub(super) fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// How often it did something.
    pub(super) fn did(&self, what: &str) -> usize {
        self.shared.did.lock().unwrap().get(what).copied().unwrap_or(0)
    }

    /// How many records were read through it.
    pub(super) fn records(&self) -> usize {
        self.shared.records.load(Ordering::Relaxed)
    }
}

/// One call, then the connection ends.
async fn serve(mut client: TcpStream, shared: &Shared) {
    let Some((head, body)) = message(&mut client, false).await else { return };
    let call = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("x-amz-target:")?.rsplit('.').next().map(str::to_owned)
    });
    let call = call.unwrap_or_default();
    let (status, answer) = shared.answer(&head, &call, body).await;
    let head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    drop(client.write_all(head.as_bytes()).await);
    drop(client.write_all(&answer).await);
    drop(client.shutdown().await);
}

fn error(code: &str) -> (u16, Vec<u8>) {
    (400, json!({"__type": code, "message": "said the proxy"}).to_string().into_bytes())
}

impl Shared {
    fn count(&self, what: &'static str) {
        *self.did.lock().unwrap().entry(what).or_default() += 1;
    }

    async fn answer(&self, head: &str, call: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Closed => return error("AccessDeniedException"),
            Mood::Full if call == "putrecords" => return error("ProvisionedThroughputExceededException"),
            Mood::Moody if number % 3 == 2 => {
                self.count("throttled");
                return error(match call {
                    "putrecords" | "getrecords" | "getsharditerator" => {
                        "ProvisionedThroughputExceededException"
                    }
                    _ => "LimitExceededException",
                });
            }
            Mood::Moody if call == "getrecords" && self.reads.fetch_add(1, Ordering::Relaxed) % 7 == 6 => {
                self.count("expired");
                return error("ExpiredIteratorException");
            }
            Mood::Moody if number % 5 == 4 => {
                self.count("slow");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Mood::Kind | Mood::Full | Mood::Moody => {}
        }
        if mood == Mood::Moody && call == "putrecords" {
            return self.put_some(head, &body).await;
        }
        let (status, answer) = self.forward(head, &body).await;
        if call == "getrecords"
            && let Ok(read) = serde_json::from_slice::<Value>(&answer)
        {
            self.records.fetch_add(read["Records"].as_array().map_or(0, Vec::len), Ordering::Relaxed);
        }
        (status, answer)
    }

    /// Sends two of three records on, and says of the third that it was too much.
    async fn put_some(&self, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut request: Value = serde_json::from_slice(body).unwrap();
        let records = request["Records"].as_array().unwrap().clone();
        let passes = |place: usize| records.len() < 3 || place % 3 != 1;
        let passing = records.iter().enumerate().filter(|(place, _)| passes(*place));
        request["Records"] = passing.map(|(_, record)| record.clone()).collect();
        let (status, answer) = self.forward(head, request.to_string().as_bytes()).await;
        if status != 200 || records.len() < 3 {
            return (status, answer);
        }
        self.count("refused in part");
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let mut taken = answer["Records"].as_array().unwrap().iter();
        let refused =
            json!({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"});
        let all: Vec<Value> = (0..records.len())
            .map(|place| if passes(place) { taken.next().unwrap().clone() } else { refused.clone() })
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

/// An HTTP message, its head and its body. An answer ends with its connection.
async fn message(from: &mut TcpStream, to_the_end: bool) -> Option<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut part = vec![0; 16 * 1024];
    let mut end = None;
    loop {
        if end.is_none() {
            end = all.windows(4).position(|four| four == b"\r\n\r\n");
        }
        if let Some(end) = end
            && !to_the_end
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
    Some((head, if is_chunked { without_chunks(&body) } else { body }))
}

fn without_chunks(mut body: &[u8]) -> Vec<u8> {
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
