//! Access keys.

use crate::internal as wire;
use bytes::Bytes;
use goconductor_saga::Timestamp;
use goconductor_store::{AccessKey, AccessScope};

impl From<&AccessKey> for wire::AccessKey {
    fn from(key: &AccessKey) -> Self {
        let AccessScope { roles, namespaces, services } = key.scope.clone();
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            digest: Bytes::copy_from_slice(&key.digest),
            roles,
            namespaces,
            services,
            created_by: key.created_by.clone(),
            created_at: key.created_at.0,
            expires_at: key.expires_at.map(|at| at.0),
            revoked_at: key.revoked_at.map(|at| at.0),
        }
    }
}

impl From<wire::AccessKey> for AccessKey {
    fn from(wire: wire::AccessKey) -> Self {
        let wire::AccessKey { roles, namespaces, services, .. } = wire;
        Self {
            id: wire.id,
            name: wire.name,
            digest: wire.digest.to_vec(),
            scope: AccessScope { roles, namespaces, services },
            created_by: wire.created_by,
            created_at: Timestamp(wire.created_at),
            expires_at: wire.expires_at.map(Timestamp),
            revoked_at: wire.revoked_at.map(Timestamp),
        }
    }
}
