//! Processes that are started for a measurement, and end with it.

use crate::meter::{Role, Target};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Ports that are given out, below those that the system gives to clients: none of those takes one between
/// its choice and its use.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;
/// What is not ready by then will not be.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// What does not end by then is killed.
const END_WITHIN: Duration = Duration::from_secs(15);
/// Lines of a log that are shown of what did not start.
const LINES: usize = 12;

/// A process of a measurement. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    name: String,
    role: Role,
    child: Child,
    log: PathBuf,
}

/// How a process is started.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) name: &'a str,
    pub(crate) role: Role,
    pub(crate) binary: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Where its log goes.
    pub(crate) folder: &'a Path,
}

impl Start<'_> {
    /// Starts it; what it says on standard output goes to its log.
    pub(crate) fn begin(self) -> anyhow::Result<Member> {
        let log = self.log()?;
        self.spawn(log.try_clone()?.into(), log)
    }

    /// Starts it, and waits for its first line, which has to begin with this; the rest of the line.
    pub(crate) async fn until_said(self, word: &str) -> anyhow::Result<(Member, String)> {
        let log = self.log()?;
        let mut member = self.spawn(Stdio::piped(), log)?;
        let out = member.child.stdout.take().context("its output is not there")?;
        let mut line = String::new();
        // Safe to cancel: without the line there is no member.
        let read = timeout(READY_WITHIN, BufReader::new(out).read_line(&mut line)).await;
        match (read, line.trim().strip_prefix(word)) {
            (Ok(Ok(_)), Some(rest)) => Ok((member, rest.trim().to_owned())),
            (_, _) => bail!("{} did not get ready: {}", member.name, member.last_words()),
        }
    }

    fn log(&self) -> anyhow::Result<std::fs::File> {
        let path = self.folder.join(format!("{}.log", self.name));
        std::fs::File::create(&path).with_context(|| format!("{} can't be written", path.display()))
    }

    fn spawn(self, out: Stdio, log: std::fs::File) -> anyhow::Result<Member> {
        let mut command = Command::new(&self.binary);
        // What this process is set to is no setting of a server, which refuses what it does not know.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("GOCONDUCTOR_") {
                command.env_remove(variable);
            }
        }
        let child = command
            .args(&self.arguments)
            // Kept open for as long as this process lives: participants end when it is closed.
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} can't be started", self.binary.display()))?;
        let log = self.folder.join(format!("{}.log", self.name));
        Ok(Member { name: self.name.to_owned(), role: self.role, child, log })
    }
}

impl Member {
    pub(crate) fn target(&self) -> anyhow::Result<Target> {
        let pid = self.child.id().with_context(|| format!("{} has ended", self.name))?;
        Ok(Target::of(&self.name, self.role, pid))
    }

    /// Waits until it is ready to take work.
    pub(crate) async fn ready(&mut self, port: u16) -> anyhow::Result<()> {
        let client = goconductor_client::Client::new(&format!("http://127.0.0.1:{port}"), "default")?;
        let ready = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    bail!("{} ended with {status}: {}", self.name, self.last_words());
                }
                if client.ready().await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Safe to cancel: it only asks.
        match timeout(READY_WITHIN, ready).await {
            Ok(ended) => ended,
            Err(_) => bail!("{} does not get ready: {}", self.name, self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
        if last.is_empty() { "it said nothing".to_owned() } else { last.join("\n") }
    }

    /// Has it end in order, and kills it if it does not.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        if let Some(pid) = self.child.id() {
            // One that has just ended can't be told to.
            drop(Command::new("kill").arg("-TERM").arg(pid.to_string()).stderr(Stdio::null()).status().await);
        }
        if timeout(END_WITHIN, self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("{} can't be killed", self.name))?;
        }
        Ok(())
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes begin at different places, and never give one port twice.
    let begin = u16::try_from(std::process::id() % 100).unwrap_or(0) * 100;
    for _ in 0..PORTS {
        let port = FIRST_PORT + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {FIRST_PORT} on is free")
}

/// A binary that was built beside this one.
pub(crate) fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(
        path.is_file(),
        "{} is not there: build it by `cargo build --release --workspace --bins`",
        path.display()
    );
    Ok(path)
}
