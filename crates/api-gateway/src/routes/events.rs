//! A workflow's history: by page, or as it grows.

use crate::App;
use crate::error::{Answer, PARAMETER, Problem, ProblemBody};
use crate::extract::{Caller, Path, Query, text_header};
use crate::routes::workflows::{load, page_size};
use crate::view::{self, EventView};
use crate::waiters::Watch;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, TryStreamExt};
use goconductor_saga::{EventKind, Plan, WorkflowId};
use goconductor_service_kit::fair::Place;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Events of a stream that are read at once.
const READ: u32 = 256;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Events after this number.
    after_seq: Option<u64>,
    /// 1 to 1000
    page_size: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
struct EventPage {
    events: Vec<EventView>,
    /// The workflow's last event by now.
    last_seq: u64,
}

/// Read or follow a workflow's history
///
/// `Accept: text/event-stream` follows it until its last event; `Last-Event-ID` resumes.
#[utoipa::path(get, path = "/workflows/{id}/events", tag = "workflows",
    params(("id" = String, Path), EventsQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Of a stream: the last event that was seen")),
    responses((status = 200, content((EventPage = "application/json"), (String = "text/event-stream"))),
        (status = 404, body = ProblemBody), (status = 429, body = ProblemBody)))]
async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    let limit = page_size(query.page_size, app.limits.page_size)?;
    let loaded = load(&app, &caller, &id).await?;
    let plan = app.conductor.plan_of(&loaded.state).await?;
    let id = loaded.state.id;
    let after = query.after_seq.unwrap_or(0);
    if wants_stream(&headers) {
        let after = last_event_id(&headers)?.unwrap_or(after);
        let place = app.admission.wait(&caller.namespace, caller.place.as_ref())?;
        let follow =
            Follow { watch: app.waiters.watch(id), app, id, plan, after, ended: false, _place: place };
        return Ok(Sse::new(follow.stream()).keep_alive(KeepAlive::default()).into_response());
    }
    let events = app.store().history(id, after, limit).await?;
    let events = events.iter().map(|event| view::event(&plan, event)).collect();
    Ok(Json(EventPage { events, last_seq: loaded.state.seq }).into_response())
}

pub(super) fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|kind| kind.trim().starts_with("text/event-stream"))
}

fn last_event_id(headers: &HeaderMap) -> Answer<Option<u64>> {
    let Some(text) = text_header(headers, "last-event-id")? else { return Ok(None) };
    let wrong = |_| Problem::new(PARAMETER, format!("Last-Event-ID {text:?} is not the number of an event"));
    text.parse().map(Some).map_err(wrong)
}

/// A history as it grows. It holds no more of it than was read at once.
struct Follow {
    app: App,
    id: WorkflowId,
    plan: Arc<Plan>,
    watch: Watch,
    after: u64,
    ended: bool,
    /// Among those who wait.
    _place: Place,
}

impl Follow {
    fn stream(self) -> impl Stream<Item = Result<sse::Event, goconductor_store::Error>> {
        stream::try_unfold(self, Self::next)
            .map_ok(|events| stream::iter(events.into_iter().map(Ok)))
            .try_flatten()
    }

    /// The events that come next; none at the end.
    async fn next(mut self) -> Result<Option<(Vec<sse::Event>, Self)>, goconductor_store::Error> {
        while !self.ended {
            let events = self.app.store().history(self.id, self.after, READ).await?;
            let Some(last) = events.last() else {
                if !self.watch.past(self.after).await {
                    break;
                }
                continue;
            };
            self.after = last.seq;
            self.ended = is_final(&last.kind);
            let shown = events.iter().map(|event| self.message(&view::event(&self.plan, event))).collect();
            return Ok(Some((shown, self)));
        }
        Ok(None)
    }

    fn message(&self, event: &EventView) -> sse::Event {
        let message = sse::Event::default().id(event.seq.to_string()).event(&event.kind);
        // Infallible: what a view is made of can be written as JSON.
        message.json_data(event).unwrap_or_default()
    }
}

/// Whether nothing follows an event.
fn is_final(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::WorkflowCompleted { .. }
            | EventKind::WorkflowRolledBack {}
            | EventKind::WorkflowTerminated { .. }
    )
}
