//! A semaphore that shares its permits fairly between keys, such as namespaces.
//!
//! While permits are available, a key acquires as many as its own limit allows. Once all permits are in use,
//! requests are queued by key, and released permits go to the keys in round robin. A key with many requests
//! therefore delays only itself. The queue of each key has a fixed capacity, so memory is bounded as well.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Limits of a [`FairSemaphore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Permits in total.
    pub permits: usize,
    /// Permits that one key may hold at once.
    pub permits_per_key: usize,
    /// Requests of one key that may wait for a permit.
    pub waiting_per_key: usize,
}

/// A semaphore that shares its permits fairly between keys. Clones share the permits.
#[derive(Debug, Clone)]
pub struct FairSemaphore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    in_use: usize,
    keys: HashMap<String, KeyState>,
    /// The keys with waiting requests, in the order in which they are served next.
    round_robin: VecDeque<String>,
}

#[derive(Debug, Default)]
struct KeyState {
    in_use: usize,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// A permit of a [`FairSemaphore`]. Dropping it releases it.
#[derive(Debug)]
pub struct Permit {
    /// `None` if the permit was never counted, so that dropping it releases nothing.
    shared: Option<Arc<Shared>>,
    key: String,
}

/// Reason why no permit was acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// The key already has the maximum number of waiting requests.
    #[error("too many requests are waiting already")]
    QueueFull,
    /// No permit was released before the timeout.
    #[error("no permit was released before the timeout")]
    TimedOut,
}

impl FairSemaphore {
    /// Creates a semaphore with all permits available.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let state = State { limits, in_use: 0, keys: HashMap::new(), round_robin: VecDeque::new() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }

    /// Replaces the limits. Permits that are in use count towards the new limits, and waiting requests stay queued.
    pub fn set_limits(&self, limits: Limits) {
        let mut state = self.shared.lock();
        state.limits = limits;
        self.shared.release(&mut state);
    }

    /// Acquires a permit if one is available and no earlier request waits for it.
    #[must_use]
    pub fn try_acquire(&self, key: &str) -> Option<Permit> {
        let mut state = self.shared.lock();
        self.shared.acquire(&mut state, key)
    }

    /// Acquires a permit and waits up to `timeout` for it. Cancel-safe: dropping the future leaves the queue.
    ///
    /// # Errors
    /// Returns [`AcquireError::QueueFull`] if the key has too many waiting requests, and
    /// [`AcquireError::TimedOut`] if no permit is released in time.
    pub async fn acquire(&self, key: &str, timeout: Duration) -> Result<Permit, AcquireError> {
        let receiver = match self.enqueue(key)? {
            Ok(permit) => return Ok(permit),
            Err(receiver) => receiver,
        };
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(AcquireError::TimedOut),
        }
    }

    /// Acquires between one and `max` permits. Waits for the first without a timeout, and adds more only while
    /// they are available at once. Cancel-safe.
    ///
    /// # Errors
    /// Returns [`AcquireError::QueueFull`] if the key has too many waiting requests.
    pub async fn acquire_up_to(&self, key: &str, max: usize) -> Result<Vec<Permit>, AcquireError> {
        let first = match self.enqueue(key)? {
            Ok(permit) => permit,
            Err(receiver) => receiver.await.map_err(|_| AcquireError::TimedOut)?,
        };
        let mut permits = vec![first];
        let mut state = self.shared.lock();
        while permits.len() < max
            && let Some(permit) = self.shared.acquire(&mut state, key)
        {
            permits.push(permit);
        }
        Ok(permits)
    }

    /// Returns the number of permits in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.shared.lock().in_use
    }

    /// Acquires a permit, or queues a request and returns the channel that will receive the permit.
    fn enqueue(&self, key: &str) -> Result<Result<Permit, oneshot::Receiver<Permit>>, AcquireError> {
        let mut state = self.shared.lock();
        if let Some(permit) = self.shared.acquire(&mut state, key) {
            return Ok(Ok(permit));
        }
        let waiting_per_key = state.limits.waiting_per_key;
        if waiting_per_key == 0 {
            return Err(AcquireError::QueueFull);
        }
        let State { keys, round_robin, .. } = &mut *state;
        let entry = keys.entry(key.to_owned()).or_default();
        if entry.waiting.len() >= waiting_per_key {
            // Cancelled requests are still in the queue.
            entry.waiting.retain(|sender| !sender.is_closed());
        }
        if entry.waiting.len() >= waiting_per_key {
            return Err(AcquireError::QueueFull);
        }
        if entry.waiting.is_empty() && !round_robin.iter().any(|each| each == key) {
            round_robin.push_back(key.to_owned());
        }
        let (sender, receiver) = oneshot::channel();
        entry.waiting.push_back(sender);
        Ok(Err(receiver))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Acquires a permit unless all are in use, or an earlier request of the same key waits.
    fn acquire(self: &Arc<Self>, state: &mut State, key: &str) -> Option<Permit> {
        let Limits { permits, permits_per_key, .. } = state.limits;
        let own = state.keys.get(key);
        let has_waiting = own.is_some_and(|own| !own.waiting.is_empty());
        // While permits are available, other keys wait only because of their own limit, so they are not overtaken.
        let is_at_limit = own.is_some_and(|own| own.in_use >= permits_per_key);
        if state.in_use >= permits || has_waiting || is_at_limit {
            return None;
        }
        state.in_use += 1;
        match state.keys.get_mut(key) {
            Some(own) => own.in_use += 1,
            None => drop(state.keys.insert(key.to_owned(), KeyState { in_use: 1, ..KeyState::default() })),
        }
        Some(Permit { shared: Some(Arc::clone(self)), key: key.to_owned() })
    }

    /// Hands available permits to waiting requests, in round robin over the keys.
    fn release(self: &Arc<Self>, state: &mut State) {
        let Limits { permits, permits_per_key, .. } = state.limits;
        let mut skipped = 0;
        while state.in_use < permits && skipped < state.round_robin.len() {
            let Some(key) = state.round_robin.pop_front() else { return };
            let Some(entry) = state.keys.get_mut(&key) else { continue };
            if entry.in_use >= permits_per_key {
                state.round_robin.push_back(key);
                skipped += 1;
                continue;
            }
            let mut permit = Permit { shared: Some(Arc::clone(self)), key: key.clone() };
            let was_sent = loop {
                let Some(sender) = entry.waiting.pop_front() else {
                    // This permit was never counted. Releasing it would lock the mutex that is locked already.
                    permit.shared = None;
                    break false;
                };
                match sender.send(permit) {
                    Ok(()) => break true,
                    Err(unsent) => permit = unsent,
                }
            };
            if was_sent {
                entry.in_use += 1;
                state.in_use += 1;
                skipped = 0;
            }
            if !entry.waiting.is_empty() {
                state.round_robin.push_back(key);
            } else if entry.in_use == 0 {
                state.keys.remove(&key);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let mut state = shared.lock();
        state.in_use -= 1;
        if let Some(own) = state.keys.get_mut(&self.key) {
            own.in_use -= 1;
            if own.in_use == 0 && own.waiting.is_empty() {
                state.keys.remove(&self.key);
            }
        }
        shared.release(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(100);

    fn semaphore(permits: usize, permits_per_key: usize, waiting_per_key: usize) -> FairSemaphore {
        FairSemaphore::new(Limits { permits, permits_per_key, waiting_per_key })
    }

    #[tokio::test(start_paused = true)]
    async fn queue_is_bounded_in_length_and_time() {
        let semaphore = semaphore(1, 1, 2);
        let permit = semaphore.acquire("greedy", TIMEOUT).await.unwrap();
        let start = tokio::time::Instant::now();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let semaphore = semaphore.clone();
                tokio::spawn(async move { semaphore.acquire("greedy", TIMEOUT).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(semaphore.acquire("greedy", TIMEOUT).await.map(drop), Err(AcquireError::QueueFull));
        assert_eq!(start.elapsed(), Duration::ZERO, "a full queue refuses at once");
        for task in waiting {
            assert_eq!(task.await.unwrap(), Err(AcquireError::TimedOut));
        }
        assert_eq!(start.elapsed(), TIMEOUT);
        // Requests that timed out leave the queue, and no state remains after the permit is released.
        let next = tokio::spawn({
            let semaphore = semaphore.clone();
            async move { semaphore.acquire("greedy", TIMEOUT).await.map(drop) }
        });
        tokio::task::yield_now().await;
        drop(permit);
        assert_eq!(next.await.unwrap(), Ok(()));
        assert_eq!(semaphore.in_use(), 0);
        assert!(semaphore.shared.lock().keys.is_empty() && semaphore.shared.lock().round_robin.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_served_in_round_robin() {
        let semaphore = semaphore(2, 2, 1000);
        let permits = semaphore.acquire_up_to("greedy", 10).await.unwrap();
        assert_eq!(permits.len(), 2);
        let (order, mut acquired) = tokio::sync::mpsc::unbounded_channel();
        for key in std::iter::repeat_n("greedy", 100).chain(["modest", "modest", "third"]) {
            let (semaphore, order) = (semaphore.clone(), order.clone());
            tokio::spawn(async move {
                let permit = semaphore.acquire(key, Duration::from_secs(60)).await.unwrap();
                order.send(key).unwrap();
                tokio::time::sleep(TIMEOUT).await;
                drop(permit);
            });
            tokio::task::yield_now().await;
        }
        assert!(semaphore.try_acquire("fourth").is_none(), "a new request does not overtake waiting ones");
        drop(permits);
        drop(order);
        let mut all = Vec::new();
        while let Some(key) = acquired.recv().await {
            all.push(key);
        }
        assert_eq!(all.len(), 103);
        let last = |key: &str| all.iter().rposition(|each| *each == key).unwrap();
        assert!(last("third") < 4 && last("modest") < 6, "{:?}", &all[..8]);
    }

    #[tokio::test(start_paused = true)]
    async fn key_at_its_limit_leaves_permits_to_others() {
        let semaphore = semaphore(4, 3, 0);
        let permits: Vec<_> = (0..3).map(|_| semaphore.try_acquire("greedy").unwrap()).collect();
        assert!(semaphore.try_acquire("greedy").is_none());
        assert_eq!(semaphore.acquire("greedy", TIMEOUT).await.map(drop), Err(AcquireError::QueueFull));
        assert!(semaphore.try_acquire("modest").is_some(), "the last permit is for other keys");
        drop(permits);
        assert!(semaphore.try_acquire("greedy").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn changed_limits_apply_to_permits_in_use_and_to_waiting_requests() {
        let semaphore = semaphore(1, 1, 10);
        let first = semaphore.try_acquire("a").unwrap();
        let waiting = tokio::spawn({
            let semaphore = semaphore.clone();
            async move { semaphore.acquire("b", Duration::from_secs(9)).await }
        });
        tokio::task::yield_now().await;
        semaphore.set_limits(Limits { permits: 2, permits_per_key: 2, waiting_per_key: 0 });
        let second = waiting.await.unwrap().unwrap();
        assert_eq!(semaphore.in_use(), 2);
        semaphore.set_limits(Limits { permits: 1, permits_per_key: 1, waiting_per_key: 0 });
        drop(first);
        assert!(semaphore.try_acquire("c").is_none(), "one permit is in use, which is the new limit");
        drop(second);
        assert!(semaphore.try_acquire("c").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_key_at_its_limit_does_not_block_others() {
        let semaphore = semaphore(2, 1, 10);
        let permit = semaphore.try_acquire("greedy").unwrap();
        let waiting = tokio::spawn({
            let semaphore = semaphore.clone();
            async move { semaphore.acquire("greedy", Duration::from_secs(9)).await.map(drop) }
        });
        tokio::task::yield_now().await;
        let modest = semaphore.try_acquire("modest").unwrap();
        drop(modest);
        assert!(!waiting.is_finished());
        drop(permit);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }
}
