//! The executor as a process of its own.

use crate::{Executor, Settings};
use anyhow::Context;
use axum::Router;
use goconductor_process::{Backends, Host, Presence, Process};
use goconductor_service_kit::config::Config;
use std::sync::Arc;
use tonic::service::Routes;

/// Serves the configured services until SIGTERM or SIGINT, then ends what is under way.
///
/// # Errors
/// When it can't start: the configuration, the address.
pub async fn run(process: Process) -> anyhow::Result<()> {
    let host = Host::listen(&process, process.config.executor.listen).await?;
    let Backends { store, changes: _, conductor } = Backends::open(&process).await?;
    let election = process.election().await?;
    let settings = settings(&process.config, process.instance.clone());
    let executor = Executor::new(Arc::clone(&conductor), election, settings);
    let stop = process.drain.token();
    let router: Router = Routes::new(executor.worker_service(stop.clone())).into_axum_router();
    host.open(router);
    let presence = Presence::announce(&process, host.address(), store, executor.about());
    let running = tokio::spawn(executor.run(stop));
    process.drain.draining().await;
    running.await.context("the executor has failed")?;
    conductor.drain().await;
    presence.withdraw().await;
    host.close().await
}

/// What an executor is set to, as configured.
#[must_use]
pub fn settings(config: &Config, identity: String) -> Settings {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let executor = &config.executor;
    Settings {
        identity,
        executes_in_flight: count(executor.max_in_flight),
        compensations_in_flight: count(executor.compensations_in_flight),
        start_grace: executor.start_grace,
        redelivery: executor.redelivery,
        drain: executor.drain,
        output_bytes: config.limits.output_bytes,
        services: executor.services.clone(),
        duty_shards: if executor.duties { u8::try_from(executor.duty_shards).unwrap_or(1) } else { 0 },
        worker_lease: executor.worker_lease,
    }
}
