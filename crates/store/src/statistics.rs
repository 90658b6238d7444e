//! Figures about all workflows of a store, and their metrics.
//!
//! A process that has the database measures at an interval. A measurement reads counters and the beginnings of index
//! ranges, so its cost does not grow with the number of workflows. The interval grows with the duration of a
//! measurement, so that measuring takes at most one percent of one connection.

use crate::{Member, Store, metrics};
use goconductor_saga::{Status, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Up to this number, open workflows of a definition and dead letters are counted.
pub(crate) const COUNT_LIMIT: i64 = 100_000;
/// Up to this number, the due rows of a range of a lane are counted. A range contains the rows that were never
/// delivered, or all others. Their index does not contain the due time, so counting them costs more.
pub(crate) const DUE_LIMIT: i64 = 10_000;
/// Number of the oldest open workflows among which the oldest running one is searched. Older ones may all be paused or
/// in `ERROR`.
pub(crate) const OLDEST_LIMIT: i64 = 1_000;
/// Shortest time between two measurements.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);
/// The time between two measurements is at least this many times the duration of the last one.
const PAUSE_FACTOR: u32 = 100;
/// The value of the label `lane` for timers.
const TIMERS: &str = "timers";

/// Figures about all workflows of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStatistics {
    /// The figures of each namespace that has, or had, workflows.
    pub namespaces: BTreeMap<String, NamespaceStatistics>,
    /// The lanes with ledger rows, named as in [`LedgerStore::backlog`](crate::LedgerStore::backlog). The empty name
    /// stands for timers.
    pub lanes: BTreeMap<String, LaneStatistics>,
    /// The number of dead letters.
    pub dead_letters: u64,
}

/// Figures about the workflows of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceStatistics {
    /// The number of workflows by status. `IN_PROGRESS` includes `QUEUED`.
    pub workflows: BTreeMap<Status, u64>,
    /// The number of workflows in `ERROR` whose rollback cannot end.
    pub failed_rollbacks: u64,
    /// The start of the oldest workflow that is open, and neither paused nor in `ERROR`.
    pub oldest_running: Option<Timestamp>,
}

/// Figures about the ledger rows of a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneStatistics {
    /// The number of rows that are due.
    pub overdue: u64,
    /// The time when the first of them was due, or was last published if that was later.
    pub oldest_due: Option<Timestamp>,
}

impl StoreStatistics {
    pub(crate) fn namespace(&mut self, name: String) -> &mut NamespaceStatistics {
        self.namespaces.entry(name).or_default()
    }
}

impl NamespaceStatistics {
    pub(crate) fn add(&mut self, status: Status, count: u64) {
        let sum = self.workflows.entry(status).or_default();
        *sum = sum.saturating_add(count);
    }

    pub(crate) fn add_running(&mut self, started_at: Timestamp) {
        self.oldest_running = Some(self.oldest_running.map_or(started_at, |oldest| oldest.min(started_at)));
    }
}

/// Measures a store at an interval, and keeps the metrics up to date.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    /// The label values that have a metric.
    published: BTreeSet<Series>,
}

/// A gauge with one or two label values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Series {
    Workflows(String, Status),
    FailedRollbacks(String),
    OldestRunning(String),
    Overdue(String),
    OldestOverdue(String),
    Executors(String),
    Workers(String),
    Members(String),
}

impl Series {
    fn set(&self, value: f64) {
        let text = |text: &String| text.clone().into();
        match self {
            Self::Workflows(namespace, status) => {
                metrics::WORKFLOWS.with([text(namespace), status.as_str().into()]).set(value);
            }
            Self::FailedRollbacks(namespace) => metrics::ROLLBACKS_FAILED.with([text(namespace)]).set(value),
            Self::OldestRunning(namespace) => metrics::OLDEST_RUNNING.with([text(namespace)]).set(value),
            Self::Overdue(lane) => metrics::LEDGER_OVERDUE.with([text(lane)]).set(value),
            Self::OldestOverdue(lane) => metrics::LEDGER_OLDEST_OVERDUE.with([text(lane)]).set(value),
            Self::Executors(participant) => {
                metrics::PARTICIPANT_EXECUTORS.with([text(participant)]).set(value)
            }
            Self::Workers(participant) => metrics::PARTICIPANT_WORKERS.with([text(participant)]).set(value),
            Self::Members(kind) => metrics::MEMBERS.with([text(kind)]).set(value),
        }
    }
}

impl Sampler {
    /// Measures once. Returns the pause until the next measurement, or `None` if another process measures.
    pub(crate) async fn sample(&mut self, store: &dyn Store) -> Option<Duration> {
        let started = Instant::now();
        let sampled = async {
            let now = store.now().await?;
            let Some(statistics) = store.statistics(now).await? else { return Ok(None) };
            Ok::<_, crate::Error>(Some((now, statistics, store.members().await?)))
        };
        match sampled.await {
            Ok(Some((now, statistics, members))) => self.publish(&statistics, &members, now),
            Ok(None) => return None,
            // The state store's readiness and its alerts report that the database is unavailable.
            Err(error) => tracing::debug!(%error, "store was not measured"),
        }
        metrics::STATISTICS_TIME.record(started.elapsed().as_secs_f64());
        Some((started.elapsed() * PAUSE_FACTOR).max(SHORTEST_INTERVAL))
    }

    fn publish(&mut self, statistics: &StoreStatistics, members: &[Member], now: Timestamp) {
        let series = series(statistics, members, now);
        for (each, value) in &series {
            each.set(*value);
        }
        // A value that no longer exists must not be exported as if it did.
        for gone in self.published.iter().filter(|each| !series.contains_key(each)) {
            gone.set(f64::NAN);
        }
        self.published = series.into_keys().collect();
        metrics::DEAD_LETTERS.set(float(statistics.dead_letters));
    }
}

fn series(statistics: &StoreStatistics, members: &[Member], now: Timestamp) -> BTreeMap<Series, f64> {
    let mut all = BTreeMap::new();
    for (namespace, figures) in &statistics.namespaces {
        for status in Status::ALL.into_iter().filter(|status| *status != Status::Queued) {
            let count = figures.workflows.get(&status).copied().unwrap_or_default();
            all.insert(Series::Workflows(namespace.clone(), status), float(count));
        }
        all.insert(Series::FailedRollbacks(namespace.clone()), float(figures.failed_rollbacks));
        let age = figures.oldest_running.map_or(0.0, |started_at| now.since(started_at).as_secs_f64());
        all.insert(Series::OldestRunning(namespace.clone()), age);
    }
    for (lane, figures) in &statistics.lanes {
        let name = if lane.is_empty() { TIMERS.to_owned() } else { lane.clone() };
        let age = figures.oldest_due.map_or(0.0, |due| now.since(due).as_secs_f64());
        all.insert(Series::Overdue(name.clone()), float(figures.overdue));
        all.insert(Series::OldestOverdue(name), age);
    }
    for (participant, (executors, workers)) in participants(statistics, members) {
        all.insert(Series::Executors(participant.clone()), float(executors));
        all.insert(Series::Workers(participant), float(workers));
    }
    for member in members {
        *all.entry(Series::Members(member.announcement.kind.clone())).or_default() += 1.0;
    }
    all
}

/// Returns the numbers of executors and of connected workers of each service that is served or has ledger rows.
fn participants(statistics: &StoreStatistics, members: &[Member]) -> BTreeMap<String, (u64, u64)> {
    let owed = statistics.lanes.keys().filter_map(|lane| Some(lane.rsplit_once('/')?.0.to_owned()));
    let mut all: BTreeMap<String, (u64, u64)> = owed.map(|participant| (participant, (0, 0))).collect();
    for served in members.iter().flat_map(|member| member.announcement.info.served()) {
        let participant = crate::ledger::participant(&served.namespace, &served.service);
        let (executors, workers) = all.entry(participant).or_default();
        *executors += 1;
        *workers += u64::try_from(served.workers).unwrap_or(u64::MAX);
    }
    all
}

#[allow(clippy::cast_precision_loss, reason = "the counts are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Announcement, ProcessInfo, ServedService};

    fn member(kind: &str, served: &[(&str, usize)]) -> Member {
        let service = |(service, workers): &(&str, usize)| ServedService {
            namespace: "default".to_owned(),
            service: (*service).to_owned(),
            workers: *workers,
            ..ServedService::default()
        };
        let info =
            ProcessInfo { services: Some(served.iter().map(service).collect()), ..ProcessInfo::default() };
        let announcement = Announcement {
            instance: String::new(),
            kind: kind.to_owned(),
            address: String::new(),
            info,
            ttl: Duration::ZERO,
        };
        Member { announcement, since: Timestamp(0), seen_at: Timestamp(0) }
    }

    #[test]
    fn service_with_owed_commands_and_without_executors_has_zero_executors() {
        let lane = |due: i64| LaneStatistics { overdue: 2, oldest_due: Some(Timestamp(due)) };
        let statistics = StoreStatistics {
            lanes: BTreeMap::from([
                ("default/payments/execute".to_owned(), lane(1_000_000)),
                ("default/a%2Fb/compensate".to_owned(), lane(4_000_000)),
                (String::new(), lane(5_000_000)),
            ]),
            ..StoreStatistics::default()
        };
        let members = [
            member("saga-executor", &[("a/b", 2), ("stock", 0)]),
            member("saga-executor", &[("a/b", 1)]),
            member("api-gateway", &[]),
        ];
        let found = series(&statistics, &members, Timestamp(6_000_000));
        let value = |series: Series| found.get(&series).copied();
        assert_eq!(value(Series::Executors("default/payments".to_owned())), Some(0.0));
        assert_eq!(value(Series::Executors("default/a%2Fb".to_owned())), Some(2.0));
        assert_eq!(value(Series::Workers("default/a%2Fb".to_owned())), Some(3.0));
        assert_eq!(value(Series::Executors("default/stock".to_owned())), Some(1.0));
        assert_eq!(value(Series::OldestOverdue("default/payments/execute".to_owned())), Some(5.0));
        assert_eq!(value(Series::OldestOverdue(TIMERS.to_owned())), Some(1.0));
        assert_eq!(value(Series::Overdue(TIMERS.to_owned())), Some(2.0));
        assert_eq!(value(Series::Members("saga-executor".to_owned())), Some(2.0));
    }

    #[test]
    fn every_status_of_a_namespace_has_a_value() {
        let mut statistics = StoreStatistics::default();
        let namespace = statistics.namespace("default".to_owned());
        namespace.add(Status::InProgress, 3);
        namespace.add(Status::InProgress, 4);
        namespace.add_running(Timestamp(2_000_000));
        namespace.add_running(Timestamp(3_000_000));
        let found = series(&statistics, &[], Timestamp(12_000_000));
        let value = |series: Series| found.get(&series).copied();
        assert_eq!(value(Series::Workflows("default".to_owned(), Status::InProgress)), Some(7.0));
        assert_eq!(value(Series::Workflows("default".to_owned(), Status::Error)), Some(0.0));
        assert_eq!(value(Series::Workflows("default".to_owned(), Status::Queued)), None);
        assert_eq!(value(Series::OldestRunning("default".to_owned())), Some(10.0));
        assert_eq!(value(Series::FailedRollbacks("default".to_owned())), Some(0.0));
    }
}
