//! The stream of changes from the state stores. It is a hint that saves waiting callers a poll.

use crate::endpoints::Endpoints;
use goconductor_store::WorkflowHead;
use goconductor_wire::internal as wire;
use goconductor_wire::internal::state_store_service_client::StateStoreServiceClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Number of changes that a slow subscriber may lag behind before it misses some.
const CHANGES: usize = 16_384;
/// Delay before a stream that ended is opened again.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// The stream has no deadline, but the channel has a default timeout, which this one replaces.
const NO_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// A subscription to the changes of all state stores. Each state store publishes only its own writes. The subscription ends
/// when it is dropped.
#[derive(Debug)]
pub struct ChangesFeed {
    changes: broadcast::Sender<WorkflowHead>,
    /// The number of state stores whose stream is not open.
    closed: watch::Receiver<usize>,
    _followers: JoinSet<()>,
}

impl ChangesFeed {
    pub(crate) fn follow(endpoints: &Arc<Endpoints>) -> Self {
        let (changes, _) = broadcast::channel(CHANGES);
        let (count, closed) = watch::channel(endpoints.count());
        let count = Arc::new(count);
        let mut followers = JoinSet::new();
        for (_, channel) in endpoints.all() {
            let following = follow(channel, changes.clone(), Arc::clone(&count));
            followers.spawn(goconductor_supervisor::supervise("store-changes", following));
        }
        Self { changes, closed, _followers: followers }
    }

    /// Waits until the streams of all state stores are open. Safe to cancel.
    pub async fn open(&self) {
        // Cannot fail: the followers, which own the sender, live as long as `self`.
        drop(self.closed.clone().wait_for(|closed| *closed == 0).await);
    }

    /// Returns the channel on which the changes are published. Changes may be missed whenever a stream breaks, so a
    /// subscriber must also poll from time to time.
    #[must_use]
    pub fn sender(&self) -> broadcast::Sender<WorkflowHead> {
        self.changes.clone()
    }
}

async fn follow(
    channel: Channel,
    changes: broadcast::Sender<WorkflowHead>,
    closed: Arc<watch::Sender<usize>>,
) {
    loop {
        let mut is_open = false;
        if let Err(status) = follow_once(channel.clone(), &changes, &closed, &mut is_open).await {
            tracing::debug!(%status, "change stream was interrupted");
        }
        if is_open {
            closed.send_modify(|closed| *closed += 1);
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

async fn follow_once(
    channel: Channel,
    changes: &broadcast::Sender<WorkflowHead>,
    closed: &watch::Sender<usize>,
    is_open: &mut bool,
) -> Result<(), tonic::Status> {
    let mut request = tonic::Request::new(wire::ChangesRequest {});
    request.set_timeout(NO_TIMEOUT);
    let mut stream = StateStoreServiceClient::new(channel).changes(request).await?.into_inner();
    while let Some(response) = stream.message().await? {
        // The first message confirms the subscription.
        if !*is_open {
            *is_open = true;
            closed.send_modify(|closed| *closed -= 1);
        }
        for change in response.changes {
            match WorkflowHead::try_from(change) {
                // Fails if there is no subscriber.
                Ok(seen) => drop(changes.send(seen)),
                Err(error) => tracing::warn!(%error, "state store sent a malformed change"),
            }
        }
    }
    Ok(())
}
