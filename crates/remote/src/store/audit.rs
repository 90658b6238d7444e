//! The audit log.

use super::{RemoteStore, Repeat, all, one, rpc};
use async_trait::async_trait;
use goconductor_store::{AuditEvent, AuditHead, AuditRecord, AuditRequest, AuditStore, Error};
use goconductor_wire::internal as wire;
use goconductor_wire::store::required;
use std::time::Duration;

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

    async fn note_audit_intents(&self, events: &[AuditEvent]) -> Result<(), Error> {
        let request = wire::NoteAuditIntentsRequest { events: events.iter().map(Into::into).collect() };
        self.call(Repeat::Idempotent, rpc!(note_audit_intents, request)).await?;
        Ok(())
    }

    async fn settle_audit_intents(&self, age: Duration) -> Result<u64, Error> {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let request = wire::SettleAuditIntentsRequest { age_ms };
        Ok(self.call(Repeat::Idempotent, rpc!(settle_audit_intents, request)).await?.settled)
    }
}

fn head(wire: Option<wire::AuditHead>) -> Result<AuditHead, Error> {
    one(required(wire, "the head of the audit log")).map(Into::into)
}
