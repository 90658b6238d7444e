//! Semantic locks: the locks of a definition or a step, and their state in a workflow.

use crate::{Template, Timestamp};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A lock of a definition or of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockSpec {
    /// The key: a text, which may contain expressions.
    pub key: Template,
    /// Whether several holders may share the lock.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub shared: bool,
    /// How long the workflow waits for the lock, or `None` for as long as it takes.
    #[serde(
        with = "crate::millis::option",
        default,
        skip_serializing_if = "Option::is_none",
        rename = "wait_ms"
    )]
    pub wait: Option<Duration>,
    /// When the lock of a step is released. The locks of a definition are held until the workflow ends.
    #[serde(default, skip_serializing_if = "LockScope::is_step")]
    pub hold: LockScope,
}

/// When a lock is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockScope {
    /// Until the execute side of the step has settled. A step in doubt keeps the lock until its compensation has ended.
    #[default]
    Step,
    /// Until the workflow has a final status, after a rollback too.
    Workflow,
}

impl LockScope {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
    fn is_step(&self) -> bool {
        *self == Self::Step
    }
}

/// A key that a workflow waits for or holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLock {
    /// The key, unique in the namespace of the workflow.
    pub key: String,
    /// Whether several holders may share the lock.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub shared: bool,
    /// The fencing token, once the lock is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
}

/// The locks of a definition or of a step, from the request to the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockState {
    /// The locks, by ascending key.
    pub locks: Vec<KeyLock>,
    /// When the locks are released.
    #[serde(default, skip_serializing_if = "LockScope::is_step")]
    pub hold: LockScope,
    /// The `seq` of the event that requested the locks. A pause withdraws a request, and its end requests the locks
    /// again. An answer states the request that it belongs to.
    pub request: u64,
    /// When the locks were requested.
    pub requested_at: Timestamp,
    /// When the wait ends without the locks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl LockState {
    /// Returns whether all locks are held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.locks.iter().all(|lock| lock.token.is_some())
    }

    /// Sets the fencing tokens, in the order of the locks.
    pub(crate) fn set_tokens(&mut self, tokens: &[u64]) {
        for (lock, token) in self.locks.iter_mut().zip(tokens) {
            lock.token = Some(*token);
        }
    }

    /// Requests the locks again after a pause, with the time that was left.
    pub(crate) fn request_again(&mut self, request: u64, since: Timestamp, at: Timestamp) {
        self.until = self.until.map(|until| until.after(at.since(since.max(self.requested_at))));
        self.request = request;
        self.requested_at = at;
    }
}
