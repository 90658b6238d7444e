//! `goconductor bench …`

use clap::{Args, ValueEnum};
use goconductor_bench::{Saga, Setting};
use goconductor_service_kit::duration;
use std::time::Duration;

/// `goconductor bench`: what to measure, and how.
#[derive(Debug, Args)]
#[command(
    after_help = "Everything runs on this machine, and what is started is ended and removed at the end.\n\
    processes and processes-http need PostgreSQL and Kafka:\n  \
    eval \"$(scripts/services/postgres.sh up)\"; eval \"$(scripts/services/kafka.sh up)\""
)]
pub(crate) struct BenchArgs {
    /// What to measure; without it: dev dev-http limit store
    #[arg(value_enum, value_name = "WHAT")]
    pub(crate) what: Vec<Measurement>,
    /// Which sagas; without it, all
    #[arg(long, value_enum, value_name = "SAGA", value_delimiter = ',')]
    pub(crate) saga: Vec<SagaName>,
    /// How many sagas at once; each is a load of its own
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [64, 256])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: Vec<u32>,
    /// How many orders a load has; of larger sagas fewer, for a state store alone four times as many
    #[arg(long, value_name = "N", default_value_t = 6000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// How many orders are run one after the other
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) idle: u64,
    /// How long a load takes, in the place of --count: latency and memory are then told over time
    #[arg(long = "for", value_name = "DURATION", value_parser = span, conflicts_with = "count")]
    pub(crate) span: Option<Duration>,
    /// Starts each second, whatever the sagas take; --in-flight is then the most at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// Measure again with so many workflows that have ended beforehand
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) ended: u64,
    /// Measure again with so many workflows that wait beforehand, for a service that nobody runs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) waiting: u64,
    /// How long each way of the limit is measured
    #[arg(long, value_name = "DURATION", value_parser = span, default_value = "2s")]
    pub(crate) limit_for: Duration,
    /// A PostgreSQL in which databases can be made
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// Kafka's brokers, as HOST:PORT with commas between them
    #[arg(long, value_name = "LIST", env = "KAFKA_BROKERS", hide_env_values = true)]
    pub(crate) brokers: Option<String>,
    /// Tell processor time and memory of another process, too; may be repeated
    #[arg(long, value_name = "NAME=PID", value_parser = watched)]
    pub(crate) watch_pid: Vec<(String, u32)>,
}

/// `goconductor bench-participants`: how the participants are reached.
#[derive(Debug, Args)]
pub(crate) struct ParticipantsArgs {
    /// Over streams to the executors behind this gateway; without it, over HTTP
    #[arg(long, value_name = "URL")]
    pub(crate) gateway: Option<String>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// `goconductor dev` over SQLite, with the participants in its process
    Dev,
    /// `goconductor dev` over SQLite, with participants over HTTP
    DevHttp,
    /// One process of each service over PostgreSQL and Kafka, with participants over worker streams
    Processes,
    /// The same, with participants over HTTP
    ProcessesHttp,
    /// What the database itself takes of what a transition writes, in groups and without
    Limit,
    /// The state store alone, with transitions that were decided beforehand
    Store,
}

/// A saga to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SagaName {
    /// Three steps of three services
    Order,
    /// The same, of which the third is refused: two are undone
    Undo,
    /// Ten steps one after the other
    Chain,
    /// Ten steps at once, and one that waits for all of them
    Parallel,
}

impl Measurement {
    /// Where GoConductor runs, for what measures it as a whole.
    pub(crate) fn setting(self) -> Option<Setting> {
        match self {
            Self::Dev => Some(Setting::Dev),
            Self::DevHttp => Some(Setting::DevHttp),
            Self::Processes => Some(Setting::Processes),
            Self::ProcessesHttp => Some(Setting::ProcessesHttp),
            Self::Limit | Self::Store => None,
        }
    }
}

impl From<SagaName> for Saga {
    fn from(name: SagaName) -> Self {
        match name {
            SagaName::Order => Self::Order,
            SagaName::Undo => Self::Undo,
            SagaName::Chain => Self::Chain,
            SagaName::Parallel => Self::Parallel,
        }
    }
}

fn span(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(Duration::ZERO) => Err("a time of nothing measures nothing".to_owned()),
        Ok(span) => Ok(span),
        Err(error) => Err(error.to_string()),
    }
}

fn watched(text: &str) -> Result<(String, u32), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let parts = parts.and_then(|(name, pid)| Some((name.to_owned(), pid.parse().ok()?)));
    parts.ok_or_else(|| "a process to watch is written NAME=PID".to_owned())
}
