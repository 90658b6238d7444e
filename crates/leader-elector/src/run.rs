//! The leader elector as a separate process.

use crate::{LeaderElector, service};
use axum::Router;
use goconductor_election::Election;
use goconductor_process::{ConnectionLimits, Host, MembershipLease, Process, guard};
use goconductor_store::{ProcessInfo, Store};
use std::sync::Arc;
use tokio::sync::Notify;
use tonic::service::Routes;

/// Serves the configured election until SIGTERM or SIGINT, then ends its terms.
///
/// # Errors
/// Returns an error if the configuration, the address or the backend cannot be used.
pub async fn run(mut process: Process) -> anyhow::Result<()> {
    let connections = ConnectionLimits::of_services(&process.config.limits);
    let host = Host::listen(&process, &process.config.election.listen, connections).await?;
    // The elector works without a state store. It only reads the settings of the API there, and registers itself, so that it
    // is listed.
    let store = process.state_stores()?.map(|store| -> Arc<dyn Store> { Arc::new(store) });
    let live = match &store {
        Some(store) => Some(process.load_config_within_limit(store).await),
        None => None,
    };
    if let Some(live) = &live {
        host.bounds().follow(live, ConnectionLimits::of_services);
    }
    let backend = process.backend_election(live.as_ref().zip(store.as_ref())).await?;
    process.add_check("election", &backend, |backend| async move {
        backend.list().await.map(drop).map_err(|error| error.to_string())
    });
    let elector: Arc<dyn Election> = Arc::new(LeaderElector::new(backend));
    let router: Router = Routes::new(service(elector, process.drain.token())).into_axum_router();
    host.open(guard(router, process.tls.as_ref()));
    let membership = store.zip(live).map(|(store, live)| {
        let info_changed: Arc<Notify> = Arc::default();
        live.follow(store.clone(), Arc::clone(&info_changed), process.drain.token());
        let info = move || ProcessInfo {
            config: Some(live.view()),
            election: live.election(),
            ..ProcessInfo::default()
        };
        let (name, address) = (process.name, host.advertised());
        MembershipLease::start_with_notify(name, &process.instance, address, store, info, info_changed)
    });
    process.drain.draining().await;
    if let Some(membership) = membership {
        membership.withdraw().await;
    }
    host.close().await
}
