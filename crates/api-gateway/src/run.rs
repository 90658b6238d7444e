//! The gateway as a process of its own.

use crate::{AdmissionLimits, Dependencies, Limits, rest, router};
use anyhow::Context;
use goconductor_access::AccessControl;
use goconductor_election::Election;
use goconductor_process::{
    Backends, ConnectionLimits, Host, LiveConfig, MembershipLease, Process, ReaderCheck,
};
use goconductor_service_kit::config::Config;
use goconductor_store::{AccessKeyStore, ProcessInfo, Store};
use goconductor_transition::clock;
use std::sync::Arc;

/// The bytes that the body of a start may have besides its input.
const PAYLOAD_BODY_OVERHEAD: usize = 64 << 10;

/// Serves the API until SIGTERM or SIGINT, then drains the requests in flight.
///
/// # Errors
/// Returns an error if the configuration is invalid, the address cannot be bound or the server fails.
pub async fn run(mut process: Process) -> anyhow::Result<()> {
    let connections = ConnectionLimits::of_clients(&process.config.limits);
    let host = Host::listen_with_access(&process, &process.config.listen, connections).await?;
    let Backends { store, changes, queues, engine, live } = Box::pin(Backends::open(&mut process)).await?;
    host.bounds().follow(&live, ConnectionLimits::of_clients);
    let keys: Arc<dyn AccessKeyStore> = store.clone();
    let vault = Box::pin(process.vault_of(&engine)).await?;
    let dependencies = Dependencies {
        engine: Arc::clone(&engine),
        election: Some(election(&process, &live, &store).await?),
        queues: Some(Arc::clone(&queues)),
        config: Arc::clone(&live),
        vault,
        redact: process.config.encryption.redact.clone(),
        changes: changes.sender(),
        limits: limits(&process.config),
        outbound: process.config.executor.outbound.clone(),
        admission: admission(&process.config),
        access: access_control(&process.config, keys)?,
        audit_starts: process.config.audit.starts,
        readiness: process.readiness.clone(),
        metrics: process.metrics.clone(),
        stop: process.drain.token(),
    };
    if let Some(access) = &dependencies.access {
        host.show_errors_to(readers(access.clone()));
    }
    host.open(router(dependencies));
    let info_changed = queues.view_changed();
    let info = move || ProcessInfo {
        queue: Some(queues.view()),
        config: Some(live.view()),
        election: live.election(),
        ..ProcessInfo::default()
    };
    let (name, address) = (process.name, host.advertised());
    let membership =
        MembershipLease::start_with_notify(name, &process.instance, address, store, info, info_changed);
    process.drain.draining().await;
    membership.withdraw().await;
    let closed = host.close().await;
    engine.drain().await;
    closed
}

/// Returns the check of who may see the errors of `/readyz`.
fn readers(access: AccessControl) -> ReaderCheck {
    Box::new(move |request| {
        let access = access.clone();
        let (headers, extensions) = (request.headers.clone(), request.extensions.clone());
        Box::pin(async move { rest::may_see_errors(&access, &headers, &extensions).await })
    })
}

/// Connects to the election. A gateway works without one, and settings of the API can add one later.
async fn election(
    process: &Process,
    live: &Arc<LiveConfig>,
    store: &Arc<dyn Store>,
) -> anyhow::Result<Arc<dyn Election>> {
    if process.config.election.connects_processes() {
        process.election(live, store).await
    } else {
        Ok(process.optional_election(live, store))
    }
}

/// Starts the configured check of callers. Returns `None` if access control is off. Must be called within a Tokio runtime.
///
/// # Errors
/// Returns an error if a setting of the identity provider is not valid.
pub fn access_control(
    config: &Config,
    keys: Arc<dyn AccessKeyStore>,
) -> anyhow::Result<Option<AccessControl>> {
    let start = || AccessControl::start(config.access.clone(), keys, clock::wall);
    config.access.enabled.then(start).transpose().context("access.oidc")
}

/// Returns the configured limits of a single request.
#[must_use]
pub fn limits(config: &Config) -> Limits {
    Limits {
        body_bytes: config.limits.body_bytes,
        payload_body_bytes: payload_body_bytes(&config.limits),
        json_depth: usize::try_from(config.limits.json_depth).unwrap_or(usize::MAX),
        input_bytes: config.limits.input_bytes,
        page_size: config.limits.page_size,
    }
}

/// Returns the maximum size of a body that carries a payload. The memory for bodies always has room for one.
fn payload_body_bytes(limits: &goconductor_service_kit::config::Limits) -> usize {
    let wanted = limits.input_bytes.saturating_add(PAYLOAD_BODY_OVERHEAD);
    wanted.min(limits.bodies_bytes).max(limits.body_bytes)
}

/// Returns the configured limits of admission control.
#[must_use]
pub fn admission(config: &Config) -> AdmissionLimits {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let limits = &config.limits;
    AdmissionLimits {
        requests: count(limits.calls_in_flight),
        // A single body of the largest size always fits.
        bodies_bytes: limits.bodies_bytes.max(limits.body_bytes),
        waiting: count(limits.waiting_callers),
        starts: count(limits.starts_in_flight),
        starts_waiting: count(limits.starts_waiting),
        start_wait: limits.start_wait,
        backlog: u64::from(limits.backlog),
        rate: limits.rate,
    }
}
