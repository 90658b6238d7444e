//! Serves HTTP/1.1 and HTTP/2 on one port, and closes the connections that only cost.
//!
//! A connection uses memory and a file descriptor for as long as its peer likes. Therefore it is closed if it sends no
//! request for a while, and if the peer does not read a response. A response can carry a [`ResponseHold`], which is kept
//! until the last byte was sent, so that its memory and its permit count until then.

mod activity;
mod response;
mod session;

use crate::connection::{AcceptedConnection, establish};
use crate::listener::LimitedListener;
use crate::metrics;
use activity::{Activity, ActivityStatus};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use goconductor_tls::{Peer, TlsSession};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
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
/// Maximum size of an HTTP/2 frame. A batch of writes has several hundred kilobytes, and the default of 16 KiB would
/// split it into dozens of frames.
const FRAME: u32 = 1 << 20;
/// Maximum number of concurrent streams of one HTTP/2 connection: a gateway's default limit of requests in flight.
const STREAMS: u32 = 4096;
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

/// Serves until `closing` is cancelled, and then until all requests in flight have completed. Streams to peers that
/// were paused or disconnected are closed within seconds.
pub async fn serve(mut connections: LimitedListener, router: Router, closing: CancellationToken) {
    let tasks = TaskTracker::new();
    let builder = builder();
    let tls = connections.tls().cloned();
    loop {
        // Cancel-safe: a connection that was not accepted stays in the queue of the operating system.
        let (connection, peer) = tokio::select! {
            () = closing.cancelled() => break,
            next = connections.next() => next,
        };
        let (builder, router, closing, tls) = (builder.clone(), router.clone(), closing.clone(), tls.clone());
        tasks.spawn(async move {
            // Cancel-safe: a handshake that is not complete is given up. Without TLS, there is nothing to wait for.
            let established = tokio::select! {
                biased;
                established = establish(connection, peer, tls.as_ref()) => established,
                () = closing.cancelled() => None,
            };
            if let Some((connection, session)) = established {
                serve_connection(builder, connection, session, peer, router, closing).await;
            }
        });
    }
    // Closes the port, so that new clients are refused at once.
    drop(connections);
    tasks.close();
    tasks.wait().await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Without a timer, a peer could take any time to send its headers.
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_frame_size(FRAME);
    builder
}

async fn serve_connection(
    builder: Builder<TokioExecutor>,
    connection: AcceptedConnection,
    session: Option<TlsSession>,
    peer: SocketAddr,
    router: Router,
    closing: CancellationToken,
) {
    let activity = Arc::new(Activity::new(Instant::now()));
    let mut session = SessionCheck::new(session);
    let service = {
        let (activity, identity) = (Arc::clone(&activity), session.peer().cloned());
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            if let Some(identity) = &identity {
                request.extensions_mut().insert::<Peer>(identity.clone());
            }
            let (router, activity) = (router.clone(), Arc::clone(&activity));
            respond(router, activity, request)
        })
    };
    let mut serving = pin!(builder.serve_connection(TokioIo::new(connection), service));
    let mut checks = tokio::time::interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_closing = false;
    loop {
        // Cancel-safe: `serving` continues in the next pass, and the other arms only wait.
        tokio::select! {
            served = &mut serving => {
                if let Err(error) = served {
                    tracing::debug!(%peer, error, "connection failed");
                }
                return;
            }
            () = closing.cancelled(), if !is_closing => {
                is_closing = true;
                serving.as_mut().graceful_shutdown();
            }
            _ = checks.tick() => match check(&mut session, &activity, is_closing, peer) {
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
    match (session.action(now), activity.status(now)) {
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

async fn respond(
    router: Router,
    activity: Arc<Activity>,
    request: Request<Incoming>,
) -> Result<Response<TrackedBody>, Infallible> {
    let active = activity.request();
    let timeout = grpc_timeout(request.headers());
    let is_http2 = request.version() >= Version::HTTP_2;
    let responding = router.oneshot(request.map(Body::new));
    let mut response = match timeout {
        None => responding.await?,
        Some(timeout) => match tokio::time::timeout(timeout, responding).await {
            Ok(response) => response?,
            Err(_) => tonic::Status::cancelled("Timeout expired").into_http(),
        },
    };
    if !is_http2 && active.activity().closes_after_response() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(TrackedBody::track(response, active))
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
