//! Real servers that a test may kill, by the project's scripts; and consumers in processes of their own.

use async_trait::async_trait;
use goconductor_queue::conformance::{Breakable, Elsewhere, Verdict};
use goconductor_queue::{DeliveryTag, Queue, Topic};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Which queue a process of its own consumes, and of what.
const OPEN: &str = "GOCONDUCTOR_QUEUE_ELSEWHERE";
const TOPIC: &str = "GOCONDUCTOR_QUEUE_ELSEWHERE_TOPIC";
/// What an answer begins with, among what the test program says.
const ANSWER: &str = "> ";
/// Of several servers, one is gone for so long.
const GONE: Duration = Duration::from_secs(3);

/// What a variable holds; none: say so, unless that is a failure.
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

/// Servers of a test's own. They are removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Servers {
    folder: tempfile::TempDir,
    script: &'static str,
    count: u32,
    /// How they are reached.
    pub(crate) exported: BTreeMap<String, String>,
}

impl Servers {
    /// Starts so many; `settings` is for the script.
    pub(crate) async fn up(
        script: &'static str,
        count: u32,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        Self::start(script, count, &count.to_string(), settings).await
    }

    /// Starts those of a kind.
    pub(crate) async fn start(
        script: &'static str,
        count: u32,
        kind: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        // The server's own user has to reach its folder.
        let status = Command::new("chmod").arg("755").arg(folder.path()).status().await;
        assert!(status.is_ok_and(|status| status.success()), "chmod failed");
        let mut this = Self { folder, script, count, exported: BTreeMap::new() };
        let text = this.call(&["up", kind], settings).await?;
        let exported = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        this.exported =
            exported.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect();
        Ok(this)
    }

    /// What was exported by that name.
    pub(crate) fn get(&self, name: &str) -> String {
        self.exported.get(name).cloned().unwrap_or_default()
    }

    fn command(&self) -> (PathBuf, PathBuf) {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services");
        (scripts.join(self.script), self.folder.path().join("s"))
    }

    /// Calls the script; what it prints.
    pub(crate) async fn call(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Result<String, String> {
        let (script, folder) = self.command();
        let mut command = Command::new(script);
        command.args(arguments).env("GOCONDUCTOR_SERVICES", folder).envs(settings.iter().copied());
        if let Some(cache) = std::env::var_os("GOCONDUCTOR_TEST_CACHE") {
            command.env("GOCONDUCTOR_CACHE", cache);
        }
        let output = command.stdin(Stdio::null()).output().await.map_err(|error| error.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} {arguments:?}: {said}", self.script));
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

/// A queue on servers of its own.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) servers: Servers,
    pub(crate) queue: Arc<dyn Queue>,
    /// The same for another process: see [`super::open`].
    pub(crate) open: String,
}

#[async_trait]
impl Breakable for Broken {
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.queue)
    }

    async fn crash(&self) -> Verdict {
        if self.servers.count == 1 {
            self.servers.call(&["kill"], &[]).await?;
            self.servers.call(&["start"], &[]).await?;
        } else {
            self.servers.call(&["kill", "1"], &[]).await?;
            tokio::time::sleep(GONE).await;
            self.servers.call(&["start", "1"], &[]).await?;
        }
        Ok(())
    }

    async fn elsewhere(&self, topic: &Topic) -> Result<Box<dyn Elsewhere>, String> {
        Ok(Box::new(Process::start(&self.open, topic).await?))
    }
}

/// A consumer in a process of its own: this program, told to be one.
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
            .args(["servers::consumer_elsewhere", "--exact", "--nocapture"])
            .env(OPEN, open)
            .env(TOPIC, topic.service.clone())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| error.to_string())?;
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut this = Self { child, input, output: BufReader::new(output).lines() };
        this.ask("begin").await?;
        Ok(this)
    }

    async fn ask(&mut self, what: &str) -> Result<String, String> {
        let asking = async {
            self.input.write_all(format!("{what}\n").as_bytes()).await.map_err(|error| error.to_string())?;
            while let Some(line) = self.output.next_line().await.map_err(|error| error.to_string())? {
                if let Some((_, answer)) = line.split_once(ANSWER) {
                    return Ok(answer.to_owned());
                }
            }
            Err("the other process has ended".to_owned())
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), asking).await;
        answer.map_err(|_| format!("the other process does not answer: {what}"))?
    }

    async fn signal(&self, signal: &str) -> Verdict {
        let pid = self.child.id().ok_or("the other process has ended")?;
        let status = Command::new("kill").arg(signal).arg(pid.to_string()).status().await;
        if status.is_ok_and(|status| status.success()) {
            Ok(())
        } else {
            Err(format!("kill {signal} failed"))
        }
    }
}

#[async_trait]
impl Elsewhere for Process {
    async fn take(&mut self, count: usize) -> Result<Vec<u64>, String> {
        let answer = self.ask(&format!("take {count}")).await?;
        answer.split_whitespace().map(|number| number.parse().map_err(|_| answer.clone())).collect()
    }

    async fn acknowledge(&mut self) -> Result<Option<usize>, String> {
        let answer = self.ask("acknowledge").await?;
        Ok(answer.parse().ok())
    }

    async fn pause(&mut self) -> Verdict {
        self.signal("-STOP").await
    }

    async fn resume(&mut self) -> Verdict {
        self.signal("-CONT").await
    }

    async fn kill(mut self: Box<Self>) -> Verdict {
        self.child.kill().await.map_err(|error| error.to_string())
    }
}

/// Not a test: a consumer that does what it is told, where it is asked to be one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_elsewhere() {
    let (Ok(open), Ok(topic)) = (std::env::var(OPEN), std::env::var(TOPIC)) else { return };
    let queue = super::open(&open);
    let mut consumer = queue.consume(&Topic::execute(topic)).await.unwrap();
    let mut held: Vec<DeliveryTag> = Vec::new();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| tell.send(line)).ok();
    });
    while let Some(line) = told.recv().await {
        match line.split_once(' ') {
            Some((_, count)) => {
                let (mut taken, count) = (Vec::new(), count.parse::<usize>().unwrap());
                while taken.len() < count {
                    taken.extend(consumer.take(count - taken.len()).await.unwrap());
                }
                held.extend(taken.iter().map(|delivery| delivery.tag));
                let numbers: Vec<_> =
                    taken.iter().map(|each| String::from_utf8_lossy(&each.message.payload)).collect();
                println!("{ANSWER}{}", numbers.join(" "));
            }
            None if line == "acknowledge" => match consumer.acknowledge(&held).await {
                Ok(gone) => println!("{ANSWER}{}", gone.len()),
                Err(error) => println!("{ANSWER}{error}"),
            },
            None => println!("{ANSWER}here"),
        }
    }
}
