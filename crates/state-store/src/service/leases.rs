//! Leases of shards.

use super::{into_status, listed};
use goconductor_store::ShardLeaseStore;
use goconductor_wire::internal as wire;
use tonic::Status;

pub(super) async fn list_leases(
    store: &dyn ShardLeaseStore,
    request: wire::ListLeasesRequest,
) -> Result<wire::ListLeasesResponse, Status> {
    let leases = into_status(store.leases(&request.stream).await)?;
    Ok(wire::ListLeasesResponse { leases: leases.iter().map(Into::into).collect() })
}

pub(super) async fn sync_leases(
    store: &dyn ShardLeaseStore,
    request: wire::SyncLeasesRequest,
) -> Result<wire::SyncLeasesResponse, Status> {
    let wire::SyncLeasesRequest { stream, new, gone } = request;
    let new: Vec<_> = new.into_iter().map(Into::into).collect();
    into_status(store.sync_leases(&stream, &new, &gone).await)?;
    Ok(wire::SyncLeasesResponse {})
}

pub(super) async fn take_leases(
    store: &dyn ShardLeaseStore,
    request: wire::TakeLeasesRequest,
) -> Result<wire::TakeLeasesResponse, Status> {
    let (stream, take) = request.into();
    let taken = into_status(store.acquire_leases(&stream, &take).await)?;
    Ok(wire::TakeLeasesResponse { taken })
}

pub(super) async fn mark_leases(
    store: &dyn ShardLeaseStore,
    request: wire::MarkLeasesRequest,
) -> Result<wire::MarkLeasesResponse, Status> {
    let wire::MarkLeasesRequest { stream, owner, marks } = request;
    let kept = into_status(store.update_leases(&stream, &owner, &listed(marks)?).await)?;
    Ok(wire::MarkLeasesResponse { kept })
}
