//! Middleware: cross-site protection, admission control and body limits.

use super::body_buffer::{BodyBuffer, detached, is_secret, overwrite_frames};
use crate::admission::{Admission, BodyPermit, RequestPermit, ResponseHolds};
use crate::api::{Api, admission_namespace};
use crate::error::{BODY_TIMEOUT, CROSS_SITE, MALFORMED, PARAMETER, Problem};
use crate::recorded;
use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// The time within which a body must arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// The time after which a request that waits for its body is no longer in flight.
const PROMPT_BODY_TIME: Duration = Duration::from_secs(1);
/// The bytes of a body over the limit that are read and dropped. A client that is still sending would otherwise not
/// see the response.
const MAX_DROPPED_BYTES: usize = 16 << 20;
/// The most characters of a parameter's name that a message repeats.
const MAX_SHOWN: usize = 60;
/// The time within which the body of a refused request is read and dropped.
const DROP_TIME: Duration = Duration::from_secs(2);

/// The routes whose bodies carry an input, an output or the payload of a signal.
const PAYLOAD_ROUTES: [&str; 3] = [
    "/api/v1/workflows",
    "/api/v1/workflows/{id}/signals/{name}",
    "/api/v1/workflows/{id}/steps/{step}/complete",
];

/// Checks the requests of the REST API before their handlers run. One middleware makes all checks, because each layer of
/// a router costs allocations for every request.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) api: Api,
    /// The operations without query parameters: method and path.
    pub(super) without_query: Arc<BTreeSet<(String, String)>>,
}

/// Responds to a request that passes all checks, or says which one failed. The caller is checked first.
pub(super) async fn guarded(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let Some(gate) = &guard.api.gate else { return serve(&guard, request, next).await };
    let limit = guard.api.limits().body_bytes;
    let refuse = |body: Body, problem: Problem| async move {
        let mut response = refuse(body, problem, limit).await;
        restrict_browsers(response.headers_mut());
        response
    };
    // Boxed, so that a server without access control keeps no room for it in each request.
    Box::pin(gate.serve_rest(request, |request| serve(&guard, request, next), refuse)).await
}

/// Serves a request whose caller may make it. Operational endpoints are not subject to admission control, so that they
/// respond even under overload.
async fn serve(guard: &Guard, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with("/api/") {
        return respond(guard, request, None, next).await;
    }
    let (admission, namespace) = (&guard.api.admission, admission_namespace(request.headers()));
    let rate = admission.check_rate(request.extensions(), namespace);
    let admitted = rate.and_then(|rate| Ok((rate, admission.admit_request(namespace)?)));
    let (rate, permit) = match admitted {
        Ok(admitted) => admitted,
        Err(problem) => return refuse(request.into_body(), problem, guard.api.limits().body_bytes).await,
    };
    let mut response = respond(guard, request, Some(permit), next).await;
    if let Some(rate) = rate {
        rate.write(response.headers_mut());
    }
    response
}

/// Responds to a request that was admitted, or that needs no permit.
async fn respond(guard: &Guard, mut request: Request, permit: Option<RequestPermit>, next: Next) -> Response {
    if let Some(permit) = &permit {
        hold(&mut request, permit);
    }
    // The permit counts the body until the handler has returned.
    // The read buffer of a connection over HTTP/1 is free, and can be overwritten, once the connection is closed.
    let closes = is_secret(&request) && request.version() < Version::HTTP_2;
    let (request, _body) = match read_body(&guard.api, request, permit.as_ref()).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    if is_cross_site(&request, guard.api.gate.is_some()) {
        let detail =
            "the request comes from a page of another site: open the console by this server's address";
        return Problem::new(CROSS_SITE, detail).into_response();
    }
    let mut response = match unexpected_query(&guard.without_query, &request) {
        Some(problem) => problem.into_response(),
        None => recorded::rest(&guard.api, request, next).await,
    };
    restrict_browsers(response.headers_mut());
    if closes {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Adds response headers that restrict browsers.
fn restrict_browsers(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Whether a request is a write from a page of another site. A browser sends such requests to any address. Without access
/// control, a host name that was rebound to this machine counts as another site. With it, a browser sends a credential only
/// to the name for which its user has entered it.
fn is_cross_site(request: &Request, has_access_control: bool) -> bool {
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN).filter(|_| writes) else { return false };
    let host = text(header::HOST).or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let origin = origin.split_once("://").map(|(_, host)| host);
    origin.is_none() || origin != host || !(has_access_control || host.is_some_and(is_address))
}

/// Whether a host is an IP address or `localhost`. DNS rebinding cannot affect such a host.
fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    name == "localhost" || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

/// Refuses the query of an operation that has no query parameters. A misspelt parameter would have no effect.
fn unexpected_query(without_query: &BTreeSet<(String, String)>, request: &Request) -> Option<Problem> {
    let query = request.uri().query().filter(|query| !query.is_empty())?;
    let path = request.extensions().get::<MatchedPath>()?;
    let operation = (request.method().as_str().to_owned(), path.as_str().to_owned());
    if !without_query.contains(&operation) {
        return None;
    }
    let name: String = query.chars().take_while(|c| !matches!(c, '=' | '&')).take(MAX_SHOWN).collect();
    let detail = format!("unknown query parameter {name:?}: this operation has no query parameters");
    Some(Problem::new(PARAMETER, detail))
}

/// Lets a request hold its permit: it is in flight until its response was sent.
fn hold(request: &mut Request, permit: &RequestPermit) {
    if let Some(holds) = request.extensions().get::<ResponseHolds>() {
        holds.hold_request(permit.clone());
    }
    request.extensions_mut().insert(permit.clone());
}

/// Returns the permit that [`hold`] has added to a request.
pub(super) fn permit_of(extensions: &Extensions) -> Option<RequestPermit> {
    extensions.get::<RequestPermit>().cloned()
}

/// Drops the body of a refused request, and responds.
async fn refuse(body: Body, problem: Problem, limit: usize) -> Response {
    if body.is_end_stream() {
        return problem.into_response();
    }
    match tokio::time::timeout(DROP_TIME, read(body, BodyBuffer::new(false), 0, limit, None)).await {
        Ok(_) => problem.into_response(),
        Err(_) => close(problem),
    }
}

/// Reads the whole body before the handler runs. A body that a handler left unread would break the connection and
/// the next request on it. A request whose body takes long gives its permit to others until the body is complete.
async fn read_body(
    api: &Api,
    request: Request,
    permit: Option<&RequestPermit>,
) -> Result<(Request, Option<BodyPermit>), Response> {
    let is_secret = is_secret(&request);
    let (mut parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok((Request::from_parts(parts, body), None));
    }
    let route = parts.extensions.get::<MatchedPath>().cloned();
    let (buffer, limit) =
        (BodyBuffer::new(is_secret), body_limit(api, route.as_ref().map(MatchedPath::as_str)));
    let mut reading = pin!(read(body, buffer, limit, MAX_DROPPED_BYTES, Some(&*api.admission)));
    // Cancel-safe: the body is read further below.
    let read = match tokio::time::timeout(PROMPT_BODY_TIME, &mut reading).await {
        Ok(read) => Ok(read),
        Err(_) => {
            if let Some(permit) = permit {
                permit.release();
            }
            let late = tokio::time::timeout(BODY_TIME - PROMPT_BODY_TIME, reading).await;
            if let (Ok(Ok(_)), Some(permit)) = (&late, permit) {
                let renewed = api.admission.admit_request(admission_namespace(&parts.headers));
                permit.renew(&renewed.map_err(IntoResponse::into_response)?);
            }
            late
        }
    };
    match read {
        Ok(Ok((buffer, permit))) => {
            let (bytes, frames) = buffer.into_parts();
            if is_secret {
                parts = detached(parts);
                overwrite_frames(frames);
            }
            Ok((Request::from_parts(parts, Body::from(bytes)), permit))
        }
        Ok(Err(problem)) => Err(close(problem)),
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            Err(close(Problem::new(BODY_TIMEOUT, detail)))
        }
    }
}

/// Returns the maximum size of the body of a request to a route.
pub(crate) fn body_limit(api: &Api, route: Option<&str>) -> usize {
    let limits = api.limits();
    let carries_payload = route.is_some_and(|route| PAYLOAD_ROUTES.contains(&route));
    if carries_payload { limits.payload_body_bytes } else { limits.body_bytes }
}

/// Responds and closes the connection, which is unusable because the rest of the body was not read.
fn close(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Reads a body of at most `limit` bytes into `buffer`, and reserves its memory. Of a body that is refused, up to `dropped`
/// bytes more are read and dropped.
async fn read(
    mut body: Body,
    mut buffer: BodyBuffer,
    limit: usize,
    dropped: usize,
    admission: Option<&Admission>,
) -> Result<(BodyBuffer, Option<BodyPermit>), Problem> {
    let mut permit: Option<BodyPermit> = None;
    let mut refused = None;
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|_| Problem::new(MALFORMED, "the connection was closed before the end of the body"))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > limit {
            refused = Some(Problem::too_large(limit));
        } else if refused.is_none()
            && let Some(admission) = admission
        {
            match admission.reserve_body(data.len()) {
                Ok(more) => match &mut permit {
                    Some(permit) => permit.merge(more),
                    None => permit = Some(more),
                },
                Err(problem) => refused = Some(problem),
            }
        }
        if refused.is_none() {
            buffer.push(data);
        } else {
            (buffer, permit) = (BodyBuffer::new(false), None);
        }
        if length > limit.saturating_add(dropped) {
            break;
        }
    }
    match refused {
        Some(problem) => Err(problem),
        None => Ok((buffer, permit)),
    }
}
