//! Metrics of the store.

goconductor_telemetry::metrics! {
    histogram BATCH_SIZE("goconductor_store_group_size", Count, [], "Starts and transitions written in one batch.");
    histogram WRITE_TIME("goconductor_store_write_seconds", Seconds, [], "Duration of the write of a batch, including its commit.");
    counter WRITE_ERRORS("goconductor_store_write_errors_total", Count, [], "Batches whose write failed or whose outcome is unknown.");
    counter WORKFLOWS_REMOVED("goconductor_workflows_removed_total", Count, [], "Workflows removed after their retention.");
    gauge WORKFLOWS("goconductor_workflows", Count, ["workflow_namespace", "status"], "Workflows that are stored, by namespace and status. IN_PROGRESS includes QUEUED. Open workflows are counted up to 100,000 for each definition.");
    gauge ROLLBACKS_FAILED("goconductor_rollbacks_failed", Count, ["workflow_namespace"], "Workflows in ERROR whose rollback cannot end, because a compensation failed.");
    gauge OLDEST_RUNNING("goconductor_oldest_running_workflow_seconds", Seconds, ["workflow_namespace"], "Time since the start of the oldest workflow that is open, and neither paused nor in ERROR.");
    gauge LEDGER_OVERDUE("goconductor_ledger_overdue", Count, ["lane"], "Rows of the dispatch ledger that are due, by lane: namespace/service/side, or timers. Up to 10,000 rows that were never delivered, and as many others, are counted.");
    gauge LEDGER_OLDEST_OVERDUE("goconductor_ledger_oldest_overdue_seconds", Seconds, ["lane"], "Time for which the oldest due row of the dispatch ledger has been due, by lane: namespace/service/side, or timers.");
    gauge PARTICIPANT_EXECUTORS("goconductor_participant_executors", Count, ["participant"], "Executors that serve a service, by namespace/service, for services that are served or have owed commands.");
    gauge PARTICIPANT_WORKERS("goconductor_participant_workers", Count, ["participant"], "Connected workers of a service, by namespace/service.");
    gauge MEMBERS("goconductor_members", Count, ["kind"], "Processes of the cluster, by kind.");
    gauge DEAD_LETTERS("goconductor_dead_letters_stored", Count, [], "Dead letters that are stored.");
    histogram STATISTICS_TIME("goconductor_statistics_seconds", Seconds, [], "Duration of a measurement of the store for these metrics.");
}
