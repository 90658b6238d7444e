//! The report of a measurement.

use crate::figures::{Percentiles, ratio};
use crate::limit::Limit;
use crate::meter::{Role, Usage};
use crate::proc;
use crate::state_store::StateStoreRow;
use crate::steady_state::SteadyState;
use serde::Serialize;

/// The results of all measurements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    /// The release of GoConductor.
    pub release: &'static str,
    /// Whether this is an optimised build. Figures of a debug build are not meaningful.
    pub optimised: bool,
    /// The machine.
    pub machine: Machine,
    /// The results by topology and preload.
    #[serde(rename = "settings")]
    pub topologies: Vec<TopologyResult>,
    /// The limits of the databases.
    pub limits: Vec<Limit>,
    /// The throughput of the state stores alone.
    pub stores: Vec<StateStoreRow>,
    /// Comparisons of the results.
    pub ratios: Vec<Ratio>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The number of usable processors.
    pub cores: usize,
    /// The model name of the processor.
    pub processor: String,
    /// The release of the kernel.
    pub kernel: String,
}

/// The results of a topology.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopologyResult {
    /// The name of the topology.
    #[serde(rename = "setting")]
    pub topology: &'static str,
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// Whether acknowledged writes are on a disk.
    pub durable: bool,
    /// Whether all processes use TLS and check access.
    pub secure: bool,
    /// The further settings of each process.
    pub set: Vec<String>,
    /// The number of preloaded ended workflows.
    pub ended_before: u64,
    /// The number of preloaded workflows that wait for a service without workers.
    pub waiting_before: u64,
    /// The preloaded workflows per second.
    pub filled_per_second: Option<f64>,
    /// The time from the start of the processes until they accept sagas.
    pub ready_ms: f64,
    /// The memory of the processes before the first saga.
    pub memory_at_rest: Vec<crate::steady_state::ResidentMemory>,
    /// The runs.
    pub runs: Vec<Run>,
}

/// The results of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// The name of the saga.
    pub saga: &'static str,
    /// The concurrency; at a constant rate, its maximum.
    pub in_flight: u32,
    /// The starts per second. With `None`, a saga starts when another one ends.
    pub rate: Option<u32>,
    /// The number of sagas, all with the expected outcome.
    pub count: u64,
    /// The number of requests that the gateway rejected because of overload. Their retries count towards the latency.
    #[serde(rename = "refused")]
    pub rejected: u64,
    /// The duration in seconds.
    pub seconds: f64,
    /// Sagas per second.
    pub sagas_per_second: f64,
    /// Calls of participants per second.
    pub steps_per_second: f64,
    /// The maximum of transitions per second. Pending inputs of one saga are combined into one transition.
    pub transitions_per_second: f64,
    /// The latency from the first byte of the start request to the response with the outcome.
    pub latency: Percentiles,
    /// CPU time of GoConductor's own processes per 1,000 sagas.
    pub server_cpu_seconds_per_1000: f64,
    /// CPU time of all listed processes per 1,000 sagas.
    pub cpu_seconds_per_1000: f64,
    /// CPU time of all other processes of this machine. A high value invalidates the figures.
    pub others_cpu_seconds: f64,
    /// The usage by process.
    pub processes: Vec<Usage>,
    /// The results over time, for a run with a duration.
    pub steady: Option<SteadyState>,
}

/// A ratio of two measurements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    /// The measurement.
    pub what: String,
    /// The reference.
    pub to: String,
    /// The measurement divided by the reference.
    pub ratio: f64,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cores, processor: proc::processor(), kernel: proc::kernel() }
    }
}

impl Run {
    /// Returns the name of the run.
    #[must_use]
    pub fn name(&self) -> String {
        match self.rate {
            Some(rate) => format!("{}, {rate}/s", self.saga),
            None if self.in_flight == 1 => format!("{}, one at a time", self.saga),
            None => format!("{}, {} at once", self.saga, self.in_flight),
        }
    }

    pub(crate) fn cpu_of(usages: &[Usage], which: impl Fn(Role) -> bool) -> f64 {
        let sum: f64 =
            usages.iter().filter(|usage| which(usage.role)).map(|usage| usage.cpu_seconds_per_1000).sum();
        crate::figures::rounded(sum, 3)
    }
}

impl TopologyResult {
    fn is_plain(&self) -> bool {
        self.ended_before == 0 && self.waiting_before == 0
    }
}

/// Returns all ratios for which both measurements exist.
pub(crate) fn ratios(
    topologies: &[TopologyResult],
    limits: &[Limit],
    stores: &[StateStoreRow],
) -> Vec<Ratio> {
    let mut all = Vec::new();
    let mut add = |what: &str, to: String, this: f64, of: f64| {
        all.extend(ratio(this, of).map(|ratio| Ratio { what: what.to_owned(), to, ratio }));
    };
    for limit in limits {
        let modes = [("batched", limit.batched()), ("unbatched", limit.unbatched())];
        let to = |mode: &str| format!("limit of {}, {mode}, in transitions/s", limit.database);
        for store in stores.iter().filter(|store| store.database == limit.database) {
            let what = format!("state store alone, {} at once", store.in_flight);
            for (mode, rate) in modes {
                add(&what, to(mode), store.transitions_per_second, rate);
            }
        }
        for topology in topologies.iter().filter(|each| each.database == limit.database && each.is_plain()) {
            let loaded = topology.runs.iter().filter(|run| run.rate.is_none() && run.in_flight > 1);
            for run in loaded {
                let what = format!("{}: {}", topology.topology, run.name());
                for (mode, rate) in modes {
                    add(&what, to(mode), run.transitions_per_second, rate);
                }
            }
        }
    }
    for topology in topologies.iter().filter(|each| !each.is_plain()) {
        let plain = topologies.iter().find(|each| each.is_plain() && each.topology == topology.topology);
        for (run, before) in topology.runs.iter().zip(plain.into_iter().flat_map(|plain| &plain.runs)) {
            let beforehand = format!("{} ended, {} waiting", topology.ended_before, topology.waiting_before);
            let what = format!("{}: {}, with {beforehand}", topology.topology, run.name());
            let to = |what: &str| format!("without, in {what}");
            add(&what, to("sagas/s"), run.sagas_per_second, before.sagas_per_second);
            add(&what, to("p50"), run.latency.p50_ms, before.latency.p50_ms);
            add(&what, to("p99"), run.latency.p99_ms, before.latency.p99_ms);
            add(&what, to("CPU time"), run.cpu_seconds_per_1000, before.cpu_seconds_per_1000);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{LimitRow, WriteSizes};

    fn run(saga: &'static str, in_flight: u32, rate: f64, cpu: f64) -> Run {
        let latency = Percentiles { p50_ms: 10.0 / rate, p95_ms: 0.0, p99_ms: 0.0, max_ms: 0.0 };
        Run {
            saga,
            in_flight,
            rate: None,
            count: 10,
            rejected: 0,
            seconds: 1.0,
            sagas_per_second: rate,
            steps_per_second: 3.0 * rate,
            transitions_per_second: 4.0 * rate,
            latency,
            server_cpu_seconds_per_1000: cpu,
            cpu_seconds_per_1000: cpu,
            others_cpu_seconds: 0.0,
            processes: Vec::new(),
            steady: None,
        }
    }

    fn topology(ended_before: u64, runs: Vec<Run>) -> TopologyResult {
        TopologyResult {
            topology: "dev",
            database: "sqlite",
            durable: true,
            secure: false,
            set: Vec::new(),
            ended_before,
            waiting_before: 0,
            filled_per_second: None,
            ready_ms: 1.0,
            memory_at_rest: Vec::new(),
            runs,
        }
    }

    fn triples(ratios: &[Ratio]) -> Vec<(&str, &str, f64)> {
        ratios.iter().map(|each| (each.what.as_str(), each.to.as_str(), each.ratio)).collect()
    }

    #[test]
    fn runs_are_compared_with_the_limit_of_their_database() {
        let bytes = WriteSizes { state: 400, events: 2, event: 200, ledger: 100 };
        let row =
            |batch_size, transitions_per_second| LimitRow { batch_size, clients: 1, transitions_per_second };
        let limit = |database| Limit {
            database,
            durable: true,
            bytes,
            rows: vec![row(1, 1000.0), row(100, 40_000.0)],
        };
        let topologies = [topology(0, vec![run("order", 1, 50.0, 1.0), run("order", 64, 1000.0, 1.0)])];
        let ratios = ratios(&topologies, &[limit("sqlite"), limit("postgres")], &[]);
        assert_eq!(
            triples(&ratios),
            [
                ("dev: order, 64 at once", "limit of sqlite, batched, in transitions/s", 0.1),
                ("dev: order, 64 at once", "limit of sqlite, unbatched, in transitions/s", 4.0),
            ]
        );
    }

    #[test]
    fn preloaded_runs_are_compared_with_runs_without_preload() {
        let topologies =
            [topology(0, vec![run("order", 64, 100.0, 1.0)]), topology(7, vec![run("order", 64, 80.0, 1.2)])];
        let ratios = ratios(&topologies, &[], &[]);
        let what = "dev: order, 64 at once, with 7 ended, 0 waiting";
        assert_eq!(
            triples(&ratios),
            [
                (what, "without, in sagas/s", 0.8),
                (what, "without, in p50", 1.25),
                (what, "without, in CPU time", 1.2),
            ]
        );
    }
}
