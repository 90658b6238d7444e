//! Maintenance.

use super::{RemoteStore, Repeat, rpc};
use async_trait::async_trait;
use goconductor_store::{Error, MaintenanceReport, MaintenanceRequest, MaintenanceStore};
use goconductor_wire::internal as wire;

#[async_trait]
impl MaintenanceStore for RemoteStore {
    async fn maintain(&self, request: &MaintenanceRequest) -> Result<MaintenanceReport, Error> {
        let keep_us = request.retention.map(|keep| u64::try_from(keep.as_micros()).unwrap_or(u64::MAX));
        let request = wire::UpkeepRequest { now: request.now.0, keep_us };
        let response = self.call(Repeat::Idempotent, rpc!(upkeep, request)).await?;
        Ok(MaintenanceReport { removed: response.removed, more: response.more })
    }
}
