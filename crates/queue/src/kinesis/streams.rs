//! Creation of missing streams.

use super::api::KinesisApi;
use super::backoff::jittered;
use super::request_error::{RequestError, RequestErrorKind};
use crate::Error;
use crate::settings::kinesis::StreamCapacity;
use crate::topic_cache::TopicCache;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest and the longest delay between two checks of a stream that is being created. AWS takes seconds, an
/// emulator milliseconds.
const MIN_BACKOFF: Duration = Duration::from_millis(30);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Creates missing streams.
pub(super) struct KinesisStreams {
    api: Arc<KinesisApi>,
    capacity: StreamCapacity,
    cache: TopicCache<()>,
}

impl KinesisStreams {
    pub(super) fn new(api: Arc<KinesisApi>, capacity: StreamCapacity) -> Self {
        Self { api, capacity, cache: TopicCache::default() }
    }

    /// Returns the name of any stream that is known to exist.
    pub(super) fn any(&self) -> Option<String> {
        self.cache.any()
    }

    /// Forgets a stream that may have been deleted.
    pub(super) fn forget(&self, name: &str) {
        self.cache.forget(name);
    }

    /// Creates a stream, unless it exists, and waits at most `timeout` until it can be used.
    pub(super) async fn ensure(&self, name: &str, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        self.cache.get_or_create(name, Some(deadline), || self.create(name, deadline)).await
    }

    async fn create(&self, name: &str, deadline: Instant) -> Result<(), Error> {
        let mut backoff = jittered(name, MIN_BACKOFF, MAX_BACKOFF);
        loop {
            let error = match self.try_create(name).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error.kind {
                RequestErrorKind::Denied => return Err(error.into()),
                RequestErrorKind::Throttled
                | RequestErrorKind::NotSent
                | RequestErrorKind::Missing
                | RequestErrorKind::InUse
                | RequestErrorKind::InvalidIterator
                | RequestErrorKind::OutcomeUnknown => {}
            }
            if Instant::now() >= deadline {
                return Err(
                    Error::unavailable(format!("stream {name} is not usable in time")).with_source(error)
                );
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Checks that a stream can be used, and starts its creation if it does not exist.
    async fn try_create(&self, name: &str) -> Result<(), RequestError> {
        let in_creation = || RequestError::new(RequestErrorKind::InUse, "stream is being created");
        match self.api.shards(name).await {
            Ok(shards) if shards.is_empty() => Err(in_creation()),
            Ok(_) => Ok(()),
            Err(error) if error.kind == RequestErrorKind::Missing => match self.api.create(name).await {
                Ok(()) => {
                    tracing::info!(stream = name, capacity = ?self.capacity, "creation of Kinesis stream started");
                    Err(in_creation())
                }
                // Another process has started it since.
                Err(error) if error.kind == RequestErrorKind::InUse => Err(in_creation()),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}
