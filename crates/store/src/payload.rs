//! Payloads that workflows carry by reference.
//!
//! A payload is stored once in its namespace, whichever workflows refer to it, in chunks of bounded size. A link from each
//! workflow keeps it. A payload is removed some time after its last workflow.

use crate::Error;
use crate::layer::layer;
use async_trait::async_trait;
use goconductor_saga::{PayloadDigest, Timestamp, WorkflowId};
use std::time::Duration;

/// Maximum bytes of a chunk.
pub const PAYLOAD_CHUNK_BYTES: usize = 256 << 10;

/// Time after the last link until the maintenance checks whether a payload is used. The transition that refers to a new
/// payload commits after the link, and a start creates its workflow only then.
pub(crate) const PAYLOAD_GRACE: Duration = Duration::from_secs(3600);
/// Number of payloads that one maintenance checks. Each can have some hundred chunks.
pub(crate) const PAYLOADS_CHECKED: u32 = 16;

/// Stored payloads. The store does not interpret them.
#[async_trait]
pub trait PayloadStore: std::fmt::Debug + Send + Sync {
    /// Links a payload to a workflow, which need not exist yet. Returns whether all chunks of the payload are stored. If
    /// not, the caller must store them before it commits a reference.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the payload was not linked and `Error::OutcomeUnknown` if the response was lost.
    async fn link_payload(&self, link: &PayloadLink) -> Result<bool, Error>;

    /// Stores a chunk of a linked payload. A chunk that is stored already is kept.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the chunk was not stored and `Error::OutcomeUnknown` if the response was lost.
    async fn put_payload_chunk(&self, chunk: &PayloadChunk) -> Result<(), Error>;

    /// Returns a chunk of a payload, counted from 0. Returns `None` if there is no such chunk, or if the payload is not
    /// linked to the workflow.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn payload_chunk(
        &self,
        payload: &StoredPayload,
        workflow: WorkflowId,
        number: u32,
    ) -> Result<Option<Vec<u8>>, Error>;
}

layer!(PayloadStore, PayloadLayer {
    fn link_payload(link: &PayloadLink) -> bool;
    fn put_payload_chunk(chunk: &PayloadChunk) -> ();
    fn payload_chunk(payload: &StoredPayload, workflow: WorkflowId, number: u32) -> Option<Vec<u8>>;
});

/// The identity of a stored payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPayload {
    /// The namespace. Payloads of different namespaces are stored apart.
    pub namespace: String,
    /// The digest of the payload.
    pub digest: PayloadDigest,
}

/// A link from a workflow to a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadLink {
    /// The payload.
    pub payload: StoredPayload,
    /// The workflow.
    pub workflow: WorkflowId,
    /// The number of chunks of the payload.
    pub chunks: u32,
    /// The current time.
    pub now: Timestamp,
}

/// A chunk of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadChunk {
    /// The payload.
    pub payload: StoredPayload,
    /// The number of the chunk, from 0.
    pub number: u32,
    /// The bytes. Longer than [`PAYLOAD_CHUNK_BYTES`] if they are encrypted.
    pub data: Vec<u8>,
}
