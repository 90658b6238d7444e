//! The process of the state store.

use crate::service;
use axum::Router;
use goconductor_process::{ConnectionLimits, Host, MembershipLease, Process, guard, open_database};
use goconductor_service_kit::config::StateStoreBackend;
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::{ProcessInfo, Store, maintenance_loop};
use std::sync::Arc;
use tokio::sync::Notify;
use tonic::service::Routes;

/// Serves the configured database until SIGTERM or SIGINT. Then completes the requests in flight.
///
/// # Errors
/// Returns an error if the process cannot start because of its configuration, its address or its database.
pub async fn run(mut process: Process) -> anyhow::Result<()> {
    let connections = ConnectionLimits::of_services(&process.config.limits);
    let host = Host::listen(&process, &process.config.state_store.listen, connections).await?;
    let backend = process.open_with_retry("database", async || open_database(&process.config).await).await?;
    let limits = match process.config.state_store.backend {
        StateStoreBackend::Sqlite => Limits::default(),
        StateStoreBackend::Postgres => Limits::POSTGRES,
    };
    let store = BatchingStore::new(backend, limits);
    let changes = store.changes();
    let store: Arc<dyn Store> = Arc::new(store);
    process.add_check("database", &store, |store| async move {
        store.check().await.map_err(|error| error.to_string())
    });
    let live = process.load_config(store.clone()).await?;
    host.bounds().follow(&live, ConnectionLimits::of_services);
    let served = service(Arc::clone(&store), changes, process.drain.token());
    let router: Router = Routes::new(served).into_axum_router();
    host.open(guard(router, process.tls.as_ref()));
    let maintenance =
        maintenance_loop(Arc::clone(&store), live.retention(), process.drain.token().cancelled_owned());
    let maintenance = goconductor_supervisor::spawn("maintenance", maintenance);
    let info_changed: Arc<Notify> = Arc::default();
    live.follow(store.clone(), Arc::clone(&info_changed), process.drain.token());
    let info = move || ProcessInfo { config: Some(live.view()), ..ProcessInfo::default() };
    let (name, address) = (process.name, host.advertised());
    let membership =
        MembershipLease::start_with_notify(name, &process.instance, address, store, info, info_changed);
    process.drain.draining().await;
    membership.withdraw().await;
    maintenance.await?;
    host.close().await
}
