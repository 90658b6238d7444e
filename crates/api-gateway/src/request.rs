//! The span and the metrics of a request, for REST and gRPC alike.

use crate::audit_notes;
use crate::metrics::{REQUEST_DURATION, REQUESTS};
use crate::server_span;
use axum::http::StatusCode;
use goconductor_transition::clock;
use std::fmt::Display;
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// Serves a request within its span, and records its duration and its status.
///
/// `route` must come from a fixed set: clients could otherwise create any number of label values.
pub(crate) async fn observed<R>(
    method: &'static str,
    route: &str,
    serve: impl Future<Output = R>,
    status: impl FnOnce(&R) -> StatusCode,
) -> R {
    let span = tracing::debug_span!("request", method, route, namespace = Empty, workflow = Empty);
    let started = clock::monotonic();
    let response = serve.instrument(span).await;
    let status = status(&response).as_u16().to_string();
    REQUEST_DURATION.with([method.into(), route.to_owned().into()]).record(started.elapsed());
    REQUESTS.with([method.into(), route.to_owned().into(), status.into()]).increment(1);
    response
}

/// Adds the namespace to the request's span.
pub(crate) fn record_namespace(namespace: &str) {
    Span::current().record("namespace", namespace);
}

/// Adds the workflow to the request's span.
pub(crate) fn record_workflow(id: impl Display) {
    Span::current().record("workflow", tracing::field::display(&id));
    audit_notes::target("workflow", &id);
    server_span::record_workflow(id);
}
