//! What the state stores write, as they write it: a hint that spares whoever waits a look.

use crate::endpoints::Endpoints;
use goconductor_store::Seen;
use goconductor_wire::internal as wire;
use goconductor_wire::internal::state_store_service_client::StateStoreServiceClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// How many changes a slow listener may lag behind before it is told that it missed some.
const CHANGES: usize = 16_384;
/// Before a stream that ended is asked for again.
const PAUSE: Duration = Duration::from_millis(250);

/// Follows every one of the state stores, as each tells only of what it writes itself. Ends when dropped.
#[derive(Debug)]
pub struct ChangesFeed {
    changes: broadcast::Sender<Seen>,
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
            followers.spawn(follow(channel, changes.clone(), Arc::clone(&count)));
        }
        Self { changes, closed, _followers: followers }
    }

    /// Waits until every state store is followed. Safe to cancel.
    pub async fn open(&self) {
        // The followers live as long as this does.
        drop(self.closed.clone().wait_for(|closed| *closed == 0).await);
    }

    /// Where the changes can be subscribed to. Some may be missed whenever a stream breaks: whoever waits
    /// looks for himself from time to time.
    #[must_use]
    pub fn sender(&self) -> broadcast::Sender<Seen> {
        self.changes.clone()
    }
}

async fn follow(channel: Channel, changes: broadcast::Sender<Seen>, closed: Arc<watch::Sender<usize>>) {
    loop {
        let mut is_open = false;
        if let Err(status) = follow_once(channel.clone(), &changes, &closed, &mut is_open).await {
            tracing::debug!(%status, "changes are not followed for now");
        }
        if is_open {
            closed.send_modify(|closed| *closed += 1);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow_once(
    channel: Channel,
    changes: &broadcast::Sender<Seen>,
    closed: &watch::Sender<usize>,
    is_open: &mut bool,
) -> Result<(), tonic::Status> {
    let mut request = tonic::Request::new(wire::ChangesRequest {});
    // For as long as it is held.
    request.set_timeout(Duration::from_secs(365 * 24 * 3600));
    let mut stream = StateStoreServiceClient::new(channel).changes(request).await?.into_inner();
    while let Some(told) = stream.message().await? {
        // The first message says no more than that it is.
        if !*is_open {
            *is_open = true;
            closed.send_modify(|closed| *closed -= 1);
        }
        for change in told.changes {
            match Seen::try_from(change) {
                // Nobody may be listening.
                Ok(seen) => drop(changes.send(seen)),
                Err(error) => tracing::warn!(%error, "a change can't be read"),
            }
        }
    }
    Ok(())
}
