//! Secrets.

use super::{Malformed, required};
use crate::internal as wire;
use goconductor_saga::Timestamp;
use goconductor_store::{SecretHead, SecretPosition, SecretVersion, WrappedDataKey};

impl From<SecretHead> for wire::SecretHead {
    fn from(head: SecretHead) -> Self {
        Self {
            namespace: head.namespace,
            name: head.name,
            version: head.version,
            created_at: head.created_at.0,
            updated_at: head.updated_at.0,
            deleted: head.is_deleted,
        }
    }
}

impl From<wire::SecretHead> for SecretHead {
    fn from(wire: wire::SecretHead) -> Self {
        Self {
            namespace: wire.namespace,
            name: wire.name,
            version: wire.version,
            created_at: Timestamp(wire.created_at),
            updated_at: Timestamp(wire.updated_at),
            is_deleted: wire.deleted,
        }
    }
}

impl From<&SecretPosition> for wire::SecretPosition {
    fn from(at: &SecretPosition) -> Self {
        Self { namespace: at.namespace.clone(), name: at.name.clone(), version: at.version }
    }
}

impl From<wire::SecretPosition> for SecretPosition {
    fn from(wire: wire::SecretPosition) -> Self {
        Self { namespace: wire.namespace, name: wire.name, version: wire.version }
    }
}

impl From<&SecretVersion> for wire::SecretVersion {
    fn from(version: &SecretVersion) -> Self {
        Self {
            position: Some((&version.position).into()),
            key_id: version.key.key_id.clone(),
            wrapped_key: version.key.wrapped.clone().into(),
            sealed: version.sealed.clone().into(),
            created_at: version.created_at.0,
        }
    }
}

impl TryFrom<wire::SecretVersion> for SecretVersion {
    type Error = Malformed;

    fn try_from(wire: wire::SecretVersion) -> Result<Self, Malformed> {
        Ok(Self {
            position: required(wire.position, "the position of a secret")?.into(),
            key: WrappedDataKey { key_id: wire.key_id, wrapped: wire.wrapped_key.into() },
            sealed: wire.sealed.into(),
            created_at: Timestamp(wire.created_at),
        })
    }
}
