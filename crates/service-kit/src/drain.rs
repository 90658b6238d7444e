//! Graceful shutdown: accept no new work, wait for running tasks, and name those that did not end.

use crate::log;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The graceful shutdown of a service. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    token: CancellationToken,
    tasks: TaskTracker,
    running: Arc<RunningTasks>,
}

/// Error of a drain that reached its timeout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these tasks did not end within {}: {}", crate::duration::format(*.timeout), .tasks.join(", "))]
pub struct Incomplete {
    /// The timeout.
    pub timeout: Duration,
    /// The names of the tasks that did not end.
    pub tasks: Vec<String>,
}

impl Drain {
    /// Creates a drain that has not started.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts the drain. Repeated calls have no effect.
    pub fn signal(&self) {
        self.token.cancel();
    }

    /// Starts the drain at the first SIGTERM or SIGINT. A second signal ends the process at once, so that an operator
    /// does not have to wait. So does the end of `limit`: a task that does not end must not keep the process alive.
    ///
    /// A thread of its own receives the signals, so that they take effect even if all threads of the service are blocked.
    ///
    /// # Errors
    /// Returns the error of the operating system if the signal handlers cannot be installed.
    #[cfg(unix)]
    pub fn on_signals(&self, limit: Duration) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            ProcessSignals::install()?
        };
        let following =
            goconductor_supervisor::supervise("signals", self.clone().follow_signals(signals, limit));
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(following))?;
        Ok(())
    }

    #[cfg(unix)]
    async fn follow_signals(self, mut signals: ProcessSignals, limit: Duration) {
        let (first, _) = signals.next().await;
        // Before the log, which must not delay it.
        self.signal();
        tracing::info!(signal = first, "drain started");
        let exit = match tokio::time::timeout(limit, signals.next()).await {
            Ok((_, exit)) => {
                tracing::warn!("process ended without drain after a second signal");
                exit
            }
            Err(_) => {
                let tasks = self.running.names().join(", ");
                tracing::error!(?limit, tasks, "process ended although its drain was not complete");
                EXIT_INCOMPLETE
            }
        };
        log::flush(log::FLUSH_TIMEOUT);
        std::process::exit(exit);
    }

    /// Waits until the drain starts. Cancel-safe.
    pub async fn draining(&self) {
        self.token.cancelled().await;
    }

    /// Returns whether the drain has started.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns a token that is cancelled when the drain starts.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Spawns a task that the drain waits for. [`Incomplete`] contains the name if the task does not end.
    pub fn spawn<F>(&self, name: impl Into<String>, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let entry = self.running.enter(name.into());
        self.tasks.spawn(async move {
            // Dropped when the task returns, panics or is aborted.
            let _entry = entry;
            task.await
        })
    }

    /// Starts the drain if it has not started, and waits for all tasks.
    ///
    /// # Errors
    /// Returns [`Incomplete`] if tasks are still running after `timeout`. They keep running.
    pub async fn drain(&self, timeout: Duration) -> Result<(), Incomplete> {
        self.signal();
        self.tasks.close();
        match tokio::time::timeout(timeout, self.tasks.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Incomplete { timeout, tasks: self.running.names() }),
        }
    }
}

/// Exit code of a process that a signal ended, by the convention of shells: 128 plus the number of the signal.
#[cfg(unix)]
const SIGTERM_EXIT: i32 = 128 + 15;
#[cfg(unix)]
const SIGINT_EXIT: i32 = 128 + 2;
/// Exit code of a process whose drain was not complete at its limit.
#[cfg(unix)]
const EXIT_INCOMPLETE: i32 = 1;

/// The signals that end a process.
#[cfg(unix)]
struct ProcessSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl ProcessSignals {
    fn install() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns the name of the next signal and the exit code of a process that it ends.
    async fn next(&mut self) -> (&'static str, i32) {
        // Both arms are cancel-safe: an unreceived signal stays pending.
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", SIGTERM_EXIT),
            _ = self.interrupt.recv() => ("SIGINT", SIGINT_EXIT),
        }
    }
}

/// The names of running tasks, in the order of their start.
#[derive(Debug, Default)]
struct RunningTasks {
    names: Mutex<(u64, BTreeMap<u64, String>)>,
}

impl RunningTasks {
    fn enter(self: &Arc<Self>, name: String) -> Entry {
        let mut names = self.names.lock();
        let number = names.0;
        names.0 += 1;
        names.1.insert(number, name);
        Entry { running: Arc::clone(self), number }
    }

    fn names(&self) -> Vec<String> {
        self.names.lock().1.values().cloned().collect()
    }
}

struct Entry {
    running: Arc<RunningTasks>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut names = self.running.names.lock();
        names.1.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drain_waits_for_running_tasks() {
        let drain = Drain::new();
        let stopping = drain.clone();
        let task = drain.spawn("consumer", async move {
            stopping.draining().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            "finished"
        });
        assert!(!drain.is_draining());
        assert_eq!(drain.drain(Duration::from_secs(10)).await, Ok(()));
        assert!(drain.is_draining());
        assert_eq!(task.await.expect("the task does not panic"), "finished");
    }

    #[tokio::test(start_paused = true)]
    async fn incomplete_drain_names_running_tasks() {
        let drain = Drain::new();
        drop(drain.spawn("short", async {}));
        drop(drain.spawn("relay", std::future::pending::<()>()));
        drop(drain.spawn("broken", async { panic!("on purpose") }));
        drop(drain.spawn("timers", std::future::pending::<()>()));
        let incomplete = drain.drain(Duration::from_millis(1500)).await.expect_err("two tasks never end");
        assert_eq!(incomplete.tasks, ["relay", "timers"]);
        assert_eq!(incomplete.to_string(), "these tasks did not end within 1s500ms: relay, timers");
    }

    #[tokio::test]
    async fn started_drain_is_visible_to_later_callers() {
        let drain = Drain::new();
        drain.signal();
        drain.signal();
        drain.draining().await;
        assert!(drain.token().is_cancelled());
    }
}
