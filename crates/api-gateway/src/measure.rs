//! What is measured of each call.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use goconductor_service_kit::telemetry::{self, Metric, MetricKind};
use std::time::Instant;

const REQUESTS: &str = "goconductor_http_requests_total";
const DURATION: &str = "goconductor_http_request_duration_seconds";

pub(crate) fn describe() {
    telemetry::describe(&[
        Metric {
            name: REQUESTS,
            kind: MetricKind::Counter,
            unit: metrics::Unit::Count,
            help: "Calls of the API, by method, route and status.",
        },
        Metric {
            name: DURATION,
            kind: MetricKind::Histogram,
            unit: metrics::Unit::Seconds,
            help: "How long calls of the API take until their answer begins.",
        },
        counter(
            "goconductor_calls_refused_total",
            "Calls that were refused because too many were carried out.",
        ),
        counter("goconductor_starts_refused_total", "Starts that were refused, by reason and namespace."),
        gauge("goconductor_calls_in_flight", "Calls that are carried out."),
        gauge("goconductor_callers_waiting", "Long polls and streams that are held open."),
        gauge("goconductor_starts_in_flight", "Starts that are carried out."),
        gauge("goconductor_bodies_bytes", "What the bodies of calls hold together."),
    ]);
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit: metrics::Unit::Count, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit: metrics::Unit::Count, help }
}

pub(crate) async fn measure(request: Request, next: Next) -> Response {
    // Never the path itself: everybody could make labels without end.
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    let method = known(request.method());
    let begun = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::histogram!(DURATION, "method" => method, "route" => route.clone()).record(begun.elapsed());
    metrics::counter!(REQUESTS, "method" => method, "route" => route, "status" => status).increment(1);
    response
}

fn known(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
