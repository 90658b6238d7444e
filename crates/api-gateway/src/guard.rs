//! What every call goes through: pages of other sites, headers that keep browsers careful, panics.

use crate::App;
use crate::admission::{Admission, BodyRoom, CallPlace};
use crate::error::{CROSS_SITE, INTERNAL, MALFORMED, Problem, TOO_LARGE, TOO_SLOW};
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::any::Any;
use std::net::IpAddr;
use std::time::Duration;

/// A body has to arrive within this.
const BODY_TIME: Duration = Duration::from_secs(30);
/// What is read, and dropped, of a body over the limit, so that its sender gets to see the answer.
const DRAINED: usize = 16 << 20;
/// How long the body of a refused call is read.
const DROP_TIME: Duration = Duration::from_secs(2);
/// Characters of a namespace.
const NAMESPACE: usize = 63;

/// Lets no page of another site change anything, and keeps browsers careful with the answers.
pub(crate) async fn same_site(request: Request, next: Next) -> Response {
    if is_foreign(&request) {
        let detail = "the call comes from a page of another site; open the console by this server's address";
        return Problem::new(CROSS_SITE, detail).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A browser sends a page's calls to any address; nobody is authenticated here, so a page of another site
/// may not change anything, and neither may one whose name was made to lead to this machine.
fn is_foreign(request: &Request) -> bool {
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN).filter(|_| writes) else { return false };
    let host = text(header::HOST).or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let origin = origin.split_once("://").map(|(_, host)| host);
    origin.is_none() || origin != host || !host.is_some_and(is_an_address)
}

/// Whether a host is given by address, or is this machine by its own name: such a host can't be rebound.
fn is_an_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    name == "localhost" || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

/// Lets no more calls in than are carried out at once. One that is refused is answered before anything of it
/// was looked at, but for its namespace; what it brings is read, and dropped.
pub(crate) async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let header = request.headers().get("goconductor-namespace");
    // Not checked yet: one that is too long to be any has no share of its own.
    let namespace = header.map_or(Ok("default"), HeaderValue::to_str).unwrap_or_default();
    let namespace = if namespace.len() <= NAMESPACE { namespace } else { "" };
    let call: CallPlace = match app.admission.call(namespace) {
        Ok(call) => call,
        Err(problem) => return dropping(request.into_body(), problem, app.limits.body_bytes).await,
    };
    request.extensions_mut().insert(call.clone());
    let response = next.run(request).await;
    drop(call);
    response
}

/// Answers a call whose body nobody looks at.
async fn dropping(body: Body, problem: Problem, limit: usize) -> Response {
    if body.is_end_stream() {
        return problem.into_response();
    }
    match tokio::time::timeout(DROP_TIME, read(body, 0, limit, None)).await {
        Ok(_) => problem.into_response(),
        Err(_) => closing(problem),
    }
}

/// Reads the whole body before anybody looks at it: one that is left unread breaks its connection, and the
/// next call on it with it.
pub(crate) async fn whole_body(State(app): State<App>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let reading = read(body, app.limits.body_bytes, DRAINED, Some(&app.admission));
    match tokio::time::timeout(BODY_TIME, reading).await {
        Ok(Ok((bytes, room))) => {
            let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
            drop(room);
            response
        }
        Ok(Err(problem)) => closing(problem),
        Err(_) => closing(Problem::new(TOO_SLOW, "the body did not arrive within 30 s")),
    }
}

/// What is left of the body is not read: the connection can't be used again.
fn closing(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A body of at most `limit` bytes, and the room that it takes of what all bodies may hold together; of one that
/// is larger, or has no room, so many more bytes are read, and dropped.
async fn read(
    mut body: Body,
    limit: usize,
    dropped: usize,
    admission: Option<&Admission>,
) -> Result<(Bytes, Option<BodyRoom>), Problem> {
    let mut kept = BytesMut::new();
    let mut room: Option<BodyRoom> = None;
    let mut refused = None;
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(MALFORMED, "the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > limit {
            refused = Some(Problem::new(TOO_LARGE, format!("a body has at most {limit} bytes")));
        } else if refused.is_none()
            && let Some(admission) = admission
        {
            match admission.body(data.len()) {
                Ok(more) => match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                },
                Err(problem) => refused = Some(problem),
            }
        }
        if refused.is_none() {
            kept.extend_from_slice(&data);
        } else {
            (kept, room) = (BytesMut::new(), None);
        }
        if length > limit.saturating_add(dropped) {
            break;
        }
    }
    match refused {
        Some(problem) => Err(problem),
        None => Ok((kept.freeze(), room)),
    }
}

/// A panic is a bug of ours; its caller hears of it in the one form, and everybody else is served.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(message, "a handler panicked");
    Problem::new(INTERNAL, "a bug; the server's log has the rest").into_response()
}
