//! `ConfigService`.

use super::{GrpcServices, RpcResult, json_field, message, operation, optional, page};
use crate::api::Api;
use crate::api::config::{NewSettings, WriteConfig};
use crate::error::{ApiResult, MALFORMED, Problem};
use goconductor_saga::Json;
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::config_service_server::ConfigService;
use tonic::{Request, Response};

#[tonic::async_trait]
impl ConfigService for GrpcServices {
    async fn get_config(
        &self,
        request: Request<wire::GetConfigRequest>,
    ) -> RpcResult<wire::GetConfigResponse> {
        let config =
            self.serve(operation::GET_CONFIG, request, |api, _| async move { api.config().await }).await?;
        Ok(Response::new(wire::GetConfigResponse { config: Some(message::config(config)) }))
    }

    async fn put_config(
        &self,
        request: Request<wire::PutConfigRequest>,
    ) -> RpcResult<wire::PutConfigResponse> {
        let config = self
            .serve(operation::PUT_CONFIG, request, |api, call| async move {
                let context = call.context()?;
                let wire::PutConfigRequest { settings_json, if_version, dry_run, reason } = call.message;
                let new = NewSettings::Replace(required(&api, "settings_json", &settings_json)?);
                Box::pin(api.change_config(&context, new, write(if_version, dry_run, reason))).await
            })
            .await?;
        Ok(Response::new(wire::PutConfigResponse { config: Some(message::config(config)) }))
    }

    async fn patch_config(
        &self,
        request: Request<wire::PatchConfigRequest>,
    ) -> RpcResult<wire::PatchConfigResponse> {
        let config = self
            .serve(operation::PATCH_CONFIG, request, |api, call| async move {
                let context = call.context()?;
                let wire::PatchConfigRequest { patch_json, if_version, dry_run, reason } = call.message;
                let new = NewSettings::Merge(required(&api, "patch_json", &patch_json)?);
                Box::pin(api.change_config(&context, new, write(if_version, dry_run, reason))).await
            })
            .await?;
        Ok(Response::new(wire::PatchConfigResponse { config: Some(message::config(config)) }))
    }

    async fn rollback_config(
        &self,
        request: Request<wire::RollbackConfigRequest>,
    ) -> RpcResult<wire::RollbackConfigResponse> {
        let config = self
            .serve(operation::ROLLBACK_CONFIG, request, |api, call| async move {
                let context = call.context()?;
                let wire::RollbackConfigRequest { version, if_version, reason } = call.message;
                let new = NewSettings::Restore(version);
                Box::pin(api.change_config(&context, new, write(if_version, false, reason))).await
            })
            .await?;
        Ok(Response::new(wire::RollbackConfigResponse { config: Some(message::config(config)) }))
    }

    async fn list_config_versions(
        &self,
        request: Request<wire::ListConfigVersionsRequest>,
    ) -> RpcResult<wire::ListConfigVersionsResponse> {
        let list = self
            .serve(operation::LIST_CONFIG_VERSIONS, request, |api, call| async move {
                let wire::ListConfigVersionsRequest { page_size, page_token } = call.message;
                api.list_config_versions(&page(page_size, page_token)).await
            })
            .await?;
        let versions = list.versions.into_iter().map(message::config_version).collect();
        let next_page_token = list.next_page_token;
        Ok(Response::new(wire::ListConfigVersionsResponse { versions, next_page_token }))
    }

    async fn get_config_version(
        &self,
        request: Request<wire::GetConfigVersionRequest>,
    ) -> RpcResult<wire::GetConfigVersionResponse> {
        let version = self
            .serve(operation::GET_CONFIG_VERSION, request, |api, call| async move {
                api.config_version(call.message.version).await
            })
            .await?;
        let version = Some(message::config_version(version));
        Ok(Response::new(wire::GetConfigVersionResponse { version }))
    }

    async fn get_config_schema(
        &self,
        request: Request<wire::GetConfigSchemaRequest>,
    ) -> RpcResult<wire::GetConfigSchemaResponse> {
        let schema_json = self
            .serve(operation::GET_CONFIG_SCHEMA, request, |_, _| async move {
                Ok(goconductor_service_kit::config::schema().to_string())
            })
            .await?;
        Ok(Response::new(wire::GetConfigSchemaResponse { schema_json }))
    }
}

/// Parses a field that holds JSON and must not be empty. An empty text would otherwise remove all settings.
fn required(api: &Api, field: &str, text: &str) -> ApiResult<Json> {
    json_field(api, field, text)?.ok_or_else(|| {
        let detail = format!("{field} is empty or null, but an object of settings is required");
        Problem::new(MALFORMED, detail.clone()).at(field, detail)
    })
}

fn write(if_version: Option<u64>, dry_run: bool, reason: String) -> WriteConfig {
    WriteConfig { if_version, dry_run, reason: optional(reason) }
}
