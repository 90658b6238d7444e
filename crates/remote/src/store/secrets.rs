//! Secrets. Their values and data keys are sealed, here as in the database.

use super::{RemoteStore, Repeat, one, rpc};
use async_trait::async_trait;
use goconductor_store::{Error, SecretHead, SecretPosition, SecretStore, SecretVersion, WrappedDataKey};
use goconductor_wire::internal as wire;

#[async_trait]
impl SecretStore for RemoteStore {
    async fn put_secret(&self, version: &SecretVersion, keep: u32) -> Result<Option<SecretHead>, Error> {
        let request = wire::PutSecretRequest { version: Some(version.into()), keep };
        let response = self.call(Repeat::Never, rpc!(put_secret, request)).await?;
        Ok(response.head.map(Into::into))
    }

    async fn secret_head(&self, namespace: &str, name: &str) -> Result<Option<SecretHead>, Error> {
        let request = wire::GetSecretHeadRequest { namespace: namespace.to_owned(), name: name.to_owned() };
        let response = self.read(rpc!(get_secret_head, request)).await?;
        Ok(response.head.map(Into::into))
    }

    async fn secret_version(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<SecretVersion>, Error> {
        let request =
            wire::GetSecretVersionRequest { namespace: namespace.to_owned(), name: name.to_owned(), version };
        let response = self.read(rpc!(get_secret_version, request)).await?;
        response.version.map(|version| one(version.try_into())).transpose()
    }

    async fn secrets(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SecretHead>, Error> {
        let after = after.map(str::to_owned);
        let request = wire::ListSecretHeadsRequest { namespace: namespace.to_owned(), after, limit };
        let response = self.read(rpc!(list_secret_heads, request)).await?;
        Ok(response.heads.into_iter().map(Into::into).collect())
    }

    async fn delete_secret(&self, namespace: &str, name: &str) -> Result<bool, Error> {
        let request =
            wire::DeleteStoredSecretRequest { namespace: namespace.to_owned(), name: name.to_owned() };
        let response = self.call(Repeat::Never, rpc!(delete_stored_secret, request)).await?;
        Ok(response.deleted)
    }

    async fn secrets_of_other_keys(
        &self,
        key_id: &str,
        after: Option<&SecretPosition>,
        limit: u32,
    ) -> Result<Vec<SecretVersion>, Error> {
        let after = after.map(Into::into);
        let request = wire::ListSecretsOfOtherKeysRequest { key_id: key_id.to_owned(), after, limit };
        let response = self.read(rpc!(list_secrets_of_other_keys, request)).await?;
        response.versions.into_iter().map(|version| one(version.try_into())).collect()
    }

    async fn rewrap_secret(
        &self,
        at: &SecretPosition,
        from_key_id: &str,
        key: &WrappedDataKey,
    ) -> Result<bool, Error> {
        let request = wire::RewrapSecretRequest {
            position: Some(at.into()),
            from_key_id: from_key_id.to_owned(),
            key_id: key.key_id.clone(),
            wrapped_key: key.wrapped.clone().into(),
        };
        let response = self.call(Repeat::Never, rpc!(rewrap_secret, request)).await?;
        Ok(response.rewrapped)
    }
}
