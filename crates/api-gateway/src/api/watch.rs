//! Changes of the list of workflows, as they happen.

use super::{Api, CallContext};
use crate::error::{ApiResult, Problem};
use crate::filter;
use crate::view::{self, SummaryView};
use futures::stream::{self, Stream, TryStreamExt};
use goconductor_saga::WorkflowId;
use goconductor_service_kit::fair::Permit;
use goconductor_store::{Comparison, Field, Filter, FilterValue, ListRequest, Summary, WorkflowHead};
use goconductor_transition::clock;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};

/// The interval within which several changes of a workflow are reported as one.
const BATCH_INTERVAL: Duration = Duration::from_millis(50);
/// The most workflows whose changes are reported at once.
const MAX_BATCH: usize = 200;

/// A message of a watch.
#[derive(Debug)]
pub(crate) enum Change {
    /// A workflow that matches the filter has changed.
    Workflow(Box<SummaryView>),
    /// The watch missed changes: the client must list again.
    Lagged,
}

impl Api {
    /// Follows the changes of the workflows that match an AIP-160 filter.
    pub(crate) fn watch_workflows(
        &self,
        context: &CallContext,
        filter: &str,
    ) -> ApiResult<impl Stream<Item = ApiResult<Change>> + Send + use<>> {
        let filter = filter::parse(filter, clock::now())?;
        let changes = self.changes.subscribe();
        let permit = self.admission.admit_waiting(context.namespace.as_str(), context.permit.as_ref())?;
        let namespace = context.namespace.to_string();
        Ok(Watcher { api: self.clone(), namespace, filter, changes, _permit: permit }.stream())
    }
}

struct Watcher {
    api: Api,
    namespace: String,
    filter: Option<Filter>,
    changes: broadcast::Receiver<WorkflowHead>,
    /// Counts the stream among the waiting callers until it ends.
    _permit: Permit,
}

/// The outcome of waiting for changes.
enum WatchOutcome {
    Changed(BTreeSet<WorkflowId>),
    Lagged,
    End,
}

impl Watcher {
    fn stream(self) -> impl Stream<Item = ApiResult<Change>> + Send {
        stream::try_unfold(self, Self::next)
            .map_ok(|changes| stream::iter(changes.into_iter().map(Ok)))
            .try_flatten()
    }

    /// Returns the next messages, or `None` at the end.
    async fn next(mut self) -> Result<Option<(Vec<Change>, Self)>, Problem> {
        loop {
            let changes: Vec<Change> = match self.receive().await {
                WatchOutcome::End => return Ok(None),
                WatchOutcome::Lagged => vec![Change::Lagged],
                WatchOutcome::Changed(ids) => {
                    let summaries = self.read(&ids).await?.into_iter().map(view::summary);
                    summaries.map(|summary| Change::Workflow(Box::new(summary))).collect()
                }
            };
            if !changes.is_empty() {
                return Ok(Some((changes, self)));
            }
        }
    }

    /// Waits for a change, then collects further changes for [`BATCH_INTERVAL`].
    async fn receive(&mut self) -> WatchOutcome {
        let mut ids = BTreeSet::new();
        let stop = self.api.stop.clone();
        loop {
            // All branches are safe to cancel: a change that was not received stays in the channel.
            let change = tokio::select! {
                () = stop.cancelled() => return WatchOutcome::End,
                change = self.changes.recv() => change,
                () = tokio::time::sleep(BATCH_INTERVAL), if !ids.is_empty() => return WatchOutcome::Changed(ids),
            };
            match change {
                Ok(seen) => {
                    ids.insert(seen.id);
                }
                Err(RecvError::Lagged(_)) => return WatchOutcome::Lagged,
                Err(RecvError::Closed) => return WatchOutcome::End,
            }
            if ids.len() >= MAX_BATCH {
                return WatchOutcome::Changed(ids);
            }
        }
    }

    /// Reads the changed workflows that match the filter.
    async fn read(&self, ids: &BTreeSet<WorkflowId>) -> ApiResult<Vec<Summary>> {
        let is = |id: &WorkflowId| {
            Filter::Compare(Field::Id, Comparison::Equal, FilterValue::Text(id.to_string()))
        };
        let mut filter = Filter::Any(ids.iter().map(is).collect());
        if let Some(own) = &self.filter {
            filter = Filter::All(vec![filter, own.clone()]);
        }
        let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let request =
            ListRequest { namespace: self.namespace.clone(), filter: Some(filter), limit, before: None };
        Ok(self.api.store().list(&request).await?.workflows)
    }
}
