//! The audit log.

use super::{RemoteStore, Repeat, all, one, rpc};
use async_trait::async_trait;
use goconductor_store::{AuditEvent, AuditHead, AuditRecord, AuditRequest, AuditStore, Error};
use goconductor_wire::internal as wire;
use goconductor_wire::store::required;

#[async_trait]
impl AuditStore for RemoteStore {
    async fn append_audit(&self, events: &[AuditEvent]) -> Result<AuditHead, Error> {
        let request = wire::AppendAuditRequest { events: events.iter().map(Into::into).collect() };
        // The ids of the events make a repetition harmless.
        let response = self.call(Repeat::Idempotent, rpc!(append_audit, request)).await?;
        head(response.head)
    }

    async fn audit_records(&self, request: &AuditRequest) -> Result<Vec<AuditRecord>, Error> {
        let request = wire::ListAuditRecordsRequest::from(request);
        all(self.read(rpc!(list_audit_records, request)).await?.records)
    }

    async fn audit_head(&self) -> Result<AuditHead, Error> {
        head(self.read(rpc!(get_audit_head, wire::GetAuditHeadRequest {})).await?.head)
    }
}

fn head(wire: Option<wire::AuditHead>) -> Result<AuditHead, Error> {
    one(required(wire, "the head of the audit log")).map(Into::into)
}
