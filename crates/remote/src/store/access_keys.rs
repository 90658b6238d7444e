//! Access keys.

use super::{RemoteStore, Repeat, rpc};
use async_trait::async_trait;
use goconductor_store::{AccessKey, AccessKeyEnd, AccessKeyStore, Error};
use goconductor_wire::internal as wire;

#[async_trait]
impl AccessKeyStore for RemoteStore {
    async fn create_access_key(&self, key: &AccessKey) -> Result<bool, Error> {
        let request = wire::CreateAccessKeyRequest { key: Some(key.into()) };
        Ok(self.call(Repeat::Never, rpc!(create_access_key, request)).await?.created)
    }

    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>, Error> {
        let request = wire::GetAccessKeyRequest { id: id.to_owned() };
        Ok(self.read(rpc!(get_access_key, request)).await?.key.map(Into::into))
    }

    async fn access_keys(&self, after: Option<&str>, limit: u32) -> Result<Vec<AccessKey>, Error> {
        let request = wire::ListAccessKeysRequest { after: after.map(str::to_owned), limit };
        Ok(self.read(rpc!(list_access_keys, request)).await?.keys.into_iter().map(Into::into).collect())
    }

    async fn end_access_key(&self, id: &str, end: AccessKeyEnd) -> Result<Option<AccessKey>, Error> {
        let (at, revoked) = match end {
            AccessKeyEnd::Revoked(at) => (at.0, true),
            AccessKeyEnd::Expires(at) => (at.0, false),
        };
        let request = wire::EndAccessKeyRequest { id: id.to_owned(), at, revoked };
        Ok(self.call(Repeat::Idempotent, rpc!(end_access_key, request)).await?.key.map(Into::into))
    }

    async fn access_revision(&self) -> Result<u64, Error> {
        Ok(self.read(rpc!(access_revision, wire::AccessRevisionRequest {})).await?.revision)
    }
}
