//! Payloads that workflows carry by reference.

use super::{RemoteStore, Repeat, rpc};
use async_trait::async_trait;
use goconductor_saga::WorkflowId;
use goconductor_store::{Error, PayloadChunk, PayloadLink, PayloadStore, StoredPayload};
use goconductor_wire::internal as wire;
use goconductor_wire::store::id_bytes;

#[async_trait]
impl PayloadStore for RemoteStore {
    async fn link_payload(&self, link: &PayloadLink) -> Result<bool, Error> {
        let request = wire::LinkPayloadRequest::from(link.clone());
        Ok(self.call(Repeat::Idempotent, rpc!(link_payload, request)).await?.stored)
    }

    async fn put_payload_chunk(&self, chunk: &PayloadChunk) -> Result<(), Error> {
        let request = wire::PutPayloadChunkRequest::from(chunk.clone());
        self.call(Repeat::Idempotent, rpc!(put_payload_chunk, request)).await?;
        Ok(())
    }

    async fn payload_chunk(
        &self,
        payload: &StoredPayload,
        workflow: WorkflowId,
        number: u32,
    ) -> Result<Option<Vec<u8>>, Error> {
        let payload = Some(payload.clone().into());
        let request = wire::GetPayloadChunkRequest { payload, workflow_id: id_bytes(workflow), number };
        let response = self.read(rpc!(get_payload_chunk, request)).await?;
        Ok(response.data.map(|data| data.to_vec()))
    }
}
