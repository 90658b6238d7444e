//! Ten thousand random graphs in random worlds; and worlds that break a promise, which has to be seen.

use crate::world::{Mutant, live};
use goconductor_saga::Status;
use std::collections::BTreeMap;

/// Worlds that a run lives through, unless `GOCONDUCTOR_TEST_WORLDS` says otherwise.
const WORLDS: u64 = 50_000;
/// Worlds in which a mutant has to be seen.
const MUTANT_WORLDS: u64 = 40_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// T2, T4 to T11 and T15. A failing world is lived through again by `GOCONDUCTOR_TEST_SEED`.
#[test]
fn whatever_happens_the_promises_hold() {
    let first = number("GOCONDUCTOR_TEST_SEED", 0);
    let worlds = if first > 0 { 1 } else { number("GOCONDUCTOR_TEST_WORLDS", WORLDS) };
    let mut ends: BTreeMap<Status, u64> = BTreeMap::new();
    let (mut events, mut helped) = (0, 0);
    for seed in first..first + worlds {
        let ended = live(seed, Mutant::None).unwrap_or_else(|wrong| panic!("{wrong}"));
        *ends.entry(ended.status).or_default() += 1;
        events += ended.events;
        helped += u64::from(ended.helped);
    }
    if worlds >= WORLDS {
        // A world in which nothing happened would hold every promise.
        assert!(ends[&Status::Completed] > worlds / 20, "{ends:?}");
        assert!(ends[&Status::RolledBack] > worlds / 10, "{ends:?}");
        assert!(ends[&Status::Terminated] > 0 && helped > worlds / 1000, "{ends:?}, {helped} helped");
        assert!(events as u64 > 10 * worlds, "{events} events");
    }
}

#[test]
fn each_broken_promise_is_seen() {
    for (mutant, seen_as) in [
        (Mutant::ForgetsLedgerRow, &["T15"][..]),
        (Mutant::IgnoresSeq, &["T2", "T15"]),
        (Mutant::LosesEvent, &["T2"]),
        (Mutant::SwallowsDoubt, &["T7", "T8", "T11"]),
        (Mutant::ForgetsLostAttempts, &["T4", "T7", "T8", "T11"]),
        (Mutant::CompensatesEarly, &["T7", "T9", "T11"]),
        (Mutant::CompensatesInParallel, &["T9"]),
        (Mutant::GivesUpPivot, &["T8"]),
    ] {
        let wrong = (0..MUTANT_WORLDS).find_map(|seed| live(seed, mutant).err());
        let wrong = wrong.unwrap_or_else(|| panic!("{mutant:?} is not seen"));
        assert!(
            seen_as.iter().any(|rule| wrong.contains(&format!(": {rule}"))),
            "{mutant:?} is seen as\n{wrong}"
        );
    }
}
