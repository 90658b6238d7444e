//! The metrics of this crate.

goconductor_telemetry::metrics! {
    counter CONNECTIONS_CLOSED("goconductor_connections_closed_total", Count, ["reason"], "Connections closed by the server: idle, or slow_reader if the peer did not read a response.");
    counter CONNECTIONS_REFUSED("goconductor_connections_refused_total", Count, [], "Connections refused because the maximum number was open.");
}
