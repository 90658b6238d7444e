//! Metrics of the executor.

goconductor_telemetry::metrics! {
    histogram ATTEMPT_DURATION("goconductor_attempt_duration_seconds", Seconds, ["action", "operation"],
        "Time from receiving a command to the outcome of its attempt.");
    counter ATTEMPTS("goconductor_attempts_total", Count, ["action", "operation", "outcome"],
        "Attempts by outcome: done, retryable, refused, unknown or not_sent.");
    counter LATE_RESULTS("goconductor_late_answers_total", Count, [],
        "Results that arrived after their attempt had ended.");
    counter COMMANDS_REFUSED("goconductor_commands_refused_total", Count, ["reason"],
        "Commands that were dropped as duplicates or because their step had ended.");
    counter DEAD_LETTERS("goconductor_dead_letters_total", Count, [],
        "Messages that were stored as dead letters.");
    gauge IS_LEADER("goconductor_shard_is_leader", Count, ["shard"],
        "1 while this executor leads the shard of the workflows, else 0.");
    counter SCHEDULE_STARTS("goconductor_schedule_starts_total", Count, ["outcome"],
        "Starts of workflows by schedules, by outcome: started, replayed (started before, and not recorded) or refused.");
    histogram SCHEDULE_LAG("goconductor_schedule_lag_seconds", Seconds, [],
        "Time from the due time of a schedule to the start of its workflow.");
    counter SCHEDULE_MISSED("goconductor_schedule_missed_total", Count, ["reason"],
        "Due times of schedules without a start: missed (older than the catch-up window) or skipped (overlap).");
    counter REDELIVERIES("goconductor_redeliveries_total", Count, [],
        "Commands that were published again from the dispatch ledger.");
}
