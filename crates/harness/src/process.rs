//! A real `goconductor dev` as a child process.

use crate::Api;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::process::{Child, Command};

/// A port that was free a moment ago; below those that the system gives to clients, so that none of them
/// takes it in between.
///
/// # Errors
/// When none is.
pub fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes begin at different places, and never give one port twice.
    let begin = u16::try_from(std::process::id() % 100).unwrap_or(0) * 100;
    for _ in 0..PORTS {
        let port = FIRST_PORT + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {FIRST_PORT} on is free")
}

const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

/// The `goconductor` command that was built together with this, without arguments. What the test run is set
/// to by `GOCONDUCTOR_…` is no setting of a server, which refuses what it does not know.
///
/// # Errors
/// When it was not built.
pub fn goconductor() -> anyhow::Result<Command> {
    let mut command = Command::new(path()?);
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GOCONDUCTOR_"))
    {
        command.env_remove(name);
    }
    Ok(command)
}

/// Beside this, or one folder up.
fn path() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("GOCONDUCTOR_BIN") {
        return Ok(path.into());
    }
    let me = std::env::current_exe()?;
    me.ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join("goconductor"))
        .find(|path| path.is_file())
        .context("the goconductor command is not built: run cargo build --workspace --bins first")
}

/// How a `goconductor dev` is started.
#[derive(Debug, Clone, Default)]
pub struct DevOptions {
    /// Further arguments.
    pub args: Vec<String>,
}

/// A running `goconductor dev`. Killed when it is dropped.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    options: DevOptions,
    port: u16,
    data: PathBuf,
    /// Its API.
    pub api: Api,
}

impl Dev {
    /// Starts it over a data directory, on a free port, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start(data: &Path, options: DevOptions) -> anyhow::Result<Self> {
        let port = free_port()?;
        let child = spawn(data, port, &options)?;
        let api = Api::new(format!("http://127.0.0.1:{port}"));
        let mut this = Self { child, options, port, data: data.to_owned(), api };
        this.ready().await?;
        Ok(this)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        for _ in 0..2000 {
            if let Some(status) = self.child.try_wait()? {
                bail!("goconductor dev ended with {status}: see {}", self.log().display());
            }
            if self.api.is_ready().await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("goconductor dev does not get ready: see {}", self.log().display())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where its messages go.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.data.join("harness.log")
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When it can't be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("kill -9")
    }

    /// SIGTERM, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub async fn terminate(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        let pid = self.pid().context("it runs no more")?;
        Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await?;
        Ok(tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await??)
    }

    /// Starts it again on the same port and data.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.data, self.port, &self.options)?;
        self.ready().await
    }

    /// The most resident memory that it ever had, in KiB.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn peak_kib(&self) -> anyhow::Result<u64> {
        peak_kib(self.pid().context("it runs no more")?)
    }
}

/// The most resident memory that a process ever had, in KiB.
pub(crate) fn peak_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    let number = line.split_whitespace().nth(1).context("no number")?;
    Ok(number.parse()?)
}

fn spawn(data: &Path, port: u16, options: &DevOptions) -> anyhow::Result<Child> {
    std::fs::create_dir_all(data)?;
    let log = std::fs::File::options().create(true).append(true).open(data.join("harness.log"))?;
    let child = goconductor()?
        .arg("dev")
        .args(["--data-dir", &data.join("data").display().to_string()])
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(&options.args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}
