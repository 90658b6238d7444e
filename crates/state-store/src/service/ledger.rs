//! The dispatch ledger.

use super::{into_status, listed};
use goconductor_saga::Timestamp;
use goconductor_store::LedgerStore;
use goconductor_wire::internal as wire;
use goconductor_wire::store::ids;
use tonic::Status;

pub(super) async fn claim(
    store: &dyn LedgerStore,
    request: wire::ClaimRequest,
) -> Result<wire::ClaimResponse, Status> {
    let claim = into_status(store.claim(&request.try_into()?).await)?;
    Ok((&claim).into())
}

pub(super) async fn extend(
    store: &dyn LedgerStore,
    request: wire::ExtendRequest,
) -> Result<wire::ExtendResponse, Status> {
    let wire::ExtendRequest { rows, due_at } = request;
    into_status(store.extend(&listed(rows)?, Timestamp(due_at)).await)?;
    Ok(wire::ExtendResponse {})
}

pub(super) async fn release(
    store: &dyn LedgerStore,
    request: wire::ReleaseRequest,
) -> Result<wire::ReleaseResponse, Status> {
    into_status(store.release(&listed(request.rows)?).await)?;
    Ok(wire::ReleaseResponse {})
}

pub(super) async fn expire_deliveries(
    store: &dyn LedgerStore,
    request: wire::ExpireDeliveriesRequest,
) -> Result<wire::ExpireDeliveriesResponse, Status> {
    let expired = into_status(store.expire_deliveries(Timestamp(request.now)).await)?;
    Ok(wire::ExpireDeliveriesResponse { expired })
}

pub(super) async fn ledger(
    store: &dyn LedgerStore,
    request: wire::LedgerRequest,
) -> Result<wire::LedgerResponse, Status> {
    let rows = into_status(store.ledger(&ids(&request.ids)?).await)?;
    Ok(wire::LedgerResponse { rows: rows.iter().map(Into::into).collect() })
}

pub(super) async fn backlog(
    store: &dyn LedgerStore,
    request: wire::BacklogRequest,
) -> Result<wire::BacklogResponse, Status> {
    let lanes = into_status(store.backlog(Timestamp(request.now)).await)?;
    let lanes = lanes.into_iter().map(|(value, count)| wire::Count { value, count }).collect();
    Ok(wire::BacklogResponse { lanes })
}

pub(super) async fn orphans(
    store: &dyn LedgerStore,
    request: wire::OrphansRequest,
) -> Result<wire::OrphansResponse, Status> {
    let rows = into_status(store.orphans(request.limit).await)?;
    Ok(wire::OrphansResponse { rows: rows.iter().map(Into::into).collect() })
}
