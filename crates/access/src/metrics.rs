//! The metrics of access control.

goconductor_telemetry::metrics! {
    counter REFUSED("goconductor_access_refused_total", Count, ["reason"], "Requests and workers that were refused for lack of a valid credential or of a permission, by reason.");
    counter LOOKUPS("goconductor_access_lookups_total", Count, [], "Access keys that were read from the state store, because they were not cached.");
}

/// Counts a request or a worker that was refused for lack of a permission.
pub fn record_denied() {
    REFUSED.with(["forbidden".into()]).increment(1);
}
