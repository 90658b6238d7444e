//! The metrics of the gateway.

goconductor_telemetry::metrics! {
    counter REQUESTS("goconductor_http_requests_total", Count, ["method", "route", "status"], "API requests, by method, route and status. A gRPC call counts under the REST route with the same effect.");
    histogram REQUEST_DURATION("goconductor_http_request_duration_seconds", Seconds, ["method", "route"], "Time from the receipt of an API request to the start of its response.");
    counter REQUESTS_REFUSED("goconductor_calls_refused_total", Count, [], "Requests refused because too many requests were in flight or their bodies or responses used too much memory.");
    counter RATE_LIMITED_REQUESTS("goconductor_rate_limited_total", Count, ["limit"], "Requests refused because a caller or a namespace sent too many per second.");
    gauge RATE_BUCKETS("goconductor_rate_buckets", Count, [], "Callers and namespaces whose recent requests count for the limits of the rate.");
    counter STARTS_REFUSED("goconductor_starts_refused_total", Count, ["reason", "namespace"], "Refused workflow starts, by reason and namespace.");
    gauge REQUESTS_IN_FLIGHT("goconductor_calls_in_flight", Count, [], "API requests in flight, without long polls and streams.");
    gauge WAITING_CALLERS("goconductor_callers_waiting", Count, [], "Open long polls and streams.");
    gauge STARTS_IN_FLIGHT("goconductor_starts_in_flight", Count, [], "Workflow starts in flight.");
    gauge RESPONSE_BYTES("goconductor_responses_bytes", Bytes, [], "Memory used by responses that were not sent completely, in bytes.");
    gauge BODY_BYTES("goconductor_bodies_bytes", Bytes, [], "Memory used by the bodies of requests in flight, in bytes.");
    counter AUDIT_RECORDS("goconductor_audit_records_total", Count, ["outcome"], "Records that this process has appended to the audit log, by outcome. A record may stand for several refused requests.");
    gauge AUDIT_FAILING("goconductor_audit_write_failing", Count, [], "1 while the audit log cannot be written, so changes are refused. Otherwise 0.");
    counter WATCH_RENDERINGS("goconductor_watch_renderings_total", Count, [], "Changes of the list of workflows that were rendered for watches. All watches of a namespace share a rendering.");
}
