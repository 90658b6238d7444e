//! The terms that this process holds, and who is told of their ends.

use super::{Entry, Session, patiently};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The terms that are held, by the keys of their entries. All hang on one session.
#[derive(Debug, Default)]
pub(super) struct Terms {
    state: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The session that terms may hang on.
    session: u64,
    terms: BTreeMap<String, HeldTerm>,
}

/// A term that is held. Dropped, it has ended.
#[derive(Debug)]
struct HeldTerm {
    lost: watch::Sender<bool>,
    /// Waits for its entry to go.
    watcher: AbortHandle,
}

impl Drop for HeldTerm {
    fn drop(&mut self) {
        self.watcher.abort();
        // Nobody may be listening any more.
        self.lost.send_replace(true);
    }
}

impl Terms {
    /// A panic elsewhere can't leave the terms half changed: nothing of others runs under the lock.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Terms hang on this session from now on.
    pub(super) fn open(&self, session: u64) {
        self.lock().session = session;
    }

    /// Begins a term of a session; what tells its end. None: the session is over.
    pub(super) fn begin(
        self: &Arc<Self>,
        number: u64,
        session: &Arc<dyn Session>,
        entry: &Entry,
    ) -> Option<watch::Receiver<bool>> {
        let mut held = self.lock();
        if held.session != number {
            return None;
        }
        let (tell, lost) = watch::channel(false);
        let (terms, session, watched) = (Arc::downgrade(self), Arc::clone(session), entry.clone());
        let watcher = tokio::spawn(async move {
            if patiently(|| session.until_gone(&watched)).await.is_ok()
                && let Some(terms) = terms.upgrade()
            {
                terms.end(&watched.key);
            }
        });
        held.terms.insert(entry.key.clone(), HeldTerm { lost: tell, watcher: watcher.abort_handle() });
        Some(lost)
    }

    /// Ends the term of an entry, if there is one.
    pub(super) fn end(&self, key: &str) {
        let ended = self.lock().terms.remove(key);
        drop(ended);
    }

    /// Ends all terms, and lets none of their session begin any more; how many there were.
    pub(super) fn end_all(&self) -> usize {
        let mut held = self.lock();
        held.session = 0;
        let ended = std::mem::take(&mut held.terms);
        drop(held);
        ended.len()
    }
}
