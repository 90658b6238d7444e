//! Locks.

use super::into_status;
use goconductor_store::{LockRequest, LockStore};
use goconductor_wire::internal as wire;
use goconductor_wire::store::required;
use std::time::Duration;
use tonic::Status;

pub(super) async fn acquire_lock(
    store: &dyn LockStore,
    request: wire::AcquireLockRequest,
) -> Result<wire::AcquireLockResponse, Status> {
    let wire::AcquireLockRequest { namespace, key, owner, ttl_us } = request;
    let request = LockRequest { namespace, key, owner, ttl: Duration::from_micros(ttl_us) };
    let outcome = into_status(store.acquire_lock(&request).await)?;
    Ok(wire::AcquireLockResponse { answer: Some((&outcome).into()) })
}

pub(super) async fn renew_lock(
    store: &dyn LockStore,
    request: wire::RenewLockRequest,
) -> Result<wire::RenewLockResponse, Status> {
    let wire::RenewLockRequest { hold, ttl_us } = request;
    let hold = required(hold, "a hold")?.into();
    let outcome = into_status(store.renew_lock(&hold, Duration::from_micros(ttl_us)).await)?;
    Ok(wire::RenewLockResponse { answer: Some((&outcome).into()) })
}

pub(super) async fn release_lock(
    store: &dyn LockStore,
    request: wire::ReleaseLockRequest,
) -> Result<wire::ReleaseLockResponse, Status> {
    let hold = required(request.hold, "a hold")?.into();
    let outcome = into_status(store.release_lock(&hold).await)?;
    Ok(wire::ReleaseLockResponse { answer: Some((&outcome).into()) })
}

pub(super) async fn acquire_workflow_locks(
    store: &dyn LockStore,
    request: wire::AcquireWorkflowLocksRequest,
) -> Result<wire::AcquireWorkflowLocksResponse, Status> {
    let outcome = into_status(store.acquire_workflow_locks(&request.try_into()?).await)?;
    Ok((&outcome).into())
}

pub(super) async fn get_lock_holder(
    store: &dyn LockStore,
    request: wire::GetLockHolderRequest,
) -> Result<wire::GetLockHolderResponse, Status> {
    let lock = into_status(store.lock_holder(&request.namespace, &request.key).await)?;
    Ok(wire::GetLockHolderResponse { lock: lock.as_ref().map(Into::into) })
}

pub(super) async fn list_locks(
    store: &dyn LockStore,
    request: wire::ListLocksRequest,
) -> Result<wire::ListLocksResponse, Status> {
    let wire::ListLocksRequest { namespace, after, limit } = request;
    let locks = into_status(store.locks(&namespace, after.as_deref(), limit).await)?;
    Ok(wire::ListLocksResponse { locks: locks.iter().map(Into::into).collect() })
}
