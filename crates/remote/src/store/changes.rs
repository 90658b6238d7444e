//! What the state stores write, as they write it: a hint that spares whoever waits a look.

use crate::endpoints::Endpoints;
use goconductor_store::Seen;
use goconductor_wire::internal as wire;
use goconductor_wire::internal::state_store_service_client::StateStoreServiceClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
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
    _followers: JoinSet<()>,
}

impl ChangesFeed {
    pub(crate) fn follow(endpoints: &Arc<Endpoints>) -> Self {
        let (changes, _) = broadcast::channel(CHANGES);
        let mut followers = JoinSet::new();
        for (_, channel) in endpoints.all() {
            followers.spawn(follow(channel, changes.clone()));
        }
        Self { changes, _followers: followers }
    }

    /// Where the changes can be subscribed to. Some may be missed whenever a stream breaks: whoever waits
    /// looks for himself from time to time.
    #[must_use]
    pub fn sender(&self) -> broadcast::Sender<Seen> {
        self.changes.clone()
    }
}

async fn follow(channel: Channel, changes: broadcast::Sender<Seen>) {
    loop {
        if let Err(status) = follow_once(channel.clone(), &changes).await {
            tracing::debug!(%status, "changes are not followed for now");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow_once(channel: Channel, changes: &broadcast::Sender<Seen>) -> Result<(), tonic::Status> {
    let mut request = tonic::Request::new(wire::ChangesRequest {});
    // For as long as it is held.
    request.set_timeout(Duration::from_secs(365 * 24 * 3600));
    let mut stream = StateStoreServiceClient::new(channel).changes(request).await?.into_inner();
    while let Some(told) = stream.message().await? {
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
