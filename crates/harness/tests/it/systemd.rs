//! Notifications to systemd, received by a socket of the test in place of systemd.

use goconductor_harness::{Api, free_port, goconductor};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// Timeout of operations of a process that usually take less than a second.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// The socket of a service manager. A task reads it all the time, so that no sender waits for space.
struct Manager {
    socket: PathBuf,
    received: mpsc::UnboundedReceiver<String>,
}

impl Manager {
    fn listen(folder: &Path) -> Self {
        let socket = folder.join("notify");
        let listening = UnixDatagram::bind(&socket).unwrap();
        let (sender, received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok(length) = listening.recv(&mut buffer).await {
                for line in String::from_utf8_lossy(&buffer[..length]).lines() {
                    if sender.send(line.to_owned()).is_err() {
                        return;
                    }
                }
            }
        });
        Self { socket, received }
    }

    /// Returns the assignments up to the first one that begins with `prefix`.
    async fn until(&mut self, prefix: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let receiving = async {
            while !lines.last().is_some_and(|line: &String| line.starts_with(prefix)) {
                lines.push(self.received.recv().await.unwrap());
            }
        };
        let found = tokio::time::timeout(END_TIMEOUT, receiving).await;
        assert!(found.is_ok(), "{prefix} was not received, only {lines:?}");
        lines
    }

    /// Returns the assignments that were received since.
    fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }

    /// Starts a program with the variables that systemd sets.
    fn start(&self, program: &str, watchdog: Duration, args: &[String], panic: Option<&Path>) -> Child {
        let command = goconductor().unwrap();
        let mut command = Command::new(Path::new(command.as_std().get_program()).with_file_name(program));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GOCONDUCTOR_"))
        {
            command.env_remove(name);
        }
        command.envs(panic.map(|file| ("GOCONDUCTOR_TEST_PANIC", file)));
        command
            .args(args)
            .env("NOTIFY_SOCKET", &self.socket)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }
}

async fn exit_code(process: &mut Child) -> Option<i32> {
    tokio::time::timeout(END_TIMEOUT, process.wait()).await.expect("the process ends").unwrap().code()
}

async fn terminate(process: &Child) {
    let pid = process.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
}

fn dev(port: u16) -> Vec<String> {
    ["dev", "--ephemeral", "--listen", &format!("127.0.0.1:{port}")].map(str::to_owned).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_notifies_the_service_manager_until_it_has_drained() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = Manager::listen(folder.path());
    let port = free_port().unwrap();
    let mut process = manager.start("goconductor", Duration::from_millis(150), &dev(port), None);
    manager.until("READY=1").await;
    assert!(Api::new(format!("http://127.0.0.1:{port}")).is_ready().await, "READY=1 came before readiness");
    assert_eq!(manager.until("STATUS=").await, ["STATUS=ready"]);
    for _ in 0..3 {
        manager.until("WATCHDOG=1").await;
    }
    terminate(&process).await;
    manager.until("STOPPING=1").await;
    // The drain may take 10 s for attempts and 15 s for the rest.
    manager.until("EXTEND_TIMEOUT_USEC=25000000").await;
    manager.until("STATUS=draining").await;
    assert_eq!(exit_code(&mut process).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_without_its_database_is_not_ready_and_extends_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = Manager::listen(folder.path());
    let args = [
        "--listen",
        &format!("127.0.0.1:{}", free_port().unwrap()),
        "--set",
        "state_store.backend=postgres",
        "--set",
        // No process listens on the discard port.
        "state_store.url=postgres://127.0.0.1:9/none",
    ];
    let mut process = manager.start("state-store", END_TIMEOUT, &args.map(str::to_owned), None);
    let lines = manager.until("STATUS=not ready: database: ").await;
    assert!(lines.contains(&"EXTEND_TIMEOUT_USEC=30000000".to_owned()), "{lines:?}");
    terminate(&process).await;
    let lines = manager.until("STOPPING=1").await;
    assert!(!lines.contains(&"READY=1".to_owned()), "{lines:?}");
    exit_code(&mut process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_with_a_failed_task_stops_to_feed_the_watchdog() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = Manager::listen(folder.path());
    let request = folder.path().join("panic");
    let port = free_port().unwrap();
    let mut process = manager.start("goconductor", Duration::from_millis(30), &dev(port), Some(&request));
    manager.until("READY=1").await;
    manager.until("WATCHDOG=1").await;
    std::fs::write(&request, "maintenance").unwrap();
    manager.until("STOPPING=1").await;
    assert_eq!(exit_code(&mut process).await, Some(1));
    let rest = manager.rest();
    assert!(!rest.contains(&"WATCHDOG=1".to_owned()), "{rest:?}");
}
