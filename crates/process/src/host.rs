//! The port of a process. It serves health and metrics from the start, and the service once it is open. REST over
//! HTTP/1.1 and gRPC over HTTP/2 share it.

use crate::advertised::advertised_address;
use crate::connection_limits::{ConnectionLimits, PeerAddress};
use crate::listener::{ConnectionBounds, LimitedListener};
use crate::listeners::Listeners;
use crate::process::Process;
use crate::serve::serve;
use crate::systemd::notify_systemd;
use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use goconductor_service_kit::config::ListenAddress;
use goconductor_service_kit::health::{Readiness, ReadinessReport};
use goconductor_service_kit::telemetry::Metrics;
use goconductor_tls::Peer;
use serde_json::json;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Timeout for requests in flight to complete at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// The state of a process that is ready, in `/readyz`.
const READY: &str = "ok";

/// Returns whether a caller may see the errors of the checks in `/readyz`, by the head of its request.
pub type ReaderCheck = Box<dyn Fn(&Parts) -> BoxFuture<'static, bool> + Send + Sync>;

/// The port of a process.
pub struct Host {
    advertised: String,
    bounds: ConnectionBounds,
    service: Arc<OnceLock<Router>>,
    readers: Arc<OnceLock<ReaderCheck>>,
    closing: CancellationToken,
    serving: JoinHandle<()>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("advertised", &self.advertised).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Surface {
    readiness: Readiness,
    metrics: Metrics,
    draining: CancellationToken,
    service: Arc<OnceLock<Router>>,
    /// The check of who may see errors. It is empty until the service is open, and without access control.
    readers: Arc<OnceLock<ReaderCheck>>,
    /// Whether the service checks who reads the metrics, and therefore serves them.
    has_own_metrics: bool,
    /// Whether metrics are shown only to a peer with a certificate.
    guards_metrics: bool,
}

impl Host {
    /// Listens, and serves health and metrics. Other requests are refused until [`open`](Self::open).
    ///
    /// # Errors
    /// Returns an error if the address cannot be resolved or bound, or must not be listened on.
    pub async fn listen(
        process: &Process,
        address: &ListenAddress,
        limits: ConnectionLimits,
    ) -> anyhow::Result<Self> {
        Self::listen_as(process, address, limits, false).await
    }

    /// Like [`listen`](Self::listen), for a service that checks its callers if access control is on. It then serves the
    /// metrics itself.
    ///
    /// # Errors
    /// Returns an error if the address cannot be resolved or bound, or must not be listened on.
    pub async fn listen_with_access(
        process: &Process,
        address: &ListenAddress,
        limits: ConnectionLimits,
    ) -> anyhow::Result<Self> {
        Self::listen_as(process, address, limits, process.config.access.enabled).await
    }

    async fn listen_as(
        process: &Process,
        address: &ListenAddress,
        limits: ConnectionLimits,
        has_own_metrics: bool,
    ) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(address, &process.config).await?.with_tls(process.tls.clone());
        let address = listeners.local_addr().context("failed to read the local address")?;
        let service: Arc<OnceLock<Router>> = Arc::default();
        let readers: Arc<OnceLock<ReaderCheck>> = Arc::default();
        let surface = Surface {
            readiness: process.readiness.clone(),
            metrics: process.metrics.clone(),
            draining: process.drain.token(),
            service: Arc::clone(&service),
            readers: Arc::clone(&readers),
            has_own_metrics,
            guards_metrics: process.tls.is_some(),
        };
        let closing = CancellationToken::new();
        let connections = LimitedListener::new(listeners, limits);
        let bounds = connections.bounds().clone();
        let serving = goconductor_supervisor::spawn(
            "server",
            serve(connections, router(surface.clone()), closing.clone()),
        );
        notify_systemd(&process.drain, process.config.shutdown_limit(), move || {
            let surface = surface.clone();
            async move { surface.check().await }
        });
        let tls = process.tls.is_some();
        tracing::info!(%address, tls, service = process.name, "service started to listen");
        let advertised = advertised_address(&process.config, address);
        Ok(Self { advertised, bounds, service, readers, closing, serving })
    }

    /// Returns the address under which other processes reach this one.
    #[must_use]
    pub fn advertised(&self) -> &str {
        &self.advertised
    }

    /// Returns the limits of the connections that can change.
    #[must_use]
    pub fn bounds(&self) -> &ConnectionBounds {
        &self.bounds
    }

    /// Sets the check of who may see the errors of `/readyz`, of a process with access control. Must be called before
    /// [`open`](Self::open).
    pub fn show_errors_to(&self, readers: ReaderCheck) {
        if self.readers.set(readers).is_err() {
            tracing::error!("readers of errors were set twice");
        }
    }

    /// Opens the service.
    pub fn open(&self, service: Router) {
        if self.service.set(service).is_err() {
            tracing::error!("service was opened twice");
        }
    }

    /// Stops accepting connections, and waits for requests in flight for a limited time.
    ///
    /// # Errors
    /// Returns an error if the task of the server failed before.
    pub async fn close(self) -> anyhow::Result<()> {
        self.closing.cancel();
        match tokio::time::timeout(DRAIN_TIMEOUT, self.serving).await {
            Ok(served) => served.context("the server failed"),
            Err(_) => {
                tracing::warn!("requests were still in flight at the end of the drain");
                Ok(())
            }
        }
    }
}

fn router(surface: Surface) -> Router {
    Router::new()
        .route("/healthz", get(|| async { axum::Json(json!({"status": "ok"})) }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(|| async { axum::Json(json!({"version": env!("CARGO_PKG_VERSION")})) }))
        .fallback(forward)
        .with_state(surface)
}

impl Surface {
    /// Returns the state of the process in one word, and the results of its checks.
    async fn state(&self) -> (&'static str, ReadinessReport) {
        let report = self.readiness.report().await;
        let open = self.service.get().is_some();
        let status = match (self.draining.is_cancelled(), open, report.ready) {
            (true, _, _) => "draining",
            (false, false, _) => "starting",
            (false, true, false) => "unready",
            (false, true, true) => READY,
        };
        (status, report)
    }

    /// Returns whether a caller may see the errors of the checks: with a certificate of this installation, by the check of
    /// the service, or from this machine if nothing is checked.
    async fn shows_errors(&self, request: &Parts) -> bool {
        let extensions = &request.extensions;
        if extensions.get::<Peer>().is_some_and(|peer| !peer.roles().is_empty()) {
            return true;
        }
        if let Some(is_reader) = self.readers.get() {
            return is_reader(request).await;
        }
        let is_local =
            extensions.get::<PeerAddress>().is_some_and(|peer| peer.0.to_canonical().is_loopback());
        is_local && !self.has_own_metrics && !self.guards_metrics
    }

    /// Returns the reason why the process is not ready.
    async fn check(&self) -> Result<(), String> {
        let (status, report) = self.state().await;
        report.to_result()?;
        if status == READY { Ok(()) } else { Err(status.to_owned()) }
    }
}

async fn readyz(State(surface): State<Surface>, request: Request) -> Response {
    // The body of a request is not `Sync`, so a reference to the request must not live across the check.
    let (parts, _) = request.into_parts();
    let (status, report) = surface.state().await;
    let report = if surface.shows_errors(&parts).await { report } else { report.without_details() };
    let ready = status == READY;
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, axum::Json(json!({"status": status, "ready": ready, "checks": report.checks}))).into_response()
}

async fn metrics(State(surface): State<Surface>, request: Request) -> Response {
    if surface.has_own_metrics {
        return forward(State(surface), request).await;
    }
    let peer = request.extensions().get::<Peer>();
    if surface.guards_metrics && peer.is_none_or(|peer| peer.roles().is_empty()) {
        let detail = "metrics require a client certificate with a role, such as operator (GC3031)";
        return (StatusCode::FORBIDDEN, detail).into_response();
    }
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let (kind, text) = surface.metrics.respond(accept);
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn forward(State(surface): State<Surface>, request: Request) -> Response {
    match surface.service.get() {
        Some(service) => match service.clone().oneshot(request).await {
            Ok(response) => response,
        },
        None => starting(&request),
    }
}

/// Returns the response of a service that is not open yet, as a gRPC status for gRPC requests.
fn starting(request: &Request<Body>) -> Response {
    let detail = "the service is starting; /readyz reports what is missing";
    let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if request.headers().get(header::CONTENT_TYPE).is_some_and(is_grpc) {
        return tonic::Status::unavailable(detail).into_http();
    }
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_service_kit::telemetry::{self, Identity};
    use http_body_util::BodyExt;
    use std::net::IpAddr;

    fn surface(is_guarded: bool) -> Surface {
        let config = goconductor_service_kit::config::TelemetryConfig::default();
        let readiness = Readiness::new();
        readiness.add("database", || async { Err("no response from db.internal".to_owned()) });
        Surface {
            readiness,
            metrics: telemetry::init(&config, Identity { service: "test", instance: "test-1" }).unwrap(),
            draining: CancellationToken::new(),
            service: Arc::default(),
            readers: Arc::default(),
            has_own_metrics: is_guarded,
            guards_metrics: is_guarded,
        }
    }

    async fn shows_errors(surface: &Surface, address: [u8; 4], peer: Option<Peer>) -> bool {
        let mut request = axum::http::Request::get("/readyz").body(Body::empty()).unwrap();
        request.extensions_mut().insert(PeerAddress(IpAddr::from(address)));
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let response = router(surface.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["status"], &body["checks"][0]["name"]), (&json!("starting"), &json!("database")));
        body["checks"][0]["detail"].is_string()
    }

    #[tokio::test]
    async fn unauthenticated_callers_see_no_errors() {
        let open = surface(false);
        assert!(shows_errors(&open, [127, 0, 0, 1], None).await);
        assert!(!shows_errors(&open, [192, 0, 2, 1], None).await);
        let guarded = surface(true);
        let operator = || Peer::new(vec!["spiffe://shop/operator".to_owned()], None, Some("shop"));
        assert!(!shows_errors(&guarded, [127, 0, 0, 1], None).await);
        assert!(shows_errors(&guarded, [192, 0, 2, 1], Some(operator())).await);
        assert!(guarded.readers.set(Box::new(|_| Box::pin(async { true }))).is_ok());
        assert!(shows_errors(&guarded, [192, 0, 2, 1], None).await);
    }
}
