//! Tests of the checks. Correct runs, made by the real rules, have no findings. Each kind of error in a run is found by
//! the check of the guarantee that it violates.

mod draft;
mod elements;
mod graphs;
mod life;
mod noise;
mod shown;
mod wrongs;

use draft::Draft;
use goconductor_harness::check::{Clocks, Coverage, Evidence, Fault, Finding, GUARANTEES, Run, check};
use noise::Noise;
use std::collections::{BTreeMap, BTreeSet};

/// The number of correct runs (default; `GOCONDUCTOR_TEST_WORLDS` overrides it).
const RUNS: u64 = 5_000;
/// The number of runs in which each kind of error is made, and of further runs for rare kinds.
const WRONG_RUNS: u64 = 100;
const MOST_RUNS: u64 = 20_000;
/// The minimum number of runs that exhibit a kind of error.
const MET: usize = 5;

fn findings(run: &Run) -> Vec<Finding> {
    check(run, Clocks::default())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// `GOCONDUCTOR_TEST_SEED` repeats a failing run.
#[test]
fn correct_runs_have_no_findings() {
    let first = number("GOCONDUCTOR_TEST_SEED", 0);
    let runs = if first > 0 { 1 } else { number("GOCONDUCTOR_TEST_WORLDS", RUNS) };
    let mut statuses: BTreeMap<String, u64> = BTreeMap::new();
    let mut met: BTreeMap<Fault, u64> = BTreeMap::new();
    for seed in first..first + runs {
        let run = Draft::right(seed).run;
        let found = findings(&run);
        assert!(found.is_empty(), "seed {seed}: {found:#?}\n{}", serde_json::to_string_pretty(&run).unwrap());
        for workflow in &run.workflows {
            *statuses.entry(workflow.view.status.clone()).or_default() += 1;
        }
        let coverage = Coverage::of(&run, Clocks::default());
        for fault in Fault::ALL {
            *met.entry(fault).or_default() += coverage.seen(fault);
        }
    }
    if runs >= RUNS {
        // Runs without events would prove nothing.
        for status in ["COMPLETED", "ROLLED_BACK", "TERMINATED", "ERROR"] {
            assert!(statuses[status] > runs / 50, "{statuses:?}");
        }
        assert!(met.values().all(|count| *count > 20), "{met:?}");
    }
}

/// Only the check of the violated guarantee runs, and errors that were met often enough are not made in the further runs,
/// which are for rare kinds.
#[test]
fn each_error_is_found_by_the_check_of_its_guarantee() {
    let wrongs = wrongs::all();
    let mut met = vec![0; wrongs.len()];
    for seed in 0..MOST_RUNS {
        let is_made = |met: usize| seed < WRONG_RUNS || met < MET;
        if !met.iter().any(|met| is_made(*met)) {
            break;
        }
        let right = Draft::right(seed);
        for (wrong, met) in wrongs.iter().zip(&mut met).filter(|(_, met)| is_made(**met)) {
            let mut draft = right.clone();
            if (wrong.make)(&mut draft, &mut Noise(seed)).is_none() {
                continue;
            }
            *met += 1;
            assert!(
                is_found_by(wrong.guarantee, &draft.run),
                "{} is not found by {}; seed {seed}: {:#?}\n{}",
                wrong.name,
                wrong.guarantee,
                findings(&draft.run),
                serde_json::to_string_pretty(&draft.run).unwrap()
            );
        }
    }
    for (wrong, met) in wrongs.iter().zip(met) {
        assert!(met >= MET, "{} was exhibited only {met} times", wrong.name);
    }
}

fn is_found_by(guarantee: &str, run: &Run) -> bool {
    let evidence = Evidence::new(run, Clocks::default());
    let guarantee = GUARANTEES.iter().find(|each| each.name == guarantee).unwrap();
    !(guarantee.check)(&evidence).is_empty()
}

/// The checks are independent: without any one of them, some error is not found.
#[test]
fn each_check_is_needed_to_find_some_error() {
    let wrongs = wrongs::all();
    let mut passes: BTreeMap<&str, &str> = BTreeMap::new();
    for seed in 0..MOST_RUNS {
        if passes.len() == GUARANTEES.len() {
            break;
        }
        let right = Draft::right(seed);
        for wrong in &wrongs {
            if passes.contains_key(wrong.guarantee) {
                continue;
            }
            let mut draft = right.clone();
            if (wrong.make)(&mut draft, &mut Noise(seed)).is_none() {
                continue;
            }
            let evidence = Evidence::new(&draft.run, Clocks::default());
            let others = GUARANTEES.iter().filter(|guarantee| guarantee.name != wrong.guarantee);
            if others.flat_map(|guarantee| (guarantee.check)(&evidence)).next().is_none() {
                passes.insert(wrong.guarantee, wrong.name);
            }
        }
    }
    let promises: BTreeSet<&str> = GUARANTEES.iter().map(|guarantee| guarantee.name).collect();
    assert_eq!(passes.keys().copied().collect::<BTreeSet<_>>(), promises, "{passes:#?}");
}
