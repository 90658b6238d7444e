//! `AuditService`.

use super::{GrpcServices, RpcResult, message, operation, optional, page};
use crate::api::audit::ListAudit;
use goconductor_store::{AuditFilter, AuditHead};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::audit_service_server::AuditService;
use tonic::{Request, Response};

#[tonic::async_trait]
impl AuditService for GrpcServices {
    async fn list_audit_records(
        &self,
        request: Request<wire::ListAuditRecordsRequest>,
    ) -> RpcResult<wire::ListAuditRecordsResponse> {
        let list = self
            .serve(operation::LIST_AUDIT, request, |api, call| async move {
                api.list_audit(list(call.message)).await
            })
            .await?;
        let records = list.records.into_iter().map(message::audit_record).collect();
        Ok(Response::new(wire::ListAuditRecordsResponse { records, next_page_token: list.next_page_token }))
    }

    async fn get_audit_head(
        &self,
        request: Request<wire::GetAuditHeadRequest>,
    ) -> RpcResult<wire::GetAuditHeadResponse> {
        let head = self
            .serve(operation::GET_AUDIT_HEAD, request, |api, _| async move { api.audit_head().await })
            .await?;
        let head = wire::AuditHead { seq: head.seq, hash: head.hash };
        Ok(Response::new(wire::GetAuditHeadResponse { head: Some(head) }))
    }

    async fn verify_audit(
        &self,
        request: Request<wire::VerifyAuditRequest>,
    ) -> RpcResult<wire::VerifyAuditResponse> {
        let report = self
            .serve(operation::LIST_AUDIT, request, |api, call| async move {
                let anchor = call.message.anchor.map(|head| AuditHead { seq: head.seq, hash: head.hash });
                api.verify_audit(anchor).await
            })
            .await?;
        Ok(Response::new(message::audit_report(report)))
    }
}

fn list(request: wire::ListAuditRecordsRequest) -> ListAudit {
    let time = |time: Option<prost_types::Timestamp>| time.map(|time| time.to_string());
    let filter = AuditFilter {
        actor: optional(request.actor),
        credential: optional(request.credential),
        source: optional(request.source),
        action: optional(request.action),
        namespace: optional(request.namespace),
        target_kind: optional(request.target_kind),
        target_name: optional(request.target_name),
        outcome: optional(request.outcome),
        since: None,
        until: None,
    };
    ListAudit {
        filter,
        since: time(request.since),
        until: time(request.until),
        oldest_first: request.oldest_first,
        page: page(request.page_size, request.page_token),
    }
}
