//! Tests of the rules: by tables, by golden files, and in random worlds that lose, duplicate and reorder messages.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test states what it expects"
)]

mod checks;
mod child;
mod compensation_limits;
mod doubt;
mod enumerated;
mod for_each;
mod golden;
mod graph;
mod json;
mod labels;
mod locks;
mod name;
mod noise;
mod property;
mod rerun;
mod rules;
mod waits;
mod world;
