//! An orderly end: take nothing new, finish what runs, and say what did not finish.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The end of a service, shared by all that takes part in it. Clones are the same drain.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    token: CancellationToken,
    tasks: TaskTracker,
    running: Arc<Running>,
}

/// Why a drain was not complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("after {}, these tasks still run: {}", crate::duration::format(*.waited), .tasks.join(", "))]
pub struct Incomplete {
    /// How long was waited.
    pub waited: Duration,
    /// What had not ended, by name.
    pub tasks: Vec<String>,
}

impl Drain {
    /// A drain that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the drain. A second time changes nothing.
    pub fn signal(&self) {
        self.token.cancel();
    }

    /// Begins the drain at the first SIGTERM or SIGINT. A second one kills the process as if nobody
    /// listened, so that a person is not left waiting.
    ///
    /// # Errors
    /// When the signals can't be listened to.
    #[cfg(unix)]
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let drain = self.clone();
        // Not tracked: it may wait for ever, and has nothing to finish.
        drop(tokio::spawn(async move {
            // Both are safe to cancel: a signal that was not received stays pending.
            let first = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = first, "draining");
            drain.signal();
            let second = tokio::select! {
                _ = terminate.recv() => SIGTERM_EXIT,
                _ = interrupt.recv() => SIGINT_EXIT,
            };
            tracing::warn!("a second signal: leaving at once");
            std::process::exit(second);
        }));
        Ok(())
    }

    /// Waits until the drain begins. Safe to cancel.
    pub async fn draining(&self) {
        self.token.cancelled().await;
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.token.is_cancelled()
    }

    /// For those who stop at the drain by a token.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs a task that the drain waits for. The name is what is said of it if it does not end.
    pub fn spawn<F>(&self, name: impl Into<String>, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let entry = self.running.enter(name.into());
        self.tasks.spawn(async move {
            // Dropped when the task ends in any way, a panic included.
            let _entry = entry;
            task.await
        })
    }

    /// Begins the drain, if nobody has, and waits for the tasks.
    ///
    /// # Errors
    /// With the names of those that had not ended when the time was up. They are left running.
    pub async fn drain(&self, timeout: Duration) -> Result<(), Incomplete> {
        self.signal();
        self.tasks.close();
        match tokio::time::timeout(timeout, self.tasks.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Incomplete { waited: timeout, tasks: self.running.names() }),
        }
    }
}

/// What a shell shows for a process that a signal ended: 128 and the signal's number.
#[cfg(unix)]
const SIGTERM_EXIT: i32 = 128 + 15;
#[cfg(unix)]
const SIGINT_EXIT: i32 = 128 + 2;

/// The names of the tasks that run, by the order of their start.
#[derive(Debug, Default)]
struct Running {
    names: Mutex<(u64, BTreeMap<u64, String>)>,
}

impl Running {
    fn enter(self: &Arc<Self>, name: String) -> Entry {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let number = names.0;
        names.0 += 1;
        names.1.insert(number, name);
        Entry { running: Arc::clone(self), number }
    }

    fn names(&self) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).1.values().cloned().collect()
    }
}

struct Entry {
    running: Arc<Running>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut names = self.running.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.1.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_what_runs() {
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
        assert_eq!(task.await.expect("joined"), "finished");
    }

    #[tokio::test(start_paused = true)]
    async fn names_what_did_not_end() {
        let drain = Drain::new();
        drop(drain.spawn("short", async {}));
        drop(drain.spawn("relay", std::future::pending::<()>()));
        drop(drain.spawn("broken", async { panic!("on purpose") }));
        drop(drain.spawn("timers", std::future::pending::<()>()));
        let incomplete = drain.drain(Duration::from_millis(1500)).await.expect_err("two never end");
        assert_eq!(incomplete.tasks, ["relay", "timers"]);
        assert_eq!(incomplete.to_string(), "after 1s500ms, these tasks still run: relay, timers");
    }

    #[tokio::test]
    async fn a_drain_that_began_is_seen_by_late_comers() {
        let drain = Drain::new();
        drain.signal();
        drain.signal();
        drain.draining().await;
        assert!(drain.token().is_cancelled());
    }
}
