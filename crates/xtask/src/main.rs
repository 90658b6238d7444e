//! Checks of the code base that the compiler and clippy do not make: `cargo xtask check`. Each check is a pure function
//! from the files of the checkout to a list of problems. The constants at the top of its module are the rules.
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
    if std::env::args().skip(1).ne(["check".to_owned()]) {
        anyhow::bail!("usage: cargo xtask check");
    }
    check::run()
}
