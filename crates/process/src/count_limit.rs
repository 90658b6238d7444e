//! A number of permits that can change while some of them are in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A limit of things that exist at the same time.
#[derive(Debug)]
pub(crate) struct CountLimit {
    max: AtomicUsize,
    used: AtomicUsize,
}

impl CountLimit {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: AtomicUsize::new(max), used: AtomicUsize::new(0) })
    }

    /// Changes the limit. Permits in use are not revoked.
    pub(crate) fn set(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Returns the limit.
    pub(crate) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// Acquires a permit. Returns `None` if as many as the limit are in use.
    pub(crate) fn try_acquire(self: &Arc<Self>) -> Option<CountPermit> {
        let max = self.max();
        let more = |used: usize| (used < max).then_some(used.saturating_add(1));
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(CountPermit(Arc::clone(self)))
    }
}

/// A permit, which is in use until it is dropped.
#[derive(Debug)]
pub(crate) struct CountPermit(Arc<CountLimit>);

impl Drop for CountPermit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_limit_applies_to_the_next_permit() {
        let limit = CountLimit::new(1);
        let first = limit.try_acquire();
        assert!(first.is_some() && limit.try_acquire().is_none());
        limit.set(2);
        let second = limit.try_acquire();
        assert!(second.is_some() && limit.try_acquire().is_none());
        limit.set(1);
        drop(first);
        assert!(limit.try_acquire().is_none(), "the second permit uses the limit");
        drop(second);
        assert!(limit.try_acquire().is_some());
    }
}
