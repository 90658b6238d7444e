//! A cache of compiled input schemas. Compiling a schema takes longer than the validation of an input.

use goconductor_definition::InputSchema;
use goconductor_saga::Plan;
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::Arc;

const CAPACITY: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Namespace, definition and version. A version never changes.
type SchemaKey = (String, String, u32);

#[derive(Debug)]
pub(crate) struct Schemas(Mutex<LruCache<SchemaKey, Arc<InputSchema>>>);

impl Default for Schemas {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CAPACITY)))
    }
}

impl Schemas {
    /// Returns the schema of a plan's input, or `None` if the definition has none. The error is that of a schema that
    /// does not compile.
    pub(crate) fn of(&self, namespace: &str, plan: &Plan) -> Result<Option<Arc<InputSchema>>, String> {
        let Some(schema) = &plan.definition().input else { return Ok(None) };
        let key = (namespace.to_owned(), plan.definition().name.clone(), plan.version());
        if let Some(compiled) = self.0.lock().get(&key) {
            return Ok(Some(Arc::clone(compiled)));
        }
        let compiled = Arc::new(InputSchema::new(schema)?);
        self.0.lock().put(key, Arc::clone(&compiled));
        Ok(Some(compiled))
    }
}
