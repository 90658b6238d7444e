//! The options of a measurement.

use crate::deployment::Topology;
use crate::saga::Saga;
use std::time::Duration;

/// The measurements to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The topologies in which sagas are measured.
    pub topologies: Vec<Topology>,
    /// Whether the limits of the databases are measured.
    pub limit: bool,
    /// Whether the state stores alone are measured.
    pub store: bool,
    /// The sagas.
    pub sagas: Vec<Saga>,
    /// The numbers of concurrent sagas. Each number is a separate run.
    pub in_flight: Vec<u32>,
    /// The number of orders per run. The other sagas run as often as is about the same amount of work.
    pub count: u64,
    /// The number of orders in the run without concurrency.
    pub idle: u64,
    /// The duration of a run, instead of a number of sagas.
    pub duration: Option<Duration>,
    /// The constant rate of starts per second. With `None`, a saga starts when another one ends.
    pub rate: Option<u32>,
    /// The number of ended workflows in the store before a measurement.
    pub ended: u64,
    /// The number of workflows in the store before a measurement that wait for a service without workers.
    pub waiting: u64,
    /// The duration of each measurement of a limit.
    pub limit_duration: Duration,
    /// The URL of a PostgreSQL server whose role may create databases.
    pub database_url: Option<String>,
    /// The brokers of Kafka, separated by commas.
    pub brokers: Option<String>,
    /// Whether all processes use TLS and check access.
    pub secure: bool,
    /// Further settings of each process, in the form `key=value`.
    pub settings: Vec<String>,
    /// Further processes to measure, by name and id.
    pub watch: Vec<(String, u32)>,
}
