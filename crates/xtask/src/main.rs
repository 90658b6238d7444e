//! Checks of the code base that the compiler and clippy do not make: `cargo xtask check`.
//!
//! Each check is a pure function from the files of the checkout to a list of [`Problem`](problem::Problem)s, so
//! that a test can break the rule on purpose. A run reports all problems at once. The constants at the top of
//! each module are the rules: change a rule there, and state the reason.
#![allow(clippy::print_stdout, reason = "the command prints its report to standard output")]

mod check;
mod circles;
mod commits;
mod drivers;
mod habits;
mod layers;
mod metrics;
mod pages;
mod ports;
mod problem;
mod purity;
mod rust;
mod sizes;
mod tree;
mod type_names;
mod words;

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments != ["check"] {
        anyhow::bail!("usage: cargo xtask check");
    }
    check::run()
}
