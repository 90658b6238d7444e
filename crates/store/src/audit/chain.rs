//! Records and their hashes.
//!
//! The hash of a record is SHA-256 over its canonical form: the record as JSON without `hash`, in the form of RFC 8785.
//! Names are sorted, there is no white space, and strings contain the character itself unless JSON requires an escape.
//! Numbers are integers below 2^53. Any program can therefore verify an exported record.

use super::AuditEvent;
use goconductor_saga::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The hash before the first record.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A record of the audit log. Texts are those of the database, even if they were altered there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// The number, from 1 without gaps.
    pub seq: u64,
    /// The event.
    pub event: AuditEvent,
    /// The hash of the record before, in hexadecimal. 64 zeros in the first record.
    pub prev_hash: String,
    /// The hash of the record, in hexadecimal.
    pub hash: String,
}

/// The last record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The number of the record. 0 if the log is empty.
    pub seq: u64,
    /// The hash of the record, in hexadecimal.
    pub hash: String,
}

impl Default for AuditHead {
    fn default() -> Self {
        Self { seq: 0, hash: GENESIS.to_owned() }
    }
}

/// The canonical form. The order of the fields is that of their names.
#[derive(Serialize)]
struct Canonical<'r> {
    action: &'r str,
    actor: &'r str,
    after: Option<&'r str>,
    before: Option<&'r str>,
    code: Option<&'r str>,
    count: i64,
    credential: Option<&'r str>,
    id: &'r str,
    namespace: Option<&'r str>,
    outcome: &'r str,
    prev_hash: &'r str,
    seq: u64,
    source: Option<&'r str>,
    target_kind: Option<&'r str>,
    target_name: Option<&'r str>,
    time: String,
    trace_id: Option<&'r str>,
}

impl AuditRecord {
    /// Returns the canonical form, over which the hash is computed.
    #[must_use]
    pub fn canonical(&self) -> String {
        let event = &self.event;
        let canonical = Canonical {
            action: &event.action,
            actor: &event.actor,
            after: event.after.as_deref(),
            before: event.before.as_deref(),
            code: event.code.as_deref(),
            count: event.count,
            credential: event.credential.as_deref(),
            id: &event.id,
            namespace: event.namespace.as_deref(),
            outcome: &event.outcome,
            prev_hash: &self.prev_hash,
            seq: self.seq,
            source: event.source.as_deref(),
            target_kind: event.target_kind.as_deref(),
            target_name: event.target_name.as_deref(),
            time: rfc3339(event.at),
            trace_id: event.trace_id.as_deref(),
        };
        // Texts and integers can always be serialized.
        serde_json::to_string(&canonical).unwrap_or_default()
    }

    /// Computes the hash of the content.
    #[must_use]
    pub fn computed_hash(&self) -> String {
        use std::fmt::Write;
        let digest = Sha256::digest(self.canonical().as_bytes());
        digest.iter().fold(String::with_capacity(GENESIS.len()), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Returns the records of events that follow `head`.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn chained(head: &AuditHead, events: impl Iterator<Item = AuditEvent>) -> Vec<AuditRecord> {
    let mut last = head.clone();
    events
        .map(|event| {
            let (seq, hash) = (last.seq.saturating_add(1), String::new());
            let mut record = AuditRecord { seq, event, prev_hash: last.hash.clone(), hash };
            record.hash = record.computed_hash();
            last = AuditHead { seq, hash: record.hash.clone() };
            record
        })
        .collect()
}

/// Formats a time like the API does: RFC 3339 in UTC with six digits after the second.
fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.0).map(|time| format!("{time:.6}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_is_stable() {
        let event = AuditEvent {
            id: "0199c000-0000-7000-8000-000000000000".to_owned(),
            at: Timestamp(1_800_000_000_000_001),
            actor: "ada@shop".to_owned(),
            credential: Some("gck_4f2a".to_owned()),
            source: Some("192.0.2.7".to_owned()),
            action: "workflow.cancel".to_owned(),
            namespace: Some("default".to_owned()),
            target_kind: Some("workflow".to_owned()),
            target_name: Some("w\u{e4}\"\\\n\u{1}\u{7f}".to_owned()),
            outcome: "ALLOWED".to_owned(),
            code: None,
            count: 1,
            before: None,
            after: Some(r#"{"reason":"test"}"#.to_owned()),
            trace_id: None,
        };
        let records = chained(&AuditHead::default(), [event].into_iter());
        // Another program computes this from an exported record: see docs/how-to/audit.md.
        let canonical = "{\"action\":\"workflow.cancel\",\"actor\":\"ada@shop\",\
            \"after\":\"{\\\"reason\\\":\\\"test\\\"}\",\"before\":null,\"code\":null,\"count\":1,\
            \"credential\":\"gck_4f2a\",\"id\":\"0199c000-0000-7000-8000-000000000000\",\
            \"namespace\":\"default\",\"outcome\":\"ALLOWED\",\
            \"prev_hash\":\"0000000000000000000000000000000000000000000000000000000000000000\",\
            \"seq\":1,\"source\":\"192.0.2.7\",\"target_kind\":\"workflow\",\
            \"target_name\":\"w\u{e4}\\\"\\\\\\n\\u0001\u{7f}\",\
            \"time\":\"2027-01-15T08:00:00.000001Z\",\"trace_id\":null}";
        assert_eq!(records[0].canonical(), canonical);
        assert_eq!(records[0].hash, "a36b3a4ac7e95bddb915e0445cd351888b75d9b4107fe1a37815159144b64e60");
        assert_eq!(records[0].hash, records[0].computed_hash());
    }
}
