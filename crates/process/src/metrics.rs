//! The metrics of this crate.

goconductor_telemetry::metrics! {
    counter CONNECTIONS_REFUSED("goconductor_connections_refused_total", Count, [], "Connections refused because the maximum number was open.");
}
