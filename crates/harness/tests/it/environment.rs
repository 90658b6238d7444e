//! Processes in the environments of other programs, and the addresses that they listen on.

use goconductor_harness::{Api, free_port, goconductor};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Backends that are not there: a process listens, and waits for them.
const CONFIGURATION: &str = r#"
state_store: { backend: postgres, url: "postgres://me@127.0.0.1:9/none", endpoints: ["http://127.0.0.1:9"] }
queue: { backend: nats, nats: { servers: ["127.0.0.1:9"] } }
election: { backend: etcd, endpoints: ["127.0.0.1:9"] }
"#;

/// Kubernetes Services whose names begin with ours, as Kubernetes writes them in variables.
const SERVICES: [&str; 8] = [
    "GOCONDUCTOR",
    "GOCONDUCTOR_ALL_IN_ONE",
    "GOCONDUCTOR_API_GATEWAY",
    "GOCONDUCTOR_STATE_STORE",
    "GOCONDUCTOR_LEADER_ELECTOR",
    "GOCONDUCTOR_SAGA_EXECUTOR",
    "GOCONDUCTOR_EXECUTOR",
    "GOCONDUCTOR_SERVER",
];

/// Returns the variables that Kubernetes sets in each pod for a Service with a named port.
fn service_links(service: &str) -> Vec<(String, String)> {
    let links = [
        ("SERVICE_HOST", "10.96.0.7"),
        ("SERVICE_PORT", "8470"),
        ("SERVICE_PORT_HTTP", "8470"),
        ("PORT", "tcp://10.96.0.7:8470"),
        ("PORT_8470_TCP", "tcp://10.96.0.7:8470"),
        ("PORT_8470_TCP_PROTO", "tcp"),
        ("PORT_8470_TCP_PORT", "8470"),
        ("PORT_8470_TCP_ADDR", "10.96.0.7"),
    ];
    links.iter().map(|(suffix, value)| (format!("{service}_{suffix}"), (*value).to_owned())).collect()
}

/// A process that is killed when this value is dropped.
struct Started {
    child: Child,
    log: std::path::PathBuf,
}

impl Started {
    /// Starts a command with its log in `folder`.
    fn spawn(mut command: Command, folder: &Path, name: &str) -> Self {
        let path = folder.join(format!("{name}.log"));
        let log = std::fs::File::create(&path).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true);
        Self { child: command.spawn().unwrap(), log: path }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until a path of the process answers 200.
    async fn answers(&mut self, url: &str) {
        let http = reqwest::Client::new();
        for _ in 0..6000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the process ended with {status}: {}", self.log());
            }
            if http.get(url).send().await.is_ok_and(|response| response.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{url} did not answer: {}", self.log());
    }
}

/// Returns the command of a binary beside the command line interface, without the variables of this process.
fn binary(name: &str) -> Command {
    let goconductor = goconductor().unwrap();
    let mut command = Command::new(Path::new(goconductor.as_std().get_program()).with_file_name(name));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GOCONDUCTOR_") {
            command.env_remove(name);
        }
    }
    command
}

#[tokio::test]
async fn every_binary_starts_in_a_pod_beside_services_of_all_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("goconductor.yaml");
    std::fs::write(&file, CONFIGURATION).unwrap();
    let mut started = Vec::new();
    for name in ["state-store", "leader-elector", "saga-executor", "api-gateway", "goconductor"] {
        let mut command = binary(name);
        if name == "goconductor" {
            command.args(["dev", "--ephemeral"]);
        } else {
            command.arg("--config").arg(&file);
        }
        let port = free_port().unwrap();
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.envs(SERVICES.iter().flat_map(|service| service_links(service)));
        started.push((Started::spawn(command, folder.path(), name), port));
    }
    for (process, port) in &mut started {
        process.answers(&format!("http://127.0.0.1:{port}/healthz")).await;
        let log = process.log();
        assert!(!log.contains("SERVICE_HOST") && !log.contains("_PORT"), "{log}");
    }
    // The last one needs no backend.
    let (dev, port) = started.last_mut().unwrap();
    dev.answers(&format!("http://127.0.0.1:{port}/readyz")).await;
}

#[tokio::test]
async fn unknown_variable_is_warned_about_once_with_the_nearest_setting() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = [("GOCONDUCTOR_BIN", "hunter2"), ("GOCONDUCTOR_QUEUE__BAKEND", "hunter2")];
    let port = free_port().unwrap();
    let mut command = goconductor().unwrap();
    command.args(["dev", "--ephemeral", "--listen", &format!("127.0.0.1:{port}")]).envs(unknown);
    let mut dev = Started::spawn(command, folder.path(), "dev");
    dev.answers(&format!("http://127.0.0.1:{port}/readyz")).await;
    let log = dev.log();
    for (name, _) in unknown {
        assert_eq!(log.matches(name).count(), 1, "{log}");
    }
    assert!(log.contains("GOCONDUCTOR_QUEUE__BACKEND"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");

    let explained = goconductor().unwrap().args(["config", "explain"]).envs(unknown).output().await.unwrap();
    let (stdout, stderr) = (String::from_utf8(explained.stdout).unwrap(), explained.stderr);
    assert!(explained.status.success(), "{}", String::from_utf8_lossy(&stderr));
    let line = |name: &str| stdout.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("GOCONDUCTOR_BIN ").ends_with("no setting has this name"), "{stdout}");
    assert!(
        line("GOCONDUCTOR_QUEUE__BAKEND ").ends_with("did you mean GOCONDUCTOR_QUEUE__BACKEND?"),
        "{stdout}"
    );
    assert!(!stdout.contains("hunter2"), "{stdout}");
}

#[tokio::test]
async fn unknown_key_of_a_file_still_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("goconductor.yaml");
    std::fs::write(&file, "service_port: 8470\n").unwrap();
    let mut command = goconductor().unwrap();
    command.args(["dev", "--ephemeral", "--listen", "127.0.0.1:0", "--config"]).arg(&file);
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&output.stderr).contains("service_port: unknown key"));
}

#[tokio::test]
async fn host_name_is_served_on_all_its_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().unwrap();
    let mut command = goconductor().unwrap();
    command.args(["dev", "--demo", "--ephemeral", "--listen", &format!("localhost:{port}")]);
    let mut dev = Started::spawn(command, folder.path(), "dev");
    dev.answers(&format!("http://localhost:{port}/readyz")).await;
    for address in tokio::net::lookup_host(("localhost", port)).await.unwrap() {
        // A name can have an IPv6 address on a machine without IPv6.
        if tokio::net::TcpListener::bind((address.ip(), 0)).await.is_ok() {
            assert!(Api::new(format!("http://{address}")).is_ready().await, "{address}: {}", dev.log());
        }
    }
    let banner = format!("order-processing --server http://localhost:{port} --wait");
    assert!(dev.log().contains(&banner), "{}", dev.log());
}

#[tokio::test]
async fn ipv6_loopback_address_is_served() {
    if tokio::net::TcpListener::bind("[::1]:0").await.is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().unwrap();
    let mut command = goconductor().unwrap();
    command.args(["dev", "--ephemeral", "--listen", &format!("[::1]:{port}")]);
    let mut dev = Started::spawn(command, folder.path(), "dev");
    dev.answers(&format!("http://[::1]:{port}/readyz")).await;
    let server = format!("http://[::1]:{port}");
    let list = goconductor().unwrap().args(["workflow", "list", "--server", &server]).output().await.unwrap();
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
}

#[tokio::test]
async fn name_that_does_not_resolve_ends_the_process_with_advice() {
    let mut command = goconductor().unwrap();
    command.args(["dev", "--ephemeral", "--listen", "no-such-host.invalid:8470"]);
    let output = command.output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("failed to resolve no-such-host.invalid:8470"), "{stderr}");
    assert!(stderr.contains("--listen"), "{stderr}");
}
