//! The terms of this process.

use super::{Entry, QueueSession, retry_until_answered};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The terms by the keys of their entries. All terms depend on one session.
#[derive(Debug, Default)]
pub(super) struct OwnTerms {
    state: Mutex<TermTable>,
}

#[derive(Debug, Default)]
struct TermTable {
    /// The number of the present session.
    session: u64,
    terms: BTreeMap<String, OwnTerm>,
}

/// A term. Dropping it ends the term.
#[derive(Debug)]
struct OwnTerm {
    lost: watch::Sender<bool>,
    /// The task that waits for the removal of the entry.
    watcher: AbortHandle,
}

impl Drop for OwnTerm {
    fn drop(&mut self) {
        self.watcher.abort();
        // A closed channel means that no task waits.
        self.lost.send_replace(true);
    }
}

impl OwnTerms {
    fn lock(&self) -> MutexGuard<'_, TermTable> {
        self.state.lock()
    }

    /// Sets the session that new terms depend on.
    pub(super) fn open(&self, session: u64) {
        self.lock().session = session;
    }

    /// Begins a term. Returns the receiver of its end, or `None` if the session has ended.
    pub(super) fn begin(
        self: &Arc<Self>,
        number: u64,
        session: &Arc<dyn QueueSession>,
        entry: &Entry,
    ) -> Option<watch::Receiver<bool>> {
        let mut table = self.lock();
        if table.session != number {
            return None;
        }
        let (notify, lost) = watch::channel(false);
        let (terms, session, watched) = (Arc::downgrade(self), Arc::clone(session), entry.clone());
        let watcher = goconductor_supervisor::spawn("election-term", async move {
            if retry_until_answered(|| session.await_removal(&watched)).await.is_ok()
                && let Some(terms) = terms.upgrade()
            {
                terms.end(&watched.key);
            }
        });
        table.terms.insert(entry.key.clone(), OwnTerm { lost: notify, watcher: watcher.abort_handle() });
        Some(lost)
    }

    /// Ends the term of an entry, if any.
    pub(super) fn end(&self, key: &str) {
        let ended = self.lock().terms.remove(key);
        drop(ended);
    }

    /// Ends all terms and the session, and returns the number of ended terms.
    pub(super) fn end_all(&self) -> usize {
        let mut table = self.lock();
        table.session = 0;
        let ended = std::mem::take(&mut table.terms);
        drop(table);
        ended.len()
    }
}
