//! A `goconductor dev` as a child process.

use crate::Api;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Returns a port that no server uses. `free_port` of the scripts chooses it, because tests and scripts run side by side
/// and must not choose the same one.
///
/// # Errors
/// Returns an error if the scripts find no free port.
pub fn free_port() -> anyhow::Result<u16> {
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/lib.sh");
    let output = std::process::Command::new("bash")
        .args(["-c", ". \"$0\"; free_port", library])
        .output()
        .context("failed to run bash")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("no free port: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// The `goconductor` command of this build, without arguments. `GOCONDUCTOR_…` variables of the test run are removed,
/// because a server reads them as settings.
///
/// # Errors
/// Returns an error if the command was not built.
pub fn goconductor() -> anyhow::Result<Command> {
    let mut command = Command::new(path()?);
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GOCONDUCTOR_"))
    {
        command.env_remove(name);
    }
    Ok(command)
}

/// Searches the folder of this program and the folders above it.
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
        .context("the goconductor command was not built; run cargo build --workspace --bins")
}

/// The arguments of a `goconductor dev`.
#[derive(Debug, Clone, Default)]
pub struct DevOptions {
    /// Further arguments.
    pub args: Vec<String>,
}

/// A running `goconductor dev`. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    options: DevOptions,
    port: u16,
    data: PathBuf,
    /// The client of its API.
    pub api: Api,
}

impl Dev {
    /// Starts the process on a free port and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error if the process does not become ready.
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
        bail!("goconductor dev did not become ready; see {}", self.log().display())
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The path of its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.data.join("harness.log")
    }

    /// Kills the process with SIGKILL and waits for its end.
    ///
    /// # Errors
    /// Returns an error if the process cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("kill -9")
    }

    /// Sends SIGTERM and waits for the end of the process.
    ///
    /// # Errors
    /// Returns an error if the process does not end within 30 s.
    pub async fn terminate(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        let pid = self.pid().context("the process has ended")?;
        Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await?;
        Ok(tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await??)
    }

    /// Starts the process again on the same port and data.
    ///
    /// # Errors
    /// Returns an error if the process does not become ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.data, self.port, &self.options)?;
        self.ready().await
    }

    /// The peak resident memory of the process, in KiB.
    ///
    /// # Errors
    /// Returns an error if the system does not report it.
    pub fn peak_kib(&self) -> anyhow::Result<u64> {
        peak_kib(self.pid().context("the process has ended")?)
    }
}

/// The peak resident memory of a process, in KiB.
pub(crate) fn peak_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    let number = line.split_whitespace().nth(1).context("no number")?;
    Ok(number.parse()?)
}

fn spawn(data: &Path, port: u16, options: &DevOptions) -> anyhow::Result<Child> {
    std::fs::create_dir_all(data)?;
    let log = std::fs::File::options().create(true).append(true).open(data.join("harness.log"))?;
    let mut command = goconductor()?;
    command.arg("dev");
    if !options.args.iter().any(|argument| argument == "--ephemeral") {
        command.args(["--data-dir", &data.join("data").display().to_string()]);
    }
    let child = command
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(&options.args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}
