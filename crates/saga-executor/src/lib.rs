//! Executes the commands of microservices: receives each command, has it executed or compensated, and reports the
//! outcome. The elected executor also dispatches: it redelivers due commands and fires timers.
//!
//! Any number of executors run in parallel, and all are equal. An executor has no state of its own: commands come
//! from the queue and the store, and the dispatch ledger redelivers what a crashed executor had in flight.
//!
//! The crate deliberately decides nothing about workflows. Every outcome goes to the transition engine, which asks
//! `saga`.
//!
//! Invariants:
//!
//! - A command is acknowledged when it is received, not when it is done.
//! - An execute is not sent after its attempt's deadline.
//! - A command that this process could not send, for lack of a resource of its own, is not an attempt.
//! - A redelivered command counts as an attempt that may have taken effect.
//! - No compensation waits behind an execute.

mod attempt;
mod calls;
mod cluster_view;
mod concurrency;
mod connection_log;
mod dispatcher;
mod endpoint;
mod executor;
mod failure;
mod http_client;
mod http_participant;
mod in_flight;
mod lane_consumer;
mod limits;
pub mod metrics;
mod metrics_route;
mod registry;
mod run;
mod scheduler;
mod settings;
mod spans;
mod stall_detector;
mod stated_outcome;
mod task;
mod worker_service;
mod workers;

pub use executor::Executor;
pub use goconductor_transition::clock::now;
pub use http_participant::HttpParticipant;
pub use limits::InFlightLimits;
pub use run::{InProcess, run, run_with, settings};
pub use settings::Settings;
pub use task::{DeadlineOutcome, Heartbeat, Participant, Task, TaskCall};
pub use worker_service::WorkerAcceptor;
pub use workers::Workers;
