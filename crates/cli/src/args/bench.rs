//! The arguments of `goconductor bench`.

use clap::{Args, ValueEnum};
use goconductor_bench::{Saga, Topology};
use goconductor_service_kit::duration;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `goconductor bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Everything runs on this machine. At the end, bench stops the processes and removes the data that it created.\n\
    The measurements processes and processes-http need PostgreSQL and Kafka:\n  \
    eval \"$(scripts/services/postgres.sh up)\"; eval \"$(scripts/services/kafka.sh up)\""
)]
pub(crate) struct BenchArgs {
    /// Measurements to run (default: dev dev-http limit store)
    #[arg(value_enum, value_name = "WHAT")]
    pub(crate) what: Vec<Measurement>,
    /// Sagas to run (default: all)
    #[arg(long, value_enum, value_name = "SAGA", value_delimiter = ',')]
    pub(crate) saga: Vec<SagaName>,
    /// Numbers of concurrent sagas; each number is a separate run
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [64, 256])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: Vec<u32>,
    /// Number of orders per run; larger sagas run fewer times, and `store` writes four times as many
    #[arg(long, value_name = "N", default_value_t = 6000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Number of orders in the run without concurrency, which measures the latency at idle
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) idle: u64,
    /// Duration of each run, instead of --count; reports latency and memory over time
    #[arg(long = "for", value_name = "DURATION", value_parser = positive_duration, conflicts_with = "count")]
    pub(crate) duration: Option<Duration>,
    /// Start sagas at a constant rate per second; --in-flight is then the maximum concurrency (default: start the next when one ends)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// Repeat each measurement in a store with this many ended workflows
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) ended: u64,
    /// Repeat each measurement in a store with this many workflows that wait for a service without workers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) waiting: u64,
    /// Duration of each measurement of `limit`
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "2s")]
    pub(crate) limit_for: Duration,
    /// URL of a PostgreSQL server whose role may create databases
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// Kafka brokers as HOST:PORT, separated by commas
    #[arg(long, value_name = "LIST", env = "KAFKA_BROKERS", hide_env_values = true)]
    pub(crate) brokers: Option<String>,
    /// Use TLS between all processes and check access: participants have certificates, and the load has an access key
    #[arg(long)]
    pub(crate) secure: bool,
    /// Set a setting of each process, such as telemetry.traces.sampling=0.1; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<String>,
    /// Also report CPU time and memory of another process; can be repeated
    #[arg(long, value_name = "NAME=PID", value_parser = watched)]
    pub(crate) watch_pid: Vec<(String, u32)>,
}

/// Arguments of `goconductor bench-participants`.
#[derive(Debug, Args)]
pub(crate) struct ParticipantsArgs {
    /// Connect worker streams to the executors behind this gateway (default: serve HTTP)
    #[arg(long, value_name = "URL")]
    pub(crate) gateway: Option<String>,
    /// Directory of the certificates that `goconductor certs create` wrote (default: no TLS)
    #[arg(long, value_name = "DIR", requires = "gateway")]
    pub(crate) certificates: Option<PathBuf>,
}

/// The measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// `goconductor dev` with SQLite and in-process participants
    Dev,
    /// `goconductor dev` with SQLite and HTTP participants
    DevHttp,
    /// One process per service with PostgreSQL, Kafka and participants over worker streams
    Processes,
    /// The same as processes, with HTTP participants
    ProcessesHttp,
    /// The database alone, with the writes of a transition, batched and unbatched
    Limit,
    /// The state store alone, with transitions decided beforehand
    Store,
}

/// The sagas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SagaName {
    /// Three steps of three services, in sequence
    Order,
    /// The same steps; the third is rejected, and two are compensated
    Undo,
    /// Ten steps in sequence
    Chain,
    /// Ten parallel steps and one that joins them
    Parallel,
}

impl Measurement {
    /// Returns the topology that the measurement runs in, or `None` for a measurement of the database or the store alone.
    pub(crate) fn topology(self) -> Option<Topology> {
        match self {
            Self::Dev => Some(Topology::Dev),
            Self::DevHttp => Some(Topology::DevHttp),
            Self::Processes => Some(Topology::Processes),
            Self::ProcessesHttp => Some(Topology::ProcessesHttp),
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

fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(Duration::ZERO) => Err("a duration must be greater than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn setting(text: &str) -> Result<String, String> {
    let is_setting = text.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    if is_setting { Ok(text.to_owned()) } else { Err("expected KEY=VALUE".to_owned()) }
}

fn watched(text: &str) -> Result<(String, u32), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let parts = parts.and_then(|(name, pid)| Some((name.to_owned(), pid.parse().ok()?)));
    parts.ok_or_else(|| "expected NAME=PID".to_owned())
}
