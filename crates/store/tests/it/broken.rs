//! Stores with one injected fault each. The cases must detect every fault.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a fault affects few operations and leaves the others unchanged"
)]

mod inject;
mod store;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use goconductor_store::Store;
use goconductor_store::conformance::{CASES, Factory};

/// A fault of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    AcceptsDuplicateIds,
    AcceptsLostBatchLeases,
    AcceptsUpdatesOfAnyOwner,
    AlwaysReportsMorePages,
    AlwaysStealsLeases,
    ChecksKeysOutsideTransaction,
    ClaimsPayloads,
    ClaimsPayloadsInRemoval,
    ClaimsRowsBeforeDue,
    ClaimsRowsTwice,
    ConflictAbortsBatch,
    CountsFirstVersions,
    CountsRemovedWorkflows,
    CountsReopenedAsCompleted,
    CountsRowsBeforeDue,
    CountsStatisticsBeforeDue,
    CountsStatisticsOfOneNamespace,
    CreatesVersionPerApply,
    DropsAccessScopes,
    DropsAuditEvents,
    DropsAuditValues,
    DropsCommands,
    DropsCompensations,
    DropsEvents,
    DropsIdempotencyKeys,
    DropsLedgerRows,
    DropsParents,
    DropsPublishes,
    DropsTimers,
    DuplicatesAuditEvents,
    DuplicatesDeadLetters,
    ExtendsAccessKeys,
    ExtendsAnyAttempt,
    FailsOnConflict,
    GrantsHeldLocks,
    GrantsWaitingLocks,
    ForgetsAuditIntents,
    IgnoresAuditFilters,
    IgnoresBatchNamespace,
    IgnoresDigests,
    IgnoresFences,
    IgnoresFilterInCounts,
    IgnoresLimits,
    IgnoresListNamespace,
    IgnoresMasterKeys,
    IgnoresQueuedMessages,
    IgnoresRevisions,
    IgnoresScheduleNamespace,
    IgnoresScheduleRevisions,
    IgnoresSecretNamespace,
    IgnoresSecretVersions,
    IgnoresSeq,
    IgnoresServiceUpdates,
    IgnoresShards,
    IgnoresSides,
    IgnoresStatusInRetention,
    KeepsAccessRevision,
    KeepsArchivedDefinitions,
    KeepsDeletedServices,
    KeepsExpiredMembers,
    KeepsSettledRows,
    ListsElements,
    ListsFreeLocks,
    ListsOldestFirst,
    ListsReopenedAsCompleted,
    LoadsInIdOrder,
    LosesDataOnReopen,
    MergesLanes,
    NeverClaimsTimers,
    NeverExpiresDeliveries,
    NeverExpiresLocks,
    NeverExtends,
    NeverHolds,
    NeverRedelivers,
    NeverReleases,
    NeverRemoves,
    NeverWithdraws,
    RaisesEpochsNonAtomically,
    RejectsDeepValues,
    ReleasesAnyAttempt,
    RemovesBeforeRetention,
    RemovesReopened,
    RepeatsLockTokens,
    ReportsFalseOrphans,
    ReportsTimeInSeconds,
    ResetsLeasesOnSync,
    RespondsBeforeWriting,
    ReturnsRejectedStateOnConflict,
    RoundsNumbers,
    SkipsIds,
    StopsMaintenanceEarly,
    StopsSelectionEarly,
    StripsNul,
    TreatsAnyAsAll,
    TreatsLessOrEqualAsLess,
    TrimsSources,
    TruncatesBatches,
    TruncatesPayloads,
    WritesBatchNonAtomically,
    WritesWorkflowOncePerBatch,
}

/// The faults, each with a case that must detect it and a part of the message of that case.
const FAULTS: &[(Fault, &str, &str)] = &[
    (Fault::ConflictAbortsBatch, "batch_entries_succeed_or_fail_independently", "the outcomes: "),
    (
        Fault::ReturnsRejectedStateOnConflict,
        "write_conflict_returns_current_state",
        "the state that a conflict returns: ",
    ),
    (Fault::WritesWorkflowOncePerBatch, "batch_may_contain_a_workflow_twice", "two consecutive transitions"),
    (Fault::IgnoresSeq, "concurrent_writes_to_one_workflow_commit_one", "the number of successful writes: "),
    (Fault::IgnoresSeq, "batch_entries_succeed_or_fail_independently", "the outcomes: "),
    (Fault::AcceptsDuplicateIds, "start_with_existing_id_is_rejected", "the outcomes: "),
    (Fault::TruncatesBatches, "batch_may_be_large_or_empty", "the workflow was not found"),
    (
        Fault::DropsIdempotencyKeys,
        "duplicate_start_returns_existing_workflow",
        "the idempotency key of the workflow: ",
    ),
    (Fault::IgnoresDigests, "reused_key_with_other_request_conflicts", "replayed"),
    (
        Fault::ChecksKeysOutsideTransaction,
        "concurrent_starts_with_one_key_create_one_workflow",
        "the number of 50 concurrent starts",
    ),
    (Fault::DropsIdempotencyKeys, "concurrent_starts_with_one_key_create_one_workflow", "got 50, expected 1"),
    (
        Fault::ChecksKeysOutsideTransaction,
        "starts_with_one_key_in_one_batch_create_one_workflow",
        "starts with one key in one batch: ",
    ),
    (Fault::IgnoresListNamespace, "namespaces_are_isolated", "the list of namespace other: "),
    (Fault::LosesDataOnReopen, "acknowledged_writes_survive_reopening", "the workflow was not found"),
    (Fault::DropsCommands, "ledger_matches_state_during_execution", "the ledger: "),
    (Fault::KeepsSettledRows, "ledger_matches_state_during_execution", "the ledger: "),
    (Fault::RespondsBeforeWriting, "ledger_matches_state_during_execution", "the workflow was not found"),
    (Fault::DropsCompensations, "ledger_matches_state_during_rollback", "the ledger: "),
    (Fault::NeverWithdraws, "ledger_matches_state_after_cancellation", "the ledger: "),
    (Fault::NeverHolds, "ledger_matches_state_while_paused", "the ledger: "),
    (Fault::DropsTimers, "ledger_matches_state_with_timers", "the ledger: "),
    (Fault::DropsTimers, "ledger_matches_state_with_a_child", "the ledger: "),
    (Fault::NeverExtends, "rollback_makes_the_row_of_a_running_child_due", "a postponed row was claimed: "),
    (
        Fault::CountsReopenedAsCompleted,
        "rollback_of_a_completed_workflow_corrects_lists_and_counts",
        "the counts: ",
    ),
    (
        Fault::ListsReopenedAsCompleted,
        "rollback_of_a_completed_workflow_corrects_lists_and_counts",
        "the workflows that are COMPLETED: ",
    ),
    (
        Fault::ListsReopenedAsCompleted,
        "rollback_without_compensations_ends_in_the_transition_that_begins_it",
        "the workflows that are COMPLETED: ",
    ),
    (
        Fault::RemovesReopened,
        "retention_spares_a_completed_workflow_that_rolls_back",
        "the workflow was not found",
    ),
    (
        Fault::DropsIdempotencyKeys,
        "retention_keeps_a_child_until_its_parent_is_removed",
        "the number of workflows removed while the parent is open: ",
    ),
    (
        Fault::DropsParents,
        "retention_keeps_a_child_with_a_key_of_its_own",
        "removed while the parent is open: got 2",
    ),
    (
        Fault::IgnoresFilterInCounts,
        "workflows_that_run_elements_are_excluded_from_lists_and_counts",
        "the counts: ",
    ),
    (
        Fault::ListsElements,
        "workflows_that_run_elements_are_excluded_from_lists_and_counts",
        "the listed workflows: ",
    ),
    (
        Fault::CountsReopenedAsCompleted,
        "re_run_of_an_ended_workflow_corrects_lists_and_counts",
        "the counts: ",
    ),
    (
        Fault::ListsReopenedAsCompleted,
        "re_run_can_end_in_the_transition_that_begins_it",
        "the workflows that are COMPLETED: ",
    ),
    (Fault::RemovesReopened, "retention_spares_a_re_run_workflow", "the workflow was not found"),
    (
        Fault::CountsFirstVersions,
        "migrated_workflow_is_listed_and_counted_with_its_version",
        "the counts by version: ",
    ),
    (Fault::WritesBatchNonAtomically, "failed_batch_writes_nothing", "the row of a rejected write: "),
    (Fault::DropsEvents, "history_pages_have_no_gaps", "the seqs of the history: "),
    (
        Fault::CountsStatisticsBeforeDue,
        "statistics_match_workflows_and_ledger",
        "the due rows of a lane after",
    ),
    (
        Fault::CountsStatisticsOfOneNamespace,
        "statistics_match_workflows_and_ledger",
        "the oldest running workflow of another namespace: ",
    ),
    (Fault::ClaimsRowsBeforeDue, "claim_returns_only_due_rows", "the rows claimed before they are due: "),
    (Fault::IgnoresSides, "claim_returns_only_rows_of_requested_lanes", "the rows claimed for "),
    (
        Fault::DropsLedgerRows,
        "claim_returns_only_rows_of_requested_lanes",
        "default/stock/compensate: got []",
    ),
    (Fault::IgnoresLimits, "claim_respects_limits", "a claim with lane limit 3 and limit 100: "),
    (
        Fault::ClaimsRowsTwice,
        "concurrent_claims_never_share_a_row",
        "of 400 rows were claimed more than once",
    ),
    (Fault::NeverRedelivers, "unsettled_row_is_redelivered", "the delay of the first redelivery: "),
    (
        Fault::IgnoresQueuedMessages,
        "queued_row_is_not_redelivered",
        "while the first command is still queued",
    ),
    (Fault::NeverHolds, "held_row_is_never_claimed", "the ledger: "),
    (Fault::NeverWithdraws, "cancelled_command_is_withdrawn", "the ledger: "),
    (Fault::NeverReleases, "cancelled_command_is_withdrawn", "claimed for the service after the release: "),
    (Fault::NeverClaimsTimers, "timer_is_claimed_when_due", "the next due time of a timer: "),
    (Fault::DropsPublishes, "published_command_counts_as_delivered", "the row of a published command: "),
    (Fault::NeverExtends, "extended_row_is_due_later", "the extended row: "),
    (Fault::ExtendsAnyAttempt, "extended_row_is_due_later", "the row of another attempt: "),
    (Fault::NeverReleases, "released_row_is_due_at_once", "the rows claimed after the release: "),
    (Fault::ReleasesAnyAttempt, "released_row_is_due_at_once", "a row that was not released: "),
    (Fault::NeverExpiresDeliveries, "expired_deliveries_are_due_at_once", "a delivered row after expiry: "),
    (Fault::IgnoresFences, "stale_fencing_token_claims_nothing", "a claim by the replaced leader: got Ok(1)"),
    (
        Fault::IgnoresSecretVersions,
        "secret_versions_are_not_used_again",
        "a version without its predecessor: ",
    ),
    (
        Fault::IgnoresSecretVersions,
        "concurrent_writes_of_one_secret_version_succeed_once",
        "the number of concurrent writes of one version that succeeded: ",
    ),
    (Fault::IgnoresSecretNamespace, "secret_pages_are_sorted_by_name", "the secrets of another namespace: "),
    (Fault::IgnoresMasterKeys, "data_key_is_rewrapped_once", "a data key that is wrapped with another key: "),
    (Fault::IgnoresScheduleRevisions, "schedule_is_replaced_by_revision", "a replacement of no schedule: "),
    (
        Fault::IgnoresScheduleRevisions,
        "schedule_revision_has_one_writer",
        "the number of concurrent writes of one revision that succeeded: ",
    ),
    (
        Fault::IgnoresScheduleNamespace,
        "schedules_are_listed_by_name_and_by_due_time",
        "the schedules of another namespace: ",
    ),
    (Fault::ClaimsPayloads, "payload_is_stored_once_in_its_namespace", "a new payload: "),
    (
        Fault::ClaimsPayloads,
        "payload_is_removed_after_its_last_workflow",
        "the payload after its last workflow: ",
    ),
    (
        Fault::ClaimsPayloads,
        "payload_of_a_start_that_was_not_committed_is_removed",
        "the payload after the grace: ",
    ),
    (Fault::ClaimsPayloadsInRemoval, "payload_in_removal_can_be_stored_again", "a payload in removal: "),
    (Fault::IgnoresRevisions, "concurrent_compare_and_set_succeeds_once", "a second write with revision 0"),
    (Fault::LosesDataOnReopen, "configuration_history_is_kept_in_order", "no version is the newest"),
    (
        Fault::IgnoresRevisions,
        "configuration_version_has_one_writer",
        "the number of 20 concurrent writers that added version 1: ",
    ),
    (Fault::IgnoresRevisions, "configuration_version_survives_its_writer", "a second version 2: "),
    (
        Fault::RaisesEpochsNonAtomically,
        "epochs_are_unique_and_rising",
        "the number of distinct epochs of 50 concurrent calls: ",
    ),
    (Fault::ReportsTimeInSeconds, "database_clock_is_monotonic_in_microseconds", "the clock went from "),
    (Fault::CreatesVersionPerApply, "changed_definition_creates_next_version", "content a: got (2, true)"),
    (Fault::TrimsSources, "definition_is_returned_unchanged", "the definition, compared with the input: "),
    (Fault::CreatesVersionPerApply, "concurrent_applies_create_consecutive_versions", "got 20, expected 1"),
    (
        Fault::KeepsArchivedDefinitions,
        "archived_definition_keeps_its_versions_until_applied_again",
        "the newest versions while archived: ",
    ),
    (Fault::KeepsDeletedServices, "deleted_service_is_not_listed", "whether it was deleted again: "),
    (Fault::IgnoresServiceUpdates, "repeated_put_replaces_service", "the services, by name: "),
    (Fault::TreatsLessOrEqualAsLess, "filter_compares_every_field", "LessOrEqual"),
    (Fault::TreatsAnyAsAll, "filter_conditions_can_be_combined", "Any("),
    (
        Fault::ListsOldestFirst,
        "list_pages_are_sorted_newest_first",
        "the number of workflows on page 3: got 10",
    ),
    (
        Fault::AlwaysReportsMorePages,
        "list_pages_are_sorted_newest_first",
        "whether there are more pages after page 3: ",
    ),
    (Fault::IgnoresFilterInCounts, "counts_match_filtered_workflows", "the counts by Status: "),
    (Fault::StripsNul, "unusual_text_is_returned_unchanged", "the state: "),
    (Fault::StripsNul, "similar_idempotency_keys_stay_distinct", "a start with the key "),
    (Fault::StripsNul, "similar_names_stay_distinct", "the list of namespace \"\\0\": "),
    (
        Fault::MergesLanes,
        "lane_names_with_slashes_stay_distinct",
        "the position of a slash: got 4, expected 5",
    ),
    (Fault::TruncatesPayloads, "large_value_is_returned_unchanged", "the state: "),
    (Fault::RoundsNumbers, "numbers_are_returned_unchanged", "the state: "),
    (Fault::RejectsDeepValues, "deep_value_is_returned_unchanged", "a value of depth 127: load failed: "),
    (
        Fault::LoadsInIdOrder,
        "batched_reads_return_requested_workflows",
        "the loaded workflows, in the requested order: ",
    ),
    (Fault::SkipsIds, "id_pages_contain_every_workflow", "the ids of all namespaces: "),
    (Fault::CountsRowsBeforeDue, "backlog_counts_due_rows", "the backlog: "),
    (Fault::ReportsFalseOrphans, "consistent_store_has_no_orphans", "the orphaned rows: "),
    (Fault::IgnoresShards, "sharded_claim_returns_only_its_shard", "a claim of shard 0 of 4 returned "),
    (Fault::KeepsExpiredMembers, "expired_member_is_not_listed", "the live members: "),
    (
        Fault::DuplicatesDeadLetters,
        "duplicate_dead_letter_is_stored_once",
        "the number of dead letters stored with a duplicate: ",
    ),
    (Fault::GrantsHeldLocks, "held_lock_is_refused_to_other_owners", "an acquisition by a second owner: "),
    (
        Fault::GrantsHeldLocks,
        "contended_lock_has_one_holder_at_a_time",
        "other owners held the lock at the same time",
    ),
    (Fault::NeverExpiresLocks, "expired_lock_can_be_acquired", "a renewal after the lease has expired: "),
    (
        Fault::RepeatsLockTokens,
        "lock_tokens_rise_across_maintenance_and_reopening",
        "token 7 was issued after 7 in round 1",
    ),
    (Fault::RepeatsLockTokens, "contended_lock_has_one_holder_at_a_time", "token 7 was issued after 7"),
    (Fault::ListsFreeLocks, "lock_pages_are_sorted_by_key", "the first page of locks: "),
    (Fault::GrantsWaitingLocks, "workflow_locks_are_granted_in_the_order_of_arrival", "the second request: "),
    (Fault::GrantsWaitingLocks, "shared_lock_does_not_overtake_an_exclusive_one", "an exclusive request: "),
    (Fault::GrantsWaitingLocks, "withdrawn_request_releases_its_locks", "a request for two locks: "),
    (Fault::GrantsWaitingLocks, "broken_lock_belongs_to_its_next_holder", "the second request: "),
    (Fault::ResetsLeasesOnSync, "synced_shard_keeps_its_lease", "the progress of a kept shard: "),
    (
        Fault::AlwaysStealsLeases,
        "live_lease_is_acquired_only_by_stealing",
        "the acquisition of a live lease without stealing: ",
    ),
    (
        Fault::AcceptsUpdatesOfAnyOwner,
        "replaced_owner_cannot_update_lease",
        "an update with a wrong counter: ",
    ),
    (
        Fault::RemovesBeforeRetention,
        "ended_workflow_is_kept_until_retention_ends",
        "removed before the end of their retention: got 2",
    ),
    (
        Fault::IgnoresStatusInRetention,
        "retention_differs_by_final_status",
        "whether the workflow that is ROLLED_BACK exists: got false",
    ),
    (Fault::NeverRemoves, "expired_workflow_is_removed_completely", "the workflow was not removed"),
    (
        Fault::CountsRemovedWorkflows,
        "expired_workflow_is_removed_completely",
        "the number of completed workflows after the removal: ",
    ),
    (
        Fault::StopsMaintenanceEarly,
        "large_removal_runs_in_parts",
        "the number of removed workflows: got 32, expected 450",
    ),
    (
        Fault::StopsSelectionEarly,
        "workflows_of_a_batch_are_selected_once",
        "the number of selected workflows: ",
    ),
    (
        Fault::AcceptsLostBatchLeases,
        "result_of_a_batch_is_recorded_once_by_the_holder_of_the_lease",
        "results of a lost lease: ",
    ),
    (
        Fault::IgnoresBatchNamespace,
        "batch_that_is_not_running_gives_no_items",
        "a batch of another namespace: ",
    ),
    (Fault::NeverRemoves, "ended_batch_is_removed_after_the_retention", "an ended batch was not removed"),
    (Fault::DropsAccessScopes, "access_key_is_returned_unchanged", "the stored key: "),
    (Fault::ExtendsAccessKeys, "access_key_ends_at_its_earliest_end", "a later expiry: "),
    (
        Fault::KeepsAccessRevision,
        "change_of_an_access_key_raises_the_revision",
        "the revision did not rise with a new key",
    ),
    (Fault::DropsAuditValues, "audit_records_form_a_chain", "the events of the log: "),
    (
        Fault::DuplicatesAuditEvents,
        "repeated_audit_event_is_stored_once",
        "the number of records after a repeated call: ",
    ),
    (
        Fault::DropsAuditEvents,
        "concurrent_audit_writers_do_not_fork_the_chain",
        "the number of records of 20 writers: ",
    ),
    (
        Fault::ForgetsAuditIntents,
        "audit_intent_without_outcome_is_recorded",
        "the intents without an outcome: ",
    ),
    (Fault::IgnoresAuditFilters, "audit_records_are_filtered_and_paged", "the records with "),
    (Fault::FailsOnConflict, "concurrent_writers_and_claimers_lose_nothing", "extend failed: "),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn injected_fault_is_detected_by_its_case() {
    let mut wrong = Vec::new();
    for (fault, name, message) in FAULTS {
        let case = CASES.iter().find(|case| case.name == *name).expect("the table refers to existing cases");
        match case.check(Arc::new(*fault)).await {
            Ok(()) => wrong.push(format!("{name} did not detect {fault:?}")),
            Err(found) if !found.contains(message) => {
                wrong.push(format!("{name} reported for {fault:?}: {found}"))
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn case_detects_at_least_one_fault() {
    let detecting: BTreeSet<&str> = FAULTS.iter().map(|(_, name, _)| *name).collect();
    let all: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(detecting, all);
    assert_eq!(all.len(), CASES.len(), "two cases share a name");
}

#[async_trait]
impl Factory for Fault {
    async fn open(&self) -> Result<Arc<dyn Store>, String> {
        Ok(Arc::new(store::FaultyStore::new(*self)))
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>, String> {
        if *self == Self::LosesDataOnReopen { self.open().await } else { Ok(store) }
    }
}
