//! The metrics of an executor whose callers are checked.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use goconductor_access::{AccessControl, Rejection, metrics};
use goconductor_process::{PeerAddress, ReaderCheck};
use goconductor_saga::Namespace;
use goconductor_service_kit::permission::Permission;
use goconductor_service_kit::telemetry::Metrics;
use goconductor_tls::Peer;

/// The scheme by which a request can be authenticated.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"goconductor\"");

#[derive(Clone)]
struct CheckedMetrics {
    access: AccessControl,
    metrics: Metrics,
}

/// Adds `/metrics` to the routes of the executor, for callers with the permission `metrics.read`.
pub(crate) fn add(router: Router, access: AccessControl, metrics: Metrics) -> Router {
    let state = CheckedMetrics { access, metrics };
    router.merge(Router::new().route("/metrics", get(respond)).with_state(state))
}

/// Returns the check of who may see the errors of `/readyz`: the readers of the metrics.
pub(crate) fn readers(access: AccessControl) -> ReaderCheck {
    Box::new(move |request| {
        let access = access.clone();
        let (headers, extensions) = (request.headers.clone(), request.extensions.clone());
        Box::pin(async move {
            let network = extensions.get::<PeerAddress>().map(|peer| peer.network());
            let (peer, permission) = (extensions.get::<Peer>(), Permission::MetricsRead);
            access.allows(&headers, peer, network, permission, Namespace::DEFAULT).await
        })
    })
}

async fn respond(State(checked): State<CheckedMetrics>, request: Request) -> Response {
    // The body of a request is not `Sync`, so a reference to the request must not live across the check.
    let (parts, _) = request.into_parts();
    let peer = parts.extensions.get::<Peer>();
    let network = parts.extensions.get::<PeerAddress>().map(|peer| peer.network());
    let principal = match checked.access.authenticate(&parts.headers, peer, network).await {
        Ok(principal) => principal,
        Err(rejection @ (Rejection::Unavailable(_) | Rejection::ProviderUnavailable | Rejection::Busy)) => {
            return (StatusCode::SERVICE_UNAVAILABLE, rejection.to_string()).into_response();
        }
        Err(rejection) => {
            let challenge = [(header::WWW_AUTHENTICATE, CHALLENGE)];
            return (StatusCode::UNAUTHORIZED, challenge, rejection.to_string()).into_response();
        }
    };
    if !principal.grants.allows(Permission::MetricsRead, Namespace::DEFAULT) {
        metrics::record_denied();
        let detail = format!("the caller does not have the permission {}", Permission::MetricsRead);
        return (StatusCode::FORBIDDEN, detail).into_response();
    }
    let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let (kind, text) = checked.metrics.respond(accept);
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
