//! Stores that break one promise each: the cases have to find every one of them, or they prove nothing.

#![allow(clippy::wildcard_enum_match_arm, reason = "a fault spoils one thing and leaves the rest")]

mod inject;
mod store;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use goconductor_store::Store;
use goconductor_store::conformance::{CASES, Factory};

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    IgnoresRevisions,
    ConflictAbortsBatch,
    AlwaysStealsLeases,
    RespondsBeforeWriting,
    AcceptsDuplicateIds,
    ResetsLeasesOnSync,
    AcceptsUpdatesOfAnyOwner,
    ChecksKeysOutsideTransaction,
    IgnoresSides,
    ClaimsRowsBeforeDue,
    CountsRemovedWorkflows,
    CountsRowsBeforeDue,
    IgnoresFilterInCounts,
    TruncatesBatches,
    TruncatesPayloads,
    TrimsSources,
    DuplicatesDeadLetters,
    CreatesVersionPerApply,
    RaisesEpochsNonAtomically,
    ExtendsAnyAttempt,
    ReportsFalseOrphans,
    LosesDataOnReopen,
    DropsCommands,
    DropsCompensations,
    DropsIdempotencyKeys,
    DropsPublishes,
    DropsLedgerRows,
    DropsTimers,
    FailsOnConflict,
    ClaimsRowsTwice,
    IgnoresDigests,
    IgnoresFences,
    IgnoresLimits,
    IgnoresSeq,
    IgnoresShards,
    IgnoresQueuedMessages,
    IgnoresServiceUpdates,
    KeepsExpiredMembers,
    NeverExpiresLocks,
    GrantsHeldLocks,
    ListsFreeLocks,
    RepeatsLockTokens,
    KeepsSettledRows,
    RejectsDeepValues,
    IgnoresListNamespace,
    ListsOldestFirst,
    LoadsInIdOrder,
    DropsEvents,
    MergesLanes,
    NeverClaimsTimers,
    NeverRedelivers,
    NeverExpiresDeliveries,
    NeverExtends,
    NeverHolds,
    NeverReleases,
    NeverRemoves,
    NeverWithdraws,
    ReleasesAnyAttempt,
    RemovesBeforeRetention,
    RoundsNumbers,
    AlwaysReportsMorePages,
    SkipsIds,
    StopsMaintenanceEarly,
    StripsNul,
    TreatsAnyAsAll,
    TreatsLessOrEqualAsLess,
    ReportsTimeInSeconds,
    ReturnsRejectedStateOnConflict,
    WritesBatchNonAtomically,
    WritesWorkflowOncePerBatch,
}

/// Each fault, a case that has to find it, and a part of what the case has to say.
const FAULTS: &[(Fault, &str, &str)] = &[
    (Fault::ConflictAbortsBatch, "batch_entries_succeed_or_fail_independently", "the outcomes: "),
    (
        Fault::ReturnsRejectedStateOnConflict,
        "write_conflict_returns_current_state",
        "the state that the loser gets: ",
    ),
    (Fault::WritesWorkflowOncePerBatch, "batch_may_contain_a_workflow_twice", "two after one another"),
    (Fault::IgnoresSeq, "concurrent_writes_to_one_workflow_commit_one", "how many won: "),
    (Fault::IgnoresSeq, "batch_entries_succeed_or_fail_independently", "the outcomes: "),
    (Fault::AcceptsDuplicateIds, "start_with_existing_id_is_rejected", "the outcomes: "),
    (Fault::TruncatesBatches, "batch_may_be_large_or_empty", "the workflow is not there"),
    (
        Fault::DropsIdempotencyKeys,
        "duplicate_start_returns_existing_workflow",
        "the key that it was started with: ",
    ),
    (Fault::IgnoresDigests, "reused_key_with_other_request_conflicts", "replayed"),
    (
        Fault::ChecksKeysOutsideTransaction,
        "concurrent_starts_with_one_key_create_one_workflow",
        "how many of 50",
    ),
    (Fault::DropsIdempotencyKeys, "concurrent_starts_with_one_key_create_one_workflow", "50 where 1"),
    (
        Fault::ChecksKeysOutsideTransaction,
        "starts_with_one_key_in_one_batch_create_one_workflow",
        "starts with one key in one batch: ",
    ),
    (Fault::IgnoresListNamespace, "namespaces_are_isolated", "the list of other: "),
    (Fault::LosesDataOnReopen, "acknowledged_writes_survive_reopening", "the workflow is not there"),
    (Fault::DropsCommands, "ledger_matches_state_during_execution", "the ledger: "),
    (Fault::KeepsSettledRows, "ledger_matches_state_during_execution", "the ledger: "),
    (Fault::RespondsBeforeWriting, "ledger_matches_state_during_execution", "the workflow is not there"),
    (Fault::DropsCompensations, "ledger_matches_state_during_rollback", "the ledger: "),
    (Fault::NeverWithdraws, "ledger_matches_state_after_cancellation", "the ledger: "),
    (Fault::NeverHolds, "ledger_matches_state_while_paused", "the ledger: "),
    (Fault::DropsTimers, "ledger_matches_state_with_timers", "the ledger: "),
    (Fault::WritesBatchNonAtomically, "failed_batch_writes_nothing", "a row that was not written: "),
    (Fault::DropsEvents, "history_pages_have_no_gaps", "the numbers of the history: "),
    (Fault::ClaimsRowsBeforeDue, "claim_returns_only_due_rows", "before it is due: "),
    (Fault::IgnoresSides, "claim_returns_only_rows_of_requested_lanes", "the claim of "),
    (Fault::DropsLedgerRows, "claim_returns_only_rows_of_requested_lanes", "of default/stock/compensate: []"),
    (Fault::IgnoresLimits, "claim_respects_limits", "a claim of at most 3 of 100: "),
    (Fault::ClaimsRowsTwice, "concurrent_claims_never_share_a_row", "claimed more than once: "),
    (Fault::NeverRedelivers, "unsettled_row_is_redelivered", "the first redelivery: "),
    (Fault::IgnoresQueuedMessages, "queued_row_is_not_redelivered", "while the first still waits"),
    (Fault::NeverHolds, "held_row_is_never_claimed", "the ledger: "),
    (Fault::NeverWithdraws, "cancelled_command_is_withdrawn", "the ledger: "),
    (Fault::NeverReleases, "cancelled_command_is_withdrawn", "of the service, taken back: "),
    (Fault::NeverClaimsTimers, "timer_is_claimed_when_due", "when the first is due: "),
    (Fault::DropsPublishes, "published_command_counts_as_delivered", "what the writer publishes: "),
    (Fault::NeverExtends, "extended_row_is_due_later", "what is under way: "),
    (Fault::ExtendsAnyAttempt, "extended_row_is_due_later", "another attempt: "),
    (Fault::NeverReleases, "released_row_is_due_at_once", "what is released is due at once: "),
    (Fault::ReleasesAnyAttempt, "released_row_is_due_at_once", "not to be released: "),
    (Fault::NeverExpiresDeliveries, "expired_deliveries_are_due_at_once", "what was delivered: "),
    (Fault::IgnoresFences, "stale_fencing_token_claims_nothing", "one who was replaced: Ok(1)"),
    (Fault::IgnoresRevisions, "concurrent_compare_and_set_succeeds_once", "a second first"),
    (Fault::RaisesEpochsNonAtomically, "epochs_are_unique_and_rising", "the epochs of 50 at once: "),
    (Fault::ReportsTimeInSeconds, "database_clock_is_monotonic_in_microseconds", "the time "),
    (Fault::CreatesVersionPerApply, "changed_definition_creates_next_version", "content a: (2, true)"),
    (Fault::TrimsSources, "definition_is_returned_unchanged", "what was given: "),
    (Fault::CreatesVersionPerApply, "concurrent_applies_create_consecutive_versions", "20 where 1"),
    (Fault::IgnoresServiceUpdates, "repeated_put_replaces_service", "services, by name: "),
    (Fault::TreatsLessOrEqualAsLess, "filter_compares_every_field", "LessOrEqual"),
    (Fault::TreatsAnyAsAll, "filter_conditions_can_be_combined", "Any("),
    (Fault::ListsOldestFirst, "list_pages_are_sorted_newest_first", "the size of page 3: 10"),
    (
        Fault::AlwaysReportsMorePages,
        "list_pages_are_sorted_newest_first",
        "whether there is more after page 3: ",
    ),
    (Fault::IgnoresFilterInCounts, "counts_match_filtered_workflows", "the counts by Status: "),
    (Fault::StripsNul, "unusual_text_is_returned_unchanged", "the state: "),
    (Fault::StripsNul, "similar_idempotency_keys_stay_distinct", "a start with the key "),
    (Fault::StripsNul, "similar_names_stay_distinct", "the list of \"\\0\": "),
    (Fault::MergesLanes, "lane_names_with_slashes_stay_distinct", "where a slash stands: 4 where 5"),
    (Fault::TruncatesPayloads, "large_value_is_returned_unchanged", "the state: "),
    (Fault::RoundsNumbers, "numbers_are_returned_unchanged", "the state: "),
    (Fault::RejectsDeepValues, "deep_value_is_returned_unchanged", "127 deep: load: "),
    (
        Fault::LoadsInIdOrder,
        "batched_reads_return_requested_workflows",
        "what was loaded, in the order of the ids: ",
    ),
    (Fault::SkipsIds, "id_pages_contain_every_workflow", "the ids of all namespaces: "),
    (Fault::CountsRowsBeforeDue, "backlog_counts_due_rows", "the backlog: "),
    (Fault::ReportsFalseOrphans, "consistent_store_has_no_orphans", "rows without a workflow: "),
    (Fault::IgnoresShards, "sharded_claim_returns_only_its_shard", "share 0 of 4 has "),
    (Fault::KeepsExpiredMembers, "expired_member_is_not_listed", "who is there: "),
    (Fault::DuplicatesDeadLetters, "duplicate_dead_letter_is_stored_once", "one of them again: "),
    (Fault::GrantsHeldLocks, "held_lock_is_refused_to_other_owners", "who comes second: "),
    (Fault::GrantsHeldLocks, "contended_lock_has_one_holder_at_a_time", "somebody holds it beside "),
    (Fault::NeverExpiresLocks, "expired_lock_can_be_acquired", "to renew too late: "),
    (
        Fault::RepeatsLockTokens,
        "lock_tokens_rise_across_maintenance_and_reopening",
        "token 7 came after 7 in round 1",
    ),
    (Fault::RepeatsLockTokens, "contended_lock_has_one_holder_at_a_time", "token 7 came after 7"),
    (Fault::ListsFreeLocks, "lock_pages_are_sorted_by_key", "the first page: "),
    (Fault::ResetsLeasesOnSync, "synced_shard_keeps_its_lease", "one that was there: "),
    (Fault::AlwaysStealsLeases, "live_lease_is_acquired_only_by_stealing", "one that is held: "),
    (Fault::AcceptsUpdatesOfAnyOwner, "replaced_owner_cannot_update_lease", "with a wrong counter: "),
    (
        Fault::RemovesBeforeRetention,
        "ended_workflow_is_kept_until_retention_ends",
        "removed before its time: 2",
    ),
    (Fault::NeverRemoves, "expired_workflow_is_removed_completely", "it is still there"),
    (Fault::CountsRemovedWorkflows, "expired_workflow_is_removed_completely", "completed and are left: "),
    (Fault::StopsMaintenanceEarly, "large_removal_runs_in_parts", "how many were removed: 32 where 450"),
    (Fault::FailsOnConflict, "concurrent_writers_and_claimers_lose_nothing", "extend: "),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_fault_is_found() {
    let mut wrong = Vec::new();
    for (fault, name, said) in FAULTS {
        let case = CASES.iter().find(|case| case.name == *name).expect("the table names cases");
        match case.check(Arc::new(*fault)).await {
            Ok(()) => wrong.push(format!("{name} did not find {fault:?}")),
            Err(found) if !found.contains(said) => wrong.push(format!("{name} said of {fault:?}: {found}")),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_finds_a_fault() {
    let finders: BTreeSet<&str> = FAULTS.iter().map(|(_, name, _)| *name).collect();
    let all: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(finders, all);
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
