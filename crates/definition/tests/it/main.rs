//! Tests with valid, invalid and hostile definitions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test states what it expects"
)]

mod accepted;
mod expressions;
mod hostile;
mod locks;
mod refused;
mod tools;

use goconductor_definition::{Checked, Format, Limits, Problem, parse};

fn yaml(text: &str) -> Result<Checked, Vec<Problem>> {
    parse(text.as_bytes(), Format::Yaml, &Limits::default())
}
