//! Changes of the list of workflows, as server-sent events.

use super::extract::{Caller, QueryParams};
use crate::api::Api;
use crate::api::watch::Change;
use crate::error::{ApiResult, ProblemBody};
use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::TryStreamExt;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(watch))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WatchQuery {
    /// AIP-160 filter, as for the list
    filter: Option<String>,
}

/// Follow changes of the list of workflows
///
/// Each `workflow` message is a workflow that has changed and matches the filter, in the form of the list. A
/// `lagged` message means that changes were missed: list again.
#[utoipa::path(get, path = "/watch", tag = "workflows", params(WatchQuery),
    responses((status = 200, content((String = "text/event-stream"))), (status = 400, body = ProblemBody),
        (status = 429, body = ProblemBody)))]
async fn watch(
    State(api): State<Api>,
    Caller(context): Caller,
    QueryParams(query): QueryParams<WatchQuery>,
) -> ApiResult<Response> {
    let changes = api.watch_workflows(&context, &query.filter.unwrap_or_default())?.map_ok(message);
    Ok(Sse::new(changes).keep_alive(KeepAlive::default()).into_response())
}

fn message(change: Change) -> sse::Event {
    match change {
        Change::Workflow(change) => sse::Event::default().event("workflow").data(&change.json),
        Change::Lagged => sse::Event::default().event("lagged").data("{}"),
    }
}
