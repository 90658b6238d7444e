//! Maintenance.

use super::{RemoteStore, Repeat, rpc};
use async_trait::async_trait;
use goconductor_store::{Error, MaintenanceStore, Upkeep, UpkeepRequest};
use goconductor_wire::internal as wire;

#[async_trait]
impl MaintenanceStore for RemoteStore {
    async fn upkeep(&self, request: &UpkeepRequest) -> Result<Upkeep, Error> {
        let keep_us = request.keep.map(|keep| u64::try_from(keep.as_micros()).unwrap_or(u64::MAX));
        let request = wire::UpkeepRequest { now: request.now.0, keep_us };
        let answer = self.call(Repeat::Harmless, rpc!(upkeep, request)).await?;
        Ok(Upkeep { removed: answer.removed, more: answer.more })
    }
}
