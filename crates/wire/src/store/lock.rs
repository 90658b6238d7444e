//! Locks.

use super::{Malformed, id, id_bytes, owed_key, required};
use crate::internal as wire;
use crate::internal::acquire_workflow_locks_response::Answer as WorkflowAnswer;
use crate::internal::lock_answer::Answer;
use goconductor_saga::Timestamp;
use goconductor_store::{Lock, LockHold, LockOutcome, WantedLock, WorkflowLockOutcome, WorkflowLockRequest};
use std::time::Duration;

/// Converts the length of a lease to microseconds.
#[must_use]
pub fn micros(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX)
}

impl From<&Lock> for wire::Lock {
    fn from(lock: &Lock) -> Self {
        Self {
            namespace: lock.namespace.clone(),
            key: lock.key.clone(),
            owner: lock.owner.clone(),
            token: lock.token,
            acquired_at: lock.acquired_at.0,
            expires_at: lock.expires_at.0,
        }
    }
}

impl From<wire::Lock> for Lock {
    fn from(wire: wire::Lock) -> Self {
        Self {
            namespace: wire.namespace,
            key: wire.key,
            owner: wire.owner,
            token: wire.token,
            acquired_at: Timestamp(wire.acquired_at),
            expires_at: Timestamp(wire.expires_at),
        }
    }
}

impl From<&LockHold> for wire::LockHold {
    fn from(hold: &LockHold) -> Self {
        Self {
            namespace: hold.namespace.clone(),
            key: hold.key.clone(),
            owner: hold.owner.clone(),
            token: hold.token,
        }
    }
}

impl From<wire::LockHold> for LockHold {
    fn from(wire: wire::LockHold) -> Self {
        Self { namespace: wire.namespace, key: wire.key, owner: wire.owner, token: wire.token }
    }
}

impl From<&LockOutcome> for wire::LockAnswer {
    fn from(answer: &LockOutcome) -> Self {
        let answer = match answer {
            LockOutcome::Granted(lock) => Answer::Granted(lock.into()),
            LockOutcome::Held(lock) => Answer::Held(lock.into()),
            LockOutcome::Free => Answer::Free(wire::Free {}),
        };
        Self { answer: Some(answer) }
    }
}

impl TryFrom<wire::LockAnswer> for LockOutcome {
    type Error = Malformed;

    fn try_from(wire: wire::LockAnswer) -> Result<Self, Malformed> {
        Ok(match required(wire.answer, "lock response")? {
            Answer::Granted(lock) => Self::Granted(lock.into()),
            Answer::Held(lock) => Self::Held(lock.into()),
            Answer::Free(_) => Self::Free,
        })
    }
}

impl From<&WorkflowLockRequest> for wire::AcquireWorkflowLocksRequest {
    fn from(request: &WorkflowLockRequest) -> Self {
        let wanted = |lock: &WantedLock| wire::WantedLock { key: lock.key.clone(), shared: lock.shared };
        Self {
            workflow_id: id_bytes(request.id),
            row: request.row.to_string(),
            namespace: request.namespace.clone(),
            owner: request.owner.clone(),
            locks: request.locks.iter().map(wanted).collect(),
            poll_at: request.poll_at.0,
        }
    }
}

impl TryFrom<wire::AcquireWorkflowLocksRequest> for WorkflowLockRequest {
    type Error = Malformed;

    fn try_from(wire: wire::AcquireWorkflowLocksRequest) -> Result<Self, Malformed> {
        let wanted = |lock: wire::WantedLock| WantedLock { key: lock.key, shared: lock.shared };
        Ok(Self {
            id: id(&wire.workflow_id)?,
            row: owed_key(&wire.row)?,
            namespace: wire.namespace,
            owner: wire.owner,
            locks: wire.locks.into_iter().map(wanted).collect(),
            poll_at: Timestamp(wire.poll_at),
        })
    }
}

impl From<&WorkflowLockOutcome> for wire::AcquireWorkflowLocksResponse {
    fn from(outcome: &WorkflowLockOutcome) -> Self {
        let answer = match outcome {
            WorkflowLockOutcome::Granted(tokens) => {
                WorkflowAnswer::Granted(wire::LockTokens { tokens: tokens.clone() })
            }
            WorkflowLockOutcome::Waiting => WorkflowAnswer::Waiting(wire::LockWait {}),
            WorkflowLockOutcome::Gone => WorkflowAnswer::Gone(wire::LockGone {}),
        };
        Self { answer: Some(answer) }
    }
}

impl TryFrom<wire::AcquireWorkflowLocksResponse> for WorkflowLockOutcome {
    type Error = Malformed;

    fn try_from(wire: wire::AcquireWorkflowLocksResponse) -> Result<Self, Malformed> {
        Ok(match required(wire.answer, "response to a request for locks")? {
            WorkflowAnswer::Granted(granted) => Self::Granted(granted.tokens),
            WorkflowAnswer::Waiting(_) => Self::Waiting,
            WorkflowAnswer::Gone(_) => Self::Gone,
        })
    }
}
