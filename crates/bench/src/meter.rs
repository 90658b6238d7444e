//! Processor time and memory, by process, as the kernel counts them.

use crate::figures::{rounded, to_f64};
use crate::proc::{self, Memory};
use serde::Serialize;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often memory is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// That of a family only with one look of so many: the system counts each process's pages anew, of a database that has
/// much in memory for 60 ms, in which a core does nothing else.
const RARELY: usize = 20;

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// GoConductor itself.
    Server,
    /// The participants, where they have a process of their own.
    Participants,
    /// The one that starts sagas and waits for them.
    Client,
    /// PostgreSQL.
    Database,
    /// Kafka.
    Queue,
    /// One that was named by an option.
    Watched,
}

/// A process that is watched, with its children where it has some.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) pid: u32,
    pub(crate) family: bool,
}

/// What a process used in a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Usage {
    /// Its name.
    pub name: String,
    /// What it is there for.
    pub role: Role,
    /// Processor time, user and system.
    pub cpu_seconds: f64,
    /// The same for each 1,000 sagas.
    pub cpu_seconds_per_1000: f64,
    /// The most memory that was resident: of several processes what they share counts for each.
    pub rss_peak_mib: f64,
    /// The most memory, in which what is shared counts once.
    pub pss_peak_mib: f64,
}

/// A measurement that is under mode.
#[derive(Debug)]
pub(crate) struct Meter {
    targets: Vec<Target>,
    cpu: Vec<f64>,
    all_cpu: f64,
    stop: Sender<()>,
    looking: JoinHandle<Vec<Memory>>,
}

/// What a measurement came to.
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) usages: Vec<Usage>,
    /// Processor time of everything else on this machine.
    pub(crate) others: f64,
}

impl Meter {
    pub(crate) fn begin(targets: &[Target]) -> anyhow::Result<Self> {
        let (stop, stopped) = channel();
        let watched = targets.to_vec();
        let looking = std::thread::Builder::new().name("memory".to_owned()).spawn(move || {
            let mut peaks = vec![Memory::default(); watched.len()];
            for look in 0_usize.. {
                for (peak, target) in peaks.iter_mut().zip(&watched) {
                    if !target.family || look.is_multiple_of(RARELY) {
                        *peak = peak.largest(target.memory());
                    }
                }
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            peaks
        })?;
        let targets = targets.to_vec();
        let cpu = targets.iter().map(Target::cpu_seconds).collect();
        Ok(Self { targets, cpu, all_cpu: proc::busy_seconds(), stop, looking })
    }

    /// What was used since it began, by so many sagas.
    pub(crate) fn end(self, sagas: u64) -> Metered {
        let all = proc::busy_seconds() - self.all_cpu;
        let used: Vec<f64> = self
            .targets
            .iter()
            .zip(&self.cpu)
            .map(|(target, before)| (target.cpu_seconds() - before).max(0.0))
            .collect();
        drop(self.stop);
        let peaks = self.looking.join().unwrap_or_default();
        let thousands = to_f64(sagas.max(1)) / 1000.0;
        let mut usages = Vec::new();
        for (place, (target, cpu)) in self.targets.into_iter().zip(&used).enumerate() {
            // A last look, for what grew since.
            let peak = peaks.get(place).copied().unwrap_or_default().largest(target.memory());
            usages.push(Usage {
                role: target.role,
                cpu_seconds: rounded(*cpu, 2),
                cpu_seconds_per_1000: rounded(cpu / thousands, 3),
                rss_peak_mib: mib(peak.rss_kib),
                pss_peak_mib: mib(peak.pss_kib),
                name: target.name,
            });
        }
        Metered { usages, others: rounded((all - used.iter().sum::<f64>()).max(0.0), 2) }
    }
}

impl Target {
    pub(crate) fn of(name: &str, role: Role, pid: u32) -> Self {
        Self { name: name.to_owned(), role, pid, family: false }
    }

    /// This very process.
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

    /// Of those that are there and, in a family, of those that were: an ended child's time is its parent's.
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
    fn this_process_uses_time_and_memory() {
        let meter = Meter::begin(&[Target::client()]).unwrap();
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
    fn a_process_that_is_not_there_uses_nothing() {
        let gone = Target::of("gone", Role::Watched, u32::MAX);
        assert_eq!(gone.cpu_seconds(), 0.0);
        assert_eq!(gone.memory(), Memory::default());
    }
}
