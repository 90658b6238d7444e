//! The topics that are known to exist at a broker.

use crate::error::Error;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// The topics that are known to exist at a broker, by name, each with a value of the adapter. A missing topic is
/// created by one task, while the others wait for it.
#[derive(Debug)]
pub(crate) struct TopicCache<T> {
    topics: Mutex<BTreeMap<String, Entry<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    /// `None` if the topic is missing, or if it may have been deleted.
    known: Option<T>,
    creating: Arc<tokio::sync::Mutex<()>>,
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self { known: None, creating: Arc::default() }
    }
}

impl<T> Default for TopicCache<T> {
    fn default() -> Self {
        Self { topics: Mutex::default() }
    }
}

impl<T: Clone> TopicCache<T> {
    /// Returns the value of a topic that is known to exist.
    pub(crate) fn get(&self, name: &str) -> Option<T> {
        self.topics.lock().get(name)?.known.clone()
    }

    /// Returns the name of any topic that is known to exist.
    pub(crate) fn any(&self) -> Option<String> {
        let topics = self.topics.lock();
        topics.iter().find(|(_, entry)| entry.known.is_some()).map(|(name, _)| name.clone())
    }

    /// Removes a topic that may have been deleted.
    pub(crate) fn forget(&self, name: &str) {
        if let Some(entry) = self.topics.lock().get_mut(name) {
            entry.known = None;
        }
    }

    /// Returns the value of a topic. If the topic is not known, calls `create`, which looks the topic up at the broker
    /// and creates it if it is missing. While another task does that, waits for it, at most until `deadline`.
    ///
    /// # Errors
    /// Returns the error of `create`, and [`Error::Unavailable`] if another task is still creating the topic at
    /// `deadline`.
    pub(crate) async fn get_or_create<F: Future<Output = Result<T, Error>>>(
        &self,
        name: &str,
        deadline: Option<Instant>,
        create: impl FnOnce() -> F,
    ) -> Result<T, Error> {
        if let Some(known) = self.get(name) {
            return Ok(known);
        }
        let creating = Arc::clone(&self.topics.lock().entry(name.to_owned()).or_default().creating);
        let _creating = match deadline {
            None => creating.lock().await,
            Some(deadline) => tokio::time::timeout_at(deadline, creating.lock())
                .await
                .map_err(|_| Error::unavailable(format!("topic {name} is still being created")))?,
        };
        // Another task may have created it in the meantime.
        if let Some(known) = self.get(name) {
            return Ok(known);
        }
        // Boxed, so that the rare creation does not enlarge the future of every publish.
        let created = Box::pin(create()).await?;
        self.topics.lock().entry(name.to_owned()).or_default().known = Some(created.clone());
        Ok(created)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    async fn create(cache: &TopicCache<u32>, creations: &AtomicU32) -> Result<u32, Error> {
        let create = || async {
            tokio::task::yield_now().await;
            Ok(creations.fetch_add(1, Ordering::Relaxed))
        };
        cache.get_or_create("a", None, create).await
    }

    #[tokio::test]
    async fn concurrent_callers_create_a_topic_once() {
        let (cache, creations) = (TopicCache::default(), AtomicU32::new(7));
        let created = tokio::join!(create(&cache, &creations), create(&cache, &creations));
        assert_eq!(created, (Ok(7), Ok(7)));
        assert_eq!((cache.get("a"), cache.any()), (Some(7), Some("a".to_owned())));
        cache.forget("a");
        assert_eq!((cache.get("a"), cache.any()), (None, None));
        assert_eq!(create(&cache, &creations).await, Ok(8));
    }

    #[tokio::test]
    async fn failed_creation_is_tried_again() {
        let (cache, creations) = (TopicCache::default(), AtomicU32::new(7));
        let failed = cache.get_or_create("a", None, || async { Err(Error::unavailable("no")) }).await;
        assert_eq!(failed, Err(Error::unavailable("no")));
        assert_eq!(create(&cache, &creations).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_another_creation_ends_at_the_deadline() {
        let cache = TopicCache::<u32>::default();
        let deadline = Some(Instant::now() + Duration::from_secs(1));
        let slow = cache.get_or_create("a", None, std::future::pending);
        let waiting = cache.get_or_create("a", deadline, || async { Ok(1) });
        tokio::select! {
            biased;
            _ = slow => panic!("a pending future ended"),
            waited = waiting => assert!(waited.is_err_and(|error| error.is_retryable())),
        }
    }
}
