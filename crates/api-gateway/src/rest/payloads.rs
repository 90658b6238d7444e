//! Payloads that workflows carry by reference.

use super::extract::{Caller, Path};
use crate::api::Api;
use crate::error::{ApiResult, ProblemBody};
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream::TryStreamExt;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(payload))
}

/// Read a large payload of a workflow
///
/// A view of a workflow contains `{"$payload": {"sha256": …, "bytes": …}}` in place of an input or an output that is too
/// large for it. The response is the value.
#[utoipa::path(get, path = "/workflows/{id}/payloads/{sha256}", tag = "workflows",
    params(("id" = String, Path), ("sha256" = String, Path, description = "Digest from the reference")),
    responses((status = 200, body = serde_json::Value, description = "The value"),
        (status = 404, body = ProblemBody, description = "The workflow was not found, or has no such payload")))]
async fn payload(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, sha256)): Path<(String, String)>,
) -> ApiResult<Response> {
    let chunks = api.read_payload(&context, &id, &sha256).await?;
    // The status was sent with the first chunk, so a later failure breaks the connection off.
    let body = Body::from_stream(chunks.map_err(|_| std::io::Error::other("a chunk was not read")));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
