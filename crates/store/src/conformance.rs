//! The test cases that every store runs. They form one array, [`CASES`], so an adapter cannot omit one.
//!
//! A case opens its own stores through a [`Factory`] and describes a violation in a sentence.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a case matches the variants that it expects; every other variant is a violation"
)]

mod access_keys;
mod audit;
mod batches;
mod children;
mod claims;
mod concurrency;
mod config_entries;
mod config_history;
mod definitions;
mod delivery;
mod fences;
mod fixture;
pub mod flow;
mod leases;
mod lifecycle;
mod lists;
mod locks;
mod maintenance;
mod payloads;
mod processes;
mod queries;
mod reruns;
mod schedules;
mod secrets;
mod starts;
mod statistics;
mod values;
mod workflow_batches;
mod workflow_locks;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::Store;

/// Time limit of a case. The longest case writes a few thousand rows.
const CASE_TIMEOUT: Duration = Duration::from_secs(120);

/// A boxed future, as returned by the functions of [`CASES`].
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The result of a case. The error describes the violation.
pub type CaseResult = Result<(), String>;

/// Opens stores of the adapter under test.
#[async_trait]
pub trait Factory: fmt::Debug + Send + Sync {
    /// Opens an empty store that shares no data with an earlier one.
    ///
    /// # Errors
    /// Returns the reason if the store cannot be opened.
    async fn open(&self) -> Result<Arc<dyn Store>, String>;

    /// Closes `store` and opens the same data again, as a new process would. Returns `store` itself if its data does not
    /// outlive it.
    ///
    /// # Errors
    /// Returns the reason if the store cannot be opened.
    async fn reopen(&self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>, String> {
        Ok(store)
    }
}

/// Checks that the row, the history and the ledger of a workflow match its expected state.
///
/// # Errors
/// Returns a description of the first difference.
pub async fn check_consistency(store: &Arc<dyn Store>, flow: &flow::Flow) -> CaseResult {
    fixture::Fixture { store: Arc::clone(store) }.check_consistency(flow).await
}

/// A guarantee that every adapter must keep.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The guarantee: a state and the expected behavior.
    pub name: &'static str,
    /// Runs the case against its own stores.
    pub run: fn(Arc<dyn Factory>) -> BoxFuture<CaseResult>,
}

impl Case {
    /// Runs the case with a time limit.
    ///
    /// # Errors
    /// Returns a description of the violation, or of the timeout.
    pub async fn check(&self, factory: Arc<dyn Factory>) -> CaseResult {
        match tokio::time::timeout(CASE_TIMEOUT, (self.run)(factory)).await {
            Ok(result) => result,
            Err(_) => Err(format!("timed out after {} s", CASE_TIMEOUT.as_secs())),
        }
    }
}

/// All cases.
pub const CASES: &[Case] = &[
    Case {
        name: "batch_entries_succeed_or_fail_independently",
        run: |f| Box::pin(batches::independent_entries(f)),
    },
    Case { name: "write_conflict_returns_current_state", run: |f| Box::pin(batches::conflict(f)) },
    Case { name: "batch_may_contain_a_workflow_twice", run: |f| Box::pin(batches::twice(f)) },
    Case {
        name: "concurrent_writes_to_one_workflow_commit_one",
        run: |f| Box::pin(batches::concurrent_writes(f)),
    },
    Case { name: "start_with_existing_id_is_rejected", run: |f| Box::pin(batches::existing_id(f)) },
    Case { name: "batch_may_be_large_or_empty", run: |f| Box::pin(batches::sizes(f)) },
    Case { name: "duplicate_start_returns_existing_workflow", run: |f| Box::pin(starts::replayed(f)) },
    Case { name: "reused_key_with_other_request_conflicts", run: |f| Box::pin(starts::conflict(f)) },
    Case {
        name: "concurrent_starts_with_one_key_create_one_workflow",
        run: |f| Box::pin(starts::concurrent(f)),
    },
    Case {
        name: "starts_with_one_key_in_one_batch_create_one_workflow",
        run: |f| Box::pin(starts::in_one_batch(f)),
    },
    Case { name: "namespaces_are_isolated", run: |f| Box::pin(starts::namespaces(f)) },
    Case { name: "acknowledged_writes_survive_reopening", run: |f| Box::pin(starts::durable(f)) },
    Case { name: "ledger_matches_state_during_execution", run: |f| Box::pin(lifecycle::completes(f)) },
    Case { name: "ledger_matches_state_during_rollback", run: |f| Box::pin(lifecycle::rolls_back(f)) },
    Case { name: "ledger_matches_state_after_cancellation", run: |f| Box::pin(lifecycle::cancelled(f)) },
    Case { name: "ledger_matches_state_while_paused", run: |f| Box::pin(lifecycle::paused(f)) },
    Case { name: "ledger_matches_state_with_timers", run: |f| Box::pin(lifecycle::timers(f)) },
    Case {
        name: "rollback_of_a_completed_workflow_corrects_lists_and_counts",
        run: |f| Box::pin(children::completed_workflow_rolls_back(f)),
    },
    Case {
        name: "rollback_without_compensations_ends_in_the_transition_that_begins_it",
        run: |f| Box::pin(children::rollback_without_compensations(f)),
    },
    Case {
        name: "retention_spares_a_completed_workflow_that_rolls_back",
        run: |f| Box::pin(children::retention_spares_reopened(f)),
    },
    Case {
        name: "workflows_that_run_elements_are_excluded_from_lists_and_counts",
        run: |f| Box::pin(lists::without_elements(f)),
    },
    Case {
        name: "re_run_of_an_ended_workflow_corrects_lists_and_counts",
        run: |f| Box::pin(reruns::ended_workflow_is_re_run(f)),
    },
    Case {
        name: "re_run_can_end_in_the_transition_that_begins_it",
        run: |f| Box::pin(reruns::ends_at_once(f)),
    },
    Case { name: "retention_spares_a_re_run_workflow", run: |f| Box::pin(reruns::retention_spares(f)) },
    Case {
        name: "migrated_workflow_is_listed_and_counted_with_its_version",
        run: |f| Box::pin(reruns::migrated(f)),
    },
    Case {
        name: "retention_keeps_a_child_until_its_parent_is_removed",
        run: |f| Box::pin(children::retention_keeps_children(f)),
    },
    Case {
        name: "retention_keeps_a_child_with_a_key_of_its_own",
        run: |f| Box::pin(children::retention_keeps_keyed_children(f)),
    },
    Case { name: "ledger_matches_state_with_a_child", run: |f| Box::pin(children::ledger_with_child(f)) },
    Case {
        name: "rollback_makes_the_row_of_a_running_child_due",
        run: |f| Box::pin(children::rollback_makes_child_due(f)),
    },
    Case { name: "failed_batch_writes_nothing", run: |f| Box::pin(lifecycle::all_or_nothing(f)) },
    Case { name: "history_pages_have_no_gaps", run: |f| Box::pin(lifecycle::history(f)) },
    Case { name: "claim_returns_only_due_rows", run: |f| Box::pin(claims::due_only(f)) },
    Case {
        name: "claim_returns_only_rows_of_requested_lanes",
        run: |f| Box::pin(claims::requested_lanes_only(f)),
    },
    Case { name: "claim_respects_limits", run: |f| Box::pin(claims::limits(f)) },
    Case { name: "concurrent_claims_never_share_a_row", run: |f| Box::pin(claims::concurrent(f)) },
    Case { name: "unsettled_row_is_redelivered", run: |f| Box::pin(claims::redelivery(f)) },
    Case { name: "queued_row_is_not_redelivered", run: |f| Box::pin(claims::still_queued(f)) },
    Case { name: "held_row_is_never_claimed", run: |f| Box::pin(claims::held(f)) },
    Case { name: "cancelled_command_is_withdrawn", run: |f| Box::pin(claims::withdrawn(f)) },
    Case { name: "timer_is_claimed_when_due", run: |f| Box::pin(claims::due_timers(f)) },
    Case { name: "published_command_counts_as_delivered", run: |f| Box::pin(delivery::published(f)) },
    Case { name: "extended_row_is_due_later", run: |f| Box::pin(delivery::extended(f)) },
    Case { name: "released_row_is_due_at_once", run: |f| Box::pin(delivery::released(f)) },
    Case { name: "expired_deliveries_are_due_at_once", run: |f| Box::pin(delivery::expired(f)) },
    Case { name: "stale_fencing_token_claims_nothing", run: |f| Box::pin(fences::stale_token(f)) },
    Case { name: "epochs_are_unique_and_rising", run: |f| Box::pin(fences::epochs(f)) },
    Case { name: "database_clock_is_monotonic_in_microseconds", run: |f| Box::pin(fences::clock(f)) },
    Case { name: "changed_definition_creates_next_version", run: |f| Box::pin(definitions::versions(f)) },
    Case { name: "definition_is_returned_unchanged", run: |f| Box::pin(definitions::unchanged(f)) },
    Case {
        name: "concurrent_applies_create_consecutive_versions",
        run: |f| Box::pin(definitions::concurrent(f)),
    },
    Case {
        name: "archived_definition_keeps_its_versions_until_applied_again",
        run: |f| Box::pin(definitions::archived(f)),
    },
    Case { name: "deleted_service_is_not_listed", run: |f| Box::pin(definitions::deleted_service(f)) },
    Case { name: "repeated_put_replaces_service", run: |f| Box::pin(definitions::services(f)) },
    Case { name: "filter_compares_every_field", run: |f| Box::pin(lists::compared_by_every_field(f)) },
    Case { name: "filter_conditions_can_be_combined", run: |f| Box::pin(lists::combined(f)) },
    Case { name: "list_pages_are_sorted_newest_first", run: |f| Box::pin(lists::paged(f)) },
    Case { name: "counts_match_filtered_workflows", run: |f| Box::pin(lists::counted(f)) },
    Case { name: "unusual_text_is_returned_unchanged", run: |f| Box::pin(values::texts(f)) },
    Case { name: "similar_idempotency_keys_stay_distinct", run: |f| Box::pin(values::keys(f)) },
    Case { name: "similar_names_stay_distinct", run: |f| Box::pin(values::names(f)) },
    Case { name: "lane_names_with_slashes_stay_distinct", run: |f| Box::pin(values::slashes(f)) },
    Case { name: "large_value_is_returned_unchanged", run: |f| Box::pin(values::large(f)) },
    Case { name: "numbers_are_returned_unchanged", run: |f| Box::pin(values::numbers(f)) },
    Case { name: "deep_value_is_returned_unchanged", run: |f| Box::pin(values::deep(f)) },
    Case { name: "batched_reads_return_requested_workflows", run: |f| Box::pin(queries::heads(f)) },
    Case { name: "id_pages_contain_every_workflow", run: |f| Box::pin(queries::ids(f)) },
    Case { name: "backlog_counts_due_rows", run: |f| Box::pin(queries::backlog(f)) },
    Case { name: "statistics_match_workflows_and_ledger", run: |f| Box::pin(statistics::matching(f)) },
    Case { name: "consistent_store_has_no_orphans", run: |f| Box::pin(queries::orphans(f)) },
    Case { name: "sharded_claim_returns_only_its_shard", run: |f| Box::pin(processes::shards(f)) },
    Case {
        name: "concurrent_compare_and_set_succeeds_once",
        run: |f| Box::pin(config_entries::one_changes(f)),
    },
    Case { name: "configuration_history_is_kept_in_order", run: |f| Box::pin(config_history::is_kept(f)) },
    Case {
        name: "configuration_version_has_one_writer",
        run: |f| Box::pin(config_history::has_one_writer(f)),
    },
    Case {
        name: "configuration_version_survives_its_writer",
        run: |f| Box::pin(config_history::survives_its_writer(f)),
    },
    Case { name: "expired_member_is_not_listed", run: |f| Box::pin(processes::members(f)) },
    Case { name: "duplicate_dead_letter_is_stored_once", run: |f| Box::pin(processes::dead_letters(f)) },
    Case { name: "held_lock_is_refused_to_other_owners", run: |f| Box::pin(locks::one_holder(f)) },
    Case { name: "expired_lock_can_be_acquired", run: |f| Box::pin(locks::leases(f)) },
    Case {
        name: "lock_tokens_rise_across_maintenance_and_reopening",
        run: |f| Box::pin(locks::tokens_rise(f)),
    },
    Case { name: "contended_lock_has_one_holder_at_a_time", run: |f| Box::pin(locks::contended(f)) },
    Case { name: "lock_pages_are_sorted_by_key", run: |f| Box::pin(locks::listed(f)) },
    Case {
        name: "workflow_locks_are_granted_in_the_order_of_arrival",
        run: |f| Box::pin(workflow_locks::in_order(f)),
    },
    Case {
        name: "shared_lock_does_not_overtake_an_exclusive_one",
        run: |f| Box::pin(workflow_locks::shared(f)),
    },
    Case { name: "withdrawn_request_releases_its_locks", run: |f| Box::pin(workflow_locks::withdrawn(f)) },
    Case { name: "broken_lock_belongs_to_its_next_holder", run: |f| Box::pin(workflow_locks::broken(f)) },
    Case { name: "secret_versions_are_not_used_again", run: |f| Box::pin(secrets::versions(f)) },
    Case {
        name: "concurrent_writes_of_one_secret_version_succeed_once",
        run: |f| Box::pin(secrets::one_version(f)),
    },
    Case { name: "secret_pages_are_sorted_by_name", run: |f| Box::pin(secrets::listed(f)) },
    Case { name: "data_key_is_rewrapped_once", run: |f| Box::pin(secrets::rewrapped(f)) },
    Case { name: "payload_is_stored_once_in_its_namespace", run: |f| Box::pin(payloads::stored_once(f)) },
    Case {
        name: "payload_is_removed_after_its_last_workflow",
        run: |f| Box::pin(payloads::removed_after_last_workflow(f)),
    },
    Case {
        name: "payload_of_a_start_that_was_not_committed_is_removed",
        run: |f| Box::pin(payloads::removed_without_workflow(f)),
    },
    Case { name: "payload_in_removal_can_be_stored_again", run: |f| Box::pin(payloads::removed_in_parts(f)) },
    Case { name: "schedule_is_replaced_by_revision", run: |f| Box::pin(schedules::revisions(f)) },
    Case { name: "schedule_revision_has_one_writer", run: |f| Box::pin(schedules::one_writer(f)) },
    Case { name: "schedules_are_listed_by_name_and_by_due_time", run: |f| Box::pin(schedules::listed(f)) },
    Case { name: "synced_shard_keeps_its_lease", run: |f| Box::pin(leases::synced(f)) },
    Case { name: "live_lease_is_acquired_only_by_stealing", run: |f| Box::pin(leases::acquired(f)) },
    Case { name: "replaced_owner_cannot_update_lease", run: |f| Box::pin(leases::updated(f)) },
    Case { name: "ended_workflow_is_kept_until_retention_ends", run: |f| Box::pin(maintenance::kept(f)) },
    Case { name: "retention_differs_by_final_status", run: |f| Box::pin(maintenance::kept_by_status(f)) },
    Case { name: "expired_workflow_is_removed_completely", run: |f| Box::pin(maintenance::removed(f)) },
    Case { name: "large_removal_runs_in_parts", run: |f| Box::pin(maintenance::in_parts(f)) },
    Case {
        name: "workflows_of_a_batch_are_selected_once",
        run: |f| Box::pin(workflow_batches::selected_once(f)),
    },
    Case {
        name: "result_of_a_batch_is_recorded_once_by_the_holder_of_the_lease",
        run: |f| Box::pin(workflow_batches::recorded_once(f)),
    },
    Case {
        name: "batch_that_is_not_running_gives_no_items",
        run: |f| Box::pin(workflow_batches::controlled(f)),
    },
    Case {
        name: "ended_batch_is_removed_after_the_retention",
        run: |f| Box::pin(workflow_batches::removed(f)),
    },
    Case { name: "access_key_is_returned_unchanged", run: |f| Box::pin(access_keys::unchanged(f)) },
    Case { name: "access_key_ends_at_its_earliest_end", run: |f| Box::pin(access_keys::ended(f)) },
    Case {
        name: "change_of_an_access_key_raises_the_revision",
        run: |f| Box::pin(access_keys::revisions(f)),
    },
    Case { name: "audit_records_form_a_chain", run: |f| Box::pin(audit::chained(f)) },
    Case { name: "repeated_audit_event_is_stored_once", run: |f| Box::pin(audit::repeated(f)) },
    Case { name: "concurrent_audit_writers_do_not_fork_the_chain", run: |f| Box::pin(audit::concurrent(f)) },
    Case { name: "audit_intent_without_outcome_is_recorded", run: |f| Box::pin(audit::intents(f)) },
    Case { name: "audit_records_are_filtered_and_paged", run: |f| Box::pin(audit::listed(f)) },
    Case {
        name: "concurrent_writers_and_claimers_lose_nothing",
        run: |f| Box::pin(concurrency::writers_and_claimers(f)),
    },
];
