//! The behaviour of a server that lacks something that it needs: its log, its background tasks, its database, space,
//! files, and clients that read.

use goconductor_harness::{Api, free_port, goconductor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};

/// Timeout of operations of a server that usually take less than a second.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// A `goconductor dev --demo`.
struct Server {
    child: Child,
    api: Api,
    port: u16,
}

impl Server {
    /// Starts a server with its data below `folder` and waits until it is ready. `prepare` is run by the shell that
    /// becomes the server.
    async fn start(folder: &Path, prepare: &str, variables: &[(&str, &str)], stderr: Stdio) -> Self {
        let mut this = Self::begin(folder, prepare, variables, stderr);
        until("the server is ready", async || {
            assert_eq!(this.child.try_wait().unwrap(), None, "the server ended");
            this.api.is_ready().await
        })
        .await;
        this
    }

    fn begin(folder: &Path, prepare: &str, variables: &[(&str, &str)], stderr: Stdio) -> Self {
        let port = free_port().unwrap();
        let command = goconductor().unwrap();
        let mut shell = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GOCONDUCTOR_") {
                shell.env_remove(name);
            }
        }
        let child = shell
            .args(["-c", &format!("{prepare}\nexec \"$@\""), "server"])
            .arg(command.as_std().get_program())
            .args(["dev", "--demo", "--data-dir"])
            .arg(folder.join("data"))
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, api: Api::new(format!("http://127.0.0.1:{port}")), port }
    }

    /// Runs an order to its end.
    async fn order(&self) {
        let id = self.api.start("order-processing", order(0), None).await.unwrap();
        let ended = self.api.ended(&id, END_TIMEOUT).await.unwrap();
        assert_eq!(ended["status"], "COMPLETED", "{ended:#}");
    }

    async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(END_TIMEOUT, self.child.wait()).await.expect("the server ends").unwrap()
    }

    async fn terminated(&mut self) -> ExitStatus {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        self.ended().await
    }

    /// The values of a metric by its labels.
    async fn metric(&self, name: &str) -> BTreeMap<String, f64> {
        let url = format!("{}/metrics", self.api.base());
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        lines.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap())).collect()
    }
}

/// An order with `bytes` of text that no step needs.
fn order(bytes: usize) -> Value {
    let items = json!([{"sku": "book", "quantity": 1}]);
    json!({"order_id": "o-1", "amount": 42, "items": items, "note": "x".repeat(bytes)})
}

async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    let mut condition = condition;
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(END_TIMEOUT, waiting).await.is_ok(), "not true in time: {what}");
}

fn file(path: &Path) -> Stdio {
    std::fs::File::options().create(true).append(true).open(path).unwrap().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_that_cannot_be_written_stops_nothing() {
    let sink = |kind: &str| match kind {
        "full" => std::fs::File::options().write(true).open("/dev/full").unwrap().into(),
        _ => Stdio::piped(),
    };
    let run = async |kind: &str| {
        let folder = tempfile::tempdir().unwrap();
        // So much log that a pipe that is not read is full at once.
        let variables = [("GOCONDUCTOR_TELEMETRY__LOG_LEVEL", "trace")];
        let mut server = Server::start(folder.path(), "", &variables, sink(kind)).await;
        if kind == "closed" {
            drop(server.child.stderr.take());
        }
        for _ in 0..3 {
            server.order().await;
        }
        if kind != "unread" {
            let lost = "log lines are counted as lost";
            until(lost, async || {
                server.metric("goconductor_log_lines_lost_total").await.values().sum::<f64>() > 0.0
            })
            .await;
        }
        assert!(server.api.is_ready().await, "{kind}");
        assert_eq!(server.terminated().await.code(), Some(0), "{kind}");
    };
    tokio::join!(run("closed"), run("full"), run("unread"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_whose_log_cannot_be_written_starts_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let command = goconductor().unwrap();
    let port = free_port().unwrap();
    let mut service = Command::new(Path::new(command.as_std().get_program()).with_file_name("state-store"));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GOCONDUCTOR_"))
    {
        service.env_remove(name);
    }
    let mut service = service
        .args(["--listen", &format!("127.0.0.1:{port}"), "--set", "state_store.backend=sqlite", "--set"])
        .arg(format!("data_dir={}", folder.path().display()))
        .args(["--log-level", "trace"])
        .stdout(full())
        .stderr(full())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let api = Api::new(format!("http://127.0.0.1:{port}"));
    until("the service is ready", async || api.is_ready().await).await;
    let pid = service.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let status = tokio::time::timeout(END_TIMEOUT, service.wait()).await.expect("the service ends").unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_task_that_panics_ends_the_process_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), "", &[], Stdio::null()).await;
    server.order().await;
    let tasks = server.metric("goconductor_background_tasks").await;
    server.child.kill().await.unwrap();
    let names: Vec<String> =
        tasks.iter().filter(|(_, count)| **count > 0.0).map(|(labels, _)| label(labels)).collect();
    for name in
        ["sqlite-writer", "store-writes", "executor", "lane-consumer", "membership", "waiters", "readiness"]
    {
        assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
    }
    // A few at a time, because each server needs a CPU to start.
    let mut failures = Vec::new();
    for some in names.chunks(6) {
        let ends = some.iter().map(|name| panic_of(name));
        failures.extend(futures::future::join_all(ends).await.into_iter().flatten());
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn label(labels: &str) -> String {
    labels.split('"').nth(1).unwrap().to_owned()
}

/// Makes a task panic in a server of its own. Returns what is wrong with its end.
async fn panic_of(task: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let (request, log) = (folder.path().join("panic"), folder.path().join("log"));
    let path = request.display().to_string();
    let mut server = Server::start(folder.path(), "", &[("GOCONDUCTOR_TEST_PANIC", &path)], file(&log)).await;
    server.order().await;
    std::fs::write(&request, task).unwrap();
    let status = server.ended().await;
    let log = std::fs::read_to_string(&log).unwrap();
    let message = format!("error: background task {task} failed: it panicked: requested by a test");
    if status.code() == Some(1) && log.contains(&message) {
        return None;
    }
    Some(format!("{task}: {status}: {log}"))
}

/// Ways to lose a database that is in use.
fn lose(way: &str, data: &Path) {
    let database = data.join("goconductor.db");
    match way {
        "directory removed" => std::fs::remove_dir_all(data).unwrap(),
        "database removed" => std::fs::remove_file(&database).unwrap(),
        "log removed" => std::fs::remove_file(data.join("goconductor.db-wal")).unwrap(),
        "log truncated" => truncate(&data.join("goconductor.db-wal")),
        "database truncated" => truncate(&database),
        "database replaced" => {
            let copy = data.join("copy");
            std::fs::copy(&database, &copy).unwrap();
            std::fs::rename(&copy, &database).unwrap();
        }
        "database overwritten" => {
            use std::io::Write;
            let mut file = std::fs::File::options().write(true).open(&database).unwrap();
            file.write_all(&[7; 4096]).unwrap();
        }
        other => panic!("{other}"),
    }
}

fn truncate(path: &Path) {
    std::fs::File::options().write(true).truncate(true).open(path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_that_is_lost_ends_the_process_before_an_acknowledgement() {
    let run = async |way: &'static str| {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut server = Server::start(folder.path(), "", &[], file(&log)).await;
        server.order().await;
        lose(way, &folder.path().join("data"));
        let start = json!({"definition": "order-processing", "input": order(0)});
        // The start, or a write of the server itself before it, notices the loss.
        let started = server.api.send("POST", "/workflows", Some(start)).await;
        assert!(!matches!(started, Ok((200..=299, _))), "{way}: {started:?}");
        let status = server.ended().await;
        let log = std::fs::read_to_string(&log).unwrap();
        assert_eq!(status.code(), Some(1), "{way}: {log}");
        assert!(log.contains("error: background task sqlite-writer failed: "), "{way}: {log}");
        assert!(log.contains("restore the database from a backup"), "{way}: {log}");
    };
    tokio::join!(run("directory removed"), run("database removed"), run("log removed"), run("log truncated"));
    tokio::join!(run("database truncated"), run("database replaced"), run("database overwritten"));
}

async fn doctor(data: &Path) -> (Option<i32>, String) {
    let output = goconductor().unwrap().arg("doctor").arg("--data-dir").arg(data).output().await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remains_of_a_lost_store_are_kept_and_the_advice_is_to_restore() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), "", &[], Stdio::null()).await;
    server.order().await;
    server.child.kill().await.unwrap();
    let data = folder.path().join("data");
    let (database, wal) = (data.join("goconductor.db"), data.join("goconductor.db-wal"));
    let (content, log) = (std::fs::read(&database).unwrap(), std::fs::read(&wal).unwrap());
    assert!(!log.is_empty(), "a killed server leaves its log");
    let refused = async |what: &str, expected: &str| {
        let errors = folder.path().join("errors");
        drop(std::fs::remove_file(&errors));
        let mut server = Server::begin(folder.path(), "", &[], file(&errors));
        let code = server.ended().await.code();
        let text = std::fs::read_to_string(&errors).unwrap();
        assert_eq!(code, Some(8), "{what}: {text}");
        assert!(text.contains(expected), "{what}: {text}");
        let (code, text) = doctor(&data).await;
        assert!(code != Some(0) && text.contains(expected), "{what}: doctor says {text}");
        assert!(!text.contains("start `goconductor dev`"), "{what}: doctor says {text}");
    };
    truncate(&database);
    refused("empty database with a log", "restore the database from a backup").await;
    assert_eq!(std::fs::read(&wal).unwrap(), log, "the log was not touched");
    std::fs::remove_file(&database).unwrap();
    refused("log without a database", "is missing, but its write-ahead log").await;
    assert_eq!(std::fs::read(&wal).unwrap(), log, "the log was not touched");
    drop(std::fs::remove_file(&wal));
    drop(std::fs::remove_file(data.join("goconductor.db-shm")));
    refused("lock file of a store", "shows that a store was created there").await;
    std::fs::write(&database, "not a database, and a hundred bytes long: ".repeat(10)).unwrap();
    refused("another kind of file", "is not a SQLite database").await;
    std::fs::write(&database, &content[..content.len() - 1000]).unwrap();
    refused("half a database", "was truncated").await;
    std::fs::write(&database, &content).unwrap();
    std::fs::write(&wal, &log).unwrap();
    let mut server = Server::start(folder.path(), "", &[], Stdio::null()).await;
    server.order().await;
    assert_eq!(server.terminated().await.code(), Some(0));
    assert_eq!(doctor(&data).await.0, Some(0), "the restored store is consistent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_cannot_write_is_not_ready_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    // No file can grow over 2 MiB: the same errors as on a full disk, for the log as well.
    let prepare = "trap '' XFSZ; ulimit -f 2048";
    let variables = [("GOCONDUCTOR_TELEMETRY__LOG_LEVEL", "debug")];
    let mut server = Server::start(folder.path(), prepare, &variables, file(&log)).await;
    let start = json!({"definition": "order-processing", "input": order(100_000)});
    until("a start is refused", async || {
        let (status, body) = server.api.send("POST", "/workflows", Some(start.clone())).await.unwrap();
        assert!(status == 201 || (status, &body["code"]) == (503, &json!("GC2020")), "{status} {body}");
        status == 503
    })
    .await;
    until("the server is not ready", async || {
        // Small starts use the space that is left.
        let small = json!({"definition": "order-processing", "input": order(0)});
        drop(server.api.send("POST", "/workflows", Some(small)).await);
        !server.api.is_ready().await
    })
    .await;
    let report: Value =
        reqwest::get(format!("{}/readyz", server.api.base())).await.unwrap().json().await.unwrap();
    assert_eq!((&report["ready"], &report["checks"][0]["ok"]), (&json!(false), &json!(false)), "{report:#}");
    assert!(server.terminated().await.code().is_some(), "SIGTERM ends the process");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_leave_files_for_calls_and_are_closed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let server = Server::start(folder.path(), "ulimit -n 256", &[], file(&log)).await;
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(("127.0.0.1", server.port)).await.unwrap());
    }
    // The API's client has a connection already.
    for _ in 0..5 {
        server.order().await;
    }
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.contains("maximum number of connections was lowered") && text.contains("files=256"),
        "{text}"
    );
    assert!(text.contains("connections were refused, because too many"), "{text}");
    let closed = silent
        .into_iter()
        .map(async |mut connection: TcpStream| connection.read_to_end(&mut Vec::new()).await.is_ok());
    let closed =
        tokio::time::timeout(END_TIMEOUT, futures::future::join_all(closed)).await.expect("all are closed");
    assert_eq!(closed.len(), 400);
    assert!(reqwest::get(format!("{}/healthz", server.api.base())).await.unwrap().status().is_success());
}

/// Connects with a small receive buffer, so that the server keeps what is not read.
async fn connect_without_buffer(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(([127, 0, 0, 1], port).into()).await.unwrap()
}

/// Sends a request for `path` and reads no response.
async fn request_unread(port: u16, path: &str) -> TcpStream {
    let mut connection = connect_without_buffer(port).await;
    connection.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    connection
}

/// Sends HTTP/2 requests for `path` on streams without a window. Pings are answered.
async fn request_without_window(port: u16, path: &str, streams: u32) -> TcpStream {
    let mut connection = connect_without_buffer(port).await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE is 0.
    bytes.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    for number in 0..streams {
        // GET, http, and literals for the path and the authority.
        let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
        block.extend(path.as_bytes());
        block.extend([0x01, 1, b'x']);
        bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 0x05]);
        bytes.extend((number * 2 + 1).to_be_bytes());
        bytes.extend(block);
    }
    connection.write_all(&bytes).await.unwrap();
    connection
}

/// Answers the pings of a server until the connection ends.
async fn answer_pings(mut connection: TcpStream) {
    let mut head = [0_u8; 9];
    while connection.read_exact(&mut head).await.is_ok() {
        let length = (usize::from(head[1]) << 8) | usize::from(head[2]);
        let mut payload = vec![0; length];
        let (is_ping, is_answer) = (head[3] == 6, head[4] & 1 == 1);
        if connection.read_exact(&mut payload).await.is_err() {
            return;
        }
        if is_ping && !is_answer {
            let answer = [&[0, 0, 8, 6, 1, 0, 0, 0, 0][..], &payload].concat();
            drop(connection.write_all(&answer).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_are_not_read_count_until_they_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("GOCONDUCTOR_LIMITS__BODY_BYTES", "4MiB"),
        ("GOCONDUCTOR_LIMITS__INPUT_BYTES", "4MiB"),
        ("GOCONDUCTOR_LIMITS__BODIES_BYTES", "8MiB"),
    ];
    let server = Server::start(folder.path(), "", &variables, Stdio::null()).await;
    let id = server.api.start("order-processing", order(3 << 20), None).await.unwrap();
    server.api.ended(&id, END_TIMEOUT).await.unwrap();
    let path = format!("/api/v1/workflows/{id}");
    let held = async || server.metric("goconductor_responses_bytes").await.values().sum::<f64>();
    let is_refused = async || {
        let (status, body) = server.api.send("GET", &format!("/workflows/{id}"), None).await.unwrap();
        assert!(status == 200 || (status, &body["code"]) == (429, &json!("GC2030")), "{status} {body}");
        status == 429
    };
    for protocol in ["HTTP/1.1", "HTTP/2"] {
        assert!(!is_refused().await, "{protocol}");
        let (mut unread, mut pings) = (Vec::new(), tokio::task::JoinSet::new());
        if protocol == "HTTP/2" {
            pings.spawn(answer_pings(request_without_window(server.port, &path, 8).await));
        } else {
            for _ in 0..8 {
                unread.push(request_unread(server.port, &path).await);
            }
        }
        until("a further response is refused", &is_refused).await;
        until("the memory of responses is reported", async || held().await > f64::from(6 << 20)).await;
        assert!(held().await <= f64::from(8 << 20), "{protocol}: {}", held().await);
        let requests = server.metric("goconductor_calls_in_flight").await.values().sum::<f64>();
        assert!(
            requests >= 2.0,
            "{protocol}: a request is in flight until its response was sent: {requests}"
        );
        drop((unread, pings));
        until("the memory is free again", async || held().await < f64::from(1 << 20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_with_closed_outputs_ends_with_its_usual_code() {
    let folder = tempfile::tempdir().unwrap();
    let invalid = folder.path().join("invalid.yaml");
    std::fs::write(&invalid, "workflow: x\nsteps: 7\n").unwrap();
    let invalid = invalid.display().to_string();
    let unreachable = ["--server", "http://127.0.0.1:1", "workflow", "list"];
    let cases: [(&[&str], i32); 5] = [
        (&["explain"], 0),
        (&["config", "explain"], 0),
        (&["--help"], 0),
        (&["definition", "validate", invalid.as_str()], 8),
        (&unreachable, 6),
    ];
    for (arguments, expected) in cases {
        for redirect in ["> >(exec true)", ">/dev/null 2> >(exec true)", ">&- 2>&-", "2>/dev/full"] {
            let command = goconductor().unwrap();
            let mut shell = Command::new("bash");
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with("GOCONDUCTOR_") {
                    shell.env_remove(name);
                }
            }
            // The reader has ended before the command writes.
            let script = format!("{{ sleep 0.1; exec \"$@\"; }} {redirect}");
            let status = shell
                .args(["-c", &script, "command"])
                .arg(command.as_std().get_program())
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .await
                .unwrap();
            assert_eq!(status.code(), Some(expected), "{arguments:?} {redirect}");
        }
    }
}
