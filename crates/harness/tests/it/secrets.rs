//! Planted secrets and payloads: after a whole run, their text is where it belongs and nowhere else.

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use goconductor_harness::{Dev, DevOptions, goconductor};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// The text of the planted secret. It is in no other file of the repository.
const PLANTED: &str = "xq7-planted-secret-93fk2";
/// A card number in the input of a workflow.
const CARD: &str = "4929-planted-card-8841";

/// A participant that records the header `Authorization` of each request.
#[derive(Debug, Clone, Default)]
struct Shop {
    headers: Arc<Mutex<Vec<String>>>,
}

async fn act(State(shop): State<Shop>, headers: HeaderMap) -> axum::Json<Value> {
    let header = headers.get("authorization").and_then(|header| header.to_str().ok()).unwrap_or("none");
    shop.headers.lock().unwrap().push(header.to_owned());
    axum::Json(json!({"receipt": "r-1"}))
}

impl Shop {
    async fn start(&self) -> String {
        let router = Router::new().route("/{action}", post(act)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn last(&self) -> String {
        self.headers.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

struct World {
    dev: Dev,
    folder: tempfile::TempDir,
    shop: Shop,
}

impl World {
    /// Starts a server with a master key, `settings`, and a service whose requests carry the planted secret.
    async fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("master.key");
        let key_argument = key.display().to_string();
        run(None, &["secret", "generate-key", "--to-file", &key_argument], "").await;
        let config = folder.path().join("goconductor.yaml");
        let text = format!(
            "telemetry: {{ log_level: trace }}\nsecrets: {{ master_key: \"file://{}\" }}\n{settings}",
            key.display()
        );
        std::fs::write(&config, text).unwrap();
        let args = vec!["--config".to_owned(), config.display().to_string()];
        let dev = Dev::start(&folder.path().join("dev"), DevOptions { args }).await.unwrap();
        let shop = Shop::default();
        let url = shop.start().await;
        let this = Self { dev, folder, shop };
        this.cli(&["secret", "set", "shop-token"], PLANTED).await;
        this.cli(
            &["service", "set", "shop", "--url", &url, "--header", "Authorization=secret://shop-token"],
            "",
        )
        .await;
        let definition = "workflow: buy\nsteps:\n  - { name: pay, run: shop/pay, compensate: shop/refund }\n";
        this.dev.api.apply("buy", definition).await.unwrap();
        this
    }

    async fn cli(&self, arguments: &[&str], stdin: &str) -> String {
        run(Some(self.dev.api.base()), arguments, stdin).await
    }

    /// Runs a workflow to its end and returns its view.
    async fn buy(&self) -> Value {
        let input = json!({"card": {"number": CARD, "holder": "Ada"}});
        let id = self.dev.api.start("buy", input, None).await.unwrap();
        self.dev.api.ended(&id, Duration::from_secs(20)).await.unwrap();
        self.dev.api.get(&format!("/workflows/{id}")).await.unwrap()
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("master.key")
    }

    /// Returns the files of the server that contain a text.
    fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if contains(&std::fs::read(&path).unwrap(), text) {
                    found.push(path);
                }
            }
        }
        found
    }
}

async fn run(server: Option<&str>, arguments: &[&str], stdin: &str) -> String {
    let mut command = goconductor().unwrap();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(server) = server {
        command.env("GOCONDUCTOR_SERVER", server);
    }
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_secret_is_found_nowhere() {
    let world = World::new("").await;
    let api = &world.dev.api;
    assert_eq!(world.buy().await["status"], "COMPLETED");
    assert_eq!(world.shop.last(), PLANTED, "the participant gets the secret");
    let mut answers = vec![
        world.cli(&["secret", "get", "shop-token"], "").await,
        world.cli(&["secret", "list", "-o", "json"], "").await,
        world.cli(&["service", "list", "-o", "json"], "").await,
        world.cli(&["process", "list", "-o", "json"], "").await,
    ];
    for path in ["/secrets", "/secrets/shop-token", "/services", "/services/shop", "/workflows"] {
        answers.push(api.get(path).await.unwrap().to_string());
    }
    for path in ["metrics", "readyz", "openapi.json"] {
        answers.push(reqwest::get(format!("{}/{path}", api.base())).await.unwrap().text().await.unwrap());
    }
    // Requests that are refused must not repeat the value.
    for body in [json!({"value": PLANTED, "valeu": 1}), json!({"value": [PLANTED]}), json!(PLANTED)] {
        let (status, answer) = api.send("PUT", "/secrets/other", Some(body)).await.unwrap();
        assert_eq!(status, 422, "{answer}");
        answers.push(answer.to_string());
    }
    for answer in &answers {
        assert!(!answer.contains(PLANTED), "{answer}");
    }
    // A new version is used without a restart.
    world.cli(&["secret", "set", "shop-token"], "second-version").await;
    for _ in 0..100 {
        world.buy().await;
        if world.shop.last() == "second-version" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.shop.last(), "second-version");
    assert_eq!(world.files_with(PLANTED), Vec::<PathBuf>::new(), "data directory, log and configuration");
    let log = std::fs::read_to_string(world.dev.log()).unwrap();
    assert!(log.contains(" TRACE ") || log.contains("TRACE"), "the log has all levels");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn master_key_is_rotated_while_workflows_run() {
    let mut world = World::new("").await;
    let earlier = std::fs::read_to_string(world.key()).unwrap();
    let base = world.dev.api.base().to_owned();
    let load = tokio::spawn(async move {
        let api = goconductor_harness::Api::new(base);
        for _ in 0..40 {
            let id = api.start("buy", json!({}), None).await.unwrap();
            let result = api.ended(&id, Duration::from_secs(20)).await.unwrap();
            assert_eq!(result["status"], "COMPLETED", "{result}");
        }
    });
    for _ in 0..3 {
        let new = run(None, &["secret", "generate-key", "--quiet"], "").await;
        std::fs::write(world.key(), format!("{new}{}", std::fs::read_to_string(world.key()).unwrap()))
            .unwrap();
        world.cli(&["secret", "rotate-key"], "").await;
    }
    load.await.unwrap();
    // The newest key alone opens everything. The first one does not.
    let newest = std::fs::read_to_string(world.key()).unwrap().lines().next().unwrap().to_owned();
    std::fs::write(world.key(), &newest).unwrap();
    world.dev.terminate().await.unwrap();
    world.dev.restart().await.unwrap();
    assert_eq!(world.buy().await["status"], "COMPLETED");
    assert_eq!(world.shop.last(), PLANTED);
    world.dev.terminate().await.unwrap();
    std::fs::write(world.key(), earlier).unwrap();
    let refused = world.dev.restart().await.expect_err("the key is an earlier one");
    assert!(refused.to_string().contains("ended with exit status: 8"), "{refused}");
    let log = std::fs::read_to_string(world.dev.log()).unwrap();
    assert!(log.contains("GC2078") && !log.contains(&newest), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_payload_is_readable_by_the_api_only() {
    let world = World::new("encryption: { payloads: true }\n").await;
    let view = world.buy().await;
    assert_eq!(view["input"]["card"]["number"], CARD);
    assert_eq!(view["steps"][0]["output"]["receipt"], "r-1");
    let id = view["id"].as_str().unwrap();
    let events = world.dev.api.get(&format!("/workflows/{id}/events")).await.unwrap();
    assert_eq!(events["events"][0]["detail"]["input"]["card"]["number"], CARD);
    world.cli(&["secret", "rotate-payload-key"], "").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let second = world.buy().await;
    let read = world.dev.api.get(&format!("/workflows/{id}")).await.unwrap();
    assert_eq!(read["input"], second["input"], "earlier payloads stay readable");
    assert_eq!(world.files_with(CARD), Vec::<PathBuf>::new());
    let data = world.folder.path().join("dev/data").display().to_string();
    let checked = world.cli(&["doctor", "--data-dir", &data], "").await;
    assert!(!checked.contains("GC301"), "{checked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_fields_are_masked_in_responses() {
    let world = World::new("encryption: { redact: [$.card.number, $..receipt] }\n").await;
    let view = world.buy().await;
    assert_eq!(view["input"]["card"], json!({"number": "***", "holder": "Ada"}));
    assert_eq!(view["steps"][0]["output"], json!({"receipt": "***"}));
    let id = view["id"].as_str().unwrap();
    for answer in [
        world.dev.api.get(&format!("/workflows/{id}/events")).await.unwrap().to_string(),
        world.cli(&["workflow", "describe", id, "-o", "json"], "").await,
        world.cli(&["workflow", "history", id, "-o", "json"], "").await,
    ] {
        assert!(!answer.contains(CARD) && !answer.contains("r-1"), "{answer}");
    }
}

/// Returns whether the memory of a process contains a text. Returns `None` if this process may not read it.
fn is_in_memory(pid: u32, text: &str) -> Option<bool> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, access) = (fields.next()?, fields.next()?);
        if !access.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-')?;
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // Some regions of the kernel cannot be read.
        if std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, start).is_ok()
            && contains(&bytes, text)
        {
            return Some(true);
        }
    }
    Some(false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secret_is_not_in_memory_after_it_was_set() {
    let world = World::new("process: { core_dumps: true }\n").await;
    let pid = world.dev.pid().unwrap();
    // The text has escapes, so that no parser can refer to it in place.
    let texts = ["kx3-memory-4471", "kx3-escaped-9902", "kx3-large-5530"];
    let large = format!("{}{}", texts[2], "x".repeat(40_000));
    let values = [texts[0].to_owned(), format!("\"{}\n\"", texts[1]), large];
    for (name, value) in ["plain", "escaped", "large"].iter().zip(values) {
        let path = format!("/secrets/{name}");
        let (status, answer) = world.dev.api.send("PUT", &path, Some(json!({"value": value}))).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        let (status, _) = world.dev.api.send("PUT", &path, Some(json!({"value": "other"}))).await.unwrap();
        assert_eq!(status, 200);
    }
    assert!(world.dev.api.get("/secrets/plain").await.is_ok());
    // The buffers are overwritten after the connections are closed.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for text in texts {
        match is_in_memory(pid, text) {
            Some(is_found) => assert!(!is_found, "{text} is in the memory of the server"),
            None => assert!(!is_root(), "root can read the memory of the server"),
        }
    }
    // The search itself finds what is there.
    assert!(is_in_memory(pid, "goconductor").is_none_or(|is_found| is_found));
}

/// Returns whether this process has the rights of root.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}
