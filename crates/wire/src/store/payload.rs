//! Payloads that workflows carry by reference.

use super::{Malformed, id, id_bytes, required};
use crate::internal as wire;
use goconductor_saga::{PayloadDigest, Timestamp};
use goconductor_store::{PayloadChunk, PayloadLink, StoredPayload};

impl From<StoredPayload> for wire::StoredPayload {
    fn from(payload: StoredPayload) -> Self {
        Self { namespace: payload.namespace, digest: payload.digest.0.to_vec().into() }
    }
}

impl TryFrom<wire::StoredPayload> for StoredPayload {
    type Error = Malformed;

    fn try_from(wire: wire::StoredPayload) -> Result<Self, Malformed> {
        let digest = <[u8; 32]>::try_from(wire.digest.as_ref());
        let digest =
            digest.map_err(|_| Malformed("the digest of a payload must have 32 bytes".to_owned()))?;
        Ok(Self { namespace: wire.namespace, digest: PayloadDigest(digest) })
    }
}

impl From<PayloadLink> for wire::LinkPayloadRequest {
    fn from(link: PayloadLink) -> Self {
        Self {
            payload: Some(link.payload.into()),
            workflow_id: id_bytes(link.workflow),
            chunks: link.chunks,
            now: link.now.0,
        }
    }
}

impl TryFrom<wire::LinkPayloadRequest> for PayloadLink {
    type Error = Malformed;

    fn try_from(wire: wire::LinkPayloadRequest) -> Result<Self, Malformed> {
        Ok(Self {
            payload: required(wire.payload, "a payload")?.try_into()?,
            workflow: id(&wire.workflow_id)?,
            chunks: wire.chunks,
            now: Timestamp(wire.now),
        })
    }
}

impl From<PayloadChunk> for wire::PutPayloadChunkRequest {
    fn from(chunk: PayloadChunk) -> Self {
        Self { payload: Some(chunk.payload.into()), number: chunk.number, data: chunk.data.into() }
    }
}

impl TryFrom<wire::PutPayloadChunkRequest> for PayloadChunk {
    type Error = Malformed;

    fn try_from(wire: wire::PutPayloadChunkRequest) -> Result<Self, Malformed> {
        let payload = required(wire.payload, "a payload")?.try_into()?;
        Ok(Self { payload, number: wire.number, data: wire.data.to_vec() })
    }
}
