//! Tests of the simulator.

mod courses;
mod engine;
