//! Schedules.

use super::PageQuery;
use super::config::if_match;
use super::extract::{Caller, JsonBody, OptionalJsonBody, Path, QueryParams};
use super::integer::Integer;
use crate::api::Api;
use crate::api::schedules::{DueTimes, ScheduleFields, SchedulePage, ScheduleView, TriggeredView, invalid};
use crate::error::{ApiResult, ProblemBody};
use crate::time;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use goconductor_saga::Timestamp;
use goconductor_schedule::Overlap;
use goconductor_service_kit::duration;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(trigger))
        .routes(routes!(backfill))
        .routes(routes!(next))
}

/// A schedule: either `cron` or `every` is required.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleBody {
    /// Definition of the workflows
    definition: String,
    /// Version of the definition (default: the newest at each start)
    #[schema(value_type = Option<u32>)]
    version: Option<Integer<u32>>,
    /// Cron pattern: 5 fields, 6 with the seconds first, or a name such as `@daily`
    cron: Option<String>,
    /// IANA name of the time zone of the pattern (default: `UTC`)
    timezone: Option<String>,
    /// Interval of at least `1s`
    every: Option<String>,
    /// A due time of the interval (default: 1970-01-01T00:00:00Z)
    anchor: Option<String>,
    /// Policy for a due time while a workflow is running: `skip` (default), `buffer_one`, `allow` or `cancel_other`
    overlap: Option<String>,
    /// Due times that were missed are started if they are not older than this: at most `30d` (default: `1h`)
    catch_up: Option<String>,
    /// Input of the workflows (default: `{}`). `${ schedule.time }` stands for the due time, `${ schedule.name }` for the
    /// name.
    input: Option<serde_json::Value>,
    /// Labels of the workflows, besides `goconductor.schedule` and `goconductor.schedule_time`
    labels: Option<BTreeMap<String, String>>,
}

/// The reason of a change of a schedule.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleReasonBody {
    /// Reason
    reason: Option<String>,
}

/// A range of past due times, both ends included.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BackfillBody {
    /// Start of the range
    from: String,
    /// End of the range, not after now
    until: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct NextQuery {
    /// Number of due times: 1 to 1000 (default: 5)
    count: Option<u32>,
}

/// List the schedules, ordered by name
#[utoipa::path(get, path = "/schedules", tag = "schedules", params(PageQuery),
    responses((status = 200, body = SchedulePage), (status = 400, body = ProblemBody)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    QueryParams(query): QueryParams<PageQuery>,
) -> ApiResult<Json<SchedulePage>> {
    api.list_schedules(&context, &query.into()).await.map(Json)
}

/// Get a schedule, with the statuses of its newest workflows
///
/// The header ETag holds the generation.
#[utoipa::path(get, path = "/schedules/{name}", tag = "schedules", params(("name" = String, Path)),
    responses((status = 200, body = ScheduleView), (status = 404, body = ProblemBody)))]
async fn get(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    api.schedule(&context, &name).await.map(|view| tagged(StatusCode::OK, view))
}

/// Create or replace a schedule
///
/// A schedule that is replaced keeps its progress. If its times change, past due times are not started. With the header
/// If-Match, the schedule must have that generation; 0 stands for no schedule.
#[utoipa::path(put, path = "/schedules/{name}", tag = "schedules",
    params(("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "Generation in quotes, as in the header ETag")),
    request_body = ScheduleBody,
    responses((status = 201, body = ScheduleView, description = "The schedule was created"),
        (status = 200, body = ScheduleView, description = "The schedule was replaced, or is unchanged"),
        (status = 404, body = ProblemBody, description = "The definition was not found"),
        (status = 409, body = ProblemBody, description = "The namespace has too many schedules, or the schedule was changed at the same time"),
        (status = 412, body = ProblemBody, description = "The schedule has another generation than that of If-Match"),
        (status = 422, body = ProblemBody, description = "The schedule is invalid, or its input does not match the definition's schema")))]
async fn put(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ScheduleBody>,
) -> ApiResult<Response> {
    let generation = if_match(&headers)?;
    let put = api.put_schedule(&context, &name, fields(body)?.spec()?, generation).await?;
    let status = if put.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(tagged(status, put.schedule))
}

/// Delete a schedule
///
/// Its workflows continue.
#[utoipa::path(delete, path = "/schedules/{name}", tag = "schedules",
    params(("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "Generation in quotes, as in the header ETag")),
    responses((status = 204, description = "The schedule was deleted"), (status = 404, body = ProblemBody),
        (status = 412, body = ProblemBody, description = "The schedule has another generation than that of If-Match")))]
async fn delete(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> ApiResult<StatusCode> {
    let generation = if_match(&headers)?;
    api.delete_schedule(&context, &name, generation).await.map(|()| StatusCode::NO_CONTENT)
}

/// Pause a schedule
///
/// A paused schedule starts nothing but triggers. Due times during the pause are skipped.
#[utoipa::path(post, path = "/schedules/{name}/pause", tag = "schedules", params(("name" = String, Path)),
    request_body = Option<ScheduleReasonBody>,
    responses((status = 200, body = ScheduleView), (status = 404, body = ProblemBody)))]
async fn pause(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<ScheduleReasonBody>,
) -> ApiResult<Json<ScheduleView>> {
    api.pause_schedule(&context, &name, body.reason).await.map(Json)
}

/// Resume a paused schedule
#[utoipa::path(post, path = "/schedules/{name}/resume", tag = "schedules", params(("name" = String, Path)),
    request_body = Option<ScheduleReasonBody>,
    responses((status = 200, body = ScheduleView), (status = 404, body = ProblemBody)))]
async fn resume(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<ScheduleReasonBody>,
) -> ApiResult<Json<ScheduleView>> {
    api.resume_schedule(&context, &name, body.reason).await.map(Json)
}

/// Start a workflow of a schedule now
///
/// The overlap policy does not apply, and a paused schedule can be triggered. Requires the permission `workflows.start` as
/// well.
#[utoipa::path(post, path = "/schedules/{name}/trigger", tag = "schedules",
    params(("name" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "Idempotency key of the start")),
    responses((status = 201, body = TriggeredView, description = "The workflow was started, and the start is durable"),
        (status = 200, body = TriggeredView, description = "Repeated trigger, with Idempotency-Replayed: true"),
        (status = 404, body = ProblemBody, description = "The schedule or its definition was not found"),
        (status = 409, body = ProblemBody, description = "The key belongs to a start with another definition or input"),
        (status = 422, body = ProblemBody, description = "The input does not match the definition's schema"),
        (status = 429, body = ProblemBody, description = "Nothing was started: retry after Retry-After")))]
async fn trigger(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let context = context.with_idempotency_key(&headers)?;
    let triggered = api.trigger_schedule(&context, &name).await?;
    if triggered.is_replayed {
        let replayed = [("idempotency-replayed", HeaderValue::from_static("true"))];
        return Ok((StatusCode::OK, replayed, Json(triggered)).into_response());
    }
    let location = HeaderValue::from_str(&format!("/api/v1/workflows/{}", triggered.workflow));
    let mut response = (StatusCode::CREATED, Json(triggered)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Start the due times of a past range
///
/// The elected executor starts them in order, regardless of the overlap policy. A due time that was started before is not
/// started again. A range has at most 1000 due times.
#[utoipa::path(post, path = "/schedules/{name}/backfill", tag = "schedules", params(("name" = String, Path)),
    request_body = BackfillBody,
    responses((status = 200, body = ScheduleView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody, description = "A backfill of the schedule is in progress"),
        (status = 422, body = ProblemBody, description = "The range is invalid")))]
async fn backfill(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
    JsonBody(BackfillBody { from, until }): JsonBody<BackfillBody>,
) -> ApiResult<Json<ScheduleView>> {
    let (from, until) = (parse_time(&from, "/from")?, parse_time(&until, "/until")?);
    api.backfill_schedule(&context, &name, from, until).await.map(Json)
}

/// List the next due times of a schedule
#[utoipa::path(get, path = "/schedules/{name}/next", tag = "schedules",
    params(("name" = String, Path), NextQuery),
    responses((status = 200, body = DueTimes), (status = 404, body = ProblemBody)))]
async fn next(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
    QueryParams(query): QueryParams<NextQuery>,
) -> ApiResult<Json<DueTimes>> {
    api.next_due_times(&context, &name, query.count).await.map(Json)
}

/// Returns a response with the generation as its entity tag.
fn tagged(status: StatusCode, view: ScheduleView) -> Response {
    (status, [(header::ETAG, format!("\"{}\"", view.generation))], Json(view)).into_response()
}

fn fields(body: ScheduleBody) -> ApiResult<ScheduleFields> {
    let overlap = body.overlap.as_deref().map(parse_overlap).transpose()?;
    Ok(ScheduleFields {
        definition: body.definition,
        version: body.version.map(|Integer(version)| version),
        cron: body.cron,
        timezone: body.timezone,
        every: parse_duration(body.every.as_deref(), "/every")?,
        anchor: body.anchor.map(|anchor| parse_time(&anchor, "/anchor")).transpose()?,
        overlap: overlap.unwrap_or_default(),
        catch_up: parse_duration(body.catch_up.as_deref(), "/catch_up")?,
        input: body.input,
        labels: body.labels.unwrap_or_default(),
    })
}

fn parse_overlap(text: &str) -> ApiResult<Overlap> {
    let names = Overlap::ALL.map(Overlap::as_str).join(", ");
    Overlap::parse(text)
        .ok_or_else(|| invalid("/overlap", format!("unknown overlap policy {text:?}: use one of {names}")))
}

fn parse_duration(text: Option<&str>, pointer: &str) -> ApiResult<Option<Duration>> {
    let parse = |text: &str| {
        duration::parse(text).map_err(|error| invalid(pointer, format!("invalid duration {text:?}: {error}")))
    };
    text.map(parse).transpose()
}

fn parse_time(text: &str, pointer: &str) -> ApiResult<Timestamp> {
    let detail = || format!("invalid time {text:?}: use RFC 3339, such as 2026-11-30T09:00:00Z");
    time::parse(text).ok_or_else(|| invalid(pointer, detail()))
}
