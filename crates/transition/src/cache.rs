//! What a process remembers of workflows that it worked on lately. It may forget anything at any time:
//! a commit is judged against `seq`, so a stale memory costs a try, never a wrong.

use goconductor_saga::{Json, Plan, State, WorkflowId};
use lru::LruCache;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// States together are kept to about this many bytes of payload.
const STATE_BYTES: usize = 4 << 20;
/// A state with more payload is read again instead.
const ONE_STATE_BYTES: usize = 256 << 10;
/// Plans are small and few; more than these and the least used is compiled again.
const PLANS: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// Workflows as they stood when this process last saw them.
#[derive(Debug)]
pub(crate) struct States {
    inner: Mutex<Weighed>,
}

#[derive(Debug)]
struct Weighed {
    states: LruCache<WorkflowId, (Arc<State>, usize)>,
    bytes: usize,
}

impl States {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::new(Weighed { states: LruCache::unbounded(), bytes: 0 }) }
    }

    pub(crate) fn get(&self, id: WorkflowId) -> Option<Arc<State>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.states.get(&id).map(|(state, _)| Arc::clone(state))
    }

    /// Remembers a state, unless a newer one is known; forgets one that has ended.
    pub(crate) fn put(&self, state: &Arc<State>) {
        let weight = weight(state);
        let mut guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *guard;
        if inner.states.peek(&state.id).is_some_and(|(known, _)| known.seq > state.seq) {
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

    pub(crate) fn forget(&self, id: WorkflowId) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, old)) = inner.states.pop(&id) {
            inner.bytes -= old;
        }
    }
}

/// About how many bytes a state holds.
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

/// Definitions in the form that the rules use; a version never changes, so none is ever stale.
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
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    pub(crate) fn put(&self, namespace: &str, plan: &Arc<Plan>) {
        let key = (namespace.to_owned(), plan.definition().name.clone(), plan.version());
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).put(key, Arc::clone(plan));
    }
}

/// News that waits for a workflow whose transition is being written.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    inner: Mutex<HashMap<WorkflowId, Vec<T>>>,
}

impl<T> Waiting<T> {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::new(HashMap::new()) }
    }

    /// Adds news; whether the caller has to see to it that it is worked off.
    pub(crate) fn add(&self, id: WorkflowId, news: T) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.entry(id) {
            std::collections::hash_map::Entry::Occupied(mut waiting) => {
                waiting.get_mut().push(news);
                false
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(vec![news]);
                true
            }
        }
    }

    /// All that waits now; if nothing does, the workflow is let go.
    pub(crate) fn take(&self, id: WorkflowId) -> Vec<T> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = inner.get_mut(&id) else { return Vec::new() };
        if waiting.is_empty() {
            inner.remove(&id);
            return Vec::new();
        }
        std::mem::take(waiting)
    }
}
