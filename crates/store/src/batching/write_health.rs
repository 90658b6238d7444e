//! Whether writes succeed, for readiness.
//!
//! Reads can succeed while nothing can be written: the disk is full, or the database has become read-only. A recent
//! write is proof, and without one, or after a failure, a small write is tried.

use crate::Error;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Age up to which a successful write is proof. Processes renew their membership more often.
const PROOF_AGE: Duration = Duration::from_secs(5);
/// Age up to which the result of a failed attempt is used again, so that frequent checks do not load the database.
const FAILURE_AGE: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct WriteHealth {
    /// The time of the last successful write. `None` after a failed one.
    written_at: Mutex<Option<Instant>>,
    /// The last failed attempt. Concurrent checks share one attempt.
    failed: tokio::sync::Mutex<Option<(Instant, Error)>>,
}

impl WriteHealth {
    /// Records the result of a write.
    pub(super) fn record<T>(&self, result: &Result<T, Error>) {
        *self.written_at.lock() = result.is_ok().then(Instant::now);
    }

    /// Returns `Ok` after a recent successful write. Otherwise returns the result of `attempt`, a small write.
    ///
    /// Cancel-safe: a cancelled attempt records nothing.
    pub(super) async fn check<T>(
        &self,
        attempt: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<(), Error> {
        if self.is_proven() {
            return Ok(());
        }
        let mut failed = self.failed.lock().await;
        if self.is_proven() {
            return Ok(());
        }
        if let Some((at, error)) = &*failed
            && at.elapsed() < FAILURE_AGE
        {
            return Err(error.clone());
        }
        let result = attempt.await;
        self.record(&result);
        *failed = result.as_ref().err().map(|error| (Instant::now(), error.clone()));
        result.map(drop)
    }

    fn is_proven(&self) -> bool {
        self.written_at.lock().is_some_and(|at| at.elapsed() < PROOF_AGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn check_writes_unless_a_write_succeeded_recently() {
        let (health, attempts) = (WriteHealth::default(), AtomicU32::new(0));
        let (health, attempts) = (&health, &attempts);
        let check = |result: Result<(), Error>| {
            health.check(async move {
                attempts.fetch_add(1, Ordering::Relaxed);
                result
            })
        };
        let full = || Error::unavailable("the disk is full");
        let made = || attempts.load(Ordering::Relaxed);
        assert!(check(Ok(())).await.is_ok());
        assert!(check(Err(full())).await.is_ok(), "the first attempt is proof");
        assert_eq!(made(), 1);
        health.record::<()>(&Err(full()));
        assert!(check(Err(full())).await.is_err(), "a failed write ends the proof");
        assert!(check(Ok(())).await.is_err(), "the failure is used again for a short time");
        assert_eq!(made(), 2);
        tokio::time::advance(FAILURE_AGE).await;
        assert!(check(Ok(())).await.is_ok());
        tokio::time::advance(PROOF_AGE).await;
        assert!(check(Err(full())).await.is_err(), "an old write is no proof");
        health.record(&Ok(()));
        assert!(check(Err(full())).await.is_ok());
        assert_eq!(made(), 4);
    }
}
