//! The changes of the list of workflows, read and rendered once for all watches of a namespace.
//!
//! A watch has its own filter, which it applies to the rendered changes. The cost of a change is therefore one query
//! and one rendering, however many clients watch.

use crate::error::Problem;
use crate::metrics;
use crate::redaction::Redaction;
use crate::view;
use goconductor_saga::WorkflowId;
use goconductor_store::{Comparison, Field, Filter, FilterValue, ListRequest, Summary, WorkflowHead};
use goconductor_transition::Engine;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

/// The interval within which several changes of a workflow are reported as one.
const BATCH_INTERVAL: Duration = Duration::from_millis(50);
/// The most workflows whose changes are reported at once.
const MAX_BATCH: usize = 200;
/// The most batches that a watch may be behind. A slower watch misses changes, and receives a message about it.
const MAX_BEHIND: usize = 256;

/// A changed workflow, as it is sent to every watch.
#[derive(Debug)]
pub(crate) struct ListChange {
    pub(crate) summary: Summary,
    /// The workflow as JSON, in the form of the list.
    pub(crate) json: String,
}

/// A message of a feed.
#[derive(Debug, Clone)]
pub(crate) enum FeedMessage {
    Changed(Arc<[Arc<ListChange>]>),
    /// Changes were missed.
    Lagged,
    /// The changed workflows could not be read.
    Failed(Problem),
}

/// The feeds of the namespaces with watches.
#[derive(Debug)]
pub(crate) struct ListFeeds {
    engine: Arc<Engine>,
    redaction: Redaction,
    changes: broadcast::Sender<WorkflowHead>,
    stop: CancellationToken,
    feeds: Mutex<BTreeMap<String, broadcast::Sender<FeedMessage>>>,
}

/// The outcome of waiting for changes.
enum WatchOutcome {
    Changed(BTreeSet<WorkflowId>),
    Lagged,
    End,
}

impl ListFeeds {
    pub(crate) fn new(
        engine: Arc<Engine>,
        redaction: Redaction,
        changes: broadcast::Sender<WorkflowHead>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { engine, redaction, changes, stop, feeds: Mutex::new(BTreeMap::new()) })
    }

    /// Subscribes to the changes of a namespace from now on.
    pub(crate) fn subscribe(self: &Arc<Self>, namespace: &str) -> broadcast::Receiver<FeedMessage> {
        let mut feeds = self.feeds.lock();
        if let Some(feed) = feeds.get(namespace) {
            return feed.subscribe();
        }
        let (feed, messages) = broadcast::channel(MAX_BEHIND);
        feeds.insert(namespace.to_owned(), feed.clone());
        let (this, changes) = (Arc::clone(self), self.changes.subscribe());
        let namespace = namespace.to_owned();
        let running = async move { this.run(&namespace, &feed, changes).await };
        drop(goconductor_supervisor::spawn("list-feed", running));
        messages
    }

    /// Feeds the watches of a namespace until the last one ends.
    async fn run(
        &self,
        namespace: &str,
        feed: &broadcast::Sender<FeedMessage>,
        mut changes: broadcast::Receiver<WorkflowHead>,
    ) {
        loop {
            let outcome = self.receive(&mut changes).await;
            {
                // Under the lock, so that a watch that subscribes now finds a feed that continues.
                let mut feeds = self.feeds.lock();
                if feed.receiver_count() == 0 || matches!(outcome, WatchOutcome::End) {
                    feeds.remove(namespace);
                    return;
                }
            }
            let message = match outcome {
                WatchOutcome::Changed(ids) => match self.read(namespace, &ids).await {
                    Ok(changed) if changed.is_empty() => continue,
                    Ok(changed) => FeedMessage::Changed(changed),
                    Err(problem) => FeedMessage::Failed(problem),
                },
                WatchOutcome::Lagged | WatchOutcome::End => FeedMessage::Lagged,
            };
            // An error means that the last watch has just ended.
            drop(feed.send(message));
        }
    }

    /// Waits for a change, then collects further changes for [`BATCH_INTERVAL`].
    async fn receive(&self, changes: &mut broadcast::Receiver<WorkflowHead>) -> WatchOutcome {
        let mut ids = BTreeSet::new();
        let batch_end = tokio::time::sleep(Duration::MAX);
        tokio::pin!(batch_end);
        loop {
            // All branches are safe to cancel: a change that was not received stays in the channel.
            let change = tokio::select! {
                () = self.stop.cancelled() => return WatchOutcome::End,
                change = changes.recv() => change,
                () = &mut batch_end, if !ids.is_empty() => return WatchOutcome::Changed(ids),
            };
            match change {
                Ok(seen) => {
                    if ids.is_empty() {
                        batch_end.as_mut().reset(tokio::time::Instant::now() + BATCH_INTERVAL);
                    }
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

    /// Reads and renders the changed workflows of a namespace.
    async fn read(
        &self,
        namespace: &str,
        ids: &BTreeSet<WorkflowId>,
    ) -> Result<Arc<[Arc<ListChange>]>, Problem> {
        let is = |id: &WorkflowId| {
            Filter::Compare(Field::Id, Comparison::Equal, FilterValue::Text(id.to_string()))
        };
        let filter = Some(Filter::Any(ids.iter().map(is).collect()));
        let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let request = ListRequest { namespace: namespace.to_owned(), filter, limit, before: None };
        let page = self.engine.store().list(&request).await?;
        metrics::WATCH_RENDERINGS.increment(page.workflows.len() as u64);
        Ok(page.workflows.into_iter().map(|summary| rendered(summary, &self.redaction)).collect())
    }
}

fn rendered(summary: Summary, redaction: &Redaction) -> Arc<ListChange> {
    let view = redaction.summary(view::summary(summary.clone()));
    // Infallible: a view always serializes to JSON.
    let json = serde_json::to_string(&view).unwrap_or_default();
    Arc::new(ListChange { summary, json })
}
