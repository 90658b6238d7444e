//! `AccessService`.

use super::{GrpcServices, RpcResult, duration, message, operation, page, path_name};
use crate::api::access_keys::CreateAccessKey;
use axum::http::StatusCode;
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::access_service_server::AccessService;
use tonic::{Request, Response};

#[tonic::async_trait]
impl AccessService for GrpcServices {
    async fn create_access_key(
        &self,
        request: Request<wire::CreateAccessKeyRequest>,
    ) -> RpcResult<wire::CreateAccessKeyResponse> {
        let created = self
            .serve_with_status(
                operation::CREATE_ACCESS_KEY,
                request,
                |_| StatusCode::CREATED,
                |api, call| async move {
                    let context = call.context()?;
                    let wire::CreateAccessKeyRequest { name, roles, namespaces, services, expires_in } =
                        call.message;
                    let expires_in = expires_in.map(|time| duration(Some(time)));
                    let create = CreateAccessKey { name, roles, namespaces, services, expires_in };
                    api.create_access_key(&context, create).await
                },
            )
            .await?;
        let token = created.token();
        Ok(Response::new(wire::CreateAccessKeyResponse {
            key: Some(message::access_key(created.key)),
            token,
        }))
    }

    async fn get_access_key(
        &self,
        request: Request<wire::GetAccessKeyRequest>,
    ) -> RpcResult<wire::GetAccessKeyResponse> {
        let key = self
            .serve(operation::GET_ACCESS_KEY, request, |api, call| async move {
                api.access_key(path_name("id", &call.message.id)?).await
            })
            .await?;
        Ok(Response::new(wire::GetAccessKeyResponse { key: Some(message::access_key(key)) }))
    }

    async fn list_access_keys(
        &self,
        request: Request<wire::ListAccessKeysRequest>,
    ) -> RpcResult<wire::ListAccessKeysResponse> {
        let list = self
            .serve(operation::LIST_ACCESS_KEYS, request, |api, call| async move {
                let wire::ListAccessKeysRequest { page_size, page_token } = call.message;
                api.list_access_keys(&page(page_size, page_token)).await
            })
            .await?;
        let keys = list.keys.into_iter().map(message::access_key).collect();
        Ok(Response::new(wire::ListAccessKeysResponse { keys, next_page_token: list.next_page_token }))
    }

    async fn revoke_access_key(
        &self,
        request: Request<wire::RevokeAccessKeyRequest>,
    ) -> RpcResult<wire::RevokeAccessKeyResponse> {
        let key = self
            .serve(operation::REVOKE_ACCESS_KEY, request, |api, call| async move {
                api.revoke_access_key(path_name("id", &call.message.id)?).await
            })
            .await?;
        Ok(Response::new(wire::RevokeAccessKeyResponse { key: Some(message::access_key(key)) }))
    }

    async fn rotate_access_key(
        &self,
        request: Request<wire::RotateAccessKeyRequest>,
    ) -> RpcResult<wire::RotateAccessKeyResponse> {
        let created = self
            .serve_with_status(
                operation::ROTATE_ACCESS_KEY,
                request,
                |_| StatusCode::CREATED,
                |api, call| async move {
                    let context = call.context()?;
                    let wire::RotateAccessKeyRequest { id, overlap } = call.message;
                    api.rotate_access_key(&context, path_name("id", &id)?, duration(overlap)).await
                },
            )
            .await?;
        let token = created.token();
        Ok(Response::new(wire::RotateAccessKeyResponse {
            key: Some(message::access_key(created.key)),
            token,
        }))
    }
}
