//! Maintenance.

use super::into_status;
use goconductor_saga::Timestamp;
use goconductor_store::{MaintenanceRequest, MaintenanceStore, Retention};
use goconductor_wire::internal as wire;
use std::time::Duration;
use tonic::Status;

pub(super) async fn upkeep(
    store: &dyn MaintenanceStore,
    request: wire::UpkeepRequest,
) -> Result<wire::UpkeepResponse, Status> {
    let wire::UpkeepRequest { now, keep_us, by_status } = request;
    let retention = match by_status {
        Some(wire::StatusRetention { completed_us, rolled_back_us, terminated_us }) => Retention {
            completed: completed_us.map(Duration::from_micros),
            rolled_back: rolled_back_us.map(Duration::from_micros),
            terminated: terminated_us.map(Duration::from_micros),
        },
        // An earlier release knows only one retention.
        None => Retention::uniform(keep_us.map(Duration::from_micros)),
    };
    let request = MaintenanceRequest { now: Timestamp(now), retention };
    let done = into_status(store.maintain(&request).await)?;
    Ok(wire::UpkeepResponse { removed: done.removed, more: done.more })
}
