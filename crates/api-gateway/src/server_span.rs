//! The span of a request in the trace of its caller. The span of the start is the root of the later spans of a workflow.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use goconductor_telemetry::trace::{self, SpanContext, TARGET};
use tracing::Span;

/// Reads the trace context of the caller.
pub(crate) fn caller(headers: &HeaderMap) -> Option<SpanContext> {
    let text = |name| headers.get(name).map(HeaderValue::to_str).and_then(Result::ok);
    SpanContext::read(text(TRACEPARENT.as_str()), text("tracestate"))
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Begins the span of a request to the API. Other requests, such as health checks, have none. A request of a trace that is
/// not recorded gets no span. If its trace begins here, it gets the header of such a trace, for the services below.
pub(crate) fn begin(request: &mut Request, is_grpc: bool) -> Span {
    let path = request.uri().path();
    if !trace::is_on() || !path.starts_with(if is_grpc { "/goconductor." } else { "/api/" }) {
        return Span::none();
    }
    let caller = caller(request.headers());
    if !trace::is_recorded(caller.as_ref()) {
        let unrecorded = caller.is_none().then(trace::unrecorded).flatten();
        let header = unrecorded.and_then(|context| context.traceparent.parse().ok());
        request.headers_mut().extend(header.map(|value| (TRACEPARENT, value)));
        return Span::none();
    }
    let span = if is_grpc {
        let name = path.trim_start_matches('/');
        let (service, method) = name.rsplit_once('/').unwrap_or((name, ""));
        tracing::debug_span!(
            target: TARGET,
            "call",
            otel.name = name,
            otel.kind = "server",
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
        )
    } else {
        tracing::debug_span!(
            target: TARGET,
            "call",
            otel.name = request.method().as_str(),
            otel.kind = "server",
            http.request.method = request.method().as_str(),
            url.path = path,
        )
    };
    if let Some(caller) = caller {
        trace::set_parent(&span, &caller);
    }
    span
}

/// Adds the route of a REST request to the current span.
pub(crate) fn record_route(method: &str, route: &str) {
    trace::rename_current(|| format!("{method} {route}"));
    trace::set_current_text("http.route", || route.to_owned());
}

/// Adds the workflow to the span of the request.
pub(crate) fn record_workflow(id: impl std::fmt::Display) {
    trace::set_current_text("goconductor.workflow.id", || id.to_string());
}

/// Records the status of the response.
pub(crate) fn end(span: &Span, response: &Response, is_grpc: bool) {
    if span.is_disabled() {
        return;
    }
    if is_grpc {
        // A response without an error has its status at its end.
        let status = response.headers().get("grpc-status").map(HeaderValue::to_str).and_then(Result::ok);
        let code = status.and_then(|status| status.parse().ok()).unwrap_or(0);
        trace::set_number(span, "rpc.grpc.status_code", code);
        if code != 0 {
            trace::set_error(span, &code.to_string(), || format!("gRPC status {code}"));
        }
        return;
    }
    let status = response.status();
    trace::set_number(span, "http.response.status_code", status.as_u16().into());
    // By the semantic conventions, a request that the server refuses is not an error of the server.
    if status.is_server_error() {
        trace::set_error(span, status.as_str(), || reason(status));
    }
}

fn reason(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or("server error").to_owned()
}
