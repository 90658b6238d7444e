//! The sequence of the measurements.

use crate::database::{Database, PostgresServer, local};
use crate::deployment::{Deployment, DeploymentParts, Topology};
use crate::figures::{per_second, rounded};
use crate::limit::{self, Limit};
use crate::load::{Length, Load, LoadRun};
use crate::meter::{Meter, MeteredProcess, MeteredProcesses, Role, mib};
use crate::options::Options;
use crate::prepared::{self, Preload};
use crate::progress::ProgressListener;
use crate::report::{self, BenchReport, Machine, Run, TopologyResult};
use crate::saga::Saga;
use crate::state_store::{self, MeasuredStore, StateStoreRow};
use crate::steady_state::{self, ResidentMemory};
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// The numbers of orders in flight for a state store alone.
const STORE_IN_FLIGHT: [u32; 4] = [64, 256, 1024, 2048];
/// The factor by which a state store alone writes more orders than a topology runs. The store alone is faster by about this
/// factor, and a measurement of less than a second is not meaningful.
const STORE_COUNT_FACTOR: u64 = 4;

/// The errors of a measurement.
#[derive(Debug)]
pub enum Error {
    /// The options are invalid. The text says how to correct them.
    Options(String),
    /// A signal interrupted the measurement.
    Interrupted,
    /// A process or a saga failed.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Runs the measurements. When it returns, all started processes have ended.
///
/// # Errors
/// Returns `Error::Options` if the options are invalid, `Error::Interrupted` on SIGTERM or SIGINT, and `Error::Failed` if a
/// process does not start or a saga has an unexpected outcome.
pub async fn run(options: &Options, progress: &dyn ProgressListener) -> Result<BenchReport, Error> {
    check(options)?;
    let runner = MeasurementRunner {
        options,
        progress,
        server: options.database_url.as_deref().filter(|url| !url.is_empty()).map(PostgresServer::new),
        watched: watched(options),
    };
    // Safe to cancel: dropping the processes kills them, and the databases are dropped below.
    let ended = tokio::select! {
        ended = runner.measure() => ended.map_err(Error::Failed),
        interrupted = interrupted() => Err(interrupted),
    };
    let cleared = runner.clear().await;
    let report = ended?;
    cleared?;
    Ok(report)
}

async fn interrupted() -> Error {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return Error::Failed(anyhow::anyhow!("failed to install the signal handlers"));
    };
    // Safe to cancel: an unreceived signal stays pending.
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Error::Interrupted
}

fn check(options: &Options) -> Result<(), Error> {
    let invalid = |text: &str| Err(Error::Options(text.to_owned()));
    let distributed = options.topologies.iter().any(|topology| !topology.is_dev());
    // Scripts pass an empty address if a variable is not set.
    let is_missing = |address: &Option<String>| address.as_deref().is_none_or(str::is_empty);
    if distributed && is_missing(&options.database_url) {
        return invalid("processes need PostgreSQL: set --database-url postgres://… or DATABASE_URL");
    }
    if distributed && is_missing(&options.brokers) {
        return invalid("processes need Kafka: set --brokers HOST:PORT or KAFKA_BROKERS");
    }
    if options.topologies.is_empty() && options.ended + options.waiting > 0 {
        return invalid("--ended and --waiting apply to sagas: add a measurement such as dev");
    }
    if options.topologies.is_empty() && (options.secure || !options.settings.is_empty()) {
        return invalid("--secure and --set apply to sagas: add a measurement such as dev");
    }
    Ok(())
}

/// Returns the processes of the options, with their children.
fn watched(options: &Options) -> Vec<MeteredProcess> {
    let target = |(name, pid): &(String, u32)| MeteredProcess {
        family: true,
        ..MeteredProcess::of(name, Role::Watched, *pid)
    };
    options.watch.iter().map(target).collect()
}

struct MeasurementRunner<'a> {
    options: &'a Options,
    progress: &'a dyn ProgressListener,
    server: Option<PostgresServer>,
    watched: Vec<MeteredProcess>,
}

impl MeasurementRunner<'_> {
    async fn measure(&self) -> anyhow::Result<BenchReport> {
        let preload = Preload { ended: self.options.ended, waiting: self.options.waiting };
        let mut topologies = Vec::new();
        for topology in &self.options.topologies {
            topologies.push(self.measure_topology(*topology, Preload::default()).await?);
            if !preload.is_empty() {
                topologies.push(self.measure_topology(*topology, preload).await?);
            }
        }
        let (limits, stores) = self.measure_databases().await?;
        let ratios = report::ratios(&topologies, &limits, &stores);
        Ok(BenchReport {
            release: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            machine: Machine::this(),
            topologies,
            limits,
            stores,
            ratios,
        })
    }

    /// Drops the databases and the topics of the measurements.
    async fn clear(&self) -> anyhow::Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        let databases = server.clear().await?;
        let Some(brokers) = &self.options.brokers else { return Ok(()) };
        for name in databases {
            let mut settings = goconductor_queue::kafka::Settings::new(
                brokers.split(',').map(|broker| broker.trim().to_owned()).collect(),
            );
            settings.prefix = crate::database::topic_prefix(&name);
            goconductor_queue::kafka::remove_topics(&settings).await?;
        }
        Ok(())
    }

    async fn database(&self, is_dev: bool, folder: &std::path::Path) -> anyhow::Result<Database> {
        match &self.server {
            Some(server) if !is_dev => server.create().await,
            Some(_) | None => Database::sqlite(folder),
        }
    }

    async fn measure_topology(&self, topology: Topology, preload: Preload) -> anyhow::Result<TopologyResult> {
        let folder = tempfile::Builder::new().prefix("goconductor-bench-").tempdir()?;
        let database = self.database(topology.is_dev(), folder.path()).await?;
        let filled_per_second = self.preload(topology, &database, preload).await?;
        let brokers = self.options.brokers.as_deref().unwrap_or_default();
        self.progress.begin(&format!("{}: start", topology.name()), 0);
        let parts = DeploymentParts {
            topology,
            database: &database,
            brokers,
            folder: folder.path(),
            secure: self.options.secure,
            settings: &self.options.settings,
        };
        let deployment = Deployment::start(parts).await?;
        let mut targets = deployment.targets()?;
        let memory_at_rest = targets
            .iter()
            .filter(|target| target.role == Role::Server)
            .map(|target| ResidentMemory { name: target.name.clone(), pss_mib: mib(target.memory().pss_kib) })
            .collect();
        if !topology.is_dev() {
            targets.extend(self.server.as_ref().and_then(PostgresServer::target));
            targets.extend(kafka(brokers));
        }
        targets.extend(self.watched.iter().cloned());
        self.warm_up(topology, &deployment).await?;
        let result = TopologyResult {
            topology: topology.name(),
            database: database.kind(),
            durable: database.is_durable().await?,
            secure: self.options.secure,
            set: self.options.settings.clone(),
            ended_before: preload.ended,
            waiting_before: preload.waiting,
            filled_per_second,
            ready_ms: deployment.ready_ms,
            memory_at_rest,
            runs: self.runs(topology, &deployment, &targets, &database).await?,
        };
        deployment.stop().await?;
        Ok(result)
    }

    /// Preloads the store and returns the workflows per second.
    async fn preload(
        &self,
        topology: Topology,
        database: &Database,
        preload: Preload,
    ) -> anyhow::Result<Option<f64>> {
        if preload.is_empty() {
            return Ok(None);
        }
        self.progress.begin(&format!("{}: preload", topology.name()), preload.count());
        let store = database.open().await?;
        let begun = Instant::now();
        preload
            .write(&*store, database.max_concurrent_batches(), &|count| self.progress.advance(count))
            .await?;
        let rate = per_second(preload.count(), begun.elapsed().as_secs_f64());
        drop(store);
        database.vacuum().await?;
        Ok(Some(rate))
    }

    /// Runs each saga for the warm-up time of the topology.
    async fn warm_up(&self, topology: Topology, deployment: &Deployment) -> anyhow::Result<()> {
        let in_flight = self.options.in_flight.iter().copied().max().unwrap_or(1);
        let sagas = &self.options.sagas;
        let share = u32::try_from(sagas.len()).unwrap_or(1).max(1);
        let length = Length::Duration(topology.warm_up() / share);
        for saga in sagas {
            self.progress.begin(&format!("{}: {}, warm-up", topology.name(), saga.name()), 0);
            let load = Load { saga: *saga, in_flight, length, rate: None };
            LoadRun::new(load, &deployment.gateway, self.progress).run().await?;
        }
        Ok(())
    }

    async fn runs(
        &self,
        topology: Topology,
        deployment: &Deployment,
        targets: &[MeteredProcess],
        database: &Database,
    ) -> anyhow::Result<Vec<Run>> {
        let mut runs = Vec::new();
        for saga in &self.options.sagas {
            let mut loads = Vec::new();
            if *saga == Saga::Order && self.options.idle > 0 {
                loads.push((1, Length::Count(self.options.idle), None));
            }
            for in_flight in &self.options.in_flight {
                let length = self
                    .options
                    .duration
                    .map_or_else(|| Length::Count(saga.share(self.options.count)), Length::Duration);
                loads.push((*in_flight, length, self.options.rate));
            }
            for (in_flight, length, rate) in loads {
                let load = Load { saga: *saga, in_flight, length, rate };
                self.progress.begin(&run_title(topology, load), expected_sagas(load));
                runs.push(self.run_load(load, deployment, targets, database).await?);
            }
        }
        Ok(runs)
    }

    async fn run_load(
        &self,
        load: Load,
        deployment: &Deployment,
        targets: &[MeteredProcess],
        database: &Database,
    ) -> anyhow::Result<Run> {
        let meter = Meter::begin(targets)?;
        let running = LoadRun::new(load, &deployment.gateway, self.progress);
        let mut samples = steady_state::Samples::default();
        let took = match load.length {
            Length::Count(_) => running.run().await?,
            Length::Duration(duration) => {
                let every = steady_state::interval(duration);
                let watch = steady_state::watch(every, &running, targets, database, &mut samples);
                // Safe to cancel: the recorded samples are kept.
                tokio::select! {
                    took = running.run() => took?,
                    failed = watch => return Err(failed.err().unwrap_or_else(|| anyhow::anyhow!("the sampling of memory ended"))),
                }
            }
        };
        let rejected = running.rejected();
        let mut latencies = running.into_latencies();
        let count = latencies.count();
        let MeteredProcesses { usages, others } = meter.end(count);
        let seconds = took.as_secs_f64();
        Ok(Run {
            saga: load.saga.name(),
            in_flight: load.in_flight,
            rate: load.rate,
            count,
            rejected,
            seconds: rounded(seconds, 3),
            sagas_per_second: per_second(count, seconds),
            steps_per_second: per_second(count * load.saga.steps(), seconds),
            transitions_per_second: per_second(count * load.saga.transitions(), seconds),
            latency: latencies.percentiles(),
            server_cpu_seconds_per_1000: Run::cpu_of(&usages, |role| role == Role::Server),
            cpu_seconds_per_1000: Run::cpu_of(&usages, |_| true),
            others_cpu_seconds: others,
            processes: usages,
            steady: steady_state::summary(samples),
        })
    }

    /// Measures the limits of the databases and the state stores alone.
    async fn measure_databases(&self) -> anyhow::Result<(Vec<Limit>, Vec<StateStoreRow>)> {
        let (mut limits, mut stores) = (Vec::new(), Vec::new());
        if !self.options.limit && !self.options.store {
            return Ok((limits, stores));
        }
        let folder = tempfile::Builder::new().prefix("goconductor-bench-").tempdir()?;
        // Use the databases of the topologies; without a topology, the one that is available.
        let topologies = &self.options.topologies;
        let mut kinds: Vec<bool> = topologies.iter().map(|topology| topology.is_dev()).collect();
        if kinds.is_empty() {
            kinds.push(self.server.is_none());
        }
        kinds.sort_unstable_by(|one, other| other.cmp(one));
        kinds.dedup();
        for is_dev in kinds {
            let database = &self.database(is_dev, folder.path()).await?;
            if self.options.limit {
                limits.push(self.measure_limit(database).await?);
            }
            if self.options.store {
                stores.extend(self.measure_store(database, folder.path()).await?);
            }
        }
        Ok((limits, stores))
    }

    /// Makes PostgreSQL flush its buffers, so that each measurement starts with an idle server.
    async fn checkpoint(&self, database: &Database) -> anyhow::Result<()> {
        match (database, &self.server) {
            (Database::Postgres { .. }, Some(server)) => server.checkpoint().await,
            _ => Ok(()),
        }
    }

    async fn measure_limit(&self, database: &Database) -> anyhow::Result<Limit> {
        let (modes, bytes) = (limit::write_modes(database), prepared::bytes()?);
        let what = format!("limit of {}", database.kind());
        self.progress.begin(&what, crate::figures::to_u64(modes.len()));
        let mut rows = Vec::new();
        for mode in modes {
            self.checkpoint(database).await?;
            rows.push(limit::measure(database, bytes, mode, self.options.limit_duration).await?);
            self.progress.advance(1);
        }
        Ok(Limit { database: database.kind(), durable: database.is_durable().await?, bytes, rows })
    }

    async fn measure_store(&self, database: &Database, folder: &Path) -> anyhow::Result<Vec<StateStoreRow>> {
        let what = format!("state store alone, {}", database.kind());
        self.progress.begin(&what, crate::figures::to_u64(STORE_IN_FLIGHT.len()));
        let server = MeasuredStore::start(database, folder).await?;
        let mut all = Vec::new();
        for in_flight in STORE_IN_FLIGHT {
            self.checkpoint(database).await?;
            all.push(
                state_store::measure(
                    &server,
                    in_flight,
                    self.options.count.saturating_mul(STORE_COUNT_FACTOR),
                )
                .await?,
            );
            self.progress.advance(1);
        }
        server.stop().await?;
        Ok(all)
    }
}

/// Returns the brokers of Kafka that run on this machine and are visible.
fn kafka(brokers: &str) -> Vec<MeteredProcess> {
    let mut all = Vec::new();
    for (number, broker) in brokers.split(',').enumerate() {
        let address = broker.trim().rsplit_once(':');
        let Some((host, port)) = address.and_then(|(host, port)| Some((host, port.parse().ok()?))) else {
            continue;
        };
        all.extend(local(&format!("kafka-{}", number + 1), Role::Queue, host, port));
    }
    all
}

fn run_title(topology: Topology, load: Load) -> String {
    let how = match load.rate {
        Some(rate) => format!("{rate}/s"),
        None => format!("{} at once", load.in_flight),
    };
    format!("{}: {}, {how}", topology.name(), load.saga.name())
}

/// Returns the expected number of sagas of a run, or 0 if it is unknown.
fn expected_sagas(load: Load) -> u64 {
    match (load.length, load.rate) {
        (Length::Count(count), _) => count,
        (Length::Duration(duration), Some(rate)) => duration.as_secs() * u64::from(rate),
        (Length::Duration(_), None) => 0,
    }
}
