//! The trace that a workflow belongs to.

use alloc::string::String;
use serde::{Deserialize, Serialize};

/// The span that started a workflow, in the text form of W3C. The rules only keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// The version, the trace id, the span id and the flags.
    pub traceparent: String,
    /// The state of the vendors that take part in the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
}
