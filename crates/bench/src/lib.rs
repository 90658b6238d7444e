//! Measures sagas over the real product, as `goconductor bench`: how many a second, how long each takes, and
//! what they cost in processor time and memory, by process; and beside it the limit that the database sets.
//!
//! A measurement starts what it measures, on a database of its own, and ends and removes it at its end. The
//! servers, the participants and the client are processes of their own, so that each is seen by itself, but for
//! the setting `dev`, whose participants are in the server by design. Each saga's end is checked.
//!
//! The crate deliberately judges nothing: it says what it saw, and what that is to something else that it saw
//! in the same run.

mod alone;
mod child;
mod database;
mod figures;
mod http;
mod limit;
mod load;
mod meter;
mod participant;
mod postgres;
mod proc;
mod ready;
mod report;
mod run;
mod runtime;
mod saga;
mod steady;
mod world;

pub use alone::Alone;
pub use database::Size;
pub use figures::{Percentiles, ratio};
pub use limit::{Bytes, Limit, LimitRow};
pub use meter::{Role, Usage};
pub use participant::{in_process, serve_http, serve_streams};
pub use report::{Machine, Measured, Ratio, Report, Run};
pub use run::{Error, run};
pub use saga::Saga;
pub use steady::{Interval, Resident, Slope, Steady};
pub use world::Setting;

use std::time::Duration;

/// What is to be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Where.
    pub settings: Vec<Setting>,
    /// Whether the databases' limits are.
    pub limit: bool,
    /// Whether the state stores alone are.
    pub store: bool,
    /// Which sagas.
    pub sagas: Vec<Saga>,
    /// How many at once; each is a load of its own.
    pub in_flight: Vec<u32>,
    /// How many orders a load has; other sagas as many as are about as much work.
    pub count: u64,
    /// How many are run one after the other, for the latency of one.
    pub idle: u64,
    /// How long a load takes, in the place of a count.
    pub span: Option<Duration>,
    /// Starts each second; none: the next begins where one has ended.
    pub rate: Option<u32>,
    /// Workflows that have ended beforehand.
    pub ended: u64,
    /// Workflows that wait beforehand, for a service that nobody runs.
    pub waiting: u64,
    /// How long each mode of the limit is measured.
    pub limit_span: Duration,
    /// A PostgreSQL in which databases can be made.
    pub database_url: Option<String>,
    /// Kafka's brokers, with commas between them.
    pub brokers: Option<String>,
    /// Further processes to watch, by name and id.
    pub watch: Vec<(String, u32)>,
}

/// Is told how far a measurement is.
pub trait Progress {
    /// Something begins that has so many parts; 0: nobody knows.
    fn begin(&self, what: &str, parts: u64);
    /// So many more of them are done.
    fn advance(&self, parts: u64);
}
