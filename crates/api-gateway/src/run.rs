//! The gateway as a process of its own.

use crate::{AdmissionLimits, Dependencies, Limits, router};
use goconductor_election::Election;
use goconductor_process::{Backends, Host, Presence, Process};
use goconductor_service_kit::config::{Config, ElectionBackend};
use goconductor_store::ProcessInfo;
use std::sync::Arc;

/// Serves people and clients until SIGTERM or SIGINT, then ends what is under way.
///
/// # Errors
/// When it can't start: the configuration, the address.
pub async fn run(process: Process) -> anyhow::Result<()> {
    let host = Host::listen(&process, process.config.listen).await?;
    let Backends { store, changes, queues, conductor } = Backends::open(&process)?;
    let dependencies = Dependencies {
        conductor: Arc::clone(&conductor),
        election: election(&process).await?,
        queues: Some(Arc::clone(&queues)),
        changes: changes.sender(),
        limits: limits(&process.config),
        admission: admission(&process.config),
        readiness: process.readiness.clone(),
        metrics: process.metrics.clone(),
        stop: process.drain.token(),
    };
    host.open(router(dependencies));
    let news = queues.news();
    let info = move || ProcessInfo { queue: Some(queues.view()), ..ProcessInfo::default() };
    let presence =
        Presence::announce_news(process.name, &process.instance, host.address(), store, info, news);
    process.drain.draining().await;
    presence.withdraw().await;
    let closed = host.close().await;
    conductor.drain().await;
    closed
}

/// The election that people look at, and that others may stand in; none: the configuration names none that
/// reaches other processes.
async fn election(process: &Process) -> anyhow::Result<Option<Arc<dyn Election>>> {
    let config = &process.config.election;
    if config.backend == ElectionBackend::Local && config.electors.is_empty() {
        return Ok(None);
    }
    process.election().await.map(Some)
}

/// How much one call may bring and take, as configured.
#[must_use]
pub fn limits(config: &Config) -> Limits {
    Limits {
        body_bytes: config.limits.body_bytes,
        json_depth: usize::try_from(config.limits.json_depth).unwrap_or(usize::MAX),
        input_bytes: config.limits.input_bytes,
        page_size: config.limits.page_size,
    }
}

/// How much is taken in at once, as configured.
#[must_use]
pub fn admission(config: &Config) -> AdmissionLimits {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let limits = &config.limits;
    AdmissionLimits {
        connections: count(limits.connections),
        calls: count(limits.calls_in_flight),
        // One body always has room.
        bodies_bytes: limits.bodies_bytes.max(limits.body_bytes),
        waiting: count(limits.waiting_callers),
        starts: count(limits.starts_in_flight),
        starts_waiting: count(limits.starts_waiting),
        start_wait: limits.start_wait,
        backlog: u64::from(limits.backlog),
    }
}
