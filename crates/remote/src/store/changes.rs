//! The stream of changes from the state stores. It is a hint that saves waiting callers a poll.

use super::client;
use crate::endpoints::{Connector, Endpoints};
use crate::resolver::{NameResolver, host_name};
use goconductor_store::WorkflowHead;
use goconductor_wire::internal as wire;
use std::collections::BTreeMap;
use std::net::SocketAddr;
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
///
/// A host name stands for all of its addresses: the name of a headless Service of Kubernetes has the address of each pod.
#[derive(Debug)]
pub struct ChangesFeed {
    changes: broadcast::Sender<WorkflowHead>,
    /// The number of state stores whose stream is not open, and of names that were not resolved yet.
    closed: watch::Receiver<usize>,
    _followers: JoinSet<()>,
}

impl ChangesFeed {
    pub(crate) fn follow(endpoints: &Endpoints, resolver: &Arc<dyn NameResolver>) -> Self {
        let (changes, _) = broadcast::channel(CHANGES);
        let (count, closed) = watch::channel(0);
        let publisher = Publisher { changes: changes.clone(), closed: Arc::new(count) };
        let mut followers = JoinSet::new();
        for (address, channel) in endpoints.all() {
            if let Some((host, port)) = host_name(address) {
                let server = NamedServer {
                    address: address.to_owned(),
                    host,
                    port,
                    connector: endpoints.connector().clone(),
                };
                let following =
                    publisher.clone().follow_name(server, Arc::clone(resolver), publisher.stream());
                followers.spawn(goconductor_supervisor::supervise("store-changes", following));
            } else {
                publisher.spawn(channel, &mut followers);
            }
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

/// State stores that share a host name.
#[derive(Debug)]
struct NamedServer {
    /// The configured address.
    address: String,
    host: String,
    port: u16,
    connector: Connector,
}

/// Publishes the changes of state stores, and counts the streams that are not open.
#[derive(Debug, Clone)]
struct Publisher {
    changes: broadcast::Sender<WorkflowHead>,
    closed: Arc<watch::Sender<usize>>,
}

impl Publisher {
    /// Counts a stream, which is closed at first.
    fn stream(&self) -> StreamStatus {
        self.closed.send_modify(|closed| *closed += 1);
        StreamStatus { closed: Arc::clone(&self.closed), is_open: false }
    }

    /// Spawns a task that follows one state store.
    fn spawn(&self, channel: Channel, tasks: &mut JoinSet<()>) {
        let following = self.clone().follow(channel, self.stream());
        tasks.spawn(goconductor_supervisor::supervise("store-changes", following));
    }

    /// Follows all addresses of a host name, which is resolved again at an interval.
    async fn follow_name(
        self,
        server: NamedServer,
        resolver: Arc<dyn NameResolver>,
        unresolved: StreamStatus,
    ) {
        let mut unresolved = Some(unresolved);
        // Dropping the tasks of an address closes its stream.
        let mut followed: BTreeMap<SocketAddr, JoinSet<()>> = BTreeMap::new();
        loop {
            match resolver.resolve(&server.host, server.port).await {
                Ok(found) => {
                    followed.retain(|address, _| found.contains(address));
                    for address in found {
                        followed.entry(address).or_insert_with(|| self.follow_address(&server, address));
                    }
                    drop(unresolved.take());
                }
                // The streams that are open stay open.
                Err(error) => {
                    tracing::debug!(host = server.host, %error, "name of the state stores was not resolved")
                }
            }
            tokio::time::sleep(resolver.interval()).await;
        }
    }

    fn follow_address(&self, server: &NamedServer, address: SocketAddr) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        match server.connector.channel(&server.address, Some(address)) {
            Ok(channel) => self.spawn(channel, &mut tasks),
            Err(error) => tracing::warn!(%address, %error, "address of a state store was not valid"),
        }
        tasks
    }

    async fn follow(self, channel: Channel, mut status: StreamStatus) {
        loop {
            if let Err(error) = self.follow_once(channel.clone(), &mut status).await {
                tracing::debug!(status = %error, "change stream was interrupted");
            }
            status.set_open(false);
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    async fn follow_once(&self, channel: Channel, status: &mut StreamStatus) -> Result<(), tonic::Status> {
        let mut request = tonic::Request::new(wire::ChangesRequest {});
        request.set_timeout(NO_TIMEOUT);
        let mut stream = client(channel).changes(request).await?.into_inner();
        while let Some(response) = stream.message().await? {
            // The first message confirms the subscription.
            status.set_open(true);
            for change in response.changes {
                match WorkflowHead::try_from(change) {
                    // Fails if there is no subscriber.
                    Ok(seen) => drop(self.changes.send(seen)),
                    Err(error) => tracing::warn!(%error, "state store sent a malformed change"),
                }
            }
        }
        Ok(())
    }
}

/// Whether a stream is open. A dropped status is not counted any more.
#[derive(Debug)]
struct StreamStatus {
    closed: Arc<watch::Sender<usize>>,
    is_open: bool,
}

impl StreamStatus {
    fn set_open(&mut self, is_open: bool) {
        if self.is_open != is_open {
            self.is_open = is_open;
            self.closed.send_modify(|closed| if is_open { *closed -= 1 } else { *closed += 1 });
        }
    }
}

impl Drop for StreamStatus {
    fn drop(&mut self) {
        self.set_open(true);
    }
}
