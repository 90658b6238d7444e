//! Input schemas that are ready to check: making one ready takes longer than the check.

use goconductor_definition::InputSchema;
use goconductor_saga::Plan;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// Schemas that are kept ready.
const KEPT: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// By namespace, definition and version: a version never changes.
type Key = (String, String, u32);

#[derive(Debug)]
pub(crate) struct Schemas(Mutex<LruCache<Key, Arc<InputSchema>>>);

impl Default for Schemas {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl Schemas {
    /// The schema of a plan's input; none: anything goes.
    pub(crate) fn of(&self, namespace: &str, plan: &Plan) -> Result<Option<Arc<InputSchema>>, String> {
        let Some(schema) = &plan.definition().input else { return Ok(None) };
        let key = (namespace.to_owned(), plan.definition().name.clone(), plan.version());
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = kept().get(&key) {
            return Ok(Some(Arc::clone(ready)));
        }
        let ready = Arc::new(InputSchema::new(schema)?);
        kept().put(key, Arc::clone(&ready));
        Ok(Some(ready))
    }
}
