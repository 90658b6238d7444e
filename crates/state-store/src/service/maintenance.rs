//! Maintenance.

use super::into_status;
use goconductor_saga::Timestamp;
use goconductor_store::{MaintenanceRequest, MaintenanceStore};
use goconductor_wire::internal as wire;
use std::time::Duration;
use tonic::Status;

pub(super) async fn upkeep(
    store: &dyn MaintenanceStore,
    request: wire::UpkeepRequest,
) -> Result<wire::UpkeepResponse, Status> {
    let wire::UpkeepRequest { now, keep_us } = request;
    let request = MaintenanceRequest { now: Timestamp(now), retention: keep_us.map(Duration::from_micros) };
    let done = into_status(store.maintain(&request).await)?;
    Ok(wire::UpkeepResponse { removed: done.removed, more: done.more })
}
