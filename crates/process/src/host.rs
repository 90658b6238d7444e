//! One port: health and metrics from the first moment on, the service itself once it is open. HTTP/1.1 and
//! HTTP/2 are both spoken, so gRPC and REST share it.

use crate::{Connections, Process};
use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use goconductor_service_kit::health::Readiness;
use goconductor_service_kit::telemetry::Metrics;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tower::ServiceExt;

/// A connection on which nothing is heard is asked this often, and given up when it does not answer in
/// time: who was paused or cut off holds nothing up.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// The longest piece in which a call may come: a group of writes has some hundred kilobytes, and would be cut
/// into dozens.
const FRAME: u32 = 1 << 20;
/// How long calls under way may take to end.
const DRAIN: Duration = Duration::from_secs(5);

/// The one port of a service.
#[derive(Debug)]
pub struct Host {
    address: SocketAddr,
    service: Arc<OnceLock<Router>>,
    closing: CancellationToken,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

#[derive(Clone)]
struct Front {
    readiness: Readiness,
    metrics: Metrics,
    draining: CancellationToken,
    service: Arc<OnceLock<Router>>,
}

impl Host {
    /// Listens, and answers for health and metrics. Nothing else is open yet.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub async fn listen(process: &Process, address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("{address} can't be listened on: choose another by --listen"))?;
        let address = listener.local_addr().context("the address can't be read")?;
        let service: Arc<OnceLock<Router>> = Arc::default();
        let front = Front {
            readiness: process.readiness.clone(),
            metrics: process.metrics.clone(),
            draining: process.drain.token(),
            service: Arc::clone(&service),
        };
        let closing = CancellationToken::new();
        let most = usize::try_from(process.config.limits.connections).unwrap_or(usize::MAX);
        let connections = Connections::new(listener, most);
        let serving = tokio::spawn(serve(connections, surface(front), closing.clone()));
        tracing::info!(%address, service = process.name, "listens");
        Ok(Self { address, service, closing, serving })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the service itself.
    pub fn open(&self, service: Router) {
        if self.service.set(service).is_err() {
            tracing::error!("a service is opened once");
        }
    }

    /// Takes no new calls, and waits for those under way, for a while.
    ///
    /// # Errors
    /// When it had failed before.
    pub async fn close(self) -> anyhow::Result<()> {
        self.closing.cancel();
        match tokio::time::timeout(DRAIN, self.serving).await {
            Ok(served) => Ok(served.context("the port has failed")??),
            Err(_) => {
                tracing::warn!("calls were under way for longer than the drain");
                Ok(())
            }
        }
    }
}

fn surface(front: Front) -> Router {
    Router::new()
        .route("/healthz", get(|| async { axum::Json(json!({"status": "ok"})) }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(|| async { axum::Json(json!({"version": env!("CARGO_PKG_VERSION")})) }))
        .fallback(pass_on)
        .with_state(front)
}

/// Serves over HTTP/1.1 and HTTP/2 until `closing`, then until the calls under way have ended. Who holds a
/// stream and was paused or cut off is let go within seconds.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    connections: Connections,
    router: Router,
    closing: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let connections = futures::stream::unfold(connections, |mut connections| async move {
        let (connection, _) = connections.next().await;
        Some((Ok::<_, std::io::Error>(connection), connections))
    });
    Server::builder()
        .accept_http1(true)
        .max_frame_size(Some(FRAME))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(connections, closing.cancelled_owned())
        .await
}

async fn readyz(State(front): State<Front>) -> Response {
    let report = front.readiness.report().await;
    let open = front.service.get().is_some();
    let status = match (front.draining.is_cancelled(), open, report.ready) {
        (true, _, _) => "draining",
        (false, false, _) => "starting",
        (false, true, false) => "unready",
        (false, true, true) => "ok",
    };
    let ready = status == "ok";
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, axum::Json(json!({"status": status, "ready": ready, "checks": report.checks}))).into_response()
}

async fn metrics(State(front): State<Front>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, front.metrics.render()).into_response()
}

async fn pass_on(State(front): State<Front>, request: Request) -> Response {
    match front.service.get() {
        Some(service) => match service.clone().oneshot(request).await {
            Ok(response) => response,
        },
        None => starting(&request),
    }
}

/// What is not open yet says so in the caller's own form.
fn starting(request: &Request<Body>) -> Response {
    let why = "the service is starting: /readyz says what it waits for";
    let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if request.headers().get(header::CONTENT_TYPE).is_some_and(is_grpc) {
        return tonic::Status::unavailable(why).into_http();
    }
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], why).into_response()
}
