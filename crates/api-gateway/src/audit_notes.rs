//! Notes about a request, taken where they are known and added to its record at its end.
//!
//! The operations of the API know the target and the values before and after a change, whichever protocol the request came
//! by. They note them for the request that they serve. A request that is not recorded has no notes, and noting costs the
//! lookup of a task-local value.

mod redact;

use parking_lot::Mutex;
use redact::redacted;
use serde::Serialize;
use std::sync::Arc;

/// The notes about a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    pub(crate) target: Option<(&'static str, String)>,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) code: Option<&'static str>,
    pub(crate) trace_id: Option<String>,
}

impl Notes {
    /// The notes about a request that was refused before it was served.
    pub(crate) fn of_refusal(code: &'static str) -> Self {
        Self { code: Some(code), ..Self::default() }
    }
}

tokio::task_local! {
    static NOTES: Arc<Mutex<Notes>>;
}

/// Serves a request that is recorded. Returns its response and the notes about it.
pub(crate) async fn scope<R>(serving: impl Future<Output = R>) -> (R, Notes) {
    let notes: Arc<Mutex<Notes>> = Arc::default();
    let response = NOTES.scope(Arc::clone(&notes), serving).await;
    let taken = notes.lock().clone();
    (response, taken)
}

/// Notes the target of the request: its kind, and its name or id.
pub(crate) fn target(kind: &'static str, name: impl ToString) {
    note(|notes| notes.target = Some((kind, name.to_string())));
}

/// Notes the value before the change. Secrets are masked.
pub(crate) fn before(value: &impl Serialize) {
    note(|notes| notes.before = redacted(value));
}

/// Notes the value after the change, or the parameters of the request. Secrets are masked.
pub(crate) fn after(value: &impl Serialize) {
    note(|notes| notes.after = redacted(value));
}

/// Notes the error code and the trace of the response.
pub(crate) fn code(code: &'static str, trace_id: &str) {
    note(|notes| {
        notes.code = Some(code);
        notes.trace_id = Some(trace_id.to_owned());
    });
}

fn note(change: impl FnOnce(&mut Notes)) {
    // Fails if the request is not recorded.
    let _ = NOTES.try_with(|notes| change(&mut notes.lock()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn notes_belong_to_the_request_that_took_them() {
        target("workflow", "outside");
        let (response, notes) = scope(async {
            target("service", "payments");
            after(&json!({"url": "http://127.0.0.1:9101", "password": "pw"}));
            code("GC2012", "trace");
            7
        })
        .await;
        assert_eq!(response, 7);
        assert_eq!(notes.target, Some(("service", "payments".to_owned())));
        assert_eq!(notes.before, None);
        assert_eq!(notes.after.as_deref(), Some(r#"{"password":"***","url":"http://127.0.0.1:9101"}"#));
        assert_eq!(notes.code, Some("GC2012"));
    }
}
