//! Serves HTTP/1.1 and HTTP/2 on one port, and closes the connections that only cost.
//!
//! A connection uses memory and a file descriptor for as long as its peer likes. Therefore it is closed if it sends no
//! request for a while, if the peer does not read a response, and if the peer sends much that belongs to no request. A
//! response can carry a [`ResponseHold`], which is kept until the last byte was sent, so that its memory and its permit
//! count until then.

mod activity;
mod metered;
mod response;
mod session;

use crate::connection::{AcceptedConnection, establish};
use crate::connection_limits::{ConnectionLimits, PeerAddress};
use crate::count_limit::CountLimit;
use crate::listener::LimitedListener;
use crate::metrics;
use activity::{Activity, ActivityStatus};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use goconductor_tls::{Peer, TlsIdentity, TlsSession};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use metered::{MeteredConnection, metered_body};
use response::TrackedBody;
use session::{SessionAction, SessionCheck};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

pub use response::ResponseHold;

/// Interval and timeout of HTTP/2 keepalive pings. A peer that was paused or disconnected is detected within twice this
/// time.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Maximum size of the buffer of an HTTP/1 connection. It limits the headers of a request: 431 if they are larger.
const BUFFER: usize = 32 << 10;
/// Maximum number of the headers of a request: 431 if there are more.
const HEADERS: usize = 100;
/// Maximum size of the headers of an HTTP/2 request, and of its CONTINUATION frames: 431 if they are larger. More frames
/// than such headers can need close the connection.
const HEADER_LIST: u32 = 16 << 10;
/// Maximum number of streams of a connection that the peer reset before the server saw them. More of them are a rapid
/// reset attack, and the connection is closed with `ENHANCE_YOUR_CALM`.
const PENDING_RESETS: usize = 20;
/// Maximum number of streams of a connection that the server reset because of errors of the peer.
const ERROR_RESETS: usize = 256;
/// Response to a request beyond the limit of requests in progress.
const BUSY: &str = "{\"type\":\"/errors/GC2030\",\"title\":\"too many concurrent requests\",\"status\":429,\
    \"detail\":\"too many requests are in progress; retry later\",\"code\":\"GC2030\",\"retryable\":true}";
/// The beginnings of the paths of requests whose bodies contain secrets.
const SECRET_PATHS: [&str; 2] = ["/api/v1/secrets/", "/goconductor.v1.SecretService/PutSecret"];
/// Interval between two checks of a connection.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The unit of a gRPC timeout and its length in nanoseconds.
const TIMEOUT_UNITS: [(u8, u64); 6] = [
    (b'H', 3_600_000_000_000),
    (b'M', 60_000_000_000),
    (b'S', 1_000_000_000),
    (b'm', 1_000_000),
    (b'u', 1_000),
    (b'n', 1),
];

/// The parts that the connections of a port share.
#[derive(Clone)]
struct Server {
    builder: Builder<TokioExecutor>,
    tls: Option<TlsIdentity>,
    handler: RequestHandler,
    closing: CancellationToken,
}

/// The parts that the requests of a port share.
#[derive(Clone)]
struct RequestHandler {
    router: Router,
    /// The requests in progress over all connections.
    requests: Arc<CountLimit>,
}

/// Serves until `closing` is cancelled, and then until all requests in flight have completed. Streams to peers that
/// were paused or disconnected are closed within seconds.
pub async fn serve(mut connections: LimitedListener, router: Router, closing: CancellationToken) {
    let tasks = TaskTracker::new();
    let limits = connections.limits();
    let requests = connections.bounds().requests();
    let server = Server {
        builder: builder(limits),
        tls: connections.tls().cloned(),
        handler: RequestHandler { router, requests },
        closing,
    };
    loop {
        // Cancel-safe: a connection that was not accepted stays in the queue of the operating system.
        let (connection, peer) = tokio::select! {
            () = server.closing.cancelled() => break,
            next = connections.next() => next,
        };
        let server = server.clone();
        tasks.spawn(async move {
            // Cancel-safe: a handshake that is not complete is given up. Without TLS, there is nothing to wait for.
            let established = tokio::select! {
                biased;
                established = establish(connection, peer, server.tls.as_ref()) => established,
                () = server.closing.cancelled() => None,
            };
            if let Some((connection, session)) = established {
                server.serve_connection(connection, session, peer).await;
            }
        });
    }
    // Closes the port, so that new clients are refused at once.
    drop(connections);
    tasks.close();
    tasks.wait().await;
}

fn builder(limits: &ConnectionLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Without a timer, a peer could take any time to send its headers.
    builder.http1().timer(TokioTimer::new()).max_buf_size(BUFFER).max_headers(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(HEADER_LIST)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_frame_size(limits.frame_bytes);
    builder
}

impl Server {
    async fn serve_connection(
        self,
        connection: AcceptedConnection,
        session: Option<TlsSession>,
        peer: SocketAddr,
    ) {
        let activity = Arc::new(Activity::new(Instant::now()));
        let mut session = SessionCheck::new(session);
        let service = {
            let (handler, activity) = (self.handler.clone(), Arc::clone(&activity));
            let identity = session.peer().cloned();
            hyper::service::service_fn(move |mut request: Request<Incoming>| {
                if let Some(identity) = &identity {
                    request.extensions_mut().insert::<Peer>(identity.clone());
                }
                handler.clone().respond(Arc::clone(&activity), peer, request)
            })
        };
        let connection = MeteredConnection::new(connection, Arc::clone(&activity));
        let mut serving = pin!(self.builder.serve_connection(TokioIo::new(connection), service));
        let mut checks = tokio::time::interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_closing, mut is_flood) = (false, false);
        loop {
            // Cancel-safe: `serving` continues in the next pass, and the other arms only wait.
            tokio::select! {
                served = &mut serving => {
                    if let Err(error) = served {
                        if activity.is_flooded() {
                            report_flood(peer, "it sent too much that belongs to no request");
                        }
                        tracing::debug!(%peer, error, "connection failed");
                    }
                    return;
                }
                () = self.closing.cancelled(), if !is_closing => {
                    is_closing = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = activity.flooded(), if !is_flood => {
                    report_flood(peer, "it cancelled too many requests");
                    (is_closing, is_flood) = (true, true);
                    serving.as_mut().graceful_shutdown();
                }
                _ = checks.tick() => match check(&mut session, &activity, is_closing, peer) {
                    // The peer had the time to read that the connection is closed.
                    _ if is_flood => return,
                    ConnectionAction::Continue => {}
                    ConnectionAction::ShutDown => {
                        // HTTP/2 tells the peer. One that does not react is cut off at a later check.
                        is_closing = true;
                        serving.as_mut().graceful_shutdown();
                    }
                    ConnectionAction::CutOff => return,
                }
            }
        }
    }
}

/// The result of a check of a connection.
enum ConnectionAction {
    Continue,
    /// The connection takes no further requests.
    ShutDown,
    /// The connection is closed at once.
    CutOff,
}

fn check(
    session: &mut SessionCheck,
    activity: &Activity,
    is_closing: bool,
    peer: SocketAddr,
) -> ConnectionAction {
    let now = Instant::now();
    match (session.action(now), activity.check(now)) {
        (SessionAction::CutOff, _) => {
            metrics::CONNECTIONS_CLOSED.with(["certificate".into()]).increment(1);
            tracing::info!(%peer, "connection was closed, because the certificate of its peer is not trusted");
            ConnectionAction::CutOff
        }
        (_, ActivityStatus::Stalled) => {
            metrics::CONNECTIONS_CLOSED.with(["slow_reader".into()]).increment(1);
            tracing::warn!(%peer, "connection was closed, because its peer did not read a response");
            ConnectionAction::CutOff
        }
        (_, ActivityStatus::Idle) if is_closing => ConnectionAction::CutOff,
        (_, ActivityStatus::Idle) => {
            metrics::CONNECTIONS_CLOSED.with(["idle".into()]).increment(1);
            tracing::debug!(%peer, "connection was closed, because it sent no request");
            ConnectionAction::ShutDown
        }
        (SessionAction::Renew, ActivityStatus::Active) if is_closing => ConnectionAction::Continue,
        (SessionAction::Renew, ActivityStatus::Active) if session.is_http2() => ConnectionAction::ShutDown,
        (SessionAction::Renew, ActivityStatus::Active) => {
            activity.close_after_response();
            ConnectionAction::Continue
        }
        (SessionAction::Keep, ActivityStatus::Active) => ConnectionAction::Continue,
    }
}

impl RequestHandler {
    async fn respond(
        self,
        activity: Arc<Activity>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<TrackedBody>, Infallible> {
        let Some(permit) = self.requests.try_acquire() else {
            return Ok(TrackedBody::track(refusal(request.headers()), activity.request(None)));
        };
        if carries_secret(&request) {
            activity.overwrite_buffers();
        }
        let active = activity.request(Some(permit));
        let timeout = grpc_timeout(request.headers());
        let is_http2 = request.version() >= Version::HTTP_2;
        let mut request = request.map(|body| metered_body(body, &activity));
        request.extensions_mut().insert(PeerAddress(peer.ip()));
        let responding = self.router.oneshot(request);
        let mut response = match timeout {
            None => responding.await?,
            Some(timeout) => match tokio::time::timeout(timeout, responding).await {
                Ok(response) => response?,
                Err(_) => tonic::Status::cancelled("Timeout expired").into_http(),
            },
        };
        if !is_http2 && activity.closes_after_response() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(TrackedBody::track(response, active))
    }
}

/// Returns whether the body of a request may contain a secret.
fn carries_secret<B>(request: &Request<B>) -> bool {
    SECRET_PATHS.iter().any(|path| request.uri().path().starts_with(path))
        && matches!(*request.method(), Method::PUT | Method::POST)
}

/// Returns the response to a request beyond the limit of requests in progress.
fn refusal(headers: &HeaderMap) -> Response<Body> {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
        return tonic::Status::resource_exhausted("too many requests are in progress; retry later")
            .into_http();
    }
    let mut response = Response::new(Body::from(BUSY));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn report_flood(peer: SocketAddr, reason: &'static str) {
    metrics::CONNECTIONS_CLOSED.with(["flood".into()]).increment(1);
    tracing::warn!(%peer, reason, "connection was closed, because its peer flooded it");
}

/// Returns the timeout of a gRPC request: up to eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get("grpc-timeout")?.as_bytes().split_last()?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() <= 8)?;
    let (_, nanos) = TIMEOUT_UNITS.iter().find(|(known, _)| known == unit)?;
    Some(Duration::from_nanos(nanos.saturating_mul(digits.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn grpc_timeout_is_a_number_with_a_unit() {
        let parse = |text: &'static str| {
            grpc_timeout(&HeaderMap::from_iter([(
                axum::http::HeaderName::from_static("grpc-timeout"),
                HeaderValue::from_static(text),
            )]))
        };
        assert_eq!(parse("99999999H"), Some(Duration::from_nanos(u64::MAX)));
        assert_eq!(parse("3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("7n"), Some(Duration::from_nanos(7)));
        for invalid in ["", "S", "5", "5s", "-5S", "123456789S", "1.5S"] {
            assert_eq!(parse(invalid), None, "{invalid}");
        }
        assert_eq!(grpc_timeout(&HeaderMap::new()), None);
    }
}
