//! Tests of the crate.

mod course;
mod daylight_saving;
mod times;
