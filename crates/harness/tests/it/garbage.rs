//! Garbage on every route with every method. The response is never a 5xx, the connection is never dropped, each problem
//! names its cause, and the server keeps working.

use futures::stream::{self, StreamExt};
use goconductor_harness::{Dev, DevOptions};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::time::Duration;

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"];
const AT_ONCE: usize = 16;

/// Values for a variable part of a path.
const PARTS: [&str; 8] = [
    "x",
    "01a209d5-ea78-767c-9090-ad0479d0eb0e",
    "%00",
    "%ff%fe",
    "..%2f..%2fetc%2fpasswd",
    "%F0%9F%A6%80",
    "'%20OR%201=1--",
    "4294967296",
];

const QUERIES: [&str; 12] = [
    "",
    "?",
    "?x=1",
    "?page_size=0",
    "?page_size=99999999999999999999",
    "?page_size=-1",
    "?page_token=%ff",
    "?filter=%28%28%28",
    "?filter=status%20%3D%20NOPE",
    "?wait=forever",
    "?after_seq=18446744073709551615",
    "?dry_run=maybe&dry_run=true",
];

struct Body {
    kind: Option<&'static str>,
    bytes: Vec<u8>,
}

fn bodies() -> Vec<Body> {
    let json = Some("application/json");
    let body = |kind, bytes: &[u8]| Body { kind, bytes: bytes.to_vec() };
    vec![
        body(None, b""),
        body(json, b""),
        body(json, b"null"),
        body(json, b"[]"),
        body(json, b"\"text\""),
        body(json, b"{"),
        body(json, b"\xff\xfe{}"),
        body(json, b"{\"definition\": \"\\u0000\", \"input\": {\"\\u0000\": \"\\ud800\"}}"),
        body(json, br#"{"definition": 7, "version": -1, "input": null, "labels": []}"#),
        body(json, br#"{"definition": "nope", "version": 4294967296}"#),
        body(json, br#"{"definition": "nope", "idempotency_key": ""}"#),
        body(json, br#"{"definition": "ok", "input": 1e400}"#),
        body(json, br#"{"reason": {}, "output": [1]}"#),
        body(json, br#"{"owner": "a", "ttl": "1h", "fencing_token": -1}"#),
        body(json, br#"{"owner": "a\u0000b", "ttl": "99999999999999999999h"}"#),
        body(json, br#"{"http": {"url": "file:///etc/passwd"}}"#),
        body(json, br#"{"http": {"url": "http://"}, "max_in_flight": 0}"#),
        body(json, "[".repeat(100_000).as_bytes()),
        body(json, "{\"a\":".repeat(100_000).as_bytes()),
        body(json, format!("{{\"reason\": \"{}\"}}", "x".repeat(2 << 20)).as_bytes()),
        body(Some("application/yaml"), b"workflow: [\n"),
        body(Some("application/yaml"), b"a: &a [*a, *a]\n"),
        body(Some("application/yaml"), b"\x00\x01\x02"),
        body(Some("text/html"), b"<p>"),
        body(Some("application/x-www-form-urlencoded"), b"definition=x"),
        body(Some("\"; odd=/"), b"{}"),
    ]
}

fn headers() -> Vec<HeaderMap> {
    let one = |name: &'static str, value: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        headers
    };
    vec![
        one("goconductor-namespace", b"Not A Namespace"),
        one("goconductor-namespace", b"\xff"),
        one("goconductor-actor", &[b'a'; 5000]),
        one("idempotency-key", b"\xfe\xff"),
        one("last-event-id", b"minus one"),
        one("accept", b"text/event-stream"),
        one("accept", b"\xff"),
        one("content-encoding", b"gzip"),
        one("expect", b"200-maybe"),
        one("origin", b"http://evil.example"),
    ]
}

async fn paths(client: &Client, base: &str) -> Vec<String> {
    let document: Value =
        client.get(format!("{base}/openapi.json")).send().await.unwrap().json().await.unwrap();
    let mut paths: Vec<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert!(paths.len() > 20, "{paths:?}");
    let more = [
        "/",
        "/nope",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v1/workflows/",
        "/api/v2/workflows",
        "//",
        "/errors/{x}",
        "/schema/v1/workflow.json",
        "/api/v1/config",
        "/api/v1/secrets/{x}",
        "/api/v1/locks/{x}/acquire",
        "/api/v1/workflows/{id}/signals/{x}",
        "/api/v1/queues/switch",
        "/api/v1/dead-letters",
    ];
    paths.extend(more.map(str::to_owned));
    paths
}

/// A path with values for its variable parts.
fn filled(path: &str, part: &str) -> String {
    let parts: Vec<&str> =
        path.split('/').map(|each| if each.starts_with('{') { part } else { each }).collect();
    parts.join("/")
}

struct Try {
    method: &'static str,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn attempt(client: &Client, attempt: Try) -> Option<String> {
    let Try { method, url, headers, body } = attempt;
    let what =
        format!("{method} {url} {headers:?} {:?}", String::from_utf8_lossy(&body[..body.len().min(60)]));
    let request =
        client.request(Method::from_bytes(method.as_bytes()).unwrap(), &url).headers(headers).body(body);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{what}: {error:?}")),
    };
    let status = answer.status().as_u16();
    let kind =
        answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("").to_owned();
    if status >= 500 {
        return Some(format!("{what}: {status}"));
    }
    if status < 400 || method == "HEAD" {
        return None;
    }
    let text = answer.text().await.unwrap_or_default();
    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
    let whole = problem["status"] == status
        && problem["code"].as_str().is_some_and(|code| code.starts_with("GC"))
        && ["type", "title", "detail", "trace_id"].iter().all(|field| problem[*field].is_string())
        && problem["retryable"].is_boolean();
    (kind != "application/problem+json" || !whole).then(|| format!("{what}: {status} {kind} {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_never_causes_a_5xx_and_always_gets_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let base = dev.api.base().to_owned();
    let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    dev.api.apply("ok", "workflow: ok\nsteps: [{name: s, run: a/b, compensate: none}]").await.unwrap();

    let mut tries = Vec::new();
    for path in paths(&client, &base).await {
        for method in METHODS {
            let url = |part: &str, query: &str| format!("{base}{}{query}", filled(&path, part));
            let plain = |url: String| Try { method, url, headers: HeaderMap::new(), body: Vec::new() };
            tries.extend(PARTS.iter().map(|part| plain(url(part, ""))));
            tries.extend(QUERIES.iter().map(|query| plain(url("x", query))));
            tries.push(plain(url(&"a".repeat(3000), "")));
            for body in bodies() {
                let mut headers = HeaderMap::new();
                if let Some(kind) = body.kind {
                    headers.insert(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
                }
                tries.push(Try { method, url: url("x", ""), headers, body: body.bytes });
            }
            for mut headers in headers() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
                tries.push(Try {
                    method,
                    url: url("x", ""),
                    headers,
                    body: json!({"definition": "ok"}).to_string().into(),
                });
            }
        }
    }
    let count = tries.len();
    let failures: Vec<String> = stream::iter(tries)
        .map(|each| attempt(&client, each))
        .buffer_unordered(AT_ONCE)
        .filter_map(|failure| async move { failure })
        .take(10)
        .collect()
        .await;
    assert!(failures.is_empty(), "of {count}:\n{}", failures.join("\n"));
    assert!(dev.api.is_ready().await);
    dev.terminate().await.unwrap();
    let log = std::fs::read_to_string(dev.log()).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_http_is_refused_and_does_not_delay_others() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let address = dev.api.base().trim_start_matches("http://").to_owned();
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let texts: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1/workflows HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /api/v1/workflows HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\xff\xff\xff\xff\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ];
    for text in texts {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The server may close the connection before it has read the whole request.
        drop(stream.write_all(text));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // A client that sends half of a request and waits.
    let mut idle: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    for stream in &mut idle {
        stream
            .write_all(b"POST /api/v1/workflows HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
            .unwrap();
    }
    assert!(dev.api.is_ready().await);
}
