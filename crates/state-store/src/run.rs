//! The process of the state store.

use crate::service;
use axum::Router;
use goconductor_process::{Host, MembershipLease, Process, open_database};
use goconductor_service_kit::config::StateStoreBackend;
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::{ProcessInfo, Store, maintenance_loop};
use std::sync::Arc;
use tonic::service::Routes;

/// Serves the configured database until SIGTERM or SIGINT. Then completes the requests in flight.
///
/// # Errors
/// Returns an error if the process cannot start because of its configuration, its address or its database.
pub async fn run(process: Process) -> anyhow::Result<()> {
    let host = Host::listen(&process, &process.config.state_store.listen).await?;
    let config = &process.config;
    let backend = process.open_with_retry("database", async || open_database(config).await).await?;
    let limits = match config.state_store.backend {
        StateStoreBackend::Sqlite => Limits::default(),
        StateStoreBackend::Postgres => Limits::POSTGRES,
    };
    let store = BatchingStore::new(backend, limits);
    let changes = store.changes();
    let store: Arc<dyn Store> = Arc::new(store);
    process.add_check("database", &store, |store| async move {
        store.check().await.map_err(|error| error.to_string())
    });
    let served = service(Arc::clone(&store), changes, process.drain.token());
    let router: Router = Routes::new(served).into_axum_router();
    host.open(router);
    let maintenance = maintenance_loop(
        Arc::clone(&store),
        config.state_store.retention,
        process.drain.token().cancelled_owned(),
    );
    let maintenance = goconductor_supervisor::spawn("maintenance", maintenance);
    let membership = MembershipLease::start(
        process.name,
        &process.instance,
        host.advertised(),
        store,
        ProcessInfo::default,
    );
    process.drain.draining().await;
    membership.withdraw().await;
    maintenance.await?;
    host.close().await
}
