//! Leases of shards.

use super::{RemoteStore, Repeat, all, of_each, rpc};
use async_trait::async_trait;
use goconductor_store::{Error, LeaseRequest, LeaseUpdate, NewShardLease, ShardLease, ShardLeaseStore};
use goconductor_wire::internal as wire;

#[async_trait]
impl ShardLeaseStore for RemoteStore {
    async fn leases(&self, stream: &str) -> Result<Vec<ShardLease>, Error> {
        let request = wire::ListLeasesRequest { stream: stream.to_owned() };
        all(self.read(rpc!(list_leases, request)).await?.leases)
    }

    async fn sync_leases(&self, stream: &str, new: &[NewShardLease], gone: &[String]) -> Result<(), Error> {
        let (stream, new) = (stream.to_owned(), new.iter().map(Into::into).collect());
        let request = wire::SyncLeasesRequest { stream, new, gone: gone.to_vec() };
        self.call(Repeat::Idempotent, rpc!(sync_leases, request)).await?;
        Ok(())
    }

    async fn acquire_leases(&self, stream: &str, take: &LeaseRequest) -> Result<Vec<bool>, Error> {
        let request = wire::TakeLeasesRequest::of(stream, take);
        let response = self.call(Repeat::Never, rpc!(take_leases, request)).await?;
        of_each(response.taken, take.shards.len())
    }

    async fn update_leases(
        &self,
        stream: &str,
        owner: &str,
        marks: &[LeaseUpdate],
    ) -> Result<Vec<bool>, Error> {
        let (stream, owner) = (stream.to_owned(), owner.to_owned());
        let request =
            wire::MarkLeasesRequest { stream, owner, marks: marks.iter().map(Into::into).collect() };
        let response = self.call(Repeat::Idempotent, rpc!(mark_leases, request)).await?;
        of_each(response.kept, marks.len())
    }
}
