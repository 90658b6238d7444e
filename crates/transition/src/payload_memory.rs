//! The payloads that a process has in memory.

use goconductor_saga::{Json, PayloadDigest, PayloadRef, PayloadSource, WorkflowId};
use lru::LruCache;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Maximum bytes of the texts of all cached payloads.
const CACHED_BYTES: u64 = 16 << 20;
/// Maximum bytes of the text of a cached payload. A larger one is read each time.
const ONE_CACHED_BYTES: u64 = 4 << 20;
/// Number of links that are remembered. A forgotten link costs a write.
const REMEMBERED_LINKS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Payloads that are encoded or decoded at the same time. Each takes several times its text in memory.
const CONCURRENT_CONVERSIONS: usize = 2;

/// The payloads that the engine has in memory.
#[derive(Debug)]
pub(crate) struct PayloadMemory {
    values: Mutex<CachedValues>,
    pub(crate) links: Mutex<LruCache<(WorkflowId, PayloadDigest), ()>>,
    /// Payloads that are encoded or decoded now.
    pub(crate) conversions: Semaphore,
}

#[derive(Debug)]
struct CachedValues {
    values: LruCache<(WorkflowId, PayloadDigest), (Arc<Json>, u64)>,
    bytes: u64,
}

impl PayloadMemory {
    pub(crate) fn new() -> Self {
        Self {
            values: Mutex::new(CachedValues { values: LruCache::unbounded(), bytes: 0 }),
            links: Mutex::new(LruCache::new(REMEMBERED_LINKS)),
            conversions: Semaphore::new(CONCURRENT_CONVERSIONS),
        }
    }

    pub(crate) fn get(&self, id: WorkflowId, digest: PayloadDigest) -> Option<Arc<Json>> {
        self.values.lock().values.get(&(id, digest)).map(|(value, _)| Arc::clone(value))
    }

    pub(crate) fn put(&self, id: WorkflowId, reference: PayloadRef, value: &Arc<Json>) {
        if reference.bytes > ONE_CACHED_BYTES {
            return;
        }
        let mut guard = self.values.lock();
        let cache = &mut *guard;
        let entry = (Arc::clone(value), reference.bytes);
        if let Some((_, old)) = cache.values.put((id, reference.digest), entry) {
            cache.bytes -= old;
        }
        cache.bytes += reference.bytes;
        while cache.bytes > CACHED_BYTES {
            let Some((_, (_, old))) = cache.values.pop_lru() else { break };
            cache.bytes -= old;
        }
    }
}

/// The payloads in memory for one decision.
#[derive(Debug, Default)]
pub(crate) struct LoadedPayloads {
    values: BTreeMap<PayloadDigest, Arc<Json>>,
    /// The payloads that expressions named and that were not in memory.
    missing: Mutex<Vec<PayloadRef>>,
}

impl LoadedPayloads {
    pub(crate) fn shared(&self, reference: PayloadRef) -> Option<Arc<Json>> {
        let found = self.values.get(&reference.digest).map(Arc::clone);
        if found.is_none() {
            self.missing.lock().push(reference);
        }
        found
    }

    pub(crate) fn take_missing(&mut self) -> Vec<PayloadRef> {
        std::mem::take(self.missing.get_mut())
    }

    pub(crate) fn insert(&mut self, digest: PayloadDigest, value: Arc<Json>) {
        self.values.insert(digest, value);
    }

    pub(crate) fn has(&self, digest: PayloadDigest) -> bool {
        self.values.contains_key(&digest)
    }
}

impl PayloadSource for LoadedPayloads {
    fn payload(&self, reference: PayloadRef) -> Option<&Json> {
        let found = self.values.get(&reference.digest).map(|value| &**value);
        if found.is_none() {
            self.missing.lock().push(reference);
        }
        found
    }
}
