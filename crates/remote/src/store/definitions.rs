//! Definitions and services.

use super::{RemoteStore, Repeat, all, one, rpc};
use async_trait::async_trait;
use goconductor_store::{
    DefinitionName, DefinitionRecord, DefinitionStore, Error, NewDefinition, PutDefinition, ServiceRecord,
};
use goconductor_wire::internal as wire;
use goconductor_wire::store::required;
use std::sync::Arc;

#[async_trait]
impl DefinitionStore for RemoteStore {
    async fn put_definition(&self, new: NewDefinition) -> Result<PutDefinition, Error> {
        let request = one(wire::PutDefinitionRequest::try_from(&new))?;
        let response = self.call(Repeat::Idempotent, rpc!(put_definition, request)).await?;
        let record = one(required(response.definition, "a definition").and_then(TryInto::try_into))?;
        Ok(PutDefinition { record: Arc::new(record), created: response.created })
    }

    async fn archive_definition(&self, name: &DefinitionName) -> Result<bool, Error> {
        let DefinitionName { namespace, name } = name.clone();
        let request = wire::ArchiveDefinitionRequest { namespace, name };
        let response = self.call(Repeat::Never, rpc!(archive_definition, request)).await?;
        Ok(response.archived)
    }

    async fn newest(&self, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error> {
        let name = |each: &DefinitionName| {
            let DefinitionName { namespace, name } = each.clone();
            wire::DefinitionName { namespace, name }
        };
        let request = wire::NewestVersionsRequest { names: names.iter().map(name).collect() };
        let versions = self.read(rpc!(newest_versions, request)).await?.versions;
        Ok(versions.into_iter().map(|version| (version > 0).then_some(version)).collect())
    }

    async fn definition(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let request = wire::GetDefinitionRequest { namespace, name, version };
        let response = self.read(rpc!(get_definition, request)).await?;
        response.definition.map(|found| one(found.try_into())).transpose()
    }

    async fn definitions(&self, namespace: &str, name: Option<&str>) -> Result<Vec<DefinitionRecord>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.map(str::to_owned));
        let request = wire::ListDefinitionsRequest { namespace, name };
        all(self.read(rpc!(list_definitions, request)).await?.definitions)
    }

    async fn put_service(&self, service: ServiceRecord) -> Result<(), Error> {
        let request = wire::PutServiceRequest { service: Some(one((&service).try_into())?) };
        self.call(Repeat::Idempotent, rpc!(put_service, request)).await?;
        Ok(())
    }

    async fn delete_service(&self, namespace: &str, name: &str) -> Result<bool, Error> {
        let request = wire::DeleteServiceRequest { namespace: namespace.to_owned(), name: name.to_owned() };
        let response = self.call(Repeat::Never, rpc!(delete_service, request)).await?;
        Ok(response.deleted)
    }

    async fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        all(self.read(rpc!(list_services, wire::ListServicesRequest {})).await?.services)
    }
}
