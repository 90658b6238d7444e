//! Caches of workflow states and plans.
//!
//! An entry may be evicted at any time. A stale state is harmless, because a commit compares `seq`: it costs a retry.

use goconductor_saga::{Json, Plan, State, WorkflowId};
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Maximum bytes of payload in all cached states together, approximately.
const STATE_BYTES: usize = 4 << 20;
/// Maximum bytes of payload in one cached state. A larger state is reloaded each time.
const ONE_STATE_BYTES: usize = 256 << 10;
/// Maximum number of cached plans. Plans are small, and the least recently used one is rebuilt on demand.
const PLANS: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// The states of workflows that this process worked on recently.
#[derive(Debug)]
pub(crate) struct States {
    inner: Mutex<StateCache>,
}

#[derive(Debug)]
struct StateCache {
    states: LruCache<WorkflowId, (Arc<State>, usize)>,
    bytes: usize,
}

impl States {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::new(StateCache { states: LruCache::unbounded(), bytes: 0 }) }
    }

    pub(crate) fn get(&self, id: WorkflowId) -> Option<Arc<State>> {
        let mut inner = self.inner.lock();
        inner.states.get(&id).map(|(state, _)| Arc::clone(state))
    }

    /// Caches a state, unless a newer one is cached. A final state is not cached and evicts an older one.
    pub(crate) fn put(&self, state: &Arc<State>) {
        let weight = weight(state);
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        if inner.states.peek(&state.id).is_some_and(|(cached, _)| cached.seq > state.seq) {
            return;
        }
        if let Some((_, old)) = inner.states.pop(&state.id) {
            inner.bytes -= old;
        }
        if state.phase.is_final() || weight > ONE_STATE_BYTES {
            return;
        }
        inner.states.put(state.id, (Arc::clone(state), weight));
        inner.bytes += weight;
        while inner.bytes > STATE_BYTES {
            let Some((_, (_, old))) = inner.states.pop_lru() else { break };
            inner.bytes -= old;
        }
    }

    pub(crate) fn evict(&self, id: WorkflowId) {
        let mut inner = self.inner.lock();
        if let Some((_, old)) = inner.states.pop(&id) {
            inner.bytes -= old;
        }
    }
}

/// Returns the approximate size of a state in bytes.
fn weight(state: &State) -> usize {
    let outputs: usize = state.steps.iter().filter_map(|step| step.output.as_deref()).map(json_weight).sum();
    512 + 256 * state.steps.len() + json_weight(&state.input) + outputs
}

fn json_weight(value: &Json) -> usize {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 32,
        Json::String(text) => 32 + text.len(),
        Json::Array(items) => 32 + items.iter().map(json_weight).sum::<usize>(),
        Json::Object(entries) => {
            32 + entries.iter().map(|(key, value)| 64 + key.len() + json_weight(value)).sum::<usize>()
        }
    }
}

type PlanKey = (String, String, u32);

/// The plans of definitions. A version never changes, so an entry is never stale.
#[derive(Debug)]
pub(crate) struct Plans {
    inner: Mutex<LruCache<PlanKey, Arc<Plan>>>,
}

impl Plans {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::new(LruCache::new(PLANS)) }
    }

    pub(crate) fn get(&self, namespace: &str, name: &str, version: u32) -> Option<Arc<Plan>> {
        let key = (namespace.to_owned(), name.to_owned(), version);
        self.inner.lock().get(&key).cloned()
    }

    pub(crate) fn put(&self, namespace: &str, plan: &Arc<Plan>) {
        let key = (namespace.to_owned(), plan.definition().name.clone(), plan.version());
        self.inner.lock().put(key, Arc::clone(plan));
    }
}
