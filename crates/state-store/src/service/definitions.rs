//! Definitions and services.

use super::{encoded, into_status};
use goconductor_store::{DefinitionName, DefinitionStore};
use goconductor_wire::internal as wire;
use goconductor_wire::store::required;
use tonic::Status;

pub(super) async fn put_definition(
    store: &dyn DefinitionStore,
    request: wire::PutDefinitionRequest,
) -> Result<wire::PutDefinitionResponse, Status> {
    let put = into_status(store.put_definition(request.try_into()?).await)?;
    let definition: Result<_, _> = (&*put.record).try_into();
    encoded(
        definition.map(|definition| wire::PutDefinitionResponse {
            definition: Some(definition),
            created: put.created,
        }),
    )
}

pub(super) async fn archive_definition(
    store: &dyn DefinitionStore,
    request: wire::ArchiveDefinitionRequest,
) -> Result<wire::ArchiveDefinitionResponse, Status> {
    let wire::ArchiveDefinitionRequest { namespace, name } = request;
    let archived = into_status(store.archive_definition(&DefinitionName { namespace, name }).await)?;
    Ok(wire::ArchiveDefinitionResponse { archived })
}

pub(super) async fn newest_versions(
    store: &dyn DefinitionStore,
    request: wire::NewestVersionsRequest,
) -> Result<wire::NewestVersionsResponse, Status> {
    let name = |wire::DefinitionName { namespace, name }| DefinitionName { namespace, name };
    let names: Vec<_> = request.names.into_iter().map(name).collect();
    let found = into_status(store.newest(&names).await)?;
    let versions = found.into_iter().map(Option::unwrap_or_default).collect();
    Ok(wire::NewestVersionsResponse { versions })
}

pub(super) async fn get_definition(
    store: &dyn DefinitionStore,
    request: wire::GetDefinitionRequest,
) -> Result<wire::GetDefinitionResponse, Status> {
    let wire::GetDefinitionRequest { namespace, name, version } = request;
    let found = into_status(store.definition(&namespace, &name, version).await)?;
    let definition = found.as_ref().map(TryInto::try_into).transpose();
    encoded(definition.map(|definition| wire::GetDefinitionResponse { definition }))
}

pub(super) async fn list_definitions(
    store: &dyn DefinitionStore,
    request: wire::ListDefinitionsRequest,
) -> Result<wire::ListDefinitionsResponse, Status> {
    let wire::ListDefinitionsRequest { namespace, name } = request;
    let found = into_status(store.definitions(&namespace, name.as_deref()).await)?;
    let definitions: Result<_, _> = found.iter().map(TryInto::try_into).collect();
    encoded(definitions.map(|definitions| wire::ListDefinitionsResponse { definitions }))
}

pub(super) async fn put_service(
    store: &dyn DefinitionStore,
    request: wire::PutServiceRequest,
) -> Result<wire::PutServiceResponse, Status> {
    let service = required(request.service, "a service")?;
    into_status(store.put_service(service.try_into()?).await)?;
    Ok(wire::PutServiceResponse {})
}

pub(super) async fn delete_service(
    store: &dyn DefinitionStore,
    request: wire::DeleteServiceRequest,
) -> Result<wire::DeleteServiceResponse, Status> {
    let deleted = into_status(store.delete_service(&request.namespace, &request.name).await)?;
    Ok(wire::DeleteServiceResponse { deleted })
}

pub(super) async fn list_services(
    store: &dyn DefinitionStore,
    _: wire::ListServicesRequest,
) -> Result<wire::ListServicesResponse, Status> {
    let services = into_status(store.services().await)?;
    let services: Result<_, _> = services.iter().map(TryInto::try_into).collect();
    encoded(services.map(|services| wire::ListServicesResponse { services }))
}
