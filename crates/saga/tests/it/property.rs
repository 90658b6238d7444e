//! Random graphs in random worlds, and worlds that break a promise, which the checks must detect.

use crate::world::{Mutant, run};
use goconductor_saga::Status;
use std::collections::BTreeMap;

/// The number of worlds, unless `GOCONDUCTOR_TEST_WORLDS` overrides it.
const WORLDS: u64 = 50_000;
/// The number of worlds within which each mutant must be detected.
const MUTANT_WORLDS: u64 = 100_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Checks T2, T4 to T11 and T15. `GOCONDUCTOR_TEST_SEED` repeats the world with that seed.
#[test]
fn random_worlds_keep_every_promise() {
    let first = number("GOCONDUCTOR_TEST_SEED", 0);
    let worlds = if first > 0 { 1 } else { number("GOCONDUCTOR_TEST_WORLDS", WORLDS) };
    let mut ends: BTreeMap<Status, u64> = BTreeMap::new();
    let (mut events, mut with_operator) = (0, 0);
    for seed in first..first + worlds {
        let ended = run(seed, Mutant::None).unwrap_or_else(|wrong| panic!("{wrong}"));
        *ends.entry(ended.status).or_default() += 1;
        events += ended.events;
        with_operator += u64::from(ended.needed_operator);
    }
    if worlds >= WORLDS {
        // A world without events would keep every promise, so the worlds must reach every kind of end.
        assert!(ends[&Status::Completed] > worlds / 20, "{ends:?}");
        assert!(ends[&Status::RolledBack] > worlds / 10, "{ends:?}");
        assert!(
            ends[&Status::Terminated] > 0 && with_operator > worlds / 1000,
            "{ends:?}, {with_operator} with an operator"
        );
        assert!(events as u64 > 10 * worlds, "{events} events");
    }
}

#[test]
fn every_mutant_is_detected() {
    for (mutant, detected_by) in [
        (Mutant::ForgetsLedgerRow, &["T15"][..]),
        (Mutant::IgnoresSeq, &["T2", "T15"]),
        (Mutant::LosesEvent, &["T2"]),
        (Mutant::SwallowsDoubt, &["T7", "T8", "T9", "T11"]),
        (Mutant::ForgetsLostAttempts, &["T4", "T7", "T8", "T11"]),
        (Mutant::CompensatesEarly, &["T7", "T8", "T9", "T11"]),
        (Mutant::CompensatesInParallel, &["T9"]),
        (Mutant::GivesUpPivot, &["T8"]),
        (Mutant::ForgetsWithdrawnChildren, &["T7", "T8", "T11"]),
    ] {
        let wrong = (0..MUTANT_WORLDS).find_map(|seed| run(seed, mutant).err());
        let wrong = wrong.unwrap_or_else(|| panic!("{mutant:?} was not detected"));
        assert!(
            detected_by.iter().any(|rule| wrong.contains(&format!(": {rule}"))),
            "{mutant:?} was detected by another check:\n{wrong}"
        );
    }
}
