//! CPU time and memory of each process, as the kernel accounts them.

use crate::figures::{rounded, to_f64};
use crate::proc::{self, Memory};
use serde::Serialize;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The interval between two memory samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// A process with children is sampled only every 20th time. The kernel counts the pages of each process for each sample,
/// which occupies a core for 60 ms for a database with a large buffer cache.
const FAMILY_INTERVAL: usize = 20;

/// The role of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A process of GoConductor.
    Server,
    /// The participants, if they are a separate process.
    Participants,
    /// The load generator.
    Client,
    /// PostgreSQL.
    Database,
    /// Kafka.
    Queue,
    /// A process named by an option.
    Watched,
}

/// A process to measure, optionally with its children.
#[derive(Debug, Clone)]
pub(crate) struct MeteredProcess {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) pid: u32,
    pub(crate) family: bool,
}

/// The resource usage of a process in a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Usage {
    /// The name of the process.
    pub name: String,
    /// The role of the process.
    pub role: Role,
    /// User and system CPU time.
    pub cpu_seconds: f64,
    /// CPU time per 1,000 sagas.
    pub cpu_seconds_per_1000: f64,
    /// The peak resident set size. Shared pages count for each process.
    pub rss_peak_mib: f64,
    /// The peak proportional set size. Shared pages count once.
    pub pss_peak_mib: f64,
}

/// A measurement in progress.
#[derive(Debug)]
pub(crate) struct Meter {
    targets: Vec<MeteredProcess>,
    cpu: Vec<f64>,
    all_cpu: f64,
    stop: Sender<()>,
    sampler: JoinHandle<Vec<Memory>>,
}

/// The result of a measurement.
#[derive(Debug)]
pub(crate) struct MeteredProcesses {
    pub(crate) usages: Vec<Usage>,
    /// CPU seconds of all other processes of this machine.
    pub(crate) others: f64,
}

impl Meter {
    pub(crate) fn begin(targets: &[MeteredProcess]) -> anyhow::Result<Self> {
        let (stop, stopped) = channel();
        let watched = targets.to_vec();
        let sampler = std::thread::Builder::new().name("memory-sampler".to_owned()).spawn(move || {
            let mut peaks = vec![Memory::default(); watched.len()];
            for sample in 0_usize.. {
                for (peak, target) in peaks.iter_mut().zip(&watched) {
                    if !target.family || sample.is_multiple_of(FAMILY_INTERVAL) {
                        *peak = peak.largest(target.memory());
                    }
                }
                if stopped.recv_timeout(SAMPLE_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            peaks
        })?;
        let targets = targets.to_vec();
        let cpu = targets.iter().map(MeteredProcess::cpu_seconds).collect();
        Ok(Self { targets, cpu, all_cpu: proc::busy_seconds(), stop, sampler })
    }

    /// Ends the measurement of `sagas` sagas and returns the usage.
    pub(crate) fn end(self, sagas: u64) -> MeteredProcesses {
        let all = proc::busy_seconds() - self.all_cpu;
        let used: Vec<f64> = self
            .targets
            .iter()
            .zip(&self.cpu)
            .map(|(target, before)| (target.cpu_seconds() - before).max(0.0))
            .collect();
        drop(self.stop);
        let peaks = self.sampler.join().unwrap_or_default();
        let thousands = to_f64(sagas.max(1)) / 1000.0;
        let mut usages = Vec::new();
        for (at, (target, cpu)) in self.targets.into_iter().zip(&used).enumerate() {
            // One more sample covers the time since the last one.
            let peak = peaks.get(at).copied().unwrap_or_default().largest(target.memory());
            usages.push(Usage {
                role: target.role,
                cpu_seconds: rounded(*cpu, 2),
                cpu_seconds_per_1000: rounded(cpu / thousands, 3),
                rss_peak_mib: mib(peak.rss_kib),
                pss_peak_mib: mib(peak.pss_kib),
                name: target.name,
            });
        }
        MeteredProcesses { usages, others: rounded((all - used.iter().sum::<f64>()).max(0.0), 2) }
    }
}

impl MeteredProcess {
    pub(crate) fn of(name: &str, role: Role, pid: u32) -> Self {
        Self { name: name.to_owned(), role, pid, family: false }
    }

    /// Returns the target for this process.
    pub(crate) fn client() -> Self {
        Self::of("client", Role::Client, std::process::id())
    }

    fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.pid];
        if self.family {
            pids.extend(proc::children(self.pid));
        }
        pids
    }

    /// Returns the CPU time of the process. With children, it includes the time of ended children, which the kernel adds to
    /// their parent.
    fn cpu_seconds(&self) -> f64 {
        self.pids().into_iter().map(|pid| proc::cpu_seconds(pid, self.family).unwrap_or(0.0)).sum()
    }

    pub(crate) fn memory(&self) -> Memory {
        let all = self.pids().into_iter().filter_map(proc::memory);
        all.fold(Memory::default(), |sum, each| Memory {
            rss_kib: sum.rss_kib + each.rss_kib,
            pss_kib: sum.pss_kib + each.pss_kib,
        })
    }
}

pub(crate) fn mib(kib: u64) -> f64 {
    rounded(to_f64(kib) / 1024.0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_of_this_process_is_measured() {
        let meter = Meter::begin(&[MeteredProcess::client()]).unwrap();
        let begun = std::time::Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed() < Duration::from_millis(120) {
            sum = std::hint::black_box(sum + 1);
        }
        let metered = meter.end(500);
        let [usage] = &metered.usages[..] else { panic!("{metered:?}") };
        assert_eq!((usage.name.as_str(), usage.role), ("client", Role::Client));
        assert!(usage.cpu_seconds > 0.0, "{usage:?}");
        assert!((usage.cpu_seconds_per_1000 - 2.0 * usage.cpu_seconds).abs() < 0.02, "{usage:?}");
        assert!(usage.rss_peak_mib > 0.5 && usage.pss_peak_mib > 0.5, "{usage:?}");
    }

    #[test]
    fn usage_of_a_missing_process_is_zero() {
        let gone = MeteredProcess::of("gone", Role::Watched, u32::MAX);
        assert_eq!(gone.cpu_seconds(), 0.0);
        assert_eq!(gone.memory(), Memory::default());
    }
}
