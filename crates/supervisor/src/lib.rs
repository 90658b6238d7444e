//! Supervision of the background tasks of a process.
//!
//! A background task is one that the process cannot work without and that nothing waits for: a loop that polls, renews,
//! writes or reports. If it panics, the rest of the process would continue without it and would do nothing. Therefore a
//! panic of a supervised task is a failure of the process: it is recorded, readiness reports it, and the main function
//! ends the process with an error. The state of a task that panicked is unknown, so it is not restarted in the same
//! process.
//!
//! Tasks that handle one request, one command or one connection are not background tasks. Their panic concerns that
//! request alone.
//!
//! The crate deliberately knows neither logs, signals nor services.
//!
//! Invariants: the first failure is never lost or replaced; a process that is armed ends within [`EXIT_LIMIT`] of it, even
//! if its other threads are blocked.

mod hook;

use futures::FutureExt;
use parking_lot::Mutex;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use hook::checkpoint;

/// The time within which an armed process ends after a failure.
pub const EXIT_LIMIT: Duration = Duration::from_millis(4500);
/// Exit code of a process that did not end on its own after a failure.
const EXIT_FAILURE: i32 = 1;

static FAILURE: LazyLock<watch::Sender<Option<TaskFailure>>> = LazyLock::new(|| watch::Sender::new(None));
static RUNNING: Mutex<BTreeMap<&'static str, usize>> = Mutex::new(BTreeMap::new());
static ARMED: AtomicBool = AtomicBool::new(false);

/// A failure of a background task, which the process does not survive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("background task {task} failed: {reason}")]
pub struct TaskFailure {
    /// The name of the task.
    pub task: &'static str,
    /// The reason, such as the message of the panic.
    pub reason: String,
}

/// Spawns a supervised task. Must be called within a Tokio runtime.
pub fn spawn<F>(name: &'static str, task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(supervise(name, task))
}

/// Supervises a task that the caller spawns. If the task panics, the failure is reported and the panic continues.
/// Dropping the future ends the supervision.
pub async fn supervise<F: Future>(name: &'static str, task: F) -> F::Output {
    let _running = RunningTask::enter(name);
    match AssertUnwindSafe(hook::interruptible(name, task)).catch_unwind().await {
        Ok(output) => output,
        Err(panic) => {
            fail(name, panic_reason(&*panic));
            std::panic::resume_unwind(panic)
        }
    }
}

/// Starts a supervised thread.
///
/// # Errors
/// Returns the error of the operating system if the thread cannot be started.
pub fn thread<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _running = RunningTask::enter(name);
        match std::panic::catch_unwind(AssertUnwindSafe(work)) {
            Ok(output) => output,
            Err(panic) => {
                fail(name, panic_reason(&*panic));
                std::panic::resume_unwind(panic)
            }
        }
    })
}

/// Reports a failure that the process cannot survive. Only the first one is kept.
pub fn fail(task: &'static str, reason: impl Into<String>) {
    let failure = TaskFailure { task, reason: reason.into() };
    tracing::error!(task, reason = failure.reason, "background task failed; the process ends");
    let is_first = FAILURE.send_if_modified(|known| {
        let is_first = known.is_none();
        if is_first {
            *known = Some(failure);
        }
        is_first
    });
    if is_first && ARMED.load(Ordering::SeqCst) {
        exit_later();
    }
}

/// Returns the first failure of a background task, if any.
#[must_use]
pub fn failure() -> Option<TaskFailure> {
    FAILURE.borrow().clone()
}

/// Waits for the first failure of a background task. Cancel-safe.
pub async fn failed() -> TaskFailure {
    let mut failure = FAILURE.subscribe();
    match failure.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(failure)) => failure.clone(),
        // Invariant: the sender is static, and the condition excludes `None`.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Makes the process end within [`EXIT_LIMIT`] of a failure, even if its threads are blocked. Only the main function of
/// a server arms the process: a program that embeds a server must end on its own terms.
pub fn arm() {
    ARMED.store(true, Ordering::SeqCst);
}

/// Returns the number of running background tasks by name. A name stays, with 0, after its last task has ended.
#[must_use]
pub fn running() -> Vec<(&'static str, usize)> {
    RUNNING.lock().iter().map(|(name, count)| (*name, *count)).collect()
}

/// Ends the process from a thread of its own, because those of the runtime may be blocked.
fn exit_later() {
    let exit = || {
        std::thread::sleep(EXIT_LIMIT);
        std::process::exit(EXIT_FAILURE);
    };
    if std::thread::Builder::new().name("exit".to_owned()).spawn(exit).is_err() {
        std::process::exit(EXIT_FAILURE);
    }
}

/// Returns the message of a panic. `None` if its payload is not a text.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}

fn panic_reason(panic: &(dyn Any + Send)) -> String {
    format!("it panicked: {}", panic_message(panic).unwrap_or("no message"))
}

/// Counts a task as running until it is dropped.
struct RunningTask(&'static str);

impl RunningTask {
    fn enter(name: &'static str) -> Self {
        *RUNNING.lock().entry(name).or_default() += 1;
        Self(name)
    }
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        if let Some(count) = RUNNING.lock().get_mut(self.0) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The failure belongs to the whole process, so one test covers its life.
    #[tokio::test]
    async fn first_panic_of_a_task_or_a_thread_is_the_failure_of_the_process() {
        assert_eq!(spawn("calm", async { 7 }).await.ok(), Some(7));
        let thread = thread("calm-thread", || 7).expect("a thread");
        assert_eq!(thread.join().ok(), Some(7));
        assert_eq!(failure(), None);
        let endless = spawn("endless", std::future::pending::<()>());
        while !running().contains(&("endless", 1)) {
            tokio::task::yield_now().await;
        }
        assert!(spawn("broken", async { panic!("on purpose") }).await.is_err());
        let first = TaskFailure { task: "broken", reason: "it panicked: on purpose".to_owned() };
        assert_eq!(failed().await, first);
        assert_eq!(first.to_string(), "background task broken failed: it panicked: on purpose");
        let thread = super::thread("broken-thread", || panic!("number {}", 2)).expect("a thread");
        assert!(thread.join().is_err());
        assert_eq!(failure(), Some(first), "a later failure does not replace the first one");
        endless.abort();
        assert!(endless.await.is_err());
        let counts = [("broken", 0), ("broken-thread", 0), ("calm", 0), ("calm-thread", 0), ("endless", 0)];
        assert_eq!(running(), counts);
    }
}
