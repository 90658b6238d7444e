//! `DefinitionService`.

use super::answer::{definition, each, small, text};
use super::{Door, Rest};
use axum::http::{Method, StatusCode};
use goconductor_wire::v1::definition_service_server::DefinitionService;
use goconductor_wire::v1::{self as wire};
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl DefinitionService for Door {
    async fn apply_definition(
        &self,
        request: Request<wire::ApplyDefinitionRequest>,
    ) -> Answer<wire::ApplyDefinitionResponse> {
        let wire::ApplyDefinitionRequest { name, source, dry_run, .. } = request.get_ref().clone();
        let kind = match request.get_ref().format() {
            wire::DefinitionFormat::Json => "application/json",
            wire::DefinitionFormat::Yaml | wire::DefinitionFormat::Unspecified => "application/yaml",
        };
        let mut rest = Rest::of(Method::PUT, &["definitions", &name]).text(kind, source);
        if dry_run {
            rest = rest.query("dry_run", true);
        }
        // One without a text is as one whose text is empty.
        let (status, body) = self.call(&request, rest.header("content-type", kind)).await?;
        Ok(Response::new(wire::ApplyDefinitionResponse {
            name: text(&body, "name"),
            version: small(&body, "version"),
            digest: text(&body, "digest"),
            created: status == StatusCode::CREATED,
        }))
    }

    async fn get_definition(
        &self,
        request: Request<wire::GetDefinitionRequest>,
    ) -> Answer<wire::GetDefinitionResponse> {
        let wire::GetDefinitionRequest { name, version } = request.get_ref();
        let version = version.map(|version| version.to_string());
        let rest = match &version {
            Some(version) => Rest::get(&["definitions", name, "versions", version]),
            None => Rest::get(&["definitions", name]),
        };
        let (_, body) = self.call(&request, rest).await?;
        Ok(Response::new(wire::GetDefinitionResponse { definition: Some(definition(&body)) }))
    }

    async fn list_definitions(
        &self,
        request: Request<wire::ListDefinitionsRequest>,
    ) -> Answer<wire::ListDefinitionsResponse> {
        let (_, body) = self.call(&request, Rest::get(&["definitions"])).await?;
        let definitions = each(&body, "definitions").map(definition).collect();
        Ok(Response::new(wire::ListDefinitionsResponse { definitions }))
    }

    async fn list_definition_versions(
        &self,
        request: Request<wire::ListDefinitionVersionsRequest>,
    ) -> Answer<wire::ListDefinitionVersionsResponse> {
        let rest = Rest::get(&["definitions", &request.get_ref().name, "versions"]);
        let (_, body) = self.call(&request, rest).await?;
        let versions = each(&body, "versions").map(definition).collect();
        Ok(Response::new(wire::ListDefinitionVersionsResponse { versions }))
    }
}
