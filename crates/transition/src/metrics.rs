//! The metrics of this crate.

goconductor_telemetry::metrics! {
    counter CONFLICTS("goconductor_transitions_lost_total", Count, [],
        "Transitions that lost a conflict over seq and were recomputed.");
    counter WRITES_UNKNOWN("goconductor_writes_unknown_total", Count, [],
        "Writes whose outcome was unknown and that were therefore repeated.");
}
