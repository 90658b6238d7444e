//! Inputs that wait while a transition of their workflow is written.

use crate::Error;
use goconductor_saga::{Input, State, WorkflowId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tokio::sync::oneshot;

/// An input with the channel for its result.
#[derive(Debug)]
pub(crate) struct PendingInput {
    pub(crate) input: Input,
    pub(crate) reply: oneshot::Sender<Result<Arc<State>, Error>>,
    /// The span of the caller.
    pub(crate) span: tracing::Span,
}

/// The pending inputs of all workflows that this process works on.
///
/// A workflow has an entry while a task works on its inputs. The entry is empty while the task applies the last batch.
#[derive(Debug, Default)]
pub(crate) struct PendingInputs {
    by_workflow: Mutex<HashMap<WorkflowId, Vec<PendingInput>>>,
}

impl PendingInputs {
    /// Adds an input. Returns whether the caller must start a task that works on the workflow.
    pub(crate) fn push(&self, id: WorkflowId, input: PendingInput) -> bool {
        match self.by_workflow.lock().entry(id) {
            Entry::Occupied(mut pending) => {
                pending.get_mut().push(input);
                false
            }
            Entry::Vacant(entry) => {
                entry.insert(vec![input]);
                true
            }
        }
    }

    /// Takes all pending inputs of a workflow. If there are none, the entry is removed and the task must end.
    pub(crate) fn take(&self, id: WorkflowId) -> Vec<PendingInput> {
        let mut by_workflow = self.by_workflow.lock();
        let Some(pending) = by_workflow.get_mut(&id) else { return Vec::new() };
        if pending.is_empty() {
            by_workflow.remove(&id);
            return Vec::new();
        }
        std::mem::take(pending)
    }
}
