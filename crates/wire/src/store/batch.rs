//! Batches of operations on workflows.

use super::{Malformed, id, id_bytes};
use crate::internal as wire;
use bytes::Bytes;
use goconductor_saga::{Timestamp, WorkflowId};
use goconductor_store::{
    BatchCounts, BatchId, BatchItem, BatchItemResult, BatchItemStatus, BatchOperation, BatchStatus,
    TakenItem, WorkflowBatch,
};
use std::time::Duration;

/// Converts the id of a batch to its bytes.
#[must_use]
pub fn batch_bytes(id: BatchId) -> Bytes {
    Bytes::copy_from_slice(id.0.as_bytes())
}

/// Parses the id of a batch.
///
/// # Errors
/// Returns [`Malformed`] unless the length is 16 bytes.
pub fn batch_id(bytes: &[u8]) -> Result<BatchId, Malformed> {
    uuid::Uuid::from_slice(bytes).map(BatchId).map_err(|error| Malformed(format!("batch id: {error}")))
}

/// Parses the id of a workflow. No bytes mean that there is none.
///
/// # Errors
/// Returns [`Malformed`] unless the length is 0 or 16 bytes.
pub fn optional_id(bytes: &[u8]) -> Result<Option<WorkflowId>, Malformed> {
    if bytes.is_empty() { Ok(None) } else { id(bytes).map(Some) }
}

/// Converts a duration to microseconds.
#[must_use]
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Converts microseconds to a duration. A negative number is zero.
#[must_use]
pub fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// Parses the status of a batch.
///
/// # Errors
/// Returns [`Malformed`] if no status has the name.
pub fn batch_status(name: &str) -> Result<BatchStatus, Malformed> {
    BatchStatus::of_name(name).ok_or_else(|| Malformed(format!("unknown status of a batch {name:?}")))
}

/// Parses the status of an item.
///
/// # Errors
/// Returns [`Malformed`] if no status has the name.
pub fn item_status(name: &str) -> Result<BatchItemStatus, Malformed> {
    BatchItemStatus::of_name(name).ok_or_else(|| Malformed(format!("unknown status of an item {name:?}")))
}

impl From<&WorkflowBatch> for wire::StoredBatch {
    fn from(batch: &WorkflowBatch) -> Self {
        Self {
            id: batch_bytes(batch.id),
            namespace: batch.namespace.clone(),
            status: batch.status.as_str().to_owned(),
            operation: batch.operation.as_str().to_owned(),
            step: batch.step.clone().unwrap_or_default(),
            filter: batch.filter.clone(),
            reason: batch.reason.clone(),
            actor: batch.actor.clone().unwrap_or_default(),
            rate: batch.rate,
            created_at: batch.created_at.0,
            ended_at: batch.ended_at.map(|at| at.0),
            total: batch.counts.total,
            done: batch.counts.done,
            refused: batch.counts.refused,
            failed: batch.counts.failed,
        }
    }
}

impl TryFrom<wire::StoredBatch> for WorkflowBatch {
    type Error = Malformed;

    fn try_from(wire: wire::StoredBatch) -> Result<Self, Malformed> {
        let optional = |text: String| (!text.is_empty()).then_some(text);
        let operation = BatchOperation::of_name(&wire.operation)
            .ok_or_else(|| Malformed(format!("unknown operation of a batch {:?}", wire.operation)))?;
        Ok(Self {
            id: batch_id(&wire.id)?,
            namespace: wire.namespace,
            status: batch_status(&wire.status)?,
            operation,
            step: optional(wire.step),
            filter: wire.filter,
            reason: wire.reason,
            actor: optional(wire.actor),
            rate: wire.rate,
            created_at: Timestamp(wire.created_at),
            ended_at: wire.ended_at.map(Timestamp),
            counts: BatchCounts {
                total: wire.total,
                done: wire.done,
                refused: wire.refused,
                failed: wire.failed,
            },
        })
    }
}

impl From<BatchItem> for wire::StoredBatchItem {
    fn from(item: BatchItem) -> Self {
        Self {
            workflow_id: id_bytes(item.workflow),
            status: item.status.as_str().to_owned(),
            code: item.code,
            detail: item.detail,
            ended_at: item.ended_at.map(|at| at.0),
        }
    }
}

impl TryFrom<wire::StoredBatchItem> for BatchItem {
    type Error = Malformed;

    fn try_from(wire: wire::StoredBatchItem) -> Result<Self, Malformed> {
        Ok(Self {
            workflow: id(&wire.workflow_id)?,
            status: item_status(&wire.status)?,
            code: wire.code,
            detail: wire.detail,
            ended_at: wire.ended_at.map(Timestamp),
        })
    }
}

impl From<TakenItem> for wire::TakenBatchItem {
    fn from(item: TakenItem) -> Self {
        Self { workflow_id: id_bytes(item.workflow), seq: item.seq, is_repeated: item.is_repeated }
    }
}

impl TryFrom<wire::TakenBatchItem> for TakenItem {
    type Error = Malformed;

    fn try_from(wire: wire::TakenBatchItem) -> Result<Self, Malformed> {
        Ok(Self { workflow: id(&wire.workflow_id)?, seq: wire.seq, is_repeated: wire.is_repeated })
    }
}

impl From<&BatchItemResult> for wire::BatchItemResult {
    fn from(result: &BatchItemResult) -> Self {
        Self {
            workflow_id: id_bytes(result.workflow),
            status: result.status.as_str().to_owned(),
            code: result.code.clone(),
            detail: result.detail.clone(),
        }
    }
}

impl TryFrom<wire::BatchItemResult> for BatchItemResult {
    type Error = Malformed;

    fn try_from(wire: wire::BatchItemResult) -> Result<Self, Malformed> {
        Ok(Self {
            workflow: id(&wire.workflow_id)?,
            status: item_status(&wire.status)?,
            code: wire.code,
            detail: wire.detail,
        })
    }
}
