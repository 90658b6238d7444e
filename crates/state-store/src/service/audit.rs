//! The audit log.

use super::into_status;
use goconductor_store::{AuditEvent, AuditStore};
use goconductor_wire::internal as wire;
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

pub(super) async fn get_audit_head(
    store: &dyn AuditStore,
    _: wire::GetAuditHeadRequest,
) -> Result<wire::GetAuditHeadResponse, Status> {
    let head = into_status(store.audit_head().await)?;
    Ok(wire::GetAuditHeadResponse { head: Some(head.into()) })
}
