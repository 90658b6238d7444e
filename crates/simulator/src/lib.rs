//! Workflows in memory, for trying out definitions and for tests.
//!
//! A [`Simulation`] runs one workflow by the rules of `saga` with a virtual clock. It has a dispatch ledger, delivers
//! commands and timers, and can lose, repeat and delay them. Its driver plays the participants. [`simulate`]
//! drives one simulation for each step and each [`StepFault`], and reports which effects remain.
//!
//! The crate knows no store, no queue and no service, reads no clock and is deterministic: equal arguments have equal
//! results. The work of a simulation is limited by [`Limits`].
//!
//! Invariants:
//!
//! * Every state is the fold of `evolve` over the history, which [`Simulation::crash`] and the end of a run check.
//! * The ledger has the keys of `owed`.
//! * Time never goes back.

mod attempt;
mod call;
mod children;
mod constructs;
mod course;
mod engine;
mod error;
mod fault;
mod ledger;
mod line;
mod outputs;
mod report;
mod sample;

pub use call::{Limits, NextActivity, SimulatedCall, SimulatedResponse, SimulatedStart};
pub use constructs::{NotSimulated, not_simulated};
pub use engine::Simulation;
pub use error::Error;
pub use fault::{ParseFaultError, StepFault};
pub use line::{TimelineLine, timeline};
pub use report::{CourseReport, SideReport, SimulationReport, SimulationRequest, simulate};
pub use sample::{NoSample, sample};
