//! The keys that a process has read from the store.

use crate::principal::Principal;
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Maximum number of keys in the cache, and of ids that no key has. The latter are apart, so that a client that tries ids
/// evicts no key.
const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// A key of the store.
#[derive(Debug)]
pub(crate) struct CachedKey {
    pub(crate) digest: blake3::Hash,
    pub(crate) is_revoked: bool,
    pub(crate) principal: Arc<Principal>,
}

/// The state of an id.
#[derive(Debug, Clone)]
pub(crate) enum Lookup {
    Key(Arc<CachedKey>),
    /// No key has the id.
    NoKey,
}

/// The keys of one revision of the store.
#[derive(Debug)]
pub(crate) struct AccessKeyCache(Mutex<Contents>);

#[derive(Debug)]
struct Contents {
    /// Rises when the cache is cleared, so that a read that began before is not inserted afterwards.
    generation: u64,
    keys: LruCache<String, Arc<CachedKey>>,
    no_keys: LruCache<String, ()>,
    /// The ids that had a key when they were read, in whichever revision. They are kept when the cache is cleared.
    valid_ids: LruCache<String, ()>,
}

impl Default for AccessKeyCache {
    fn default() -> Self {
        Self(Mutex::new(Contents {
            generation: 0,
            keys: LruCache::new(CAPACITY),
            no_keys: LruCache::new(CAPACITY),
            valid_ids: LruCache::new(CAPACITY),
        }))
    }
}

impl AccessKeyCache {
    pub(crate) fn get(&self, id: &str) -> Option<Lookup> {
        let mut contents = self.0.lock();
        if let Some(key) = contents.keys.get(id) {
            return Some(Lookup::Key(Arc::clone(key)));
        }
        contents.no_keys.get(id).map(|()| Lookup::NoKey)
    }

    /// Returns whether a key with the id existed when the id was read last.
    pub(crate) fn was_valid(&self, id: &str) -> bool {
        self.0.lock().valid_ids.get(id).is_some()
    }

    /// Returns the generation, which a read must pass to [`insert`](Self::insert).
    pub(crate) fn generation(&self) -> u64 {
        self.0.lock().generation
    }

    /// Inserts what a read found, unless the cache was cleared since the read began.
    pub(crate) fn insert(&self, generation: u64, id: &str, found: &Lookup) {
        let mut contents = self.0.lock();
        match found {
            Lookup::Key(_) => drop(contents.valid_ids.put(id.to_owned(), ())),
            Lookup::NoKey => drop(contents.valid_ids.pop(id)),
        }
        if contents.generation != generation {
            return;
        }
        match found {
            Lookup::Key(key) => drop(contents.keys.put(id.to_owned(), Arc::clone(key))),
            Lookup::NoKey => drop(contents.no_keys.put(id.to_owned(), ())),
        }
    }

    pub(crate) fn clear(&self) {
        let mut contents = self.0.lock();
        contents.generation = contents.generation.wrapping_add(1);
        contents.keys.clear();
        contents.no_keys.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_ids_outlive_a_revision() {
        let cache = AccessKeyCache::default();
        let grants = crate::grants::Grants::all();
        let principal = Principal {
            actor: "key:a".to_owned(),
            credential: crate::principal::CredentialId::Key("a".to_owned()),
            grants,
            expires_at: None,
        };
        let key = CachedKey { digest: blake3::hash(b"a"), is_revoked: false, principal: Arc::new(principal) };
        cache.insert(cache.generation(), "a", &Lookup::Key(Arc::new(key)));
        cache.clear();
        assert!(cache.was_valid("a") && cache.get("a").is_none());
        cache.insert(cache.generation(), "a", &Lookup::NoKey);
        assert!(!cache.was_valid("a"));
    }

    #[test]
    fn read_that_began_before_a_change_is_not_cached() {
        let cache = AccessKeyCache::default();
        let generation = cache.generation();
        cache.clear();
        cache.insert(generation, "a", &Lookup::NoKey);
        assert!(cache.get("a").is_none());
        cache.insert(cache.generation(), "a", &Lookup::NoKey);
        assert!(matches!(cache.get("a"), Some(Lookup::NoKey)));
        cache.clear();
        assert!(cache.get("a").is_none());
    }
}
