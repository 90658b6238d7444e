//! The leader elector as a process of its own.

use crate::{LeaderElector, service};
use axum::Router;
use goconductor_election::Election;
use goconductor_process::{Host, MembershipLease, Process};
use goconductor_store::ProcessInfo;
use std::sync::Arc;
use tonic::service::Routes;

/// Serves the configured election until SIGTERM or SIGINT, then gives up what is led through it.
///
/// # Errors
/// When it can't start: the configuration, the address, a backend that can't be used.
pub async fn run(process: Process) -> anyhow::Result<()> {
    let host = Host::listen(&process, process.config.election.listen).await?;
    let backend = process.backend_election().await?;
    process.add_check("election", &backend, |backend| async move {
        backend.list().await.map(drop).map_err(|error| error.to_string())
    });
    let elector: Arc<dyn Election> = Arc::new(LeaderElector::new(backend));
    let router: Router = Routes::new(service(elector, process.drain.token())).into_axum_router();
    host.open(router);
    // It needs no state store: it only is to be seen among the other processes.
    let membership = process.state_stores()?.map(|store| {
        let (name, address) = (process.name, host.address());
        MembershipLease::start(name, &process.instance, address, Arc::new(store), ProcessInfo::default)
    });
    process.drain.draining().await;
    if let Some(membership) = membership {
        membership.withdraw().await;
    }
    host.close().await
}
