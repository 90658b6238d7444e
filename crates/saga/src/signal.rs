//! Signals: messages to a running workflow.

use crate::Json;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Maximum signals of a workflow that no step has waited for yet, and maximum different names of its signals.
pub const MAX_KEPT_SIGNALS: usize = 100;
/// Maximum bytes of the payloads that a workflow keeps: one for each name, and those that no step has waited for yet.
/// The state contains them, and each transition writes the state.
pub const MAX_SIGNAL_BYTES: usize = 256 << 10;
/// The number of idempotency keys that a workflow remembers.
pub(crate) const MAX_SIGNAL_KEYS: usize = 100;

/// The signals that a workflow has received.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Signals {
    /// The last payload of each name. Expressions read it as `signals.<name>`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last: BTreeMap<String, Arc<Json>>,
    /// The signals that no step has waited for yet, in the order of their arrival.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptSignal>,
    /// The idempotency keys of the last signals that had one, in the order of their arrival.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

/// A signal that no step has waited for yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptSignal {
    /// The name of the signal.
    pub name: String,
    /// The payload.
    pub payload: Arc<Json>,
}

impl Signals {
    /// Returns whether the workflow has received no signal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Returns the first kept signal of a name.
    pub(crate) fn first(&self, name: &str) -> Option<&KeptSignal> {
        self.kept.iter().find(|kept| kept.name == name)
    }

    /// Returns the limit that a further signal would exceed.
    pub(crate) fn limit(&self, name: &str, payload: &Json) -> Option<String> {
        let names = self.last.len() + usize::from(!self.last.contains_key(name));
        if self.kept.len() >= MAX_KEPT_SIGNALS || names > MAX_KEPT_SIGNALS {
            return Some(alloc::format!(
                "the workflow keeps at most {MAX_KEPT_SIGNALS} signals that no step has waited for, and as many names"
            ));
        }
        // The payload is counted twice: as the last one of its name and as a kept one.
        let kept: usize = self.kept.iter().map(|kept| crate::json_bytes(&kept.payload)).sum();
        let last: usize = self.last.values().map(|payload| crate::json_bytes(payload)).sum();
        let bytes = kept + last + 2 * crate::json_bytes(payload);
        (bytes > MAX_SIGNAL_BYTES).then(|| {
            alloc::format!(
                "the signals of the workflow would have {bytes} bytes, and the limit is {MAX_SIGNAL_BYTES}"
            )
        })
    }

    pub(crate) fn receive(&mut self, name: &str, payload: &Arc<Json>, key: Option<&String>) {
        self.last.insert(name.into(), Arc::clone(payload));
        self.kept.push(KeptSignal { name: name.into(), payload: Arc::clone(payload) });
        self.keys.extend(key.cloned());
        let excess = self.keys.len().saturating_sub(MAX_SIGNAL_KEYS);
        self.keys.drain(..excess);
    }

    pub(crate) fn deliver(&mut self, name: &str) {
        if let Some(at) = self.kept.iter().position(|kept| kept.name == name) {
            self.kept.remove(at);
        }
    }
}
