//! `DefinitionService`.

use super::{GrpcServices, RpcResult, message, operation, path_name};
use crate::api::definitions::ApplyDefinition;
use crate::error::{PARAMETER, Problem};
use axum::http::StatusCode;
use goconductor_definition::Format;
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::definition_service_server::DefinitionService;
use tonic::{Request, Response};

#[tonic::async_trait]
impl DefinitionService for GrpcServices {
    async fn apply_definition(
        &self,
        request: Request<wire::ApplyDefinitionRequest>,
    ) -> RpcResult<wire::ApplyDefinitionResponse> {
        let status = |applied: &wire::ApplyDefinitionResponse| {
            if applied.created { StatusCode::CREATED } else { StatusCode::OK }
        };
        let applied = self
            .serve_with_status(operation::APPLY_DEFINITION, request, status, |api, call| async move {
                path_name("name", &call.message.name)?;
                let context = call.context()?;
                let number = call.message.format;
                let format = match wire::DefinitionFormat::try_from(number) {
                    Ok(wire::DefinitionFormat::Json) => Format::Json,
                    Ok(wire::DefinitionFormat::Yaml | wire::DefinitionFormat::Unspecified) => Format::Yaml,
                    Err(_) => {
                        let detail = format!("unknown format {number} of a definition: use YAML or JSON");
                        return Err(Problem::new(PARAMETER, detail));
                    }
                };
                let wire::ApplyDefinitionRequest { name, source, dry_run, .. } = call.message;
                let apply = ApplyDefinition { name, format, source: source.into(), dry_run };
                let applied = api.apply_definition(&context, apply).await?;
                Ok(wire::ApplyDefinitionResponse {
                    name: applied.name,
                    version: applied.version,
                    digest: applied.digest,
                    created: applied.is_new,
                    warnings: applied.warnings.into_iter().map(message::warning).collect(),
                })
            })
            .await?;
        Ok(Response::new(applied))
    }

    async fn get_definition(
        &self,
        request: Request<wire::GetDefinitionRequest>,
    ) -> RpcResult<wire::GetDefinitionResponse> {
        let operation = match request.get_ref().version {
            Some(_) => operation::GET_DEFINITION_VERSION,
            None => operation::GET_DEFINITION,
        };
        let definition = self
            .serve(operation, request, |api, call| async move {
                let name = path_name("name", &call.message.name)?;
                api.definition(&call.context()?, name, call.message.version).await
            })
            .await?;
        let definition = Some(message::definition(definition));
        Ok(Response::new(wire::GetDefinitionResponse { definition }))
    }

    async fn list_definitions(
        &self,
        request: Request<wire::ListDefinitionsRequest>,
    ) -> RpcResult<wire::ListDefinitionsResponse> {
        let list = self
            .serve(operation::LIST_DEFINITIONS, request, |api, call| async move {
                api.list_definitions(&call.context()?).await
            })
            .await?;
        let definitions = list.definitions.into_iter().map(message::definition).collect();
        Ok(Response::new(wire::ListDefinitionsResponse { definitions }))
    }

    async fn list_definition_versions(
        &self,
        request: Request<wire::ListDefinitionVersionsRequest>,
    ) -> RpcResult<wire::ListDefinitionVersionsResponse> {
        let list = self
            .serve(operation::LIST_VERSIONS, request, |api, call| async move {
                let name = path_name("name", &call.message.name)?;
                api.list_versions(&call.context()?, name).await
            })
            .await?;
        let versions = list.versions.into_iter().map(message::definition).collect();
        Ok(Response::new(wire::ListDefinitionVersionsResponse { versions }))
    }

    async fn delete_definition(
        &self,
        request: Request<wire::DeleteDefinitionRequest>,
    ) -> RpcResult<wire::DeleteDefinitionResponse> {
        let status = |_: &u64| StatusCode::NO_CONTENT;
        let open_workflows = self
            .serve_with_status(operation::DELETE_DEFINITION, request, status, |api, call| async move {
                let name = path_name("name", &call.message.name)?;
                api.delete_definition(&call.context()?, name).await
            })
            .await?;
        Ok(Response::new(wire::DeleteDefinitionResponse { open_workflows }))
    }
}
