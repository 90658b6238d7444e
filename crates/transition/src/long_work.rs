//! Work that can take long, on threads that serve no other tasks.

use std::num::NonZero;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

/// The threads for one kind of long work: at most half of the processors, so that the others serve requests.
#[derive(Debug)]
pub struct LongWork {
    permits: Arc<Semaphore>,
}

/// A thread for one piece of work.
#[derive(Debug)]
pub struct LongWorkThread {
    // `None` only if the semaphore were closed, which it never is.
    permit: Option<OwnedSemaphorePermit>,
}

impl Default for LongWork {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(Self::threads())) }
    }
}

impl LongWork {
    /// Returns the number of threads.
    #[must_use]
    pub fn threads() -> usize {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        (processors / 2).max(1)
    }

    /// Waits for a thread. Cancel-safe: a caller that is cancelled loses its place in the queue.
    pub async fn thread(&self) -> LongWorkThread {
        LongWorkThread { permit: Arc::clone(&self.permits).acquire_owned().await.ok() }
    }
}

impl LongWorkThread {
    /// Runs work. A caller that is cancelled does not end it, so the work keeps the thread.
    ///
    /// # Errors
    /// Returns a [`JoinError`] if the work panics or the process shuts down.
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let run = move || {
            let result = work();
            drop(self.permit);
            result
        };
        tokio::task::spawn_blocking(run).await
    }
}
