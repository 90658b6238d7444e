//! Workflows: start, read, list, count, wait for the end.

use crate::App;
use crate::error::{
    Answer, INPUT, NO_DEFINITION, NO_WORKFLOW, PARAMETER, Place, Problem, ProblemBody, TOO_LARGE, WRONG_SHAPE,
};
use crate::extract::{Body, Caller, Path, Query, text_header};
use crate::filter;
use crate::view::{self, SummaryView, WorkflowView};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use goconductor_saga::{Plan, WorkflowId};
use goconductor_service_kit::fair::Place as WaitingPlace;
use goconductor_store::{Field, ListRequest, Loaded};
use goconductor_transition::{Error, StartRequest, clock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Elements of a page, at most.
const PAGE: u32 = 1000;
/// A long poll is answered by then.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Labels of a workflow, and characters of each.
const LABELS: usize = 64;
const LABEL: usize = 256;
/// Characters of an idempotency key.
const KEY: usize = 256;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, start))
        .routes(routes!(get))
        .routes(routes!(result))
        .routes(routes!(counts))
}

/// A start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartBody {
    definition: String,
    /// None: the newest.
    version: Option<u32>,
    /// None: `{}`.
    input: Option<serde_json::Value>,
    /// Unique in the namespace: a repeat returns the workflow that is there. Equals the header
    /// Idempotency-Key.
    idempotency_key: Option<String>,
    /// To find it by.
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// AIP-160, such as `status = ERROR AND created_at > "-24h"`
    filter: Option<String>,
    /// 1 to 1000
    page_size: Option<u32>,
    /// `next_page_token` of the page before
    page_token: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct CountQuery {
    /// `status` or `definition`
    by: Option<String>,
    filter: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct StartQuery {
    /// How long to wait for the end, such as `30s`, at most `5m`: the answer then shows the end, if it came
    wait: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ResultQuery {
    /// How long to wait for the end, such as `30s`; at most `5m`
    wait: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Page {
    /// Newest first.
    workflows: Vec<SummaryView>,
    /// Asks for the next page; empty on the last.
    next_page_token: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Counts {
    counts: Vec<CountView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CountView {
    value: String,
    count: u64,
}

/// Start a workflow
#[utoipa::path(post, path = "/workflows", tag = "workflows", request_body = StartBody,
    params(StartQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "Equals the field idempotency_key")),
    responses((status = 201, body = WorkflowView, description = "Started: it is durable"),
        (status = 200, body = WorkflowView, description = "A repeat, with Idempotency-Replayed: true"),
        (status = 404, body = ProblemBody, description = "No such definition"),
        (status = 409, body = ProblemBody, description = "The key belongs to another start"),
        (status = 422, body = ProblemBody, description = "The input does not fit the definition's schema"),
        (status = 429, body = ProblemBody, description = "Nothing was started: come back after Retry-After")))]
async fn start(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<StartQuery>,
    Body(body): Body<StartBody>,
) -> Answer<Response> {
    let (namespace, version) = (&caller.namespace, body.version);
    let wait = waiting_time(query.wait.as_deref())?;
    // Before anything is looked at: what is refused for being too much costs next to nothing.
    app.admission.early(namespace, &body.definition, version, clock::monotonic())?;
    let key = idempotency_key(&headers, body.idempotency_key)?;
    let labels = body.labels.unwrap_or_default();
    check_labels(&labels)?;
    // Before anything is started, as whoever may not wait is told that nothing was.
    let waits = places(&app, &caller, wait)?;
    let turn = app.admission.turn(namespace).await?;
    let input = body.input.unwrap_or_else(|| serde_json::json!({}));
    let plan = app.conductor.plan(&caller.namespace, &body.definition, body.version).await.map_err(
        |error| match (&error, body.version) {
            (Error::NoSuchDefinition, None) => Problem::new(
                NO_DEFINITION,
                format!("there is no definition {:?} in this namespace", body.definition),
            ),
            (Error::NoSuchDefinition, Some(version)) => {
                Problem::new(NO_DEFINITION, format!("there is no version {version} of {:?}", body.definition))
            }
            (_, _) => error.into(),
        },
    )?;
    check_input(&app, &caller.namespace, &plan, &input)?;
    app.admission.start(&caller.namespace, &plan, version, clock::monotonic())?;
    let request = StartRequest {
        namespace: caller.namespace.clone(),
        plan: plan.clone(),
        input,
        labels,
        idempotency_key: key.clone(),
        actor: caller.actor.clone(),
    };
    let started = app.conductor.start(request).await?;
    drop(turn);
    // A repeat is of the version that it was started with.
    let plan = if started.replayed { app.conductor.plan_of(&started.state).await? } else { plan };
    let mut state = started.state;
    if !wait.is_zero() {
        let give_up = tokio::time::Instant::now() + wait;
        // It is started, whatever becomes of the wait.
        if let Ok(loaded) = ended(&app, &caller, &state.id.to_string(), give_up, waits).await {
            state = Arc::new(loaded.state);
        }
    }
    let view = view::workflow(&plan, &state, key, waiting(&app, &plan, &state).await);
    if started.replayed {
        let replayed = [("idempotency-replayed", HeaderValue::from_static("true"))];
        return Ok((StatusCode::OK, replayed, Json(view)).into_response());
    }
    let location = [(header::LOCATION, format!("/api/v1/workflows/{}", view.id))];
    Ok((StatusCode::CREATED, location, Json(view)).into_response())
}

fn idempotency_key(headers: &HeaderMap, field: Option<String>) -> Answer<Option<String>> {
    let header = text_header(headers, "idempotency-key")?.map(str::to_owned);
    let wrong = |detail: &str| Problem::new(WRONG_SHAPE, detail).at("/idempotency_key", detail);
    let key = match (header, field) {
        (Some(header), Some(field)) if header != field => {
            return Err(wrong(
                "the header Idempotency-Key and the field idempotency_key differ: send one of them",
            ));
        }
        (Some(key), _) | (None, Some(key)) => key,
        (None, None) => return Ok(None),
    };
    if key.trim().is_empty() || key.chars().count() > KEY || key.chars().any(char::is_control) {
        return Err(wrong("an idempotency key has 1 to 256 visible characters"));
    }
    Ok(Some(key))
}

fn check_labels(labels: &BTreeMap<String, String>) -> Answer<()> {
    let fits = |text: &str| text.chars().count() <= LABEL && !text.chars().any(char::is_control);
    let wrong = labels.iter().find(|(key, value)| key.is_empty() || !fits(key) || !fits(value));
    if labels.len() > LABELS || wrong.is_some() {
        let detail =
            format!("a workflow has at most {LABELS} labels, of at most {LABEL} visible characters each");
        return Err(Problem::new(WRONG_SHAPE, detail.clone()).at("/labels", detail));
    }
    Ok(())
}

fn check_input(app: &App, namespace: &str, plan: &Plan, input: &serde_json::Value) -> Answer<()> {
    let bytes = input.to_string().len();
    if bytes > app.limits.input_bytes {
        let detail = format!("the input has {bytes} bytes; at most {} are taken", app.limits.input_bytes);
        return Err(Problem::new(TOO_LARGE, detail));
    }
    let schema = app.schemas.of(namespace, plan).map_err(|why| Problem::new(crate::error::INTERNAL, why))?;
    let Some(schema) = schema else { return Ok(()) };
    schema.check(input).map_err(|problems| {
        let detail = match problems.as_slice() {
            [only] => format!("the input does not fit: {}", only.detail),
            several => format!("the input does not fit in {} places", several.len()),
        };
        let places = problems.into_iter().map(|problem| Place {
            pointer: format!("/input{}", problem.pointer),
            line: None,
            column: None,
            code: INPUT.code,
            detail: problem.detail,
        });
        Problem::new(INPUT, detail).with_errors(places.collect())
    })
}

/// Read a workflow
#[utoipa::path(get, path = "/workflows/{id}", tag = "workflows", params(("id" = String, Path)),
    responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody)))]
async fn get(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<Json<WorkflowView>> {
    let loaded = load(&app, &caller, &id).await?;
    Ok(Json(shown(&app, loaded).await?))
}

/// Wait for a workflow's end
#[utoipa::path(get, path = "/workflows/{id}/result", tag = "workflows",
    params(("id" = String, Path), ResultQuery),
    responses((status = 200, body = WorkflowView, description = "It has ended"),
        (status = 202, body = WorkflowView, description = "Not yet"), (status = 404, body = ProblemBody),
        (status = 429, body = ProblemBody, description = "Too many wait: come back after Retry-After")))]
async fn result(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ResultQuery>,
) -> Answer<(StatusCode, Json<WorkflowView>)> {
    let wait = waiting_time(query.wait.as_deref())?;
    let give_up = tokio::time::Instant::now() + wait;
    let loaded = ended(&app, &caller, &id, give_up, None).await?;
    let status = if loaded.state.status().is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(shown(&app, loaded).await?)))
}

/// What a caller says of how long he waits.
fn waiting_time(text: Option<&str>) -> Answer<Duration> {
    let Some(text) = text else { return Ok(Duration::ZERO) };
    let wrong = |error| Problem::new(PARAMETER, format!("wait: {error}"));
    Ok(goconductor_service_kit::duration::parse(text).map_err(wrong)?.min(LONGEST_WAIT))
}

/// A workflow once it has ended, or as it stands when the time is up or the gateway ends. Who has a place among
/// those who wait already brings it.
async fn ended(
    app: &App,
    caller: &Caller,
    id: &str,
    give_up: tokio::time::Instant,
    mut waits: Option<WaitingPlace>,
) -> Answer<Loaded> {
    let place = |waits: Option<WaitingPlace>| match waits {
        Some(place) => Ok(Some(place)),
        None => places(app, caller, give_up.saturating_duration_since(tokio::time::Instant::now())),
    };
    // Watched before it is looked at: no end falls in between.
    let number = workflow_id(id)?;
    let mut watch = app.waiters.watch(number);
    if app.conductor.known(number).is_some_and(|state| state.namespace == caller.namespace) {
        // Under way, as far as is known here: it is read once it has ended, or the time is up.
        waits = place(waits)?;
        drop(tokio::time::timeout_at(give_up, watch.ended()).await);
    }
    loop {
        let loaded = load(app, caller, id).await?;
        if loaded.state.status().is_final() {
            return Ok(loaded);
        }
        waits = place(waits)?;
        match tokio::time::timeout_at(give_up, watch.ended()).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return Ok(loaded),
        }
    }
}

/// A place among those who wait, for who does.
fn places(app: &App, caller: &Caller, wait: Duration) -> Answer<Option<WaitingPlace>> {
    if wait.is_zero() {
        return Ok(None);
    }
    app.admission.wait(&caller.namespace, caller.place.as_ref()).map(Some)
}

/// List workflows, newest first
#[utoipa::path(get, path = "/workflows", tag = "workflows", params(ListQuery),
    responses((status = 200, body = Page), (status = 400, body = ProblemBody)))]
async fn list(State(app): State<App>, caller: Caller, Query(query): Query<ListQuery>) -> Answer<Json<Page>> {
    let limit = page_size(query.page_size, app.limits.page_size)?;
    let before = match query.page_token.as_deref() {
        None | Some("") => None,
        Some(token) => {
            let wrong = |_| Problem::new(PARAMETER, "page_token is none that was given: begin without it");
            Some(token.parse::<WorkflowId>().map_err(wrong)?)
        }
    };
    let filter = filter::parse(query.filter.as_deref().unwrap_or_default(), clock::now())?;
    let request = ListRequest { namespace: caller.namespace, filter, limit, before };
    let page = app.store().list(&request).await?;
    let last = page.workflows.last().map(|summary| summary.id.to_string());
    let next_page_token = if page.more { last.unwrap_or_default() } else { String::new() };
    Ok(Json(Page { workflows: page.workflows.into_iter().map(view::summary).collect(), next_page_token }))
}

/// Count workflows
#[utoipa::path(get, path = "/workflow-counts", tag = "workflows", params(CountQuery),
    responses((status = 200, body = Counts), (status = 400, body = ProblemBody)))]
async fn counts(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<CountQuery>,
) -> Answer<Json<Counts>> {
    let by = match query.by.as_deref() {
        None | Some("status") => Field::Status,
        Some("definition") => Field::Definition,
        Some(other) => {
            let detail = format!("workflows are counted by status or definition, not by {other:?}");
            return Err(Problem::new(PARAMETER, detail));
        }
    };
    let filter = filter::parse(query.filter.as_deref().unwrap_or_default(), clock::now())?;
    let counts = app.store().counts(&caller.namespace, by, filter.as_ref()).await?;
    let counts = counts.into_iter().map(|count| CountView { value: count.value, count: count.count });
    Ok(Json(Counts { counts: counts.collect() }))
}

pub(super) fn page_size(asked: Option<u32>, usual: u32) -> Answer<u32> {
    match asked {
        None => Ok(usual.clamp(1, PAGE)),
        Some(size) if (1..=PAGE).contains(&size) => Ok(size),
        Some(size) => Err(Problem::new(PARAMETER, format!("page_size is 1 to {PAGE}, not {size}"))),
    }
}

pub(super) fn workflow_id(text: &str) -> Answer<WorkflowId> {
    text.parse().map_err(|_| missing(text))
}

fn missing(id: &str) -> Problem {
    Problem::new(NO_WORKFLOW, format!("there is no workflow {id} in this namespace"))
}

/// A workflow of the caller's namespace.
pub(super) async fn load(app: &App, caller: &Caller, id: &str) -> Answer<Loaded> {
    let loaded = match app.conductor.load(workflow_id(id)?).await {
        Ok(loaded) => loaded,
        Err(Error::NoSuchWorkflow) => return Err(missing(id)),
        Err(other) => return Err(other.into()),
    };
    if loaded.state.namespace == caller.namespace { Ok(loaded) } else { Err(missing(id)) }
}

/// A workflow as people see it.
pub(super) async fn shown(app: &App, loaded: Loaded) -> Answer<WorkflowView> {
    let plan = app.conductor.plan_of(&loaded.state).await?;
    let waiting_on = waiting(app, &plan, &loaded.state).await;
    Ok(view::workflow(&plan, &loaded.state, loaded.idempotency_key, waiting_on))
}

async fn waiting(app: &App, plan: &Plan, state: &goconductor_saga::State) -> Vec<view::Waiting> {
    view::waiting_on(&**app.conductor.queue(), plan, state, clock::now()).await
}
