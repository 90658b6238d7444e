//! Services: how they are reached, and how far behind they are.

use crate::App;
use crate::error::{Answer, NO_SERVICE, PARAMETER, Problem, ProblemBody, WRONG_SHAPE};
use crate::extract::{Body, Caller, Path};
use crate::moment::rfc3339;
use axum::Json;
use axum::extract::State;
use goconductor_saga::Side;
use goconductor_store::{ActionLimits, HttpEndpoint, ServiceRecord, ServiceSettings};
use goconductor_transition::{clock, topic_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Commands of one service under way at once, at most.
const MOST_IN_FLIGHT: u32 = 100_000;
/// Actions of a service that have limits of their own, and bytes of a name of one.
const MOST_ACTIONS: usize = 256;
const ACTION: usize = 256;
/// Bytes of a URL.
const URL: usize = 2048;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put))
}

/// How a service is reached when it has no worker, and what it is limited to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ServiceBody {
    /// None: it is reached by workers only.
    http: Option<HttpBody>,
    /// Commands of it under way at once, of each side.
    max_in_flight: Option<u32>,
    /// What some of its actions are limited to, by name.
    actions: Option<BTreeMap<String, ActionBody>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ActionBody {
    /// Commands of it under way at once, of each side. The other actions go on meanwhile.
    max_in_flight: u32,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HttpBody {
    /// What `/{action}` is appended to.
    url: String,
}

/// A service.
#[derive(Debug, Serialize, ToSchema)]
struct ServiceView {
    name: String,
    /// None: it is reached by workers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<HttpView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_in_flight: Option<u64>,
    /// What some of its actions are limited to, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    actions: BTreeMap<String, ActionView>,
    /// Whether somebody takes its commands.
    served: bool,
    /// Commands of it that are due.
    backlog: u64,
    updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct ActionView {
    max_in_flight: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct HttpView {
    /// A password in it is not shown.
    url: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct ServiceList {
    services: Vec<ServiceView>,
}

/// Say how a service is reached
#[utoipa::path(put, path = "/services/{name}", tag = "services", params(("name" = String, Path)),
    request_body = ServiceBody,
    responses((status = 200, body = ServiceView), (status = 422, body = ProblemBody)))]
async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(body): Body<ServiceBody>,
) -> Answer<Json<ServiceView>> {
    check_name(&name)?;
    let settings = check_settings(body)?;
    let record = ServiceRecord { namespace: caller.namespace, name, settings, updated_at: clock::now() };
    app.store().put_service(record.clone()).await?;
    app.conductor.services_changed().notify_one();
    Ok(Json(view(&app, record, &backlog(&app).await?).await))
}

/// List the services
#[utoipa::path(get, path = "/services", tag = "services", responses((status = 200, body = ServiceList)))]
async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<ServiceList>> {
    let backlog = backlog(&app).await?;
    let mut services = Vec::new();
    for record in app.store().services().await? {
        if record.namespace == caller.namespace {
            services.push(view(&app, record, &backlog).await);
        }
    }
    Ok(Json(ServiceList { services }))
}

/// Read a service
#[utoipa::path(get, path = "/services/{name}", tag = "services", params(("name" = String, Path)),
    responses((status = 200, body = ServiceView), (status = 404, body = ProblemBody)))]
async fn get(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<Json<ServiceView>> {
    let services = app.store().services().await?;
    let record =
        services.into_iter().find(|record| record.namespace == caller.namespace && record.name == name);
    let record = record.ok_or_else(|| {
        Problem::new(
            NO_SERVICE,
            format!("there is no service {name} in this namespace; PUT says how it is reached"),
        )
    })?;
    Ok(Json(view(&app, record, &backlog(&app).await?).await))
}

/// What the executors are told of a service.
fn check_settings(body: ServiceBody) -> Answer<ServiceSettings> {
    let ServiceBody { http, max_in_flight, actions } = body;
    if http.is_none() && max_in_flight.is_none() && actions.is_none() {
        let detail = "it says neither how the service is reached nor what it is limited to";
        return Err(Problem::new(WRONG_SHAPE, detail).at("/http", detail));
    }
    let http = match http {
        Some(http) => Some(HttpEndpoint { url: check_url(&http.url)? }),
        None => None,
    };
    let max_in_flight = match max_in_flight {
        Some(most) => Some(check_most(most, "/max_in_flight")?),
        None => None,
    };
    let actions = actions.unwrap_or_default();
    if actions.len() > MOST_ACTIONS || actions.keys().any(|name| name.is_empty() || name.len() > ACTION) {
        let detail = format!("up to {MOST_ACTIONS} actions are limited, with names of up to {ACTION} bytes");
        return Err(Problem::new(WRONG_SHAPE, detail.clone()).at("/actions", detail));
    }
    let mut limits = BTreeMap::new();
    for (name, ActionBody { max_in_flight }) in actions {
        let pointer = format!("/actions/{}/max_in_flight", name.replace('~', "~0").replace('/', "~1"));
        limits.insert(name, ActionLimits { max_in_flight: check_most(max_in_flight, &pointer)? });
    }
    Ok(ServiceSettings { http, max_in_flight, actions: limits, ..ServiceSettings::default() })
}

fn check_most(most: u32, pointer: &str) -> Answer<u64> {
    if (1..=MOST_IN_FLIGHT).contains(&most) {
        return Ok(most.into());
    }
    let detail = format!("max_in_flight is from 1 to {MOST_IN_FLIGHT}");
    Err(Problem::new(WRONG_SHAPE, detail.clone()).at(pointer, detail))
}

fn check_name(name: &str) -> Answer<()> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=63).contains(&name.len())
        && name.bytes().all(inside)
        && !name.starts_with('-')
        && !name.ends_with('-')
    {
        return Ok(());
    }
    Err(Problem::new(
        PARAMETER,
        "a service's name has up to 63 lower-case letters, digits and hyphens inside",
    ))
}

/// The URL without a slash at its end.
fn check_url(text: &str) -> Answer<String> {
    let wrong = |why: &str| {
        let detail = format!("the URL {why}; it is like http://127.0.0.1:9101");
        Problem::new(WRONG_SHAPE, detail.clone()).at("/http/url", detail)
    };
    if text.len() > URL {
        return Err(wrong("is too long"));
    }
    let uri: http::Uri = text.parse().map_err(|_| wrong("can't be read"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("does not begin with http:// or https://"));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(wrong("names no host"));
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(wrong("has a query or a fragment: the action is appended to its path"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

async fn backlog(app: &App) -> Answer<BTreeMap<String, u64>> {
    Ok(app.store().backlog(clock::now()).await?.into_iter().collect())
}

async fn view(app: &App, record: ServiceRecord, backlog: &BTreeMap<String, u64>) -> ServiceView {
    let ServiceRecord { namespace, name, settings, updated_at } = record;
    let limits = |(name, limits): (&String, &ActionLimits)| {
        (name.clone(), ActionView { max_in_flight: limits.max_in_flight })
    };
    let topic = topic_of(&namespace, &name, Side::Execute);
    ServiceView {
        http: settings
            .url()
            .map(|url| HttpView { url: goconductor_service_kit::config::SecretUrl::new(url).to_string() }),
        actions: settings.actions.iter().map(limits).collect(),
        max_in_flight: settings.max_in_flight,
        served: app.conductor.queue().has_consumer(&topic).await.unwrap_or(false),
        backlog: [Side::Execute, Side::Compensate]
            .iter()
            .filter_map(|side| backlog.get(&format!("{namespace}/{name}/{}", side.as_str())))
            .sum(),
        updated_at: rfc3339(updated_at),
        name,
    }
}
