//! The cached keys of the issuer, and when they are fetched.

use crate::fetch::KeySource;
use crate::keys::KeySet;
use crate::settings::Settings;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tracing::{info, warn};

/// The keys that were fetched last, shared by all checks of tokens.
#[derive(Debug)]
pub(crate) struct KeyCache {
    source: KeySource,
    state: Mutex<State>,
    /// Held during a fetch, so that there is only one at a time.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<(Arc<KeySet>, Instant)>,
    /// The start of the last fetch.
    attempted_at: Option<Instant>,
    /// Whether the last fetch failed.
    is_failing: bool,
    /// The number of fetches that have ended. It notifies a waiting check that another one has fetched the keys.
    fetches: u64,
}

/// Keys that may be used now.
#[derive(Debug, Clone)]
pub(crate) struct CurrentKeys {
    pub(crate) keys: Arc<KeySet>,
    /// Whether the last fetch failed, so that a new key may be missing.
    pub(crate) is_failing: bool,
    fetches: u64,
}

impl KeyCache {
    pub(crate) fn new(source: KeySource) -> Self {
        Self { source, state: Mutex::default(), fetching: Arc::default() }
    }

    pub(crate) fn source(&self) -> &KeySource {
        &self.source
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.source.settings()
    }

    /// Returns the keys. Waits for a fetch only if there are none that may be used.
    pub(crate) async fn current(self: &Arc<Self>) -> Option<CurrentKeys> {
        if let Some(current) = self.usable() {
            if self.is_stale() {
                // Fails if a fetch is running. The check of this token continues with the keys that are there.
                if let Ok(guard) = Arc::clone(&self.fetching).try_lock_owned() {
                    drop(self.spawn_fetch(guard));
                }
            }
            return Some(current);
        }
        let fetches = self.state.lock().fetches;
        self.fetch_after(fetches).await;
        self.usable()
    }

    /// Returns the keys after `current` had no key for a token: newer ones if the interval allows a fetch, or if
    /// another check has fetched them meanwhile.
    pub(crate) async fn newer_than(self: &Arc<Self>, current: &CurrentKeys) -> Option<CurrentKeys> {
        self.fetch_after(current.fetches).await;
        self.usable()
    }

    fn usable(&self) -> Option<CurrentKeys> {
        let state = self.state.lock();
        let (keys, fetched_at) = state.keys.as_ref()?;
        (fetched_at.elapsed() < self.settings().keys_max_age).then(|| CurrentKeys {
            keys: Arc::clone(keys),
            is_failing: state.is_failing,
            fetches: state.fetches,
        })
    }

    fn is_stale(&self) -> bool {
        let state = self.state.lock();
        let is_old =
            state.keys.as_ref().is_some_and(|(_, at)| at.elapsed() >= self.settings().refresh_interval);
        is_old && self.is_allowed(&state)
    }

    /// Whether the least interval between two fetches has passed.
    fn is_allowed(&self, state: &State) -> bool {
        state.attempted_at.is_none_or(|at| at.elapsed() >= self.settings().min_fetch_interval)
    }

    /// Fetches the keys, unless a fetch has ended since `fetches` was read, or the interval does not allow one.
    async fn fetch_after(self: &Arc<Self>, fetches: u64) {
        let guard = Arc::clone(&self.fetching).lock_owned().await;
        let is_due = {
            let state = self.state.lock();
            state.fetches == fetches && self.is_allowed(&state)
        };
        if is_due {
            // A task that panics leaves the keys as they are.
            drop(self.spawn_fetch(guard).await);
        }
    }

    /// Fetches in a task of its own: a client that closes its connection must not cancel the fetch that it caused, or it
    /// could prevent all fetches. The task ends at the latest with the timeout of a fetch.
    fn spawn_fetch(self: &Arc<Self>, guard: OwnedMutexGuard<()>) -> tokio::task::JoinHandle<()> {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            this.state.lock().attempted_at = Some(Instant::now());
            let fetched = this.source.fetch().await;
            let mut state = this.state.lock();
            state.fetches += 1;
            state.is_failing = fetched.is_err();
            match fetched {
                Ok(keys) => {
                    if state.keys.is_none() {
                        info!(issuer = %this.settings().issuer, keys = keys.len(), "fetched the keys of the issuer");
                    }
                    state.keys = Some((Arc::new(keys), Instant::now()));
                }
                Err(error) => {
                    warn!(issuer = %this.settings().issuer, %error, "failed to fetch the keys of the issuer");
                }
            }
            drop(state);
            drop(guard);
        })
    }
}
