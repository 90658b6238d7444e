//! Locks.

use super::{Malformed, required};
use crate::internal as wire;
use crate::internal::lock_answer::Answer;
use goconductor_saga::Timestamp;
use goconductor_store::{Lock, LockHold, LockOutcome};
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
