//! The audit log.

use super::into_status;
use goconductor_store::{AuditEvent, AuditStore};
use goconductor_wire::internal as wire;
use std::time::Duration;
use tonic::Status;

pub(super) async fn append_audit(
    store: &dyn AuditStore,
    request: wire::AppendAuditRequest,
) -> Result<wire::AppendAuditResponse, Status> {
    let events: Vec<AuditEvent> = request.events.into_iter().map(Into::into).collect();
    let head = into_status(store.append_audit(&events).await)?;
    Ok(wire::AppendAuditResponse { head: Some(head.into()) })
}

pub(super) async fn list_audit_records(
    store: &dyn AuditStore,
    request: wire::ListAuditRecordsRequest,
) -> Result<wire::ListAuditRecordsResponse, Status> {
    let records = into_status(store.audit_records(&request.into()).await)?;
    Ok(wire::ListAuditRecordsResponse { records: records.iter().map(Into::into).collect() })
}

pub(super) async fn note_audit_intents(
    store: &dyn AuditStore,
    request: wire::NoteAuditIntentsRequest,
) -> Result<wire::NoteAuditIntentsResponse, Status> {
    let events: Vec<AuditEvent> = request.events.into_iter().map(Into::into).collect();
    into_status(store.note_audit_intents(&events).await)?;
    Ok(wire::NoteAuditIntentsResponse {})
}

pub(super) async fn settle_audit_intents(
    store: &dyn AuditStore,
    request: wire::SettleAuditIntentsRequest,
) -> Result<wire::SettleAuditIntentsResponse, Status> {
    let age = Duration::from_millis(request.age_ms);
    let settled = into_status(store.settle_audit_intents(age).await)?;
    Ok(wire::SettleAuditIntentsResponse { settled })
}

pub(super) async fn get_audit_head(
    store: &dyn AuditStore,
    _: wire::GetAuditHeadRequest,
) -> Result<wire::GetAuditHeadResponse, Status> {
    let head = into_status(store.audit_head().await)?;
    Ok(wire::GetAuditHeadResponse { head: Some(head.into()) })
}
