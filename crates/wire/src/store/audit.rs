//! The audit log.

use super::{Malformed, required};
use crate::internal as wire;
use goconductor_saga::Timestamp;
use goconductor_store::{AuditEvent, AuditFilter, AuditHead, AuditRecord, AuditRequest};

impl From<&AuditEvent> for wire::AuditEvent {
    fn from(event: &AuditEvent) -> Self {
        let event = event.clone();
        Self {
            id: event.id,
            at: event.at.0,
            actor: event.actor,
            credential: event.credential,
            source: event.source,
            action: event.action,
            namespace: event.namespace,
            target_kind: event.target_kind,
            target_name: event.target_name,
            outcome: event.outcome,
            code: event.code,
            count: event.count,
            before: event.before,
            after: event.after,
            trace_id: event.trace_id,
        }
    }
}

impl From<wire::AuditEvent> for AuditEvent {
    fn from(wire: wire::AuditEvent) -> Self {
        Self {
            id: wire.id,
            at: Timestamp(wire.at),
            actor: wire.actor,
            credential: wire.credential,
            source: wire.source,
            action: wire.action,
            namespace: wire.namespace,
            target_kind: wire.target_kind,
            target_name: wire.target_name,
            outcome: wire.outcome,
            code: wire.code,
            count: wire.count,
            before: wire.before,
            after: wire.after,
            trace_id: wire.trace_id,
        }
    }
}

impl From<&AuditRecord> for wire::AuditRecord {
    fn from(record: &AuditRecord) -> Self {
        Self {
            seq: record.seq,
            event: Some((&record.event).into()),
            prev_hash: record.prev_hash.clone(),
            hash: record.hash.clone(),
        }
    }
}

impl TryFrom<wire::AuditRecord> for AuditRecord {
    type Error = Malformed;

    fn try_from(wire: wire::AuditRecord) -> Result<Self, Malformed> {
        let event = required(wire.event, "the event of an audit record")?.into();
        Ok(Self { seq: wire.seq, event, prev_hash: wire.prev_hash, hash: wire.hash })
    }
}

impl From<AuditHead> for wire::AuditHead {
    fn from(head: AuditHead) -> Self {
        Self { seq: head.seq, hash: head.hash }
    }
}

impl From<wire::AuditHead> for AuditHead {
    fn from(wire: wire::AuditHead) -> Self {
        Self { seq: wire.seq, hash: wire.hash }
    }
}

impl From<&AuditRequest> for wire::ListAuditRecordsRequest {
    fn from(request: &AuditRequest) -> Self {
        let AuditRequest { filter, after, before, newest_first, limit } = request.clone();
        Self {
            actor: filter.actor,
            credential: filter.credential,
            source: filter.source,
            action: filter.action,
            namespace: filter.namespace,
            target_kind: filter.target_kind,
            target_name: filter.target_name,
            outcome: filter.outcome,
            since: filter.since.map(|time| time.0),
            until: filter.until.map(|time| time.0),
            after,
            before,
            newest_first,
            limit,
        }
    }
}

impl From<wire::ListAuditRecordsRequest> for AuditRequest {
    fn from(wire: wire::ListAuditRecordsRequest) -> Self {
        let filter = AuditFilter {
            actor: wire.actor,
            credential: wire.credential,
            source: wire.source,
            action: wire.action,
            namespace: wire.namespace,
            target_kind: wire.target_kind,
            target_name: wire.target_name,
            outcome: wire.outcome,
            since: wire.since.map(Timestamp),
            until: wire.until.map(Timestamp),
        };
        Self {
            filter,
            after: wire.after,
            before: wire.before,
            newest_first: wire.newest_first,
            limit: wire.limit,
        }
    }
}
