//! Serves HTTP/1.1 and HTTP/2 on one port, and closes the connections that only cost.
//!
//! A connection uses memory and a file descriptor for as long as its peer likes. Therefore it is closed if it sends no
//! request for a while, and if the peer does not read a response. A response can carry a [`ResponseHold`], which is kept
//! until the last byte was sent, so that its memory and its permit count until then.

mod activity;
mod response;

use crate::listener::{LimitedConnection, LimitedListener};
use crate::metrics;
use activity::{Activity, ActivityStatus};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use response::TrackedBody;
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
    loop {
        // Cancel-safe: a connection that was not accepted stays in the queue of the operating system.
        let (connection, peer) = tokio::select! {
            () = closing.cancelled() => break,
            next = connections.next() => next,
        };
        tasks.spawn(serve_connection(builder.clone(), connection, peer, router.clone(), closing.clone()));
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
    connection: LimitedConnection,
    peer: SocketAddr,
    router: Router,
    closing: CancellationToken,
) {
    let activity = Arc::new(Activity::new(Instant::now()));
    let service = {
        let activity = Arc::clone(&activity);
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
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
            _ = checks.tick() => match activity.status(Instant::now()) {
                ActivityStatus::Active => {}
                ActivityStatus::Stalled => {
                    metrics::CONNECTIONS_CLOSED.with(["slow_reader".into()]).increment(1);
                    tracing::warn!(%peer, "connection was closed, because its peer did not read a response");
                    return;
                }
                ActivityStatus::Idle if is_closing => return,
                ActivityStatus::Idle => {
                    metrics::CONNECTIONS_CLOSED.with(["idle".into()]).increment(1);
                    tracing::debug!(%peer, "connection was closed, because it sent no request");
                    // HTTP/2 tells the peer. One that does not react is cut off at the next check.
                    is_closing = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

async fn respond(
    router: Router,
    activity: Arc<Activity>,
    request: Request<Incoming>,
) -> Result<Response<TrackedBody>, Infallible> {
    let active = activity.request();
    let timeout = grpc_timeout(request.headers());
    let responding = router.oneshot(request.map(Body::new));
    let response = match timeout {
        None => responding.await?,
        Some(timeout) => match tokio::time::timeout(timeout, responding).await {
            Ok(response) => response?,
            Err(_) => tonic::Status::cancelled("Timeout expired").into_http(),
        },
    };
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
