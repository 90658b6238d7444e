//! The executor as a separate process.

use crate::executor::Executor;
use crate::metrics_route;
use crate::settings::Settings;
use crate::task::Participant;
use anyhow::Context;
use axum::Router;
use goconductor_access::AccessControl;
use goconductor_process::{Backends, ConnectionLimits, Host, MembershipLease, Process, guard};
use goconductor_service_kit::config::Config;
use goconductor_store::{AccessKeyStore, ProcessInfo};
use goconductor_transition::clock;
use std::sync::Arc;
use tonic::service::Routes;

/// Serves the configured services until SIGTERM or SIGINT, then drains the attempts in flight.
///
/// # Errors
/// Returns an error if the configuration is invalid or the address cannot be bound.
pub async fn run(process: Process) -> anyhow::Result<()> {
    run_with(process, Vec::new()).await
}

/// A service that runs in the executor's process.
#[derive(Debug)]
pub struct InProcess {
    /// The namespace of the service.
    pub namespace: String,
    /// The name of the service.
    pub service: String,
    /// The implementation of the service.
    pub participant: Arc<dyn Participant>,
    /// Attempts of each side in flight.
    pub capacity: usize,
}

/// Like [`run`], and also serves services that run in this process.
///
/// # Errors
/// Returns an error if the configuration is invalid or the address cannot be bound.
pub async fn run_with(mut process: Process, services: Vec<InProcess>) -> anyhow::Result<()> {
    let connections = ConnectionLimits::of_clients(&process.config.limits);
    let host = Host::listen_with_access(&process, &process.config.executor.listen, connections).await?;
    let Backends { store, changes: _, queues, engine, live } = Box::pin(Backends::open(&mut process)).await?;
    host.bounds().follow(&live, ConnectionLimits::of_clients);
    let election = process.election(&live, &store).await?;
    let settings = settings(&process.config, process.instance.clone());
    let access = access_control(&process, store.clone())?;
    let vault = Box::pin(process.vault_of(&engine)).await?;
    let mut executor = Executor::new(Arc::clone(&engine), election, settings)
        .with_access_control(access.clone())
        .with_vault(vault);
    for InProcess { namespace, service, participant, capacity } in services {
        executor = executor.with_participant(&namespace, &service, participant, capacity);
    }
    let limits = executor.in_flight_limits();
    live.on_change(move |config| limits.set(config));
    let stop = process.drain.token();
    let router: Router = Routes::new(executor.worker_service(stop.clone())).into_axum_router();
    // The metrics are not a method of workers: access control decides who reads them.
    let router = guard(router, process.tls.as_ref());
    let router = match access {
        Some(access) => {
            host.show_errors_to(metrics_route::readers(access.clone()));
            metrics_route::add(router, access, process.metrics.clone())
        }
        None => router,
    };
    host.open(router);
    let (info, info_changed) = (executor.process_info(), queues.view_changed());
    let info = move || ProcessInfo {
        queue: Some(queues.view()),
        config: Some(live.view()),
        election: live.election(),
        ..info()
    };
    let (name, address) = (process.name, host.advertised());
    let membership =
        MembershipLease::start_with_notify(name, &process.instance, address, store, info, info_changed);
    let running = goconductor_supervisor::spawn("executor", executor.run(stop));
    process.drain.draining().await;
    running.await.context("the executor task panicked")?;
    engine.drain().await;
    membership.withdraw().await;
    host.close().await
}

/// Starts the configured check of workers.
fn access_control(process: &Process, keys: Arc<dyn AccessKeyStore>) -> anyhow::Result<Option<AccessControl>> {
    let config = &process.config.access;
    let start = || AccessControl::start(config.clone(), keys, clock::wall);
    config.enabled.then(start).transpose().context("access.oidc")
}

/// Converts the configuration to the settings of an executor.
#[must_use]
pub fn settings(config: &Config, identity: String) -> Settings {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let executor = &config.executor;
    Settings {
        identity,
        all_in_flight: count(executor.all_in_flight),
        executes_in_flight: count(executor.max_in_flight),
        compensations_in_flight: count(executor.compensations_in_flight),
        start_grace: executor.start_grace,
        redelivery: executor.redelivery,
        virtual_time: false,
        drain: executor.drain,
        output_bytes: config.limits.output_bytes,
        services: executor.services.clone(),
        duty_shards: if executor.duties { u8::try_from(executor.duty_shards).unwrap_or(1) } else { 0 },
        worker_lease: executor.worker_lease,
        authenticates_workers: config.tls.is_some(),
        outbound: executor.outbound.clone(),
    }
}
