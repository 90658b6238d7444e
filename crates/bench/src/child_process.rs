//! Processes that a measurement starts and stops.

use crate::meter::{MeteredProcess, Role};
use anyhow::{Context, bail};
use goconductor_client::Client;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The range of ports for servers. It is below the ephemeral ports, so no client can take a port between its choice and
/// its use, and beyond the ports that the scripts choose for the servers of a test run.
const FIRST_PORT: u16 = 30_000;
const PORTS: u16 = 2_000;
/// The maximum time until a process is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The maximum time of a graceful shutdown, after which a process is killed.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);
/// The number of log lines in the error of a process that did not start.
const LOG_TAIL_LINES: usize = 12;

/// A process of a measurement. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    name: String,
    role: Role,
    child: Child,
    log: PathBuf,
}

/// The command line of a process.
#[derive(Debug)]
pub(crate) struct ChildCommand<'a> {
    pub(crate) name: &'a str,
    pub(crate) role: Role,
    pub(crate) binary: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// The directory of its log file.
    pub(crate) folder: &'a Path,
}

impl ChildCommand<'_> {
    /// Starts the process with its standard output in its log.
    pub(crate) fn spawn(self) -> anyhow::Result<ChildProcess> {
        let log = self.log()?;
        self.spawn_with(log.try_clone()?.into(), log)
    }

    /// Starts the process and waits for its first line, which must start with `prefix`. Returns the rest of the line.
    pub(crate) async fn spawn_until_line(self, prefix: &str) -> anyhow::Result<(ChildProcess, String)> {
        let log = self.log()?;
        let mut process = self.spawn_with(Stdio::piped(), log)?;
        let out = process.child.stdout.take().context("the process has no standard output")?;
        let mut line = String::new();
        // Safe to cancel: without the line, the process is dropped.
        let read = timeout(READY_TIMEOUT, BufReader::new(out).read_line(&mut line)).await;
        match (read, line.trim().strip_prefix(prefix)) {
            (Ok(Ok(_)), Some(rest)) => Ok((process, rest.trim().to_owned())),
            (_, _) => bail!("{} did not become ready: {}", process.name, process.log_tail()),
        }
    }

    /// Runs the process to its end, which must be a success.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut process = self.spawn()?;
        let status = process.child.wait().await?;
        anyhow::ensure!(status.success(), "{} exited with {status}: {}", process.name, process.log_tail());
        Ok(())
    }

    fn log(&self) -> anyhow::Result<std::fs::File> {
        let path = self.folder.join(format!("{}.log", self.name));
        std::fs::File::create(&path).with_context(|| format!("failed to create {}", path.display()))
    }

    fn spawn_with(self, out: Stdio, log: std::fs::File) -> anyhow::Result<ChildProcess> {
        let mut command = Command::new(&self.binary);
        // Servers reject unknown GOCONDUCTOR_ variables, so the variables of this process are removed.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("GOCONDUCTOR_") {
                command.env_remove(variable);
            }
        }
        // The participants are on this machine.
        command.env("GOCONDUCTOR_EXECUTOR__OUTBOUND__ALLOW", "loopback");
        let child = command
            .args(&self.arguments)
            // Stays open as long as this process lives: participants exit when it is closed.
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", self.binary.display()))?;
        let log = self.folder.join(format!("{}.log", self.name));
        Ok(ChildProcess { name: self.name.to_owned(), role: self.role, child, log })
    }
}

impl ChildProcess {
    pub(crate) fn target(&self) -> anyhow::Result<MeteredProcess> {
        let pid = self.child.id().with_context(|| format!("{} has exited", self.name))?;
        Ok(MeteredProcess::of(&self.name, self.role, pid))
    }

    /// Waits until the server of `client` is ready.
    pub(crate) async fn wait_until_ready(&mut self, client: &Client) -> anyhow::Result<()> {
        let ready = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    bail!("{} exited with {status}: {}", self.name, self.log_tail());
                }
                if client.ready().await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Safe to cancel: the probe only reads.
        match timeout(READY_TIMEOUT, ready).await {
            Ok(ended) => ended,
            Err(_) => bail!("{} did not become ready: {}", self.name, self.log_tail()),
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default();
        if last.is_empty() { "the log is empty".to_owned() } else { last.join("\n") }
    }

    /// Stops the process gracefully, and kills it after a timeout.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        if let Some(pid) = self.child.id() {
            // The signal fails if the process has just exited.
            drop(Command::new("kill").arg("-TERM").arg(pid.to_string()).stderr(Stdio::null()).status().await);
        }
        if timeout(SHUTDOWN_TIMEOUT, self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("failed to kill {}", self.name))?;
        }
        Ok(())
    }
}

/// Returns a port that is currently free.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Concurrent measurements start at different offsets, and no measurement uses a port twice.
    let offset = u16::try_from(std::process::id() % 100).unwrap_or(0) * 20;
    for _ in 0..PORTS {
        let port = FIRST_PORT + offset.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {FIRST_PORT} on is free")
}

/// Returns the path of `goconductor`, which is this program.
pub(crate) fn goconductor_binary() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?)
}

/// Returns the path of a binary in the directory of this one.
pub(crate) fn sibling_binary(name: &str) -> anyhow::Result<PathBuf> {
    let path = goconductor_binary()?.with_file_name(name);
    anyhow::ensure!(
        path.is_file(),
        "{} does not exist; build it with `cargo build --release --workspace --bins`",
        path.display()
    );
    Ok(path)
}
