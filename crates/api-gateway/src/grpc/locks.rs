//! `LockService`.

use super::{GrpcServices, RpcResult, duration, message, operation, page};
use crate::api::locks::{AcquireLock, ReleaseLock, RenewLock};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::lock_service_server::LockService;
use tonic::{Request, Response};

#[tonic::async_trait]
impl LockService for GrpcServices {
    async fn acquire_lock(
        &self,
        request: Request<wire::AcquireLockRequest>,
    ) -> RpcResult<wire::AcquireLockResponse> {
        let lock = self
            .serve(operation::ACQUIRE_LOCK, request, |api, call| async move {
                let context = call.context()?;
                let wire::AcquireLockRequest { key, owner, ttl } = call.message;
                api.acquire_lock(&context, AcquireLock { key, owner, ttl: duration(ttl) }).await
            })
            .await?;
        Ok(Response::new(wire::AcquireLockResponse { lock: Some(message::lock(lock)) }))
    }

    async fn renew_lock(
        &self,
        request: Request<wire::RenewLockRequest>,
    ) -> RpcResult<wire::RenewLockResponse> {
        let lock = self
            .serve(operation::RENEW_LOCK, request, |api, call| async move {
                let context = call.context()?;
                let wire::RenewLockRequest { key, owner, fencing_token, ttl } = call.message;
                let renew = RenewLock { key, owner, fencing_token, ttl: duration(ttl) };
                api.renew_lock(&context, renew).await
            })
            .await?;
        Ok(Response::new(wire::RenewLockResponse { lock: Some(message::lock(lock)) }))
    }

    async fn release_lock(
        &self,
        request: Request<wire::ReleaseLockRequest>,
    ) -> RpcResult<wire::ReleaseLockResponse> {
        let released = self
            .serve(operation::RELEASE_LOCK, request, |api, call| async move {
                let context = call.context()?;
                let wire::ReleaseLockRequest { key, owner, fencing_token } = call.message;
                api.release_lock(&context, ReleaseLock { key, owner, fencing_token }).await
            })
            .await?;
        Ok(Response::new(wire::ReleaseLockResponse { released: released.released }))
    }

    async fn list_locks(
        &self,
        request: Request<wire::ListLocksRequest>,
    ) -> RpcResult<wire::ListLocksResponse> {
        let list = self
            .serve(operation::LIST_LOCKS, request, |api, call| async move {
                let context = call.context()?;
                let wire::ListLocksRequest { page_size, page_token } = call.message;
                api.list_locks(&context, &page(page_size, page_token)).await
            })
            .await?;
        let locks = list.locks.into_iter().map(message::lock).collect();
        Ok(Response::new(wire::ListLocksResponse { locks, next_page_token: list.next_page_token }))
    }
}
