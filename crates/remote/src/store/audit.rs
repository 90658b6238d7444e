//! The audit log.

use super::{RemoteStore, Repeat, all, one, rpc};
use async_trait::async_trait;
use goconductor_store::{AuditEvent, AuditHead, AuditRecord, AuditRequest, AuditStore, Error};
use goconductor_wire::internal as wire;
use goconductor_wire::store::required;
use std::time::Duration;
use tonic::{Code, Status};

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
        match self.call(Repeat::Idempotent, rpc!(note_audit_intents, request)).await {
            Ok(wire::NoteAuditIntentsResponse {}) => Ok(()),
            // With TLS, a state store of an earlier release has no row for the method and refuses all roles.
            Err(error) if is_refused(&error) => {
                Err(Error::corrupt("a request to the state store", "the method is not allowed"))
            }
            Err(error) => Err(error),
        }
    }

    async fn settle_audit_intents(&self, age: Duration) -> Result<u64, Error> {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let request = wire::SettleAuditIntentsRequest { age_ms };
        Ok(self.call(Repeat::Idempotent, rpc!(settle_audit_intents, request)).await?.settled)
    }
}

/// Whether the state store refused the role of this process.
fn is_refused(error: &Error) -> bool {
    let status = error.cause().and_then(|cause| cause.downcast_ref::<Status>());
    status.is_some_and(|status| status.code() == Code::PermissionDenied)
}

fn head(wire: Option<wire::AuditHead>) -> Result<AuditHead, Error> {
    one(required(wire, "the head of the audit log")).map(Into::into)
}
