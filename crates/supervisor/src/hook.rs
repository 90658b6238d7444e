//! A hook for tests: it makes a background task panic. It exists only in builds with debug assertions.
//!
//! `GOCONDUCTOR_TEST_PANIC` is the name of a task, which panics when it starts, or the absolute path of a file. The task
//! whose name is written to that file panics then.

#[cfg(debug_assertions)]
use std::sync::LazyLock;
#[cfg(debug_assertions)]
use std::time::Duration;

/// The variable of the environment.
#[cfg(debug_assertions)]
const VARIABLE: &str = "GOCONDUCTOR_TEST_PANIC";
/// Interval between two reads of the file.
#[cfg(debug_assertions)]
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[cfg(debug_assertions)]
static REQUEST: LazyLock<Option<String>> = LazyLock::new(|| std::env::var(VARIABLE).ok());

/// A place at which a supervised thread panics if a test asks for it. It does nothing in a release.
#[inline]
pub fn checkpoint(name: &'static str) {
    #[cfg(debug_assertions)]
    assert!(!is_requested(name), "requested by a test");
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// Returns `task`, which panics if a test asks for it.
#[cfg(debug_assertions)]
pub(super) async fn interruptible<F: Future>(name: &'static str, task: F) -> F::Output {
    // Cancel-safe: the panic ends the task on purpose.
    tokio::select! {
        biased;
        () = requested(name) => panic_now(),
        output = task => output,
    }
}

/// Returns `task`.
#[cfg(not(debug_assertions))]
pub(super) fn interruptible<F: Future>(_: &'static str, task: F) -> F {
    task
}

#[cfg(debug_assertions)]
#[allow(clippy::panic, reason = "the purpose of the hook")]
fn panic_now() -> ! {
    panic!("requested by a test")
}

#[cfg(debug_assertions)]
async fn requested(name: &'static str) {
    if REQUEST.is_none() {
        return std::future::pending().await;
    }
    while !is_requested(name) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(debug_assertions)]
fn is_requested(name: &str) -> bool {
    match REQUEST.as_deref() {
        None => false,
        Some(path) if path.starts_with('/') => {
            std::fs::read_to_string(path).is_ok_and(|wanted| wanted.trim() == name)
        }
        Some(wanted) => wanted == name,
    }
}
