//! Records of streams that claim something for as long as they are open.

use super::{AuditLog, Subject};
use crate::audit_notes::Notes;
use std::sync::Arc;

/// The record of an open stream. Its end is recorded when it is dropped.
#[derive(Debug)]
pub(crate) struct StreamRecord {
    log: Arc<AuditLog>,
    subject: Subject,
    target: (&'static str, String),
    reason: &'static str,
}

impl StreamRecord {
    /// Records the begin of a stream. `subject` has its caller and its action.
    pub(crate) fn begin(log: Arc<AuditLog>, subject: Subject, target: (&'static str, String)) -> Self {
        log.streamed(subject.clone(), Notes { target: Some(target.clone()), ..Notes::default() });
        Self { log, subject, target, reason: "the caller disconnected" }
    }

    /// Sets the reason of the end, if the stream ends now.
    pub(crate) fn set_reason(&mut self, reason: &'static str) {
        self.reason = reason;
    }
}

impl Drop for StreamRecord {
    fn drop(&mut self) {
        let action = format!("{}.end", self.subject.action);
        let notes = Notes {
            target: Some(self.target.clone()),
            after: Some(serde_json::json!({ "reason": self.reason }).to_string()),
            ..Notes::default()
        };
        self.log.streamed(Subject { action, ..self.subject.clone() }, notes);
    }
}
