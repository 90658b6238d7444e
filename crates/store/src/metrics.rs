//! Metrics of the store.

goconductor_telemetry::metrics! {
    histogram BATCH_SIZE("goconductor_store_group_size", Count, [], "Starts and transitions written in one batch.");
    histogram WRITE_TIME("goconductor_store_write_seconds", Seconds, [], "Duration of the write of a batch, including its commit.");
    counter WRITE_ERRORS("goconductor_store_write_errors_total", Count, [], "Batches whose write failed or whose outcome is unknown.");
    counter WORKFLOWS_REMOVED("goconductor_workflows_removed_total", Count, [], "Workflows removed after their retention.");
}
