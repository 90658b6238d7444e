//! Runs all checks and reports all problems at once.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::problem::Problem;
use crate::tree::{self, File, Package};
use crate::{drivers, layers, pages, purity, sizes, words};

/// Reads the tree that this was built from, and reports; the exit code is 1 when something does not hold.
pub(crate) fn run() -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("xtask is not in crates/")?;
    let packages = tree::packages(root)?;
    let files = tree::files(root)?;
    let mut count = 0;
    for (rule, problems) in all(&packages, &files) {
        if !problems.is_empty() {
            println!("\n{rule}: {}", problems.len());
        }
        for problem in &problems {
            println!("  {problem}");
        }
        count += problems.len();
    }
    if count == 0 {
        println!("xtask check: {} crates, {} files: all rules hold", packages.len(), files.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nxtask check: {count} {}", if count == 1 { "problem" } else { "problems" });
    Ok(ExitCode::FAILURE)
}

/// Each rule with what breaks it, in the order of the places.
fn all(packages: &[Package], files: &[File]) -> Vec<(&'static str, Vec<Problem>)> {
    let mut found = vec![
        ("crates depend downwards only", layers::check(packages)),
        ("a driver is named by its owner only", drivers::manifests(packages)),
        ("a driver is used by its module only", drivers::sources(files)),
        ("the core is pure", purity::check(packages, files)),
        ("functions, files and mains are short", sizes::check(files)),
        ("each error code has a page", pages::check(files)),
        ("crates and modules are named for what they are", words::names(files)),
        ("nothing is unfinished", words::unfinished(files)),
        ("nothing names a path of one machine", words::paths(files)),
    ];
    for (_, problems) in &mut found {
        problems.sort();
    }
    found
}
