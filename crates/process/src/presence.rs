//! Says that a process is there, for as long as it is.

use goconductor_store::{Announcement, ClusterStore, ProcessInfo};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often.
const EVERY: Duration = Duration::from_secs(2);
/// One that is not heard of for this long is taken for gone.
const TTL: Duration = Duration::from_secs(7);

/// A process that says of itself that it is there.
#[derive(Debug)]
pub struct Presence {
    store: Arc<dyn ClusterStore>,
    last: Announcement,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Presence {
    /// Says so at once, and then again and again. `info` is called each time.
    pub fn announce(
        kind: &str,
        instance: &str,
        address: SocketAddr,
        store: Arc<dyn ClusterStore>,
        info: impl Fn() -> ProcessInfo + Send + 'static,
    ) -> Self {
        Self::announce_news(kind, instance, address, store, info, Arc::default())
    }

    /// The same, and at once whenever `news` rings.
    pub fn announce_news(
        kind: &str,
        instance: &str,
        address: SocketAddr,
        store: Arc<dyn ClusterStore>,
        info: impl Fn() -> ProcessInfo + Send + 'static,
        news: Arc<Notify>,
    ) -> Self {
        let announcement = Announcement {
            instance: instance.to_owned(),
            kind: kind.to_owned(),
            address: address.to_string(),
            info: ProcessInfo::default(),
            ttl: TTL,
        };
        let stop = CancellationToken::new();
        let (to, first, until) = (Arc::clone(&store), announcement.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while !until.is_cancelled() {
                let now = Announcement { info: info(), ..first.clone() };
                if let Err(error) = to.announce(&now).await {
                    tracing::debug!(%error, "the process could not say that it is there");
                }
                // All are safe to cancel: news that is missed is told the next time.
                tokio::select! {
                    () = until.cancelled() => {}
                    () = news.notified() => {}
                    () = tokio::time::sleep(EVERY) => {}
                }
            }
        });
        Self { store, last: announcement, stop, task }
    }

    /// Says that it goes.
    pub async fn withdraw(self) {
        self.stop.cancel();
        drop(self.task.await);
        let gone = Announcement { ttl: Duration::ZERO, ..self.last };
        // Who does not hear of it notices by itself.
        drop(tokio::time::timeout(Duration::from_secs(1), self.store.announce(&gone)).await);
    }
}
