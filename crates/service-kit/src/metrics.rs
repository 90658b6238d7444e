//! The metrics of this crate.

goconductor_telemetry::metrics! {
    gauge BUILD_INFO("goconductor_build_info", Count, ["version"], "Always 1; the label is the version of this release.");
}
