//! What a measurement came to.

use crate::alone::Alone;
use crate::figures::{Percentiles, ratio};
use crate::limit::Limit;
use crate::meter::{Role, Usage};
use crate::proc;
use crate::steady::Steady;
use serde::Serialize;

/// All that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// GoConductor's.
    pub release: &'static str,
    /// Whether it was built for speed: figures of one that was not mean nothing.
    pub optimised: bool,
    /// Where it was measured.
    pub machine: Machine,
    /// By setting, and by what was there beforehand.
    pub settings: Vec<Measured>,
    /// The limits of the databases.
    pub limits: Vec<Limit>,
    /// The state stores alone.
    pub stores: Vec<Alone>,
    /// What they are to one another.
    pub ratios: Vec<Ratio>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Processors that can be used.
    pub cores: usize,
    /// What they are called.
    pub processor: String,
    /// The kernel's release.
    pub kernel: String,
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Its name.
    pub setting: &'static str,
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// Whether what was acknowledged is on a disk.
    pub durable: bool,
    /// Workflows that had ended beforehand.
    pub ended_before: u64,
    /// Workflows that waited beforehand, for a service that nobody runs.
    pub waiting_before: u64,
    /// How fast those were written, each second.
    pub filled_per_second: Option<f64>,
    /// From the start of its processes until they take sagas.
    pub ready_ms: f64,
    /// Its processes' memory before the first saga.
    pub memory_at_rest: Vec<crate::steady::Resident>,
    /// Each load.
    pub runs: Vec<Run>,
}

/// A load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// The saga's name.
    pub saga: &'static str,
    /// Sagas at once; at a constant rate, at most.
    pub in_flight: u32,
    /// Starts each second; none: as fast as they end.
    pub rate: Option<u32>,
    /// Sagas that ended, each as it should.
    pub count: u64,
    /// Calls that the gateway had no room for, and that were repeated when it said: the wait counts.
    pub refused: u64,
    /// In what time.
    pub seconds: f64,
    /// Sagas each second.
    pub sagas_per_second: f64,
    /// Calls of participants each second.
    pub steps_per_second: f64,
    /// Transitions each second, at most: news of one saga that waits together is one.
    pub transitions_per_second: f64,
    /// From the first byte of a start to the known end.
    pub latency: Percentiles,
    /// Processor time of GoConductor's own processes for each 1,000 sagas.
    pub server_cpu_seconds_per_1000: f64,
    /// The same of all that are listed.
    pub cpu_seconds_per_1000: f64,
    /// Processor time of everything else on this machine: much of it makes the figures worthless.
    pub others_cpu_seconds: f64,
    /// By process.
    pub processes: Vec<Usage>,
    /// What happened over time, where it was long enough to tell.
    pub steady: Option<Steady>,
}

/// A comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    /// What is compared.
    pub what: String,
    /// With what.
    pub to: String,
    /// So much of it.
    pub ratio: f64,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cores, processor: proc::processor(), kernel: proc::kernel() }
    }
}

impl Run {
    /// The name of this load.
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

impl Measured {
    fn is_plain(&self) -> bool {
        self.ended_before == 0 && self.waiting_before == 0
    }
}

/// All comparisons that can be made.
pub(crate) fn ratios(settings: &[Measured], limits: &[Limit], stores: &[Alone]) -> Vec<Ratio> {
    let mut all = Vec::new();
    let mut add = |what: &str, to: String, this: f64, of: f64| {
        all.extend(ratio(this, of).map(|ratio| Ratio { what: what.to_owned(), to, ratio }));
    };
    for limit in limits {
        let modes = [("grouped", limit.grouped()), ("ungrouped", limit.ungrouped())];
        let to = |mode: &str| format!("limit of {}, {mode}, in transitions/s", limit.database);
        for store in stores.iter().filter(|store| store.database == limit.database) {
            let what = format!("state store alone, {} at once", store.in_flight);
            for (mode, rate) in modes {
                add(&what, to(mode), store.transitions_per_second, rate);
            }
        }
        for measured in settings.iter().filter(|each| each.database == limit.database && each.is_plain()) {
            let loaded = measured.runs.iter().filter(|run| run.rate.is_none() && run.in_flight > 1);
            for run in loaded {
                let what = format!("{}: {}", measured.setting, run.name());
                for (mode, rate) in modes {
                    add(&what, to(mode), run.transitions_per_second, rate);
                }
            }
        }
    }
    for measured in settings.iter().filter(|each| !each.is_plain()) {
        let plain = settings.iter().find(|each| each.is_plain() && each.setting == measured.setting);
        for (run, before) in measured.runs.iter().zip(plain.into_iter().flat_map(|plain| &plain.runs)) {
            let beforehand = format!("{} ended, {} waiting", measured.ended_before, measured.waiting_before);
            let what = format!("{}: {}, with {beforehand}", measured.setting, run.name());
            let to = |what: &str| format!("with none, in {what}");
            add(&what, to("sagas/s"), run.sagas_per_second, before.sagas_per_second);
            add(&what, to("p50"), run.latency.p50_ms, before.latency.p50_ms);
            add(&what, to("p99"), run.latency.p99_ms, before.latency.p99_ms);
            add(&what, to("processor time"), run.cpu_seconds_per_1000, before.cpu_seconds_per_1000);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Bytes, LimitRow};

    fn run(saga: &'static str, in_flight: u32, rate: f64, cpu: f64) -> Run {
        let latency = Percentiles { p50_ms: 10.0 / rate, p95_ms: 0.0, p99_ms: 0.0, max_ms: 0.0 };
        Run {
            saga,
            in_flight,
            rate: None,
            count: 10,
            refused: 0,
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

    fn measured(ended_before: u64, runs: Vec<Run>) -> Measured {
        Measured {
            setting: "dev",
            database: "sqlite",
            durable: true,
            ended_before,
            waiting_before: 0,
            filled_per_second: None,
            ready_ms: 1.0,
            memory_at_rest: Vec::new(),
            runs,
        }
    }

    fn said(ratios: &[Ratio]) -> Vec<(&str, &str, f64)> {
        ratios.iter().map(|each| (each.what.as_str(), each.to.as_str(), each.ratio)).collect()
    }

    #[test]
    fn loads_are_compared_with_the_limit_of_their_database() {
        let bytes = Bytes { state: 400, events: 2, event: 200, ledger: 100 };
        let row = |group, transitions_per_second| LimitRow { group, clients: 1, transitions_per_second };
        let limit = |database| Limit {
            database,
            durable: true,
            bytes,
            rows: vec![row(1, 1000.0), row(100, 40_000.0)],
        };
        let settings = [measured(0, vec![run("order", 1, 50.0, 1.0), run("order", 64, 1000.0, 1.0)])];
        let ratios = ratios(&settings, &[limit("sqlite"), limit("postgres")], &[]);
        assert_eq!(
            said(&ratios),
            [
                ("dev: order, 64 at once", "limit of sqlite, grouped, in transitions/s", 0.1),
                ("dev: order, 64 at once", "limit of sqlite, ungrouped, in transitions/s", 4.0),
            ]
        );
    }

    #[test]
    fn what_was_there_beforehand_is_compared_with_nothing() {
        let settings =
            [measured(0, vec![run("order", 64, 100.0, 1.0)]), measured(7, vec![run("order", 64, 80.0, 1.2)])];
        let ratios = ratios(&settings, &[], &[]);
        let what = "dev: order, 64 at once, with 7 ended, 0 waiting";
        assert_eq!(
            said(&ratios),
            [
                (what, "with none, in sagas/s", 0.8),
                (what, "with none, in p50", 1.25),
                (what, "with none, in processor time", 1.2),
            ]
        );
    }
}
