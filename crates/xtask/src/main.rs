//! Checks of the code base that the compiler and clippy don't make: `cargo xtask check`.
//!
//! Each check is a pure function from the text of the tree to a list of [`Problem`](problem::Problem)s,
//! so that its tests can break what it guards. All problems are reported at once. The tables at the top
//! of each module are the rules; a rule is changed there, with its reason.
#![allow(clippy::print_stdout, reason = "a report on the standard output is what the command is for")]

mod check;
mod drivers;
mod layers;
mod pages;
mod problem;
mod purity;
mod rust;
mod sizes;
mod tree;
mod words;

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments != ["check"] {
        anyhow::bail!("usage: cargo xtask check");
    }
    check::run()
}
