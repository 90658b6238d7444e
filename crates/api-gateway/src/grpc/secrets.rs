//! `SecretService`.

use super::{GrpcServices, RpcResult, message, operation, page, path_name};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::secret_service_server::SecretService;
use secrecy::SecretString;
use tonic::{Request, Response};
use zeroize::Zeroizing;

#[tonic::async_trait]
impl SecretService for GrpcServices {
    async fn put_secret(
        &self,
        request: Request<wire::PutSecretRequest>,
    ) -> RpcResult<wire::PutSecretResponse> {
        let secret = self
            .serve(operation::PUT_SECRET, request, |api, call| async move {
                let context = call.context()?;
                let wire::PutSecretRequest { name, value } = call.message;
                let value = Zeroizing::new(value);
                // The text is copied, because a string that is made shorter may move and leave a copy behind.
                let value = SecretString::from(value.as_str());
                api.put_secret(&context, path_name("name", &name)?, &value).await
            })
            .await?;
        Ok(Response::new(wire::PutSecretResponse { secret: Some(message::secret(secret)) }))
    }

    async fn get_secret(
        &self,
        request: Request<wire::GetSecretRequest>,
    ) -> RpcResult<wire::GetSecretResponse> {
        let secret = self
            .serve(operation::GET_SECRET, request, |api, call| async move {
                let context = call.context()?;
                api.secret(&context, path_name("name", &call.message.name)?).await
            })
            .await?;
        Ok(Response::new(wire::GetSecretResponse { secret: Some(message::secret(secret)) }))
    }

    async fn list_secrets(
        &self,
        request: Request<wire::ListSecretsRequest>,
    ) -> RpcResult<wire::ListSecretsResponse> {
        let list = self
            .serve(operation::LIST_SECRETS, request, |api, call| async move {
                let context = call.context()?;
                let wire::ListSecretsRequest { page_size, page_token } = call.message;
                api.list_secrets(&context, &page(page_size, page_token)).await
            })
            .await?;
        let secrets = list.secrets.into_iter().map(message::secret).collect();
        Ok(Response::new(wire::ListSecretsResponse { secrets, next_page_token: list.next_page_token }))
    }

    async fn delete_secret(
        &self,
        request: Request<wire::DeleteSecretRequest>,
    ) -> RpcResult<wire::DeleteSecretResponse> {
        self.serve(operation::DELETE_SECRET, request, |api, call| async move {
            let context = call.context()?;
            api.delete_secret(&context, path_name("name", &call.message.name)?).await
        })
        .await?;
        Ok(Response::new(wire::DeleteSecretResponse {}))
    }

    async fn rotate_key(
        &self,
        request: Request<wire::RotateKeyRequest>,
    ) -> RpcResult<wire::RotateKeyResponse> {
        let rotation = self
            .serve(operation::ROTATE_KEY, request, |api, _| async move { api.rotate_master_key().await })
            .await?;
        let response = wire::RotateKeyResponse {
            key_id: rotation.key_id,
            changed: rotation.changed,
            pending: rotation.pending,
        };
        Ok(Response::new(response))
    }

    async fn rotate_payload_key(
        &self,
        request: Request<wire::RotatePayloadKeyRequest>,
    ) -> RpcResult<wire::RotatePayloadKeyResponse> {
        let key = self
            .serve(operation::ROTATE_PAYLOAD_KEY, request, |api, call| async move {
                api.rotate_payload_key(&call.context()?).await
            })
            .await?;
        let response = wire::RotatePayloadKeyResponse { namespace: key.namespace, version: key.version };
        Ok(Response::new(response))
    }
}
