//! Stores that break one promise each: the cases have to find every one of them, or they prove nothing.

#![allow(clippy::wildcard_enum_match_arm, reason = "a fault spoils one thing and leaves the rest")]

mod spoil;
mod store;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use goconductor_store::Store;
use goconductor_store::conformance::{CASES, Factory};

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    AgreesWithAnybody,
    ALoserEndsItsGroup,
    AlwaysSteals,
    AnswersBeforeItWrites,
    AnswersWrittenToATakenId,
    BeginsLeasesAnew,
    BelievesAnyReader,
    ChecksKeysBeforehand,
    ClaimsForBothSides,
    ClaimsWhatIsNotDue,
    CountsWhatIsGone,
    CountsWhatIsNotDue,
    CountsWithoutFilter,
    CutsGroups,
    CutsPayloads,
    CutsSources,
    DoublesDeadLetters,
    EachApplyIsAVersion,
    EpochsAreNotAtomic,
    ExtendsAnyAttempt,
    FindsOrphans,
    ForgetsAtTheEnd,
    ForgetsCommands,
    ForgetsCompensations,
    ForgetsKeys,
    ForgetsPublishes,
    ForgetsRows,
    ForgetsTimers,
    GivesUp,
    HandsOutTwice,
    IgnoresDigests,
    IgnoresFences,
    IgnoresLimits,
    IgnoresSeq,
    IgnoresShares,
    IgnoresTheQueue,
    KeepsOldServices,
    KeepsTheGone,
    KeepsLocksForEver,
    LetsTwoHoldALock,
    ListsFreeLocks,
    RepeatsTokensOfLocks,
    KeepsSettledRows,
    LikesNoDepth,
    ListsAnyNamespace,
    ListsTheOldestFirst,
    LoadsInAnyOrder,
    LosesEvents,
    MixesLanes,
    NeverClaimsTimers,
    NeverDeliversAgain,
    NeverExpires,
    NeverExtends,
    NeverHolds,
    NeverReleases,
    NeverRemoves,
    NeverWithdraws,
    ReleasesAnyAttempt,
    RemovesTooSoon,
    RoundsNumbers,
    SaysThereIsMore,
    SkipsIds,
    StopsHalfway,
    StripsNul,
    TakesAnyForAll,
    TakesLessForLessOrEqual,
    TellsSeconds,
    TellsTheLoserItsOwn,
    WritesOneByOne,
    WritesOnceInAGroup,
}

/// Each fault, a case that has to find it, and a part of what the case has to say.
const FAULTS: &[(Fault, &str, &str)] = &[
    (Fault::ALoserEndsItsGroup, "members_of_a_group_are_judged_alone", "the outcomes: "),
    (Fault::TellsTheLoserItsOwn, "a_loser_gets_the_present_state", "the state that the loser gets: "),
    (Fault::WritesOnceInAGroup, "a_workflow_may_come_twice_in_a_group", "two after one another"),
    (Fault::IgnoresSeq, "one_of_many_writers_wins", "how many won: "),
    (Fault::IgnoresSeq, "members_of_a_group_are_judged_alone", "the outcomes: "),
    (Fault::AnswersWrittenToATakenId, "a_taken_id_is_not_started_again", "the outcomes: "),
    (Fault::CutsGroups, "a_group_may_be_large_or_empty", "the workflow is not there"),
    (Fault::ForgetsKeys, "one_key_is_one_workflow", "the key that it was started with: "),
    (Fault::IgnoresDigests, "another_request_with_a_key_conflicts", "replayed"),
    (Fault::ChecksKeysBeforehand, "fifty_starts_with_one_key_are_one", "how many of 50"),
    (Fault::ForgetsKeys, "fifty_starts_with_one_key_are_one", "50 where 1"),
    (
        Fault::ChecksKeysBeforehand,
        "one_key_in_one_group_is_one_workflow",
        "starts with one key in one group: ",
    ),
    (Fault::ListsAnyNamespace, "namespaces_share_nothing", "the list of other: "),
    (Fault::ForgetsAtTheEnd, "what_was_answered_is_durable", "the workflow is not there"),
    (Fault::ForgetsCommands, "the_ledger_is_what_is_owed_forward", "the ledger: "),
    (Fault::KeepsSettledRows, "the_ledger_is_what_is_owed_forward", "the ledger: "),
    (Fault::AnswersBeforeItWrites, "the_ledger_is_what_is_owed_forward", "the workflow is not there"),
    (Fault::ForgetsCompensations, "the_ledger_is_what_is_owed_in_a_roll_back", "the ledger: "),
    (Fault::NeverWithdraws, "the_ledger_is_what_is_owed_after_a_cancel", "the ledger: "),
    (Fault::NeverHolds, "the_ledger_is_what_is_owed_while_held", "the ledger: "),
    (Fault::ForgetsTimers, "the_ledger_has_the_timers", "the ledger: "),
    (Fault::WritesOneByOne, "a_group_is_written_whole_or_not_at_all", "a row that was not written: "),
    (Fault::LosesEvents, "a_history_has_no_gap", "the numbers of the history: "),
    (Fault::ClaimsWhatIsNotDue, "only_what_is_due_is_claimed", "before it is due: "),
    (Fault::ClaimsForBothSides, "only_what_is_served_is_claimed", "the claim of "),
    (Fault::ForgetsRows, "only_what_is_served_is_claimed", "of default/stock/compensate: []"),
    (Fault::IgnoresLimits, "no_more_is_claimed_than_asked_for", "a claim of at most 3 of 100: "),
    (Fault::HandsOutTwice, "no_two_claim_one_row", "claimed more than once: "),
    (Fault::NeverDeliversAgain, "what_is_not_settled_is_delivered_again", "the first redelivery: "),
    (Fault::IgnoresTheQueue, "what_still_waits_is_not_delivered_again", "while the first still waits"),
    (Fault::NeverHolds, "what_is_held_is_never_claimed", "the ledger: "),
    (Fault::NeverWithdraws, "what_is_not_wanted_is_taken_back", "the ledger: "),
    (Fault::NeverReleases, "what_is_not_wanted_is_taken_back", "of the service, taken back: "),
    (Fault::NeverClaimsTimers, "timers_are_claimed_when_due", "when the first is due: "),
    (Fault::ForgetsPublishes, "what_the_writer_publishes_is_delivered", "what the writer publishes: "),
    (Fault::NeverExtends, "what_is_under_way_is_extended", "what is under way: "),
    (Fault::ExtendsAnyAttempt, "what_is_under_way_is_extended", "another attempt: "),
    (Fault::NeverReleases, "what_was_not_sent_is_released", "what is released is due at once: "),
    (Fault::ReleasesAnyAttempt, "what_was_not_sent_is_released", "not to be released: "),
    (Fault::NeverExpires, "what_died_with_its_queue_is_due", "what was delivered: "),
    (Fault::IgnoresFences, "one_who_was_replaced_claims_nothing", "one who was replaced: Ok(1)"),
    (Fault::AgreesWithAnybody, "what_all_agree_on_is_changed_by_one", "a second first"),
    (Fault::EpochsAreNotAtomic, "epochs_only_rise", "the epochs of 50 at once: "),
    (Fault::TellsSeconds, "the_database_tells_the_time", "the time "),
    (Fault::EachApplyIsAVersion, "changed_content_is_the_next_version", "content a: (2, true)"),
    (Fault::CutsSources, "a_definition_comes_as_it_was_given", "what was given: "),
    (Fault::EachApplyIsAVersion, "definitions_applied_at_once_are_in_line", "20 where 1"),
    (Fault::KeepsOldServices, "services_are_replaced", "services, by name: "),
    (Fault::TakesLessForLessOrEqual, "every_field_can_be_compared", "LessOrEqual"),
    (Fault::TakesAnyForAll, "conditions_can_be_combined", "Any("),
    (Fault::ListsTheOldestFirst, "lists_are_paged_newest_first", "the size of page 3: 10"),
    (Fault::SaysThereIsMore, "lists_are_paged_newest_first", "whether there is more after page 3: "),
    (Fault::CountsWithoutFilter, "workflows_are_counted", "the counts by Status: "),
    (Fault::StripsNul, "texts_come_as_they_were_given", "the state: "),
    (Fault::StripsNul, "keys_are_told_apart", "a start with the key "),
    (Fault::StripsNul, "names_are_told_apart", "the list of \"\\0\": "),
    (Fault::MixesLanes, "lanes_are_told_apart", "where a slash stands: 4 where 5"),
    (Fault::CutsPayloads, "large_values_come_as_they_were_given", "the state: "),
    (Fault::RoundsNumbers, "numbers_come_as_they_were_given", "the state: "),
    (Fault::LikesNoDepth, "deep_values_come_as_they_were_given", "127 deep: load: "),
    (Fault::LoadsInAnyOrder, "one_read_shows_what_changed", "what was loaded, in the order of the ids: "),
    (Fault::SkipsIds, "every_id_is_found", "the ids of all namespaces: "),
    (Fault::CountsWhatIsNotDue, "the_backlog_is_what_is_due", "the backlog: "),
    (Fault::FindsOrphans, "no_row_is_without_a_workflow", "rows without a workflow: "),
    (Fault::IgnoresShares, "a_claim_keeps_to_its_share", "share 0 of 4 has "),
    (Fault::KeepsTheGone, "who_is_there_is_known", "who is there: "),
    (Fault::DoublesDeadLetters, "dead_letters_are_kept_once", "one of them again: "),
    (Fault::LetsTwoHoldALock, "a_lock_has_one_holder", "who comes second: "),
    (Fault::LetsTwoHoldALock, "twenty_hold_a_lock_in_turn", "somebody holds it beside "),
    (Fault::KeepsLocksForEver, "a_lock_is_free_after_its_lease", "to renew too late: "),
    (Fault::RepeatsTokensOfLocks, "tokens_of_locks_rise_for_ever", "token 7 came after 7 in round 1"),
    (Fault::RepeatsTokensOfLocks, "twenty_hold_a_lock_in_turn", "token 7 came after 7"),
    (Fault::ListsFreeLocks, "locks_are_listed_by_key", "the first page: "),
    (Fault::BeginsLeasesAnew, "a_shard_has_one_lease", "one that was there: "),
    (Fault::AlwaysSteals, "one_at_a_time_has_a_lease", "one that is held: "),
    (Fault::BelievesAnyReader, "one_who_was_replaced_checkpoints_nothing", "with a wrong counter: "),
    (Fault::RemovesTooSoon, "what_has_ended_is_kept_for_its_time", "removed before its time: 2"),
    (Fault::NeverRemoves, "what_is_over_is_removed_whole", "it is still there"),
    (Fault::CountsWhatIsGone, "what_is_over_is_removed_whole", "completed and are left: "),
    (Fault::StopsHalfway, "much_is_removed_in_parts", "how many were removed: 32 where 450"),
    (Fault::GivesUp, "a_crowd_gets_through", "extend: "),
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
        Ok(Arc::new(store::Broken::new(*self)))
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>, String> {
        if *self == Self::ForgetsAtTheEnd { self.open().await } else { Ok(store) }
    }
}
