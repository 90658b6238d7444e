//! The metrics of this crate.

goconductor_telemetry::metrics! {
    gauge CERTIFICATE_EXPIRY("goconductor_certificate_expiry_timestamp_seconds", Seconds, ["usage"], "Time at which a certificate expires, in seconds since 1970: certificate is that of the process, authority the last of the trusted authorities.");
    counter CERTIFICATE_RELOADS("goconductor_certificate_reloads_total", Count, ["result"], "Changes of certificate files: loaded, or refused if the process kept its previous certificates.");
    counter HANDSHAKE_FAILURES("goconductor_tls_handshake_failures_total", Count, ["reason"], "TLS handshakes of clients that failed: plaintext, timeout, certificate if the certificate of the client was refused, or protocol.");
}
