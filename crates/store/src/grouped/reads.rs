//! Reads of workflows that wait together are one read.

use super::former::Former;
use super::{Limits, again, gone};
use crate::{Error, Store, Stored};
use goconductor_saga::WorkflowId;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

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
        let mut former = Former::new(waiting, limits, |request: &Request| request.ids.len());
        let backend = Arc::clone(backend);
        tokio::spawn(async move {
            let mut under_way = JoinSet::new();
            while let Some(group) = former.next(&mut under_way).await {
                under_way.spawn(read(Arc::clone(&backend), group));
            }
        });
        Self { requests }
    }

    pub(super) async fn stored(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Stored>>, Error> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { ids: ids.to_vec(), answer }).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn read(backend: Arc<dyn Store>, group: Vec<Request>) {
    let ids: Vec<WorkflowId> = group.iter().flat_map(|request| request.ids.iter().copied()).collect();
    match backend.stored(&ids).await {
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
