//! Real servers that a test may kill, started by the scripts of the project, and consumers in other processes.

use async_trait::async_trait;
use goconductor_queue::conformance::{Breakable, CaseResult, RemoteConsumer};
use goconductor_queue::{DeliveryTag, Queue, Topic};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The environment variables of a remote consumer: the description of the queue, and the service.
const QUEUE: &str = "GOCONDUCTOR_QUEUE_ELSEWHERE";
const SERVICE: &str = "GOCONDUCTOR_QUEUE_ELSEWHERE_TOPIC";
/// The prefix of a response, which distinguishes it from other output of the test binary.
const RESPONSE_PREFIX: &str = "> ";
/// How long one server of a cluster is down.
const DOWNTIME: Duration = Duration::from_secs(3);

/// Returns the value of an environment variable. If it is not set, the test is skipped, or fails if services are
/// required.
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        assert!(!required(), "{name} is not set");
        eprintln!("not run: {name} is not set");
    }
    value
}

pub(crate) fn required() -> bool {
    std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1")
}

/// The servers of one test. They are removed on drop.
#[derive(Debug)]
pub(crate) struct Servers {
    folder: tempfile::TempDir,
    script: &'static str,
    count: u32,
    /// The variables that the script exported, such as addresses.
    pub(crate) exported: BTreeMap<String, String>,
}

impl Servers {
    /// Starts `count` servers. `settings` are environment variables of the script.
    pub(crate) async fn up(
        script: &'static str,
        count: u32,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        Self::start(script, count, &count.to_string(), settings).await
    }

    /// Starts servers of a kind.
    pub(crate) async fn start(
        script: &'static str,
        count: u32,
        kind: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        // The user of the server needs access to the directory.
        let status = Command::new("chmod").arg("755").arg(folder.path()).status().await;
        assert!(status.is_ok_and(|status| status.success()), "chmod failed");
        let mut this = Self { folder, script, count, exported: BTreeMap::new() };
        let text = this.call(&["up", kind], settings).await?;
        let exported = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        this.exported =
            exported.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect();
        Ok(this)
    }

    /// Returns a variable that the script exported.
    pub(crate) fn get(&self, name: &str) -> String {
        self.exported.get(name).cloned().unwrap_or_default()
    }

    fn command(&self) -> (PathBuf, PathBuf) {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services");
        (scripts.join(self.script), self.folder.path().join("s"))
    }

    /// Runs the script and returns its output.
    pub(crate) async fn call(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Result<String, String> {
        let (script, folder) = self.command();
        let mut command = Command::new(script);
        command.args(arguments).env("GOCONDUCTOR_SERVICES", folder).envs(settings.iter().copied());
        if let Some(cache) = std::env::var_os("GOCONDUCTOR_TEST_CACHE") {
            command.env("GOCONDUCTOR_CACHE", cache);
        }
        let output = command.stdin(Stdio::null()).output().await.map_err(|error| error.to_string())?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} {arguments:?}: {stderr}", self.script));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let (script, folder) = self.command();
        let mut command = std::process::Command::new(script);
        command.arg("wipe").env("GOCONDUCTOR_SERVICES", folder);
        drop(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

/// A queue with servers that can be killed.
#[derive(Debug)]
pub(crate) struct BreakableQueue {
    pub(crate) servers: Servers,
    pub(crate) queue: Arc<dyn Queue>,
    /// The description of the queue for another process: see [`super::open`].
    pub(crate) open: String,
}

#[async_trait]
impl Breakable for BreakableQueue {
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.queue)
    }

    async fn crash(&self) -> CaseResult {
        if self.servers.count == 1 {
            self.servers.call(&["kill"], &[]).await?;
            self.servers.call(&["start"], &[]).await?;
        } else {
            self.servers.call(&["kill", "1"], &[]).await?;
            tokio::time::sleep(DOWNTIME).await;
            self.servers.call(&["start", "1"], &[]).await?;
        }
        Ok(())
    }

    async fn stop(&self) -> CaseResult {
        self.servers.call(&["kill"], &[]).await.map(drop)
    }

    async fn remote_consumer(&self, topic: &Topic) -> Result<Box<dyn RemoteConsumer>, String> {
        Ok(Box::new(Process::start(&self.open, topic).await?))
    }
}

/// A consumer in another process: this test binary, which runs only `remote_consumer_process`.
#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    async fn start(open: &str, topic: &Topic) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .args(["servers::remote_consumer_process", "--exact", "--nocapture"])
            .env(QUEUE, open)
            .env(SERVICE, topic.service.clone())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| error.to_string())?;
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut this = Self { child, input, output: BufReader::new(output).lines() };
        this.request("start").await?;
        Ok(this)
    }

    async fn request(&mut self, command: &str) -> Result<String, String> {
        let request = async {
            self.input
                .write_all(format!("{command}\n").as_bytes())
                .await
                .map_err(|error| error.to_string())?;
            while let Some(line) = self.output.next_line().await.map_err(|error| error.to_string())? {
                if let Some((_, response)) = line.split_once(RESPONSE_PREFIX) {
                    return Ok(response.to_owned());
                }
            }
            Err("remote consumer has ended".to_owned())
        };
        let response = tokio::time::timeout(Duration::from_secs(60), request).await;
        response.map_err(|_| format!("remote consumer did not respond to {command}"))?
    }

    async fn signal(&self, signal: &str) -> CaseResult {
        let pid = self.child.id().ok_or("remote consumer has ended")?;
        let status = Command::new("kill").arg(signal).arg(pid.to_string()).status().await;
        if status.is_ok_and(|status| status.success()) {
            Ok(())
        } else {
            Err(format!("kill {signal} failed"))
        }
    }
}

#[async_trait]
impl RemoteConsumer for Process {
    async fn receive(&mut self, count: usize) -> Result<Vec<u64>, String> {
        let response = self.request(&format!("receive {count}")).await?;
        response.split_whitespace().map(|number| number.parse().map_err(|_| response.clone())).collect()
    }

    async fn acknowledge(&mut self) -> Result<Option<usize>, String> {
        let response = self.request("acknowledge").await?;
        Ok(response.parse().ok())
    }

    async fn pause(&mut self) -> CaseResult {
        self.signal("-STOP").await
    }

    async fn resume(&mut self) -> CaseResult {
        self.signal("-CONT").await
    }

    async fn kill(mut self: Box<Self>) -> CaseResult {
        self.child.kill().await.map_err(|error| error.to_string())
    }
}

/// Not a test: the process of a remote consumer. It executes the commands on its standard input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_consumer_process() {
    let (Ok(queue), Ok(service)) = (std::env::var(QUEUE), std::env::var(SERVICE)) else { return };
    let queue = super::open(&queue);
    let mut consumer = queue.consume(&Topic::execute(service)).await.unwrap();
    let mut unacknowledged: Vec<DeliveryTag> = Vec::new();
    let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| send.send(line)).ok();
    });
    while let Some(line) = lines.recv().await {
        match line.split_once(' ') {
            Some((_, count)) => {
                let (mut received, count) = (Vec::new(), count.parse::<usize>().unwrap());
                while received.len() < count {
                    received.extend(consumer.receive(count - received.len()).await.unwrap());
                }
                unacknowledged.extend(received.iter().map(|delivery| delivery.tag));
                let numbers: Vec<_> =
                    received.iter().map(|each| String::from_utf8_lossy(&each.message.payload)).collect();
                println!("{RESPONSE_PREFIX}{}", numbers.join(" "));
            }
            None if line == "acknowledge" => match consumer.acknowledge(&unacknowledged).await {
                Ok(lost) => println!("{RESPONSE_PREFIX}{}", lost.len()),
                Err(error) => println!("{RESPONSE_PREFIX}{error}"),
            },
            None => println!("{RESPONSE_PREFIX}started"),
        }
    }
}
