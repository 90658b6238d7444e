//! Definitions and services.

use super::{Malformed, parsed, value};
use crate::internal as wire;
use goconductor_saga::Timestamp;
use goconductor_store::{DefinitionRecord, NewDefinition, ServiceRecord};

impl TryFrom<&NewDefinition> for wire::PutDefinitionRequest {
    type Error = Malformed;

    fn try_from(new: &NewDefinition) -> Result<Self, Malformed> {
        Ok(Self {
            namespace: new.namespace.clone(),
            definition_json: value("definition", &new.definition)?,
            digest: new.digest.clone(),
            source: new.source.clone(),
            source_format: new.source_format.clone(),
            actor: new.actor.clone(),
        })
    }
}

impl TryFrom<wire::PutDefinitionRequest> for NewDefinition {
    type Error = Malformed;

    fn try_from(wire: wire::PutDefinitionRequest) -> Result<Self, Malformed> {
        Ok(Self {
            definition: parsed("definition", &wire.definition_json)?,
            namespace: wire.namespace,
            digest: wire.digest,
            source: wire.source,
            source_format: wire.source_format,
            actor: wire.actor,
        })
    }
}

impl TryFrom<&DefinitionRecord> for wire::Definition {
    type Error = Malformed;

    fn try_from(record: &DefinitionRecord) -> Result<Self, Malformed> {
        Ok(Self {
            namespace: record.namespace.clone(),
            name: record.name.clone(),
            version: record.version,
            digest: record.digest.clone(),
            definition_json: value("definition", &record.definition)?,
            source: record.source.clone(),
            source_format: record.source_format.clone(),
            created_at: record.created_at.0,
            actor: record.actor.clone(),
        })
    }
}

impl TryFrom<wire::Definition> for DefinitionRecord {
    type Error = Malformed;

    fn try_from(wire: wire::Definition) -> Result<Self, Malformed> {
        Ok(Self {
            definition: parsed("definition", &wire.definition_json)?,
            namespace: wire.namespace,
            name: wire.name,
            version: wire.version,
            digest: wire.digest,
            source: wire.source,
            source_format: wire.source_format,
            created_at: Timestamp(wire.created_at),
            actor: wire.actor,
        })
    }
}

impl TryFrom<&ServiceRecord> for wire::Service {
    type Error = Malformed;

    fn try_from(record: &ServiceRecord) -> Result<Self, Malformed> {
        Ok(Self {
            namespace: record.namespace.clone(),
            name: record.name.clone(),
            settings_json: value("service", &record.settings)?,
            updated_at: record.updated_at.0,
        })
    }
}

impl TryFrom<wire::Service> for ServiceRecord {
    type Error = Malformed;

    fn try_from(wire: wire::Service) -> Result<Self, Malformed> {
        Ok(Self {
            settings: parsed("service", &wire.settings_json)?,
            namespace: wire.namespace,
            name: wire.name,
            updated_at: Timestamp(wire.updated_at),
        })
    }
}
