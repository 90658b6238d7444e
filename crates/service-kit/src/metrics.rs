//! The metrics of this crate.

#![cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "a metric of the export exists in every build"))]

goconductor_telemetry::metrics! {
    gauge BACKGROUND_TASKS("goconductor_background_tasks", Count, ["task"], "Running background tasks by name.");
    gauge READY("goconductor_ready", Count, [], "1 if all readiness checks pass, else 0.");
    gauge READY_CHECK("goconductor_ready_check", Count, ["check"], "1 if the readiness check passes, else 0.");
    counter LOG_LINES_LOST("goconductor_log_lines_lost_total", Count, [], "Log lines that could not be written.");
    counter TELEMETRY_LOST("goconductor_telemetry_lost_total", Count, ["signal", "reason"], "Spans, log records, and requests with metrics that were not exported by OTLP.");
    gauge BUILD_INFO("goconductor_build_info", Count, ["version"], "Always 1; the label is the version of this release.");
}
