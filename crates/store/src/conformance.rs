//! The cases that every store runs: one array, so that none can be left out.
//!
//! A case opens stores of its own through a [`Factory`], and gives a sentence that says what it found.

#![allow(clippy::wildcard_enum_match_arm, reason = "a case names what it expects, and no more")]

mod bench;
mod catalogue;
mod claims;
mod config_entries;
mod course;
mod crowd;
mod delivered;
mod fences;
pub mod flow;
mod group;
mod leases;
mod lists;
mod locks;
mod processes;
mod starts;
mod surveys;
mod upkeep;
mod values;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::Store;

/// A case that is not through by then hangs: the longest writes some thousand rows.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// A future that a table can hold.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Kept, or why not.
pub type Verdict = Result<(), String>;

/// Makes stores of the adapter under test.
#[async_trait]
pub trait Factory: fmt::Debug + Send + Sync {
    /// An empty store that shares nothing with any before it.
    ///
    /// # Errors
    /// Why there is none.
    async fn open(&self) -> Result<Arc<dyn Store>, String>;

    /// The same store as a new process would find it, once everybody has let go of the one that is given;
    /// the given one itself, if it holds nothing that outlives it.
    ///
    /// # Errors
    /// Why there is none.
    async fn reopen(&self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>, String> {
        Ok(store)
    }
}

/// Whether a workflow's row, history and ledger are what they have to be.
///
/// # Errors
/// What is not.
pub async fn whole(store: &Arc<dyn Store>, flow: &flow::Flow) -> Verdict {
    bench::Bench { store: Arc::clone(store) }.whole(flow).await
}

/// One promise.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What is promised.
    pub name: &'static str,
    /// Checks it, on a store of its own.
    pub run: fn(Arc<dyn Factory>) -> BoxFuture<Verdict>,
}

impl Case {
    /// Checks it, and takes a case that hangs for one that found something.
    ///
    /// # Errors
    /// What was found.
    pub async fn check(&self, factory: Arc<dyn Factory>) -> Verdict {
        match tokio::time::timeout(CASE_LIMIT, (self.run)(factory)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(format!("not through after {} s", CASE_LIMIT.as_secs())),
        }
    }
}

/// Every promise.
pub const CASES: &[Case] = &[
    Case { name: "members_of_a_group_are_judged_alone", run: |f| Box::pin(group::judged_alone(f)) },
    Case { name: "a_loser_gets_the_present_state", run: |f| Box::pin(group::loser(f)) },
    Case { name: "a_workflow_may_come_twice_in_a_group", run: |f| Box::pin(group::twice(f)) },
    Case { name: "one_of_many_writers_wins", run: |f| Box::pin(group::one_wins(f)) },
    Case { name: "a_taken_id_is_not_started_again", run: |f| Box::pin(group::taken_id(f)) },
    Case { name: "a_group_may_be_large_or_empty", run: |f| Box::pin(group::sizes(f)) },
    Case { name: "one_key_is_one_workflow", run: |f| Box::pin(starts::replayed(f)) },
    Case { name: "another_request_with_a_key_conflicts", run: |f| Box::pin(starts::conflict(f)) },
    Case { name: "fifty_starts_with_one_key_are_one", run: |f| Box::pin(starts::concurrent(f)) },
    Case { name: "one_key_in_one_group_is_one_workflow", run: |f| Box::pin(starts::in_one_group(f)) },
    Case { name: "namespaces_share_nothing", run: |f| Box::pin(starts::namespaces(f)) },
    Case { name: "what_was_answered_is_durable", run: |f| Box::pin(starts::durable(f)) },
    Case { name: "the_ledger_is_what_is_owed_forward", run: |f| Box::pin(course::completes(f)) },
    Case { name: "the_ledger_is_what_is_owed_in_a_roll_back", run: |f| Box::pin(course::rolls_back(f)) },
    Case { name: "the_ledger_is_what_is_owed_after_a_cancel", run: |f| Box::pin(course::cancelled(f)) },
    Case { name: "the_ledger_is_what_is_owed_while_held", run: |f| Box::pin(course::held(f)) },
    Case { name: "the_ledger_has_the_timers", run: |f| Box::pin(course::timers(f)) },
    Case { name: "a_group_is_written_whole_or_not_at_all", run: |f| Box::pin(course::all_or_nothing(f)) },
    Case { name: "a_history_has_no_gap", run: |f| Box::pin(course::history(f)) },
    Case { name: "only_what_is_due_is_claimed", run: |f| Box::pin(claims::due_only(f)) },
    Case { name: "only_what_is_served_is_claimed", run: |f| Box::pin(claims::served_only(f)) },
    Case { name: "no_more_is_claimed_than_asked_for", run: |f| Box::pin(claims::limits(f)) },
    Case { name: "no_two_claim_one_row", run: |f| Box::pin(claims::two_claimers(f)) },
    Case { name: "what_is_not_settled_is_delivered_again", run: |f| Box::pin(claims::redelivery(f)) },
    Case { name: "what_still_waits_is_not_delivered_again", run: |f| Box::pin(claims::still_waits(f)) },
    Case { name: "what_is_held_is_never_claimed", run: |f| Box::pin(claims::held(f)) },
    Case { name: "what_is_not_wanted_is_taken_back", run: |f| Box::pin(claims::withdrawn(f)) },
    Case { name: "timers_are_claimed_when_due", run: |f| Box::pin(claims::of_timers(f)) },
    Case { name: "what_the_writer_publishes_is_delivered", run: |f| Box::pin(delivered::published(f)) },
    Case { name: "what_is_under_way_is_extended", run: |f| Box::pin(delivered::extended(f)) },
    Case { name: "what_was_not_sent_is_released", run: |f| Box::pin(delivered::released(f)) },
    Case { name: "what_died_with_its_queue_is_due", run: |f| Box::pin(delivered::expired(f)) },
    Case { name: "one_who_was_replaced_claims_nothing", run: |f| Box::pin(fences::replaced(f)) },
    Case { name: "epochs_only_rise", run: |f| Box::pin(fences::epochs(f)) },
    Case { name: "the_database_tells_the_time", run: |f| Box::pin(fences::clock(f)) },
    Case { name: "changed_content_is_the_next_version", run: |f| Box::pin(catalogue::versions(f)) },
    Case { name: "a_definition_comes_as_it_was_given", run: |f| Box::pin(catalogue::as_given(f)) },
    Case { name: "definitions_applied_at_once_are_in_line", run: |f| Box::pin(catalogue::at_once(f)) },
    Case { name: "services_are_replaced", run: |f| Box::pin(catalogue::services(f)) },
    Case { name: "every_field_can_be_compared", run: |f| Box::pin(lists::compared_by_every_field(f)) },
    Case { name: "conditions_can_be_combined", run: |f| Box::pin(lists::combined(f)) },
    Case { name: "lists_are_paged_newest_first", run: |f| Box::pin(lists::paged(f)) },
    Case { name: "workflows_are_counted", run: |f| Box::pin(lists::counted(f)) },
    Case { name: "texts_come_as_they_were_given", run: |f| Box::pin(values::texts(f)) },
    Case { name: "keys_are_told_apart", run: |f| Box::pin(values::keys(f)) },
    Case { name: "names_are_told_apart", run: |f| Box::pin(values::names(f)) },
    Case { name: "lanes_are_told_apart", run: |f| Box::pin(values::slashes(f)) },
    Case { name: "large_values_come_as_they_were_given", run: |f| Box::pin(values::large(f)) },
    Case { name: "numbers_come_as_they_were_given", run: |f| Box::pin(values::numbers(f)) },
    Case { name: "deep_values_come_as_they_were_given", run: |f| Box::pin(values::deep(f)) },
    Case { name: "one_read_shows_what_changed", run: |f| Box::pin(surveys::seen(f)) },
    Case { name: "every_id_is_found", run: |f| Box::pin(surveys::ids(f)) },
    Case { name: "the_backlog_is_what_is_due", run: |f| Box::pin(surveys::backlog(f)) },
    Case { name: "no_row_is_without_a_workflow", run: |f| Box::pin(surveys::orphans(f)) },
    Case { name: "a_claim_keeps_to_its_share", run: |f| Box::pin(processes::shards(f)) },
    Case { name: "what_all_agree_on_is_changed_by_one", run: |f| Box::pin(config_entries::one_changes(f)) },
    Case { name: "who_is_there_is_known", run: |f| Box::pin(processes::members(f)) },
    Case { name: "dead_letters_are_kept_once", run: |f| Box::pin(processes::dead_letters(f)) },
    Case { name: "a_lock_has_one_holder", run: |f| Box::pin(locks::one_holder(f)) },
    Case { name: "a_lock_is_free_after_its_lease", run: |f| Box::pin(locks::leases(f)) },
    Case { name: "tokens_of_locks_rise_for_ever", run: |f| Box::pin(locks::tokens_rise(f)) },
    Case { name: "twenty_hold_a_lock_in_turn", run: |f| Box::pin(locks::crowd(f)) },
    Case { name: "locks_are_listed_by_key", run: |f| Box::pin(locks::listed(f)) },
    Case { name: "a_shard_has_one_lease", run: |f| Box::pin(leases::synced(f)) },
    Case { name: "one_at_a_time_has_a_lease", run: |f| Box::pin(leases::taken(f)) },
    Case { name: "one_who_was_replaced_checkpoints_nothing", run: |f| Box::pin(leases::marked(f)) },
    Case { name: "what_has_ended_is_kept_for_its_time", run: |f| Box::pin(upkeep::kept(f)) },
    Case { name: "what_is_over_is_removed_whole", run: |f| Box::pin(upkeep::removed(f)) },
    Case { name: "much_is_removed_in_parts", run: |f| Box::pin(upkeep::in_parts(f)) },
    Case { name: "a_crowd_gets_through", run: |f| Box::pin(crowd::crowd(f)) },
];
