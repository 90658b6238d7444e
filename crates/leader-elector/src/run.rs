//! The leader elector as a separate process.

use crate::{LeaderElector, service};
use axum::Router;
use goconductor_election::Election;
use goconductor_process::{Host, MembershipLease, Process};
use goconductor_store::ProcessInfo;
use std::sync::Arc;
use tonic::service::Routes;

/// Serves the configured election until SIGTERM or SIGINT, then ends its terms.
///
/// # Errors
/// Returns an error if the configuration, the address or the backend cannot be used.
pub async fn run(process: Process) -> anyhow::Result<()> {
    let host = Host::listen(&process, &process.config.election.listen).await?;
    let backend = process.backend_election().await?;
    process.add_check("election", &backend, |backend| async move {
        backend.list().await.map(drop).map_err(|error| error.to_string())
    });
    let elector: Arc<dyn Election> = Arc::new(LeaderElector::new(backend));
    let router: Router = Routes::new(service(elector, process.drain.token())).into_axum_router();
    host.open(router);
    // The elector works without a state store. It only registers itself there, so that it is listed.
    let membership = process.state_stores()?.map(|store| {
        let (name, address) = (process.name, host.advertised());
        MembershipLease::start(name, &process.instance, address, Arc::new(store), ProcessInfo::default)
    });
    process.drain.draining().await;
    if let Some(membership) = membership {
        membership.withdraw().await;
    }
    host.close().await
}
