//! Changes of the list of workflows, as they happen.

use crate::App;
use crate::error::{Answer, ProblemBody};
use crate::extract::{Caller, Query};
use crate::{filter, view};
use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, TryStreamExt};
use goconductor_saga::WorkflowId;
use goconductor_service_kit::fair::Place;
use goconductor_store::{Comparison, Field, Filter, ListRequest, Seen, Summary, Value};
use goconductor_transition::clock;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Changes of one workflow within this are told as one.
const TOGETHER: Duration = Duration::from_millis(50);
/// Workflows whose changes are told at once.
const MOST: usize = 200;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(watch))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct WatchQuery {
    /// As that of the list.
    filter: Option<String>,
}

/// Follow changes of the list
///
/// Each message is a workflow as the list shows it, once it has changed and fits the filter. `lagged` says
/// that changes were missed: list again.
#[utoipa::path(get, path = "/watch", tag = "workflows", params(WatchQuery),
    responses((status = 200, content((String = "text/event-stream"))), (status = 400, body = ProblemBody),
        (status = 429, body = ProblemBody)))]
async fn watch(State(app): State<App>, caller: Caller, Query(query): Query<WatchQuery>) -> Answer<Response> {
    let text = query.filter.unwrap_or_default();
    let filter = filter::parse(&text, clock::now())?;
    let changes = app.changes.subscribe();
    let place = app.admission.wait(&caller.namespace, caller.place.as_ref())?;
    let watching = Watching { app, namespace: caller.namespace, filter, changes, _place: place };
    Ok(Sse::new(watching.stream()).keep_alive(KeepAlive::default()).into_response())
}

struct Watching {
    app: App,
    namespace: String,
    filter: Option<Filter>,
    changes: broadcast::Receiver<Seen>,
    /// Among those who wait.
    _place: Place,
}

/// What came of listening.
enum Heard {
    Changed(BTreeSet<WorkflowId>),
    Missed,
    End,
}

impl Watching {
    fn stream(self) -> impl Stream<Item = Result<sse::Event, goconductor_store::Error>> {
        stream::try_unfold(self, Self::next)
            .map_ok(|events| stream::iter(events.into_iter().map(Ok)))
            .try_flatten()
    }

    async fn next(mut self) -> Result<Option<(Vec<sse::Event>, Self)>, goconductor_store::Error> {
        loop {
            let messages = match self.listen().await {
                Heard::End => return Ok(None),
                Heard::Missed => vec![sse::Event::default().event("lagged").data("{}")],
                Heard::Changed(ids) => self.read(&ids).await?.into_iter().map(message).collect(),
            };
            if !messages.is_empty() {
                return Ok(Some((messages, self)));
            }
        }
    }

    async fn listen(&mut self) -> Heard {
        let mut ids = BTreeSet::new();
        let stop = self.app.stop.clone();
        loop {
            let wait = if ids.is_empty() { Duration::MAX } else { TOGETHER };
            // All are safe to cancel: a change that was not received stays in the channel.
            let change = tokio::select! {
                () = stop.cancelled() => return Heard::End,
                change = self.changes.recv() => change,
                () = sleep(wait) => return Heard::Changed(ids),
            };
            match change {
                Ok(seen) => {
                    ids.insert(seen.id);
                }
                Err(RecvError::Lagged(_)) => return Heard::Missed,
                Err(RecvError::Closed) => return Heard::End,
            }
            if ids.len() >= MOST {
                return Heard::Changed(ids);
            }
        }
    }

    /// Those of the changed that fit.
    async fn read(&self, ids: &BTreeSet<WorkflowId>) -> Result<Vec<Summary>, goconductor_store::Error> {
        let is = |id: &WorkflowId| Filter::Compare(Field::Id, Comparison::Equal, Value::Text(id.to_string()));
        let mut filter = Filter::Any(ids.iter().map(is).collect());
        if let Some(own) = &self.filter {
            filter = Filter::All(vec![filter, own.clone()]);
        }
        let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let request =
            ListRequest { namespace: self.namespace.clone(), filter: Some(filter), limit, before: None };
        Ok(self.app.store().list(&request).await?.workflows)
    }
}

async fn sleep(wait: Duration) {
    if wait == Duration::MAX {
        return std::future::pending().await;
    }
    tokio::time::sleep(wait).await;
}

fn message(summary: Summary) -> sse::Event {
    // Infallible: what a view is made of can be written as JSON.
    sse::Event::default().event("workflow").json_data(view::summary(summary)).unwrap_or_default()
}
