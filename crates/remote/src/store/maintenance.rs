//! Maintenance.

use super::{RemoteStore, Repeat, rpc};
use async_trait::async_trait;
use goconductor_store::{Error, MaintenanceReport, MaintenanceRequest, MaintenanceStore};
use goconductor_wire::internal as wire;
use std::time::Duration;

#[async_trait]
impl MaintenanceStore for RemoteStore {
    async fn maintain(&self, request: &MaintenanceRequest) -> Result<MaintenanceReport, Error> {
        let MaintenanceRequest { now, retention } = *request;
        let by_status = wire::StatusRetention {
            completed_us: retention.completed.map(micros),
            rolled_back_us: retention.rolled_back.map(micros),
            terminated_us: retention.terminated.map(micros),
        };
        let keep_us = retention.longest().map(micros);
        let request = wire::UpkeepRequest { now: now.0, keep_us, by_status: Some(by_status) };
        let response = self.call(Repeat::Idempotent, rpc!(upkeep, request)).await?;
        Ok(MaintenanceReport { removed: response.removed, more: response.more })
    }
}

fn micros(keep: Duration) -> u64 {
    u64::try_from(keep.as_micros()).unwrap_or(u64::MAX)
}
