//! The processes of the system, and the messages that none of them could act on.

use crate::App;
use crate::error::{Answer, NO_DEAD_LETTER, PARAMETER, Problem, ProblemBody, UNAVAILABLE};
use crate::extract::{Path, Query};
use crate::moment::rfc3339;
use crate::routes::workflows::page_size;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use goconductor_queue::{Lane, Message, Topic};
use goconductor_saga::Timestamp;
use goconductor_store::{DeadLetter, DeadLetterPlace, Member};
use goconductor_transition::clock;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(processes))
        .routes(routes!(list))
        .routes(routes!(get, delete))
        .routes(routes!(requeue))
}

/// A process that is there.
#[derive(Debug, Serialize, ToSchema)]
struct ProcessView {
    /// A random identity at each boot.
    instance: String,
    /// `api-gateway`, `state-store`, `saga-executor`
    kind: String,
    address: String,
    /// When it was first heard of.
    since: String,
    /// When it was last heard of.
    seen_at: String,
    /// What else it says of itself: an executor, the services that it serves.
    about: serde_json::Value,
}

#[derive(Debug, Serialize, ToSchema)]
struct ProcessList {
    processes: Vec<ProcessView>,
}

/// A message that nobody could act on.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetterView {
    id: String,
    /// Where it came from.
    topic: String,
    /// Its key there.
    key: String,
    /// Why nobody could act on it.
    reason: String,
    /// When it was put here.
    at: String,
    bytes: usize,
    /// What it holds, as text as far as it is; the rest is replaced.
    payload: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct DeadLetterPage {
    /// Newest first.
    dead_letters: Vec<DeadLetterView>,
    /// Asks for the next page; empty on the last.
    next_page_token: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    /// 1 to 1000
    page_size: Option<u32>,
    /// `next_page_token` of the page before
    page_token: Option<String>,
}

/// List the processes that are there
#[utoipa::path(get, path = "/processes", tag = "processes", responses((status = 200, body = ProcessList)))]
async fn processes(State(app): State<App>) -> Answer<Json<ProcessList>> {
    let members = app.store().members().await?;
    Ok(Json(ProcessList { processes: members.into_iter().map(process).collect() }))
}

fn process(member: Member) -> ProcessView {
    let Member { announcement, since, seen_at } = member;
    ProcessView {
        instance: announcement.instance,
        kind: announcement.kind,
        address: announcement.address,
        since: rfc3339(since),
        seen_at: rfc3339(seen_at),
        about: serde_json::json!(announcement.info),
    }
}

/// List the messages that nobody could act on, newest first
#[utoipa::path(get, path = "/dead-letters", tag = "dead letters", params(PageQuery),
    responses((status = 200, body = DeadLetterPage), (status = 400, body = ProblemBody)))]
async fn list(State(app): State<App>, Query(query): Query<PageQuery>) -> Answer<Json<DeadLetterPage>> {
    let limit = page_size(query.page_size, app.limits.page_size)?;
    let before = match query.page_token.as_deref() {
        None | Some("") => None,
        Some(token) => {
            let wrong = || Problem::new(PARAMETER, "page_token is none that was given: begin without it");
            let (at, id) = token.split_once('-').ok_or_else(wrong)?;
            let at = Timestamp(at.parse().map_err(|_| wrong())?);
            Some(DeadLetterPlace { at, id: id.to_owned() })
        }
    };
    // One more than is shown says whether there are more.
    let mut letters = app.store().dead_letters(before.as_ref(), limit.saturating_add(1)).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = letters.len() > size;
    letters.truncate(size);
    let last = letters.last().filter(|_| more).map(|letter| format!("{}-{}", letter.at.0, letter.id));
    let dead_letters = letters.into_iter().map(view).collect();
    Ok(Json(DeadLetterPage { dead_letters, next_page_token: last.unwrap_or_default() }))
}

/// Read a message that nobody could act on
#[utoipa::path(get, path = "/dead-letters/{id}", tag = "dead letters", params(("id" = String, Path)),
    responses((status = 200, body = DeadLetterView), (status = 404, body = ProblemBody)))]
async fn get(State(app): State<App>, Path(id): Path<String>) -> Answer<Json<DeadLetterView>> {
    Ok(Json(view(letter(&app, &id).await?)))
}

/// Remove a message that nobody could act on
#[utoipa::path(delete, path = "/dead-letters/{id}", tag = "dead letters", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
async fn delete(State(app): State<App>, Path(id): Path<String>) -> Answer<StatusCode> {
    if app.store().delete_dead_letter(&id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(missing(&id)) }
}

/// Put a message that nobody could act on back where it came from
#[utoipa::path(post, path = "/dead-letters/{id}/requeue", tag = "dead letters", params(("id" = String, Path)),
    responses((status = 200, body = DeadLetterView), (status = 404, body = ProblemBody)))]
async fn requeue(State(app): State<App>, Path(id): Path<String>) -> Answer<Json<DeadLetterView>> {
    let letter = letter(&app, &id).await?;
    let message = Message {
        key: letter.key.clone(),
        payload: Bytes::from(letter.payload.clone()),
        published_at_ms: clock::now().as_millis(),
    };
    let published = app.conductor.queue().publish(&topic(&letter.topic), vec![message]).await;
    published.map_err(|error| Problem::new(UNAVAILABLE, format!("the queue did not take it: {error}")))?;
    // After it was taken: one that is kept twice harms nobody.
    app.store().delete_dead_letter(&id).await?;
    Ok(Json(view(letter)))
}

fn topic(printed: &str) -> Topic {
    match printed.strip_suffix(".compensate") {
        Some(service) => Topic { service: service.to_owned(), lane: Lane::Compensate },
        None => Topic { service: printed.to_owned(), lane: Lane::Execute },
    }
}

async fn letter(app: &App, id: &str) -> Answer<DeadLetter> {
    app.store().dead_letter(id).await?.ok_or_else(|| missing(id))
}

fn missing(id: &str) -> Problem {
    Problem::new(NO_DEAD_LETTER, format!("there is no dead letter {id}"))
}

fn view(letter: DeadLetter) -> DeadLetterView {
    DeadLetterView {
        id: letter.id,
        topic: letter.topic,
        key: letter.key,
        reason: letter.reason,
        at: rfc3339(letter.at),
        bytes: letter.payload.len(),
        payload: String::from_utf8_lossy(&letter.payload).into_owned(),
    }
}
