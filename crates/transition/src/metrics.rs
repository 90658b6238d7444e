//! The metrics of this crate.

goconductor_telemetry::metrics! {
    counter STARTED("goconductor_workflows_started_total", Count, ["definition"],
        "Workflows that this process started, by namespace/definition.");
    counter ENDED("goconductor_workflows_ended_total", Count, ["definition", "status"],
        "Workflows that this process ended, by namespace/definition and final status. A completed one that is rolled back counts twice.");
    histogram DURATION("goconductor_workflow_duration_seconds", Seconds, ["definition", "status"],
        "Time from the start of a workflow to its end, by namespace/definition and final status. A completed one that is rolled back has two ends.");
    counter CONFLICTS("goconductor_transitions_lost_total", Count, [],
        "Transitions that lost a conflict over seq and were recomputed.");
    counter WRITES_UNKNOWN("goconductor_writes_unknown_total", Count, [],
        "Writes whose outcome was unknown and that were therefore repeated.");
}
