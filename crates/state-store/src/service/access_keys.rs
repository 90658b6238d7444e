//! Access keys.

use super::into_status;
use goconductor_saga::Timestamp;
use goconductor_store::{AccessKeyEnd, AccessKeyStore};
use goconductor_wire::internal as wire;
use goconductor_wire::store::required;
use tonic::Status;

pub(super) async fn create_access_key(
    store: &dyn AccessKeyStore,
    request: wire::CreateAccessKeyRequest,
) -> Result<wire::CreateAccessKeyResponse, Status> {
    let key = required(request.key, "an access key")?.into();
    let created = into_status(store.create_access_key(&key).await)?;
    Ok(wire::CreateAccessKeyResponse { created })
}

pub(super) async fn get_access_key(
    store: &dyn AccessKeyStore,
    request: wire::GetAccessKeyRequest,
) -> Result<wire::GetAccessKeyResponse, Status> {
    let key = into_status(store.access_key(&request.id).await)?;
    Ok(wire::GetAccessKeyResponse { key: key.as_ref().map(Into::into) })
}

pub(super) async fn list_access_keys(
    store: &dyn AccessKeyStore,
    request: wire::ListAccessKeysRequest,
) -> Result<wire::ListAccessKeysResponse, Status> {
    let keys = into_status(store.access_keys(request.after.as_deref(), request.limit).await)?;
    Ok(wire::ListAccessKeysResponse { keys: keys.iter().map(Into::into).collect() })
}

pub(super) async fn end_access_key(
    store: &dyn AccessKeyStore,
    request: wire::EndAccessKeyRequest,
) -> Result<wire::EndAccessKeyResponse, Status> {
    let at = Timestamp(request.at);
    let end = if request.revoked { AccessKeyEnd::Revoked(at) } else { AccessKeyEnd::Expires(at) };
    let key = into_status(store.end_access_key(&request.id, end).await)?;
    Ok(wire::EndAccessKeyResponse { key: key.as_ref().map(Into::into) })
}

pub(super) async fn access_revision(
    store: &dyn AccessKeyStore,
    _: wire::AccessRevisionRequest,
) -> Result<wire::AccessRevisionResponse, Status> {
    Ok(wire::AccessRevisionResponse { revision: into_status(store.access_revision().await)? })
}
