//! The metrics of this crate.

goconductor_telemetry::metrics! {
    gauge CLOCK_OFFSET("goconductor_clock_offset_seconds", Seconds, [], "Difference between the clock of the database and that of this process. It is positive if the database is ahead.");
    counter CONNECTIONS_CLOSED("goconductor_connections_closed_total", Count, ["reason"], "Connections closed by the server: idle, slow_reader if the peer did not read a response, flood if it sent too much that belongs to no request, or certificate if the certificate of the peer is no longer trusted.");
    counter CONNECTIONS_REFUSED("goconductor_connections_refused_total", Count, [], "Connections refused because the maximum number was open, in total or from their address.");
}
