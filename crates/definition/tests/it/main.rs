//! Definitions that are right, wrong, and hostile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects"
)]

mod expressions;
mod hostile;
mod right;
mod wrong;

use goconductor_definition::{Checked, Format, Limits, Problem, parse};

fn yaml(text: &str) -> Result<Checked, Vec<Problem>> {
    parse(text.as_bytes(), Format::Yaml, &Limits::default())
}
