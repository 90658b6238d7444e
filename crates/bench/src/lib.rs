//! The measurements of `goconductor bench`: the throughput and the latency of sagas, the CPU time and the memory of each
//! process, and, for comparison, the limit of the database.
//!
//! A measurement starts the processes that it measures, on a new database. At the end it stops the processes and drops the
//! database. Servers, participants and client are separate processes, so that each is measured on its own. The exception
//! is the topology `dev`, whose participants are in the server by design. The outcome of each saga is checked.
//!
//! The crate deliberately makes no judgement: it reports measurements, and ratios of measurements of the same run.

mod child_process;
mod database;
mod deployment;
mod figures;
mod gateway;
mod http;
mod limit;
mod load;
mod meter;
mod options;
mod participant;
mod postgres;
mod prepared;
mod proc;
mod progress;
mod report;
mod run;
mod runtime;
mod saga;
mod security;
mod state_store;
mod steady_state;

pub use database::DatabaseSize;
pub use deployment::Topology;
pub use figures::{Percentiles, ratio};
pub use limit::{Limit, LimitRow, WriteSizes};
pub use meter::{Role, Usage};
pub use options::Options;
pub use participant::{in_process, serve_http, serve_streams};
pub use progress::ProgressListener;
pub use report::{BenchReport, Machine, Ratio, Run, TopologyResult};
pub use run::{Error, run};
pub use saga::Saga;
pub use state_store::StateStoreRow;
pub use steady_state::{Interval, ResidentMemory, Slope, SteadyState};
