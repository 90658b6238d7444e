//! Concurrency limits: a command needs a permit of its lane, one of the executor, and one of its action if the action
//! has a limit.
//!
//! A command whose action has no free permit is parked: it releases its other permits while it waits, so that a
//! limited action does not block other actions of the service. The number of parked commands is limited. At the
//! limit, the lane stops receiving.

use goconductor_saga::Side;
use goconductor_service_kit::fair::{FairSemaphore, Permit};
use goconductor_store::{ActionLimits, ServiceSettings};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Parked commands of one lane. Each is a small task of a few KiB.
const MAX_PARKED: usize = 1000;

/// A semaphore whose number of permits can change.
#[derive(Debug)]
pub(crate) struct ResizableSemaphore {
    semaphore: Arc<Semaphore>,
    size: usize,
}

impl ResizableSemaphore {
    pub(crate) fn new(size: usize) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(size)), size }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn semaphore(&self) -> Arc<Semaphore> {
        Arc::clone(&self.semaphore)
    }

    /// Changes the number of permits. Acquired permits cannot be revoked: after a reduction, the caller repeats the
    /// call until enough of them were released.
    pub(crate) fn resize(&mut self, size: usize) {
        if size > self.size {
            self.semaphore.add_permits(size - self.size);
            self.size = size;
        } else {
            self.size -= self.semaphore.forget_permits(self.size - size);
        }
    }
}

/// The permits of the actions of one service that have limits. Each side has its own, so that no compensation waits
/// behind an execute.
#[derive(Debug, Default)]
pub(crate) struct ActionPermits {
    limited: Mutex<BTreeMap<String, [LimitedAction; 2]>>,
    parked: [AtomicUsize; 2],
    unparked: Notify,
}

/// One side of an action that has a limit.
#[derive(Debug)]
struct LimitedAction {
    permits: ResizableSemaphore,
    waiting: Arc<AtomicUsize>,
}

fn index(side: Side) -> usize {
    match side {
        Side::Execute => 0,
        Side::Compensate => 1,
    }
}

impl ActionPermits {
    /// Applies the limits of the service's settings. An action whose limit was removed becomes unlimited.
    pub(crate) fn set(&self, limits: &BTreeMap<String, usize>) {
        let mut limited = self.limited.lock();
        for (action, sides) in &mut *limited {
            let limit = limits.get(action).copied().unwrap_or(Semaphore::MAX_PERMITS);
            sides.iter_mut().for_each(|side| side.permits.resize(limit));
        }
        for (action, limit) in limits {
            limited.entry(action.clone()).or_insert_with(|| {
                [(); 2].map(|()| LimitedAction {
                    permits: ResizableSemaphore::new(*limit),
                    waiting: Arc::default(),
                })
            });
        }
    }

    /// Returns the number of waiting executes of each limited action.
    pub(crate) fn waiting(&self) -> Vec<(String, usize)> {
        let limited = self.limited.lock();
        limited
            .iter()
            .map(|(action, [execute, _])| (action.clone(), execute.waiting.load(Ordering::Relaxed)))
            .collect()
    }

    fn of(&self, side: Side, action: &str) -> Option<(Arc<Semaphore>, Arc<AtomicUsize>)> {
        let limited = self.limited.lock();
        let limited = limited.get(action)?.get(index(side))?;
        Some((limited.permits.semaphore(), Arc::clone(&limited.waiting)))
    }

    /// Returns whether a further command of a lane may be parked.
    pub(crate) fn can_park(&self, side: Side) -> bool {
        self.parked.get(index(side)).is_none_or(|parked| parked.load(Ordering::Relaxed) < MAX_PARKED)
    }

    /// Waits until a further command of a lane may be parked. Cancel-safe.
    pub(crate) async fn until_can_park(&self, side: Side) {
        loop {
            let unparked = self.unparked.notified();
            tokio::pin!(unparked);
            // Registers before the check, so that no notification is missed.
            unparked.as_mut().enable();
            if self.can_park(side) {
                return;
            }
            unparked.await;
        }
    }
}

/// Returns the limits of a service's actions, by name.
pub(crate) fn action_limits(settings: &ServiceSettings) -> BTreeMap<String, usize> {
    let limit = |(action, limits): (&String, &ActionLimits)| {
        let limit = usize::try_from(limits.max_in_flight).unwrap_or(usize::MAX);
        (action.clone(), limit.clamp(1, Semaphore::MAX_PERMITS))
    };
    settings.actions.iter().map(limit).collect()
}

/// The limits that apply to all commands of a lane.
#[derive(Debug, Clone)]
pub(crate) struct ConcurrencyLimits {
    pub(crate) side: Side,
    pub(crate) namespace: String,
    pub(crate) lane: Arc<Semaphore>,
    pub(crate) executor: FairSemaphore,
    pub(crate) actions: Arc<ActionPermits>,
}

/// The permits of one command.
#[derive(Debug)]
pub(crate) struct Permits {
    limits: ConcurrencyLimits,
    /// The permits of the lane and of the executor; `None` while the command is parked.
    shared: Option<(OwnedSemaphorePermit, Permit)>,
    action: Option<OwnedSemaphorePermit>,
    stop: CancellationToken,
}

/// The result of acquiring a permit of an action.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// The permit was free, or the action has no limit.
    Immediately,
    /// The command was parked. State that was read before may be stale.
    AfterWait,
    /// The lane stopped, or the workflow no longer needs the command.
    Cancelled,
}

/// Counts a parked command until it is dropped.
struct Parked<'a> {
    actions: &'a ActionPermits,
    side: Side,
    waiting: Arc<AtomicUsize>,
}

impl<'a> Parked<'a> {
    fn new(actions: &'a ActionPermits, side: Side, waiting: Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        if let Some(parked) = actions.parked.get(index(side)) {
            parked.fetch_add(1, Ordering::Relaxed);
        }
        Self { actions, side, waiting }
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(parked) = self.actions.parked.get(index(self.side)) {
            parked.fetch_sub(1, Ordering::Relaxed);
        }
        self.actions.unparked.notify_waiters();
    }
}

impl Permits {
    pub(crate) fn new(
        limits: ConcurrencyLimits,
        lane: OwnedSemaphorePermit,
        executor: Permit,
        stop: CancellationToken,
    ) -> Self {
        Self { limits, shared: Some((lane, executor)), action: None, stop }
    }

    /// Returns the namespace of the command.
    pub(crate) fn namespace(&self) -> &str {
        &self.limits.namespace
    }

    /// Waits until the lane stops. Cancel-safe.
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Acquires a permit of the action if it has a limit. Further calls have no effect.
    pub(crate) async fn acquire_action(&mut self, action: &str, cancelled: &CancellationToken) -> Acquired {
        let limits = &self.limits;
        if self.action.is_some() {
            return Acquired::Immediately;
        }
        let Some((semaphore, waiting)) = limits.actions.of(limits.side, action) else {
            return Acquired::Immediately;
        };
        if let Ok(permit) = Arc::clone(&semaphore).try_acquire_owned() {
            self.action = Some(permit);
            return Acquired::Immediately;
        }
        let _parked = Parked::new(&limits.actions, limits.side, waiting);
        // Releases the shared permits for other actions of the service.
        self.shared = None;
        let permits = async {
            let action = semaphore.acquire_owned().await.ok()?;
            let lane = Arc::clone(&limits.lane).acquire_owned().await.ok()?;
            let executor = limits.executor.acquire_up_to(&limits.namespace, 1).await.ok()?.pop()?;
            Some((action, (lane, executor)))
        };
        // Cancel-safe: a dropped `permits` releases what it has acquired.
        let acquired = tokio::select! {
            acquired = permits => acquired,
            () = self.stop.cancelled() => None,
            () = cancelled.cancelled() => None,
        };
        match acquired {
            Some((action, shared)) => {
                (self.action, self.shared) = (Some(action), Some(shared));
                Acquired::AfterWait
            }
            None => Acquired::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::Json;
    use goconductor_service_kit::fair::Limits;
    use serde_json::json;
    use std::time::Duration;

    fn limits(lane: usize, settings: Json) -> ConcurrencyLimits {
        let actions = Arc::new(ActionPermits::default());
        actions.set(&action_limits(&settings.into()));
        ConcurrencyLimits {
            side: Side::Execute,
            namespace: "default".to_owned(),
            lane: Arc::new(Semaphore::new(lane)),
            executor: FairSemaphore::new(Limits {
                permits: 100,
                permits_per_key: 100,
                waiting_per_key: usize::MAX,
            }),
            actions,
        }
    }

    fn charge_limit(limit: u32) -> Json {
        json!({"actions": {"charge": {"max_in_flight": limit}}})
    }

    async fn permits(limits: &ConcurrencyLimits) -> Permits {
        let lane = Arc::clone(&limits.lane).acquire_owned().await.unwrap();
        let executor = limits.executor.acquire_up_to("default", 1).await.unwrap().pop().unwrap();
        Permits::new(limits.clone(), lane, executor, CancellationToken::new())
    }

    #[tokio::test(start_paused = true)]
    async fn limited_action_does_not_block_other_actions() {
        let limits = limits(2, charge_limit(1));
        let never = CancellationToken::new();
        let mut first = permits(&limits).await;
        assert_eq!(first.acquire_action("charge", &never).await, Acquired::Immediately);
        assert_eq!(first.acquire_action("charge", &never).await, Acquired::Immediately, "it has a permit");
        let mut second = permits(&limits).await;
        let waits = tokio::spawn({
            let never = never.clone();
            async move { (second.acquire_action("charge", &never).await, second) }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(limits.actions.waiting(), [("charge".to_owned(), 1)]);
        // The second command is parked, so its lane permit is free.
        let mut other = permits(&limits).await;
        assert_eq!(other.acquire_action("refresh", &never).await, Acquired::Immediately);
        drop(first);
        let (acquired, second) = waits.await.unwrap();
        assert_eq!(acquired, Acquired::AfterWait);
        assert_eq!((limits.lane.available_permits(), limits.actions.waiting().first().unwrap().1), (0, 0));
        drop((second, other));
        assert_eq!((limits.lane.available_permits(), limits.executor.in_use()), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn parked_command_is_released_on_cancel_and_stop() {
        let limits = limits(2, charge_limit(1));
        let never = CancellationToken::new();
        let mut first = permits(&limits).await;
        assert_eq!(first.acquire_action("charge", &never).await, Acquired::Immediately);
        let (mut second, cancelled) = (permits(&limits).await, CancellationToken::new());
        cancelled.cancel();
        assert_eq!(second.acquire_action("charge", &cancelled).await, Acquired::Cancelled);
        assert_eq!(limits.lane.available_permits(), 1);
        let mut third = permits(&limits).await;
        third.stop.cancel();
        assert_eq!(third.acquire_action("charge", &never).await, Acquired::Cancelled);
    }

    #[tokio::test(start_paused = true)]
    async fn changed_and_removed_limits_apply_to_new_commands() {
        let limits = limits(9, charge_limit(1));
        let never = CancellationToken::new();
        let mut first = permits(&limits).await;
        assert_eq!(first.acquire_action("charge", &never).await, Acquired::Immediately);
        limits.actions.set(&action_limits(&charge_limit(2).into()));
        let mut second = permits(&limits).await;
        assert_eq!(second.acquire_action("charge", &never).await, Acquired::Immediately);
        limits.actions.set(&BTreeMap::new());
        for _ in 0..3 {
            let mut unlimited = permits(&limits).await;
            assert_eq!(unlimited.acquire_action("charge", &never).await, Acquired::Immediately);
        }
        limits.actions.set(&action_limits(&charge_limit(1).into()));
        assert_eq!(
            first.acquire_action("charge", &never).await,
            Acquired::Immediately,
            "no permit is revoked"
        );
    }
}
