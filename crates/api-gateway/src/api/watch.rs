//! Changes of the list of workflows, as they happen.

use super::{Api, CallContext};
use crate::error::{ApiResult, Problem};
use crate::filter;
use crate::list_feed::{FeedMessage, ListChange};
use futures::stream::{self, Stream, TryStreamExt};
use goconductor_service_kit::fair::Permit;
use goconductor_store::Filter;
use goconductor_transition::clock;
use std::sync::Arc;
use tokio::sync::broadcast::{self, error::RecvError};

/// A message of a watch.
#[derive(Debug)]
pub(crate) enum Change {
    /// A workflow that matches the filter has changed.
    Workflow(Arc<ListChange>),
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
        let permit = self.admission.admit_waiting(context.namespace.as_str(), context.permit.as_ref())?;
        let messages = self.list_feeds.subscribe(context.namespace.as_str());
        Ok(Watcher { api: self.clone(), filter, messages, _permit: permit }.stream())
    }
}

struct Watcher {
    api: Api,
    filter: Option<Filter>,
    messages: broadcast::Receiver<FeedMessage>,
    /// Counts the stream among the waiting callers until it ends.
    _permit: Permit,
}

impl Watcher {
    fn stream(self) -> impl Stream<Item = ApiResult<Change>> + Send {
        stream::try_unfold(self, Self::next)
            .map_ok(|changes| stream::iter(changes.into_iter().map(Ok)))
            .try_flatten()
    }

    /// Returns the next messages, or `None` at the end.
    async fn next(mut self) -> Result<Option<(Vec<Change>, Self)>, Problem> {
        let stop = self.api.stop.clone();
        loop {
            // Both branches are safe to cancel: a message that was not received stays in the channel.
            let message = tokio::select! {
                () = stop.cancelled() => return Ok(None),
                message = self.messages.recv() => message,
            };
            let changes: Vec<Change> = match message {
                Ok(FeedMessage::Changed(changed)) => {
                    let matches = |change: &&Arc<ListChange>| {
                        self.filter.as_ref().is_none_or(|filter| filter.matches(&change.summary))
                    };
                    changed
                        .iter()
                        .filter(matches)
                        .map(|change| Change::Workflow(Arc::clone(change)))
                        .collect()
                }
                Ok(FeedMessage::Lagged) | Err(RecvError::Lagged(_)) => vec![Change::Lagged],
                Ok(FeedMessage::Failed(problem)) => return Err(problem),
                Err(RecvError::Closed) => return Ok(None),
            };
            if !changes.is_empty() {
                return Ok(Some((changes, self)));
            }
        }
    }
}
