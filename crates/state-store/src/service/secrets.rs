//! Secrets. This service cannot open them.

use super::into_status;
use goconductor_store::{SecretPosition, SecretStore, SecretVersion, WrappedDataKey};
use goconductor_wire::internal as wire;
use goconductor_wire::store::required;
use tonic::Status;

pub(super) async fn put_secret(
    store: &dyn SecretStore,
    request: wire::PutSecretRequest,
) -> Result<wire::PutSecretResponse, Status> {
    let version: SecretVersion = required(request.version, "a version of a secret")?.try_into()?;
    let head = into_status(store.put_secret(&version, request.keep).await)?;
    Ok(wire::PutSecretResponse { head: head.map(Into::into) })
}

pub(super) async fn get_secret_head(
    store: &dyn SecretStore,
    request: wire::GetSecretHeadRequest,
) -> Result<wire::GetSecretHeadResponse, Status> {
    let head = into_status(store.secret_head(&request.namespace, &request.name).await)?;
    Ok(wire::GetSecretHeadResponse { head: head.map(Into::into) })
}

pub(super) async fn get_secret_version(
    store: &dyn SecretStore,
    request: wire::GetSecretVersionRequest,
) -> Result<wire::GetSecretVersionResponse, Status> {
    let wire::GetSecretVersionRequest { namespace, name, version } = request;
    let version = into_status(store.secret_version(&namespace, &name, version).await)?;
    Ok(wire::GetSecretVersionResponse { version: version.as_ref().map(Into::into) })
}

pub(super) async fn list_secret_heads(
    store: &dyn SecretStore,
    request: wire::ListSecretHeadsRequest,
) -> Result<wire::ListSecretHeadsResponse, Status> {
    let wire::ListSecretHeadsRequest { namespace, after, limit } = request;
    let heads = into_status(store.secrets(&namespace, after.as_deref(), limit).await)?;
    Ok(wire::ListSecretHeadsResponse { heads: heads.into_iter().map(Into::into).collect() })
}

pub(super) async fn delete_stored_secret(
    store: &dyn SecretStore,
    request: wire::DeleteStoredSecretRequest,
) -> Result<wire::DeleteStoredSecretResponse, Status> {
    let deleted = into_status(store.delete_secret(&request.namespace, &request.name).await)?;
    Ok(wire::DeleteStoredSecretResponse { deleted })
}

pub(super) async fn list_secrets_of_other_keys(
    store: &dyn SecretStore,
    request: wire::ListSecretsOfOtherKeysRequest,
) -> Result<wire::ListSecretsOfOtherKeysResponse, Status> {
    let wire::ListSecretsOfOtherKeysRequest { key_id, after, limit } = request;
    let after = after.map(SecretPosition::from);
    let versions = into_status(store.secrets_of_other_keys(&key_id, after.as_ref(), limit).await)?;
    Ok(wire::ListSecretsOfOtherKeysResponse { versions: versions.iter().map(Into::into).collect() })
}

pub(super) async fn rewrap_secret(
    store: &dyn SecretStore,
    request: wire::RewrapSecretRequest,
) -> Result<wire::RewrapSecretResponse, Status> {
    let wire::RewrapSecretRequest { position, from_key_id, key_id, wrapped_key } = request;
    let position: SecretPosition = required(position, "the position of a secret")?.into();
    let key = WrappedDataKey { key_id, wrapped: wrapped_key.into() };
    let rewrapped = into_status(store.rewrap_secret(&position, &from_key_id, &key).await)?;
    Ok(wire::RewrapSecretResponse { rewrapped })
}
