//! Reads for people who look at a workflow or at a namespace: the overview, graphs, relations and attempts.

use super::extract::{Caller, Path};
use crate::api::Api;
use crate::api::graph::Graph;
use crate::api::overview::OverviewView;
use crate::api::relations::RelationsView;
use crate::api::step_detail::StepDetailView;
use crate::error::{ApiResult, ProblemBody};
use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(overview))
        .routes(routes!(graph))
        .routes(routes!(relations))
        .routes(routes!(step))
}

/// Get the overview of a namespace
///
/// It has the problems that need a person, and figures about the workflows. It is at most two seconds old. A part that the
/// caller may not read is null.
#[utoipa::path(get, path = "/overview", tag = "overview", responses((status = 200, body = OverviewView)))]
async fn overview(State(api): State<Api>, Caller(context): Caller) -> ApiResult<Json<OverviewView>> {
    api.overview(&context).await.map(Json)
}

/// Get the graph of the definition that a workflow follows
///
/// It is that of the version that the workflow follows: that of its start, until an operator migrates it.
#[utoipa::path(get, path = "/workflows/{id}/graph", tag = "workflows", params(("id" = String, Path)),
    responses((status = 200, body = Graph), (status = 404, body = ProblemBody)))]
async fn graph(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<Graph>> {
    api.workflow_graph(&context, &id).await.map(Json)
}

/// Get the parent, the children, the schedule, the locks and the trace of a workflow
#[utoipa::path(get, path = "/workflows/{id}/relations", tag = "workflows", params(("id" = String, Path)),
    responses((status = 200, body = RelationsView), (status = 404, body = ProblemBody)))]
async fn relations(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<RelationsView>> {
    api.workflow_relations(&context, &id).await.map(Json)
}

/// Get a step of a workflow with its inputs and its attempts
///
/// Inputs are computed from the state of the workflow. All attempts at one side of a step have the same input.
#[utoipa::path(get, path = "/workflows/{id}/steps/{step}", tag = "workflows",
    params(("id" = String, Path), ("step" = String, Path)),
    responses((status = 200, body = StepDetailView), (status = 404, body = ProblemBody)))]
async fn step(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, step)): Path<(String, String)>,
) -> ApiResult<Json<StepDetailView>> {
    api.workflow_step(&context, &id, &step).await.map(Json)
}
