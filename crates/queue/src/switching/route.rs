//! Which queues are in use.

use crate::message::{Backlog, BacklogDetail, Topic};
use crate::{Error, Queue};
use std::sync::Arc;

/// A queue and its name.
#[derive(Debug, Clone)]
pub struct NamedQueue {
    /// The name, such as `kafka`.
    pub name: Arc<str>,
    /// The queue.
    pub queue: Arc<dyn Queue>,
}

/// Which queues are in use, and for what.
#[derive(Debug, Clone)]
pub struct Route {
    /// The queue that messages are published to. It is also consumed.
    pub primary: NamedQueue,
    /// A second queue that is only consumed, during a migration.
    pub secondary: Option<NamedQueue>,
    /// Whether no process publishes to the secondary queue yet. It is then empty, and its backlog is not requested.
    pub secondary_is_empty: bool,
}

impl Route {
    /// Creates a route with a single queue.
    #[must_use]
    pub fn single(primary: NamedQueue) -> Self {
        Self { primary, secondary: None, secondary_is_empty: false }
    }

    pub(super) fn queues(&self) -> impl Iterator<Item = &NamedQueue> {
        std::iter::once(&self.primary).chain(&self.secondary)
    }

    pub(super) fn includes(&self, name: &str) -> bool {
        self.queues().any(|each| &*each.name == name)
    }
}

impl BacklogDetail {
    /// Requests the backlog of a topic in this detail.
    pub(super) async fn request(self, queue: &dyn Queue, topic: &Topic) -> Result<Backlog, Error> {
        match self {
            Self::Depth => queue.depth(topic).await,
            Self::OldestMessage => queue.backlog(topic).await,
        }
    }
}
