//! Reads of workflows that wait together are one read.

use super::{Limits, again, gather, gone};
use crate::{Error, Store, Stored};
use goconductor_saga::WorkflowId;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};

/// Where the answer to one caller goes.
type Answer = oneshot::Sender<Result<Vec<Option<Stored>>, Error>>;

/// One caller's workflows, and where they go.
struct Request {
    ids: Vec<WorkflowId>,
    answer: Answer,
}

/// Reads of many callers.
#[derive(Debug)]
pub(super) struct Reads {
    requests: mpsc::Sender<Request>,
}

impl Reads {
    pub(super) fn new(backend: &Arc<dyn Store>, limits: Limits) -> Self {
        let (requests, waiting) = mpsc::channel(limits.waiting.max(1));
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..limits.lanes.max(1) {
            let lane =
                Lane { backend: Arc::clone(backend), waiting: Arc::clone(&waiting), group: limits.group };
            tokio::spawn(lane.run());
        }
        Self { requests }
    }

    pub(super) async fn stored(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Stored>>, Error> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { ids: ids.to_vec(), answer }).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

struct Lane {
    backend: Arc<dyn Store>,
    waiting: Arc<Mutex<mpsc::Receiver<Request>>>,
    group: usize,
}

impl Lane {
    async fn run(self) {
        while let Some(group) = self.next_group().await {
            self.read(group).await;
        }
    }

    /// All that waits now, but at least one; nothing once the store is gone.
    async fn next_group(&self) -> Option<Vec<Request>> {
        gather(&mut *self.waiting.lock().await, self.group, |request| request.ids.len()).await
    }

    async fn read(&self, group: Vec<Request>) {
        let ids: Vec<WorkflowId> = group.iter().flat_map(|request| request.ids.iter().copied()).collect();
        match self.backend.stored(&ids).await {
            Ok(found) => {
                let mut found = found.into_iter();
                for Request { ids, answer } in group {
                    // A caller who went away does not want to know.
                    drop(answer.send(Ok(found.by_ref().take(ids.len()).collect())));
                }
            }
            Err(error) => {
                for Request { answer, .. } in group {
                    drop(answer.send(Err(again(&error))));
                }
            }
        }
    }
}
