//! The backlog of the secondary queue. That queue may respond late or never again, so each request has a timeout.

use crate::message::BacklogDetail;
use crate::{Backlog, Error, Queue, Topic};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A topic whose backlog could not be determined for this long counts as lost. The dispatch ledger publishes its
/// messages again.
pub const LOST_AFTER: Duration = Duration::from_secs(10);
/// Timeout of a backlog request. The request itself continues in the background.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The backlog of the secondary queue, over several topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SecondaryBacklog {
    /// The number of waiting messages.
    pub waiting: u64,
    /// The number of topics that count as lost.
    pub lost: usize,
    /// The number of topics whose backlog could not be determined this time.
    pub unknown: usize,
}

/// The topics of one secondary queue.
#[derive(Debug, Default)]
pub(super) struct SecondaryTopics {
    topics: Mutex<BTreeMap<Topic, TopicStatus>>,
}

/// The state of a topic.
#[derive(Debug, Clone, Default)]
struct TopicStatus {
    /// When the first of the failed requests since the last success began.
    unreachable_since: Option<Instant>,
    /// Allows one request at a time: some drivers block a thread until a request ends, however long that takes.
    request: Arc<tokio::sync::Mutex<()>>,
}

impl SecondaryTopics {
    fn topics(&self) -> MutexGuard<'_, BTreeMap<Topic, TopicStatus>> {
        self.topics.lock()
    }

    /// Returns whether a topic counts as lost.
    pub(super) fn is_lost(&self, topic: &Topic) -> bool {
        let unreachable_since = self.topics().get(topic).and_then(|status| status.unreachable_since);
        unreachable_since.is_some_and(|since| since.elapsed() >= LOST_AFTER)
    }

    /// Requests the backlog of a topic, and records whether that succeeded.
    pub(super) async fn backlog(
        &self,
        queue: &Arc<dyn Queue>,
        topic: &Topic,
        detail: BacklogDetail,
    ) -> Result<Backlog, Error> {
        let begun = Instant::now();
        let request = Arc::clone(&self.topics().entry(topic.clone()).or_default().request);
        let requested = async {
            let permit = request.lock_owned().await;
            let (queue, topic) = (Arc::clone(queue), topic.clone());
            // A task of its own: after a timeout, the request keeps its permit until it ends.
            let task = tokio::spawn(async move {
                let backlog = detail.request(&*queue, &topic).await;
                drop(permit);
                backlog
            });
            task.await.unwrap_or_else(|error| {
                Err(Error::unavailable("task that requests a backlog failed").with_source(error))
            })
        };
        let timed_out = || Error::unavailable("secondary queue did not report its backlog in time");
        let backlog =
            tokio::time::timeout(REQUEST_TIMEOUT, requested).await.unwrap_or_else(|_| Err(timed_out()));
        if let Some(status) = self.topics().get_mut(topic) {
            status.unreachable_since =
                if backlog.is_ok() { None } else { status.unreachable_since.or(Some(begun)) };
        }
        backlog
    }

    /// Returns the backlog of several topics together.
    pub(super) async fn total(&self, queue: &Arc<dyn Queue>, topics: &[Topic]) -> SecondaryBacklog {
        let requests = topics.iter().map(|topic| self.backlog(queue, topic, BacklogDetail::Depth));
        let backlogs = futures::future::join_all(requests).await;
        let mut total = SecondaryBacklog::default();
        for (topic, backlog) in topics.iter().zip(backlogs) {
            match backlog {
                Ok(backlog) => total.waiting = total.waiting.saturating_add(backlog.waiting),
                Err(_) if self.is_lost(topic) => total.lost += 1,
                Err(_) => total.unknown += 1,
            }
        }
        total
    }
}
