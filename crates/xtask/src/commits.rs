//! Subjects of commits: imperative, at most 72 characters, prefixed with the crate.

use std::path::Path;
use std::process::Command;

use crate::problem::Problem;
use crate::tree::Package;

/// The last commit before the rule. A clone that does not contain it has too little history to check.
const BEFORE: &str = "9ed9dd1";

/// Characters of a subject.
const LENGTH: usize = 72;

/// Prefixes besides the folders under `crates/`.
const AREAS: &[&str] = &[
    "cargo",
    "ci",
    "console",
    "deploy",
    "docs",
    "examples",
    "migrations",
    "proto",
    "readme",
    "release",
    "scripts",
    "workspace",
];

/// The commits of the checkout since the rule, as hash and subject. Empty without their history.
pub(crate) fn subjects(root: &Path) -> Vec<(String, String)> {
    let range = format!("{BEFORE}..HEAD");
    let log =
        Command::new("git").args(["log", "--no-merges", "--format=%h %s", &range]).current_dir(root).output();
    match log {
        Ok(log) if log.status.success() => String::from_utf8_lossy(&log.stdout)
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(hash, subject)| (hash.to_owned(), subject.to_owned()))
            .collect(),
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// Returns the subjects that break the rule.
pub(crate) fn check(subjects: &[(String, String)], packages: &[Package]) -> Vec<Problem> {
    let folders: Vec<&str> = packages.iter().filter_map(Package::folder).collect();
    subjects
        .iter()
        .filter_map(|(hash, subject)| {
            let what = fault(subject, &folders)?;
            Some(Problem::new(
                format!("commit {hash}"),
                format!("{what}: {subject}"),
                "write `crate: do something`, such as `store: vacuum the ledger every two seconds`",
            ))
        })
        .collect()
}

fn fault(subject: &str, folders: &[&str]) -> Option<&'static str> {
    if subject.chars().count() > LENGTH {
        return Some("the subject is longer than 72 characters");
    }
    let Some((areas, text)) = subject.split_once(": ") else {
        return Some("the subject has no prefix");
    };
    let known = |area: &str| folders.contains(&area) || AREAS.contains(&area);
    if !areas.split(", ").all(known) {
        return Some("the prefix is neither a crate nor an area of the repository");
    }
    let first = text.split(' ').next().unwrap_or_default();
    // Few verbs end so, and a subject in another form nearly always does.
    let verbs =
        ["embed", "feed", "need", "shed", "speed", "seed", "bring", "address", "pass", "process", "discuss"];
    let form = first.ends_with("ed") || first.ends_with("ing") || first.ends_with('s');
    (form && !verbs.contains(&first)).then_some("the subject is not in the imperative")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(subject: &str) -> Option<&'static str> {
        fault(subject, &["store", "saga-executor"])
    }

    #[test]
    fn imperative_subject_with_a_prefix_is_accepted() {
        for subject in [
            "store: vacuum the ledger every two seconds",
            "store, saga-executor: rename Crew to ClusterView",
            "docs: add a page for each queue",
            "store: pass the deadline on",
        ] {
            assert_eq!(what(subject), None, "{subject}");
        }
    }

    #[test]
    fn long_unprefixed_and_narrative_subjects_are_reported() {
        assert_eq!(
            what(&format!("store: {}", "x".repeat(66))),
            Some("the subject is longer than 72 characters")
        );
        assert_eq!(what("Rows stay on their page"), Some("the subject has no prefix"));
        let unknown = "the prefix is neither a crate nor an area of the repository";
        assert_eq!(what("Bench: two circles less"), Some(unknown));
        for subject in ["store: renamed a type", "store: renames a type", "store: renaming a type"] {
            assert_eq!(what(subject), Some("the subject is not in the imperative"), "{subject}");
        }
    }
}
