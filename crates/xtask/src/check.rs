//! Runs every check and reports all problems at once.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::problem::Problem;
use crate::tree::{self, File, Package};
use crate::{
    circles, commits, drivers, habits, layers, metrics, pages, ports, purity, sizes, type_names, words,
};

/// Checks the checkout in which cargo runs this program and prints a report. The exit code is 1 if a rule is
/// broken.
pub(crate) fn run() -> Result<ExitCode> {
    // Two checkouts can share a target directory, so that the program may have been built from the other one.
    let manifest = std::env::var("CARGO_MANIFEST_DIR").context("run the check with: cargo xtask check")?;
    let root = Path::new(&manifest).ancestors().nth(2).context("the manifest of xtask is not in crates/")?;
    let packages = tree::packages(root)?;
    let files = tree::files(root)?;
    let subjects = commits::subjects(root);
    let mut count = 0;
    for (rule, problems) in all(&packages, &files, &subjects) {
        if !problems.is_empty() {
            println!("\n{rule}: {}", problems.len());
        }
        for problem in &problems {
            println!("  {problem}");
        }
        count += problems.len();
    }
    if count == 0 {
        println!("xtask check: all rules hold for {} crates and {} files", packages.len(), files.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nxtask check: {count} {}", if count == 1 { "problem" } else { "problems" });
    Ok(ExitCode::FAILURE)
}

/// Returns each rule with its problems, sorted by place.
fn all(
    packages: &[Package],
    files: &[File],
    subjects: &[(String, String)],
) -> Vec<(&'static str, Vec<Problem>)> {
    let mut found = vec![
        ("crates depend on lower layers only", layers::check(packages)),
        ("files of a crate import one another without circles", circles::check(files)),
        ("only the owner of a driver depends on it", drivers::manifests(packages)),
        ("only the module of a driver uses it", drivers::sources(files)),
        ("saga is pure", purity::check(packages, files)),
        ("traits have at most 12 methods", ports::check(files)),
        ("functions and files are short", sizes::check(files)),
        ("each error code has a page", pages::check(files)),
        ("each metric has one definition with a description", metrics::check(files)),
        ("crates and modules have specific names", words::names(files)),
        ("each type name has one meaning", type_names::check(files)),
        ("no unfinished code is committed", words::unfinished(files)),
        ("no path of a single machine is committed", words::paths(files)),
        ("prose has no habit words", habits::check(files)),
        ("commit subjects are short, imperative and prefixed", commits::check(subjects, packages)),
    ];
    for (_, problems) in &mut found {
        problems.sort();
    }
    found
}
