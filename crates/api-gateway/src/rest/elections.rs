//! Elections: leaders and the end of their terms. Campaigns are gRPC only.

use super::extract::Path;
use crate::api::Api;
use crate::api::elections::{ElectionList, LeaderView, SteppedDown};
use crate::error::{ApiResult, ProblemBody};
use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(step_down))
}

/// List the leaders of all elections
#[utoipa::path(get, path = "/elections", tag = "elections", responses((status = 200, body = ElectionList),
    (status = 404, body = ProblemBody, description = "No election is configured"), (status = 503, body = ProblemBody)))]
async fn list(State(api): State<Api>) -> ApiResult<Json<ElectionList>> {
    api.list_elections().await.map(Json)
}

/// Get the leader of an election
#[utoipa::path(get, path = "/elections/{name}", tag = "elections", params(("name" = String, Path)),
    responses((status = 200, body = LeaderView),
        (status = 404, body = ProblemBody, description = "The election has no leader, or no election is configured"),
        (status = 503, body = ProblemBody)))]
async fn get(State(api): State<Api>, Path(name): Path<String>) -> ApiResult<Json<LeaderView>> {
    api.leader(&name).await.map(Json)
}

/// End the term of an election's leader
///
/// The next candidate becomes the leader. It can be the former leader.
#[utoipa::path(post, path = "/elections/{name}/step-down", tag = "elections", params(("name" = String, Path)),
    responses((status = 200, body = SteppedDown),
        (status = 404, body = ProblemBody, description = "No election is configured"), (status = 503, body = ProblemBody)))]
async fn step_down(State(api): State<Api>, Path(name): Path<String>) -> ApiResult<Json<SteppedDown>> {
    api.step_down(&name).await.map(Json)
}
