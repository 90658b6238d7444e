//! A measurement from its beginning to its end.

use crate::alone::{self, Alone};
use crate::database::{Database, Server, local};
use crate::figures::{per_second, rounded};
use crate::limit::{self, Limit};
use crate::load::{Length, Load, Running};
use crate::meter::{Meter, Metered, Role, Target, mib};
use crate::ready::{self, Filling};
use crate::report::{self, Machine, Measured, Report, Run};
use crate::saga::Saga;
use crate::steady::{self, Resident};
use crate::world::{Setting, World};
use crate::{Options, Progress};
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// Orders that are written to a state store alone at once.
const ALONE: [u32; 4] = [64, 256, 1024, 2048];
/// A state store alone is given so many orders for each that a setting carries out: it takes them that much faster,
/// and what it does in less than a second says little.
const OF_EACH: u64 = 4;

/// Why there is no report.
#[derive(Debug)]
pub enum Error {
    /// Options that can't be measured, with what to do.
    Options(String),
    /// Somebody ended it.
    Interrupted,
    /// Something did not do what it should.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Measures what is asked for. All that it started has ended when this returns.
///
/// # Errors
/// When the options can't be measured, a saga does not end as it should, something does not start, or a signal
/// ends it.
pub async fn run(options: &Options, progress: &dyn Progress) -> Result<Report, Error> {
    check(options)?;
    let session = Session {
        options,
        progress,
        server: options.database_url.as_deref().filter(|url| !url.is_empty()).map(Server::new),
        watched: watched(options),
    };
    // Safe to cancel: processes are killed when they are dropped, and the databases are removed below.
    let ended = tokio::select! {
        ended = session.measure() => ended.map_err(Error::Failed),
        interrupted = interrupted() => Err(interrupted),
    };
    let cleared = session.clear().await;
    let report = ended?;
    cleared?;
    Ok(report)
}

async fn interrupted() -> Error {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return Error::Failed(anyhow::anyhow!("signals can't be listened to"));
    };
    // Safe to cancel: a signal that was not received stays pending.
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Error::Interrupted
}

fn check(options: &Options) -> Result<(), Error> {
    let wrong = |text: &str| Err(Error::Options(text.to_owned()));
    let apart = options.settings.iter().any(|setting| !setting.is_dev());
    // An empty address is what a variable that is not set comes to in a script.
    let is_missing = |address: &Option<String>| address.as_deref().is_none_or(str::is_empty);
    if apart && is_missing(&options.database_url) {
        return wrong("processes need a PostgreSQL: --database-url postgres://…, or DATABASE_URL");
    }
    if apart && is_missing(&options.brokers) {
        return wrong("processes need a Kafka: --brokers HOST:PORT, or KAFKA_BROKERS");
    }
    if options.settings.is_empty() && options.ended + options.waiting > 0 {
        return wrong("--ended and --waiting are about sagas: name a setting such as dev");
    }
    Ok(())
}

/// The processes that were named, with their children.
fn watched(options: &Options) -> Vec<Target> {
    let target =
        |(name, pid): &(String, u32)| Target { family: true, ..Target::of(name, Role::Watched, *pid) };
    options.watch.iter().map(target).collect()
}

struct Session<'a> {
    options: &'a Options,
    progress: &'a dyn Progress,
    server: Option<Server>,
    watched: Vec<Target>,
}

impl Session<'_> {
    async fn measure(&self) -> anyhow::Result<Report> {
        let filling = Filling { ended: self.options.ended, waiting: self.options.waiting };
        let mut settings = Vec::new();
        for setting in &self.options.settings {
            settings.push(self.setting(*setting, Filling::default()).await?);
            if !filling.is_empty() {
                settings.push(self.setting(*setting, filling).await?);
            }
        }
        let (limits, stores) = self.databases().await?;
        let ratios = report::ratios(&settings, &limits, &stores);
        Ok(Report {
            release: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            machine: Machine::this(),
            settings,
            limits,
            stores,
            ratios,
        })
    }

    /// Removes what was made on servers.
    async fn clear(&self) -> anyhow::Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        let made = server.clear().await?;
        let Some(brokers) = &self.options.brokers else { return Ok(()) };
        for name in made {
            let mut settings = goconductor_queue::kafka::Settings::of(
                brokers.split(',').map(|broker| broker.trim().to_owned()).collect(),
            );
            settings.prefix = crate::database::prefix(&name);
            goconductor_queue::kafka::remove_topics(&settings).await?;
        }
        Ok(())
    }

    async fn database(&self, is_dev: bool, folder: &std::path::Path) -> anyhow::Result<Database> {
        match &self.server {
            Some(server) if !is_dev => server.make().await,
            Some(_) | None => Database::sqlite(folder),
        }
    }

    async fn setting(&self, setting: Setting, filling: Filling) -> anyhow::Result<Measured> {
        let folder = tempfile::Builder::new().prefix("goconductor-bench-").tempdir()?;
        let database = self.database(setting.is_dev(), folder.path()).await?;
        let filled_per_second = self.fill(setting, &database, filling).await?;
        let brokers = self.options.brokers.as_deref().unwrap_or_default();
        self.progress.begin(&format!("{}: start", setting.name()), 0);
        let world = World::start(setting, &database, brokers, folder.path()).await?;
        let mut targets = world.targets()?;
        let memory_at_rest = targets
            .iter()
            .filter(|target| target.role == Role::Server)
            .map(|target| Resident { name: target.name.clone(), pss_mib: mib(target.memory().pss_kib) })
            .collect();
        if !setting.is_dev() {
            targets.extend(self.server.as_ref().and_then(Server::target));
            targets.extend(kafka(brokers));
        }
        targets.extend(self.watched.iter().cloned());
        self.warm_up(setting, &world).await?;
        let measured = Measured {
            setting: setting.name(),
            database: database.kind(),
            durable: database.is_durable().await?,
            ended_before: filling.ended,
            waiting_before: filling.waiting,
            filled_per_second,
            ready_ms: world.ready_ms,
            memory_at_rest,
            runs: self.runs(setting, &world, &targets, &database).await?,
        };
        world.end().await?;
        Ok(measured)
    }

    /// Writes what is to be there beforehand; how many each second.
    async fn fill(
        &self,
        setting: Setting,
        database: &Database,
        filling: Filling,
    ) -> anyhow::Result<Option<f64>> {
        if filling.is_empty() {
            return Ok(None);
        }
        self.progress.begin(&format!("{}: fill", setting.name()), filling.count());
        let store = database.open().await?;
        let begun = Instant::now();
        filling.write(&*store, database.lanes(), &|count| self.progress.advance(count)).await?;
        let rate = per_second(filling.count(), begun.elapsed().as_secs_f64());
        drop(store);
        database.settle().await?;
        Ok(Some(rate))
    }

    /// Drives each saga until nothing is new to anybody.
    async fn warm_up(&self, setting: Setting, world: &World) -> anyhow::Result<()> {
        let in_flight = self.options.in_flight.iter().copied().max().unwrap_or(1);
        let sagas = &self.options.sagas;
        let share = u32::try_from(sagas.len()).unwrap_or(1).max(1);
        let length = Length::Span(setting.warm_up() / share);
        for saga in sagas {
            self.progress.begin(&format!("{}: {}, warm-up", setting.name(), saga.name()), 0);
            let load = Load { port: world.port, saga: *saga, in_flight, length, rate: None };
            Running::new(load, self.progress).run().await?;
        }
        Ok(())
    }

    async fn runs(
        &self,
        setting: Setting,
        world: &World,
        targets: &[Target],
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
                    .span
                    .map_or_else(|| Length::Count(saga.share(self.options.count)), Length::Span);
                loads.push((*in_flight, length, self.options.rate));
            }
            for (in_flight, length, rate) in loads {
                let load = Load { port: world.port, saga: *saga, in_flight, length, rate };
                self.progress.begin(&said(setting, load), parts(load));
                runs.push(self.load(load, targets, database).await?);
            }
        }
        Ok(runs)
    }

    async fn load(&self, load: Load, targets: &[Target], database: &Database) -> anyhow::Result<Run> {
        let meter = Meter::begin(targets)?;
        let running = Running::new(load, self.progress);
        let mut seen = steady::Seen::default();
        let took = match load.length {
            Length::Count(_) => running.run().await?,
            Length::Span(span) => {
                let every = steady::interval(span);
                let watch = steady::watch(every, &running, targets, database, &mut seen);
                // Safe to cancel: what was seen by then is kept.
                tokio::select! {
                    took = running.run() => took?,
                    failed = watch => return Err(failed.err().unwrap_or_else(|| anyhow::anyhow!("nobody looks any more"))),
                }
            }
        };
        let refused = running.refused();
        let mut latencies = running.into_latencies();
        let count = latencies.count();
        let Metered { usages, others } = meter.end(count);
        let seconds = took.as_secs_f64();
        Ok(Run {
            saga: load.saga.name(),
            in_flight: load.in_flight,
            rate: load.rate,
            count,
            refused,
            seconds: rounded(seconds, 3),
            sagas_per_second: per_second(count, seconds),
            steps_per_second: per_second(count * load.saga.steps(), seconds),
            transitions_per_second: per_second(count * load.saga.transitions(), seconds),
            latency: latencies.percentiles(),
            server_cpu_seconds_per_1000: Run::cpu_of(&usages, |role| role == Role::Server),
            cpu_seconds_per_1000: Run::cpu_of(&usages, |_| true),
            others_cpu_seconds: others,
            processes: usages,
            steady: steady::summary(seen),
        })
    }

    /// The limits of the databases, and the state stores alone on them.
    async fn databases(&self) -> anyhow::Result<(Vec<Limit>, Vec<Alone>)> {
        let (mut limits, mut stores) = (Vec::new(), Vec::new());
        if !self.options.limit && !self.options.store {
            return Ok((limits, stores));
        }
        let folder = tempfile::Builder::new().prefix("goconductor-bench-").tempdir()?;
        // Those of the settings; without any, the one that can be had.
        let settings = &self.options.settings;
        let mut kinds: Vec<bool> = settings.iter().map(|setting| setting.is_dev()).collect();
        if kinds.is_empty() {
            kinds.push(self.server.is_none());
        }
        kinds.sort_unstable_by(|one, other| other.cmp(one));
        kinds.dedup();
        for is_dev in kinds {
            let database = &self.database(is_dev, folder.path()).await?;
            if self.options.limit {
                limits.push(self.limit(database).await?);
            }
            if self.options.store {
                stores.extend(self.alone(database, folder.path()).await?);
            }
        }
        Ok((limits, stores))
    }

    /// The databases are measured one after the other, and each mode begins with a server that has nothing left to do.
    async fn write_down(&self, database: &Database) -> anyhow::Result<()> {
        match (database, &self.server) {
            (Database::Postgres { .. }, Some(server)) => server.write_down().await,
            _ => Ok(()),
        }
    }

    async fn limit(&self, database: &Database) -> anyhow::Result<Limit> {
        let (modes, bytes) = (limit::write_modes(database), ready::bytes()?);
        let what = format!("limit of {}", database.kind());
        self.progress.begin(&what, crate::figures::to_u64(modes.len()));
        let mut rows = Vec::new();
        for mode in modes {
            self.write_down(database).await?;
            rows.push(limit::measure(database, bytes, mode, self.options.limit_span).await?);
            self.progress.advance(1);
        }
        Ok(Limit { database: database.kind(), durable: database.is_durable().await?, bytes, rows })
    }

    async fn alone(&self, database: &Database, folder: &Path) -> anyhow::Result<Vec<Alone>> {
        let what = format!("state store alone, {}", database.kind());
        self.progress.begin(&what, crate::figures::to_u64(ALONE.len()));
        let server = alone::Server::start(database, folder).await?;
        let mut all = Vec::new();
        for in_flight in ALONE {
            self.write_down(database).await?;
            all.push(alone::measure(&server, in_flight, self.options.count.saturating_mul(OF_EACH)).await?);
            self.progress.advance(1);
        }
        server.end().await?;
        Ok(all)
    }
}

/// Kafka's brokers that are on this machine and can be seen.
fn kafka(brokers: &str) -> Vec<Target> {
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

fn said(setting: Setting, load: Load) -> String {
    let how = match load.rate {
        Some(rate) => format!("{rate}/s"),
        None => format!("{} at once", load.in_flight),
    };
    format!("{}: {}, {how}", setting.name(), load.saga.name())
}

/// Sagas that a load has; 0: nobody knows.
fn parts(load: Load) -> u64 {
    match (load.length, load.rate) {
        (Length::Count(count), _) => count,
        (Length::Span(span), Some(rate)) => span.as_secs() * u64::from(rate),
        (Length::Span(_), None) => 0,
    }
}
