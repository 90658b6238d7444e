//! What waits in the queue that is consumed beside the other: it may answer late, or never again, and nobody waits for
//! that for long.

use super::Look;
use crate::{Backlog, Error, Queue, Topic};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A topic of which nothing could be found out for this long is taken for lost: the dispatch ledger brings back what it
/// held.
pub const LOST: Duration = Duration::from_secs(10);
/// A look that takes longer is given up; it goes on by itself.
const LOOK: Duration = Duration::from_secs(3);

/// What was found in the queue that is consumed beside the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beside {
    /// Messages that wait.
    pub waiting: u64,
    /// Topics that are taken for lost.
    pub lost: usize,
    /// Topics of which nothing could be found out just now.
    pub unknown: usize,
}

/// Looks at the topics of one queue.
#[derive(Debug, Default)]
pub(super) struct Looks {
    topics: Mutex<BTreeMap<Topic, Known>>,
}

/// What is known of a topic.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Since when nothing can be found out.
    unreached: Option<Instant>,
    /// One look at a time: those of some brokers hold a thread until they end, however late that is.
    asking: Arc<tokio::sync::Mutex<()>>,
}

impl Looks {
    fn topics(&self) -> MutexGuard<'_, BTreeMap<Topic, Known>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a topic is taken for lost.
    pub(super) fn is_lost(&self, topic: &Topic) -> bool {
        let known = self.topics().get(topic).and_then(|known| known.unreached);
        known.is_some_and(|since| since.elapsed() >= LOST)
    }

    /// Looks at a topic, and remembers whether that was possible.
    pub(super) async fn look(
        &self,
        queue: &Arc<dyn Queue>,
        topic: &Topic,
        look: Look,
    ) -> Result<Backlog, Error> {
        let begun = Instant::now();
        let asking = Arc::clone(&self.topics().entry(topic.clone()).or_default().asking);
        let asked = async {
            let one = asking.lock_owned().await;
            let (queue, topic) = (Arc::clone(queue), topic.clone());
            // On its own: who gives up waiting leaves it to its end, with its place.
            let looking = tokio::spawn(async move {
                let found = look.at(&*queue, &topic).await;
                drop(one);
                found
            });
            looking.await.unwrap_or_else(|error| Err(Error::Unavailable { reason: error.to_string() }))
        };
        let late = || Error::Unavailable { reason: "it does not say in time what waits".to_owned() };
        let found = tokio::time::timeout(LOOK, asked).await.unwrap_or_else(|_| Err(late()));
        if let Some(known) = self.topics().get_mut(topic) {
            known.unreached = if found.is_ok() { None } else { known.unreached.or(Some(begun)) };
        }
        found
    }

    /// Looks at several.
    pub(super) async fn all(&self, queue: &Arc<dyn Queue>, topics: &[Topic]) -> Beside {
        let looks = topics.iter().map(|topic| self.look(queue, topic, Look::Depth));
        let found = futures::future::join_all(looks).await;
        let mut all = Beside::default();
        for (topic, found) in topics.iter().zip(found) {
            match found {
                Ok(backlog) => all.waiting = all.waiting.saturating_add(backlog.waiting),
                Err(_) if self.is_lost(topic) => all.lost += 1,
                Err(_) => all.unknown += 1,
            }
        }
        all
    }
}
