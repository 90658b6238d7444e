//! The history of a workflow: read page by page, or followed as server-sent events.

use super::extract::{Caller, Path, QueryParams};
use crate::api::events::EventPage;
use crate::api::{Api, header_text};
use crate::error::{ApiResult, PARAMETER, Problem, ProblemBody};
use crate::view::EventView;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::TryStreamExt;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Number of the event after which to begin (default: 0)
    after_seq: Option<u64>,
    /// Events of a page: 1 to 1000
    page_size: Option<u32>,
}

/// Read or follow the history of a workflow
///
/// With `Accept: text/event-stream`, the response is a stream that ends after the workflow's last event.
/// `Last-Event-ID` resumes a stream.
#[utoipa::path(get, path = "/workflows/{id}/events", tag = "workflows",
    params(("id" = String, Path), EventsQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Number of the last event that the client received")),
    responses((status = 200, content((EventPage = "application/json"), (String = "text/event-stream"))),
        (status = 404, body = ProblemBody), (status = 429, body = ProblemBody)))]
async fn events(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<EventsQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let last_event = last_event_id(&headers)?;
    let after_seq = query.after_seq.unwrap_or(0);
    if !accepts_stream(&headers) {
        let page = api.list_events(&context, &id, after_seq, query.page_size).await?;
        return Ok(Json(page).into_response());
    }
    api.page_size(query.page_size)?;
    let after_seq = last_event.unwrap_or(after_seq);
    let events = api.follow_events(&context, &id, after_seq).await?.map_ok(message);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

fn accepts_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|media_type| media_type.trim().starts_with("text/event-stream"))
}

fn last_event_id(headers: &HeaderMap) -> ApiResult<Option<u64>> {
    let Some(text) = header_text(headers, "last-event-id")? else { return Ok(None) };
    let invalid = |_| {
        Problem::new(PARAMETER, format!("invalid Last-Event-ID {text:?}: it must be the number of an event"))
    };
    text.parse().map(Some).map_err(invalid)
}

fn message(event: EventView) -> sse::Event {
    let message = sse::Event::default().id(event.seq.to_string()).event(&event.kind);
    // Infallible: a view always serializes to JSON.
    message.json_data(event).unwrap_or_default()
}
