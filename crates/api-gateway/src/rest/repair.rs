//! Repairs of a workflow: the re-run from a step, and the migration to another version of its definition.

use super::extract::{Caller, JsonBody, OptionalJsonBody, Path};
use super::integer::Integer;
use crate::api::Api;
use crate::api::repair::{MigrationRequest, MigrationView, RerunRequest};
use crate::error::{ApiResult, ProblemBody};
use crate::view::WorkflowView;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(rerun)).routes(routes!(migrate))
}

/// The re-run of a workflow.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RerunBody {
    /// Step to begin with (default: all steps)
    step: Option<String>,
    /// `undo` (default): effects of the steps are undone first. `keep`: the caller states that they stay.
    effects: Option<String>,
    /// Reason, recorded in the history
    reason: Option<String>,
}

/// The migration of a workflow.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MigrationBody {
    /// Version of the definition
    #[schema(value_type = u32)]
    to_version: Integer<u32>,
    /// Reason, recorded in the history
    reason: Option<String>,
    /// Only check whether the workflow can follow the version
    dry_run: Option<bool>,
}

/// Re-run a workflow from a step
///
/// The step and the steps that depend on it are executed again, with new idempotency keys. Their effects are undone first,
/// in reverse order, unless `effects` is `keep`. The workflow must have ended, or be in error before a rollback.
#[utoipa::path(post, path = "/workflows/{id}/rerun", tag = "operate", params(("id" = String, Path)),
    request_body = RerunBody, responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody,
            description = "The status does not allow it, an effect cannot be undone, or an outcome is in doubt"),
        (status = 422, body = ProblemBody, description = "The reason is missing")))]
async fn rerun(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<RerunBody>,
) -> ApiResult<Json<WorkflowView>> {
    let RerunBody { step, effects, reason } = body;
    api.rerun_workflow(&context, &id, RerunRequest { step, effects, reason }).await.map(Json)
}

/// Migrate a running workflow to another version of its definition
///
/// The steps that have begun must be the same in both versions. With `dry_run`, nothing is changed.
#[utoipa::path(post, path = "/workflows/{id}/migrate", tag = "operate", params(("id" = String, Path)),
    request_body = MigrationBody, responses((status = 200, body = MigrationView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody,
            description = "The workflow has ended or rolls back, or a step that has begun differs"),
        (status = 422, body = ProblemBody)))]
async fn migrate(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<MigrationBody>,
) -> ApiResult<Json<MigrationView>> {
    let MigrationBody { to_version: Integer(to_version), reason, dry_run } = body;
    let request = MigrationRequest { to_version, reason, dry_run: dry_run == Some(true) };
    api.migrate_workflow(&context, &id, request).await.map(Json)
}
