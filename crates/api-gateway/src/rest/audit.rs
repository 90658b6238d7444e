//! The audit log.

use super::extract::QueryParams;
use crate::api::audit::{AuditHeadView, AuditPage, ListAudit};
use crate::api::{Api, PageRequest};
use crate::error::{ApiResult, ProblemBody};
use axum::Json;
use axum::extract::State;
use goconductor_store::AuditFilter;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(head))
}

/// The order of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RecordOrder {
    #[default]
    Newest,
    Oldest,
}

/// The parameters of the list of audit records. All conditions must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    /// Name of the caller
    actor: Option<String>,
    /// Id of the credential
    credential: Option<String>,
    /// Address of the peer
    source: Option<String>,
    /// Operation, such as `workflows.cancel`
    action: Option<String>,
    /// Namespace of the target
    namespace: Option<String>,
    /// Kind of the target, such as `workflow`
    target_kind: Option<String>,
    /// Name or id of the target
    target_name: Option<String>,
    /// `ALLOWED`, `REFUSED` or `FAILED`
    outcome: Option<String>,
    /// At this time or later, in RFC 3339
    since: Option<String>,
    /// Before this time, in RFC 3339
    until: Option<String>,
    /// `newest` (the default) or `oldest` first
    #[serde(default)]
    #[param(inline)]
    order: RecordOrder,
    /// Elements of a page: 1 to 1000
    page_size: Option<u32>,
    /// `next_page_token` of the previous page
    page_token: Option<String>,
}

impl From<AuditQuery> for ListAudit {
    fn from(query: AuditQuery) -> Self {
        let filter = AuditFilter {
            actor: query.actor,
            credential: query.credential,
            source: query.source,
            action: query.action,
            namespace: query.namespace,
            target_kind: query.target_kind,
            target_name: query.target_name,
            outcome: query.outcome,
            since: None,
            until: None,
        };
        Self {
            filter,
            since: query.since,
            until: query.until,
            oldest_first: query.order == RecordOrder::Oldest,
            page: PageRequest { size: query.page_size, token: query.page_token },
        }
    }
}

/// List the records of the audit log
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = AuditPage), (status = 400, body = ProblemBody)))]
async fn list(
    State(api): State<Api>,
    QueryParams(query): QueryParams<AuditQuery>,
) -> ApiResult<Json<AuditPage>> {
    api.list_audit(query.into()).await.map(Json)
}

/// Get the last record's number and hash
#[utoipa::path(get, path = "/audit/head", tag = "audit", responses((status = 200, body = AuditHeadView)))]
async fn head(State(api): State<Api>) -> ApiResult<Json<AuditHeadView>> {
    api.audit_head().await.map(Json)
}
