//! Locks.

use super::{RemoteStore, Repeat, one, rpc};
use async_trait::async_trait;
use goconductor_store::{
    Error, Lock, LockHold, LockOutcome, LockRequest, LockStore, WorkflowLockOutcome, WorkflowLockRequest,
};
use goconductor_wire::internal as wire;
use goconductor_wire::store::{lock, required};
use std::time::Duration;

#[async_trait]
impl LockStore for RemoteStore {
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockOutcome, Error> {
        let LockRequest { namespace, key, owner, ttl } = request.clone();
        let request = wire::AcquireLockRequest { namespace, key, owner, ttl_us: lock::micros(ttl) };
        let response = self.call(Repeat::Idempotent, rpc!(acquire_lock, request)).await?.answer;
        one(required(response, "the result of a lock operation").and_then(TryInto::try_into))
    }

    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockOutcome, Error> {
        let request = wire::RenewLockRequest { hold: Some(hold.into()), ttl_us: lock::micros(ttl) };
        let response = self.call(Repeat::Idempotent, rpc!(renew_lock, request)).await?.answer;
        one(required(response, "the result of a lock operation").and_then(TryInto::try_into))
    }

    async fn release_lock(&self, hold: &LockHold) -> Result<LockOutcome, Error> {
        let request = wire::ReleaseLockRequest { hold: Some(hold.into()) };
        let response = self.call(Repeat::Idempotent, rpc!(release_lock, request)).await?.answer;
        one(required(response, "the result of a lock operation").and_then(TryInto::try_into))
    }

    async fn acquire_workflow_locks(
        &self,
        request: &WorkflowLockRequest,
    ) -> Result<WorkflowLockOutcome, Error> {
        let request: wire::AcquireWorkflowLocksRequest = request.into();
        one(self.call(Repeat::Idempotent, rpc!(acquire_workflow_locks, request)).await?.try_into())
    }

    async fn lock_holder(&self, namespace: &str, key: &str) -> Result<Option<Lock>, Error> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        let request = wire::GetLockHolderRequest { namespace, key };
        Ok(self.read(rpc!(get_lock_holder, request)).await?.lock.map(Into::into))
    }

    async fn locks(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<Lock>, Error> {
        let (namespace, after) = (namespace.to_owned(), after.map(str::to_owned));
        let request = wire::ListLocksRequest { namespace, after, limit };
        Ok(self.read(rpc!(list_locks, request)).await?.locks.into_iter().map(Into::into).collect())
    }
}
