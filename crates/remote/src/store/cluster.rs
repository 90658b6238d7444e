//! Members, fencing tokens, configuration entries and the clock.

use super::{RemoteStore, Repeat, all, one, rpc};
use async_trait::async_trait;
use goconductor_saga::{Json, Timestamp};
use goconductor_store::{Announcement, ClusterStore, ConfigEntry, Error, Member};
use goconductor_wire::internal as wire;
use goconductor_wire::store as codec;

#[async_trait]
impl ClusterStore for RemoteStore {
    async fn announce(&self, member: &Announcement) -> Result<(), Error> {
        let request = wire::AnnounceRequest { member: Some(one(member.try_into())?) };
        self.call(Repeat::Idempotent, rpc!(announce, request)).await?;
        Ok(())
    }

    async fn members(&self) -> Result<Vec<Member>, Error> {
        all(self.read(rpc!(members, wire::MembersRequest {})).await?.members)
    }

    async fn raise_epoch(&self, name: &str) -> Result<u64, Error> {
        let request = wire::RaiseEpochRequest { name: name.to_owned() };
        // Idempotent: a counter that is raised twice has still risen.
        let response = self.call(Repeat::Idempotent, rpc!(raise_epoch, request)).await?;
        Ok(response.epoch)
    }

    async fn config_entry(&self, name: &str) -> Result<Option<ConfigEntry>, Error> {
        let request = wire::AgreementRequest { name: name.to_owned() };
        let response = self.read(rpc!(agreement, request)).await?;
        response.agreed.map(|agreed| one(agreed.try_into())).transpose()
    }

    async fn compare_and_set(
        &self,
        name: &str,
        revision: u64,
        value: &Json,
    ) -> Result<Option<ConfigEntry>, Error> {
        let value_json = one(codec::value("a configuration entry", value))?;
        let request = wire::AgreeRequest { name: name.to_owned(), revision, value_json };
        let response = self.call(Repeat::Never, rpc!(agree, request)).await?;
        response.agreed.map(|agreed| one(agreed.try_into())).transpose()
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        let response = self.read(rpc!(now, wire::NowRequest {})).await?;
        Ok(Timestamp(response.now))
    }

    async fn check(&self) -> Result<(), Error> {
        self.read(rpc!(check, wire::CheckRequest {})).await?;
        Ok(())
    }
}
