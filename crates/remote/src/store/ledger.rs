//! The dispatch ledger.

use super::{RemoteStore, Repeat, all, one, rpc};
use async_trait::async_trait;
use goconductor_saga::{Timestamp, WorkflowId};
use goconductor_store::{Claim, ClaimRequest, Error, LedgerRow, LedgerRowKey, LedgerStore};
use goconductor_wire::internal as wire;
use goconductor_wire::store::id_bytes;

#[async_trait]
impl LedgerStore for RemoteStore {
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Error> {
        let request = wire::ClaimRequest::from(request);
        one(self.call(Repeat::Never, rpc!(claim, request)).await?.try_into())
    }

    async fn extend(&self, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error> {
        let rows = rows.iter().map(Into::into).collect();
        let request = wire::ExtendRequest { rows, due_at: due_at.0 };
        self.call(Repeat::Idempotent, rpc!(extend, request)).await?;
        Ok(())
    }

    async fn release(&self, rows: &[LedgerRowKey]) -> Result<(), Error> {
        let request = wire::ReleaseRequest { rows: rows.iter().map(Into::into).collect() };
        self.call(Repeat::Never, rpc!(release, request)).await?;
        Ok(())
    }

    async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, Error> {
        let request = wire::ExpireDeliveriesRequest { now: now.0 };
        let response = self.call(Repeat::Idempotent, rpc!(expire_deliveries, request)).await?;
        Ok(response.expired)
    }

    async fn ledger(&self, ids: &[WorkflowId]) -> Result<Vec<LedgerRow>, Error> {
        let request = wire::LedgerRequest { ids: ids.iter().copied().map(id_bytes).collect() };
        all(self.read(rpc!(ledger, request)).await?.rows)
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<(String, u64)>, Error> {
        let request = wire::BacklogRequest { now: now.0 };
        let response = self.read(rpc!(backlog, request)).await?;
        Ok(response.lanes.into_iter().map(|lane| (lane.value, lane.count)).collect())
    }

    async fn orphans(&self, limit: u32) -> Result<Vec<LedgerRow>, Error> {
        let request = wire::OrphansRequest { limit };
        all(self.read(rpc!(orphans, request)).await?.rows)
    }
}
