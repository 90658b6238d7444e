//! Where a command runs: a place of its lane, one of the executor, and one of its action if that has a limit of
//! its own.
//!
//! A command whose action has no place waits beside the lane and holds none of its places, so that a limited
//! action holds up no other of the same service. Only so many wait so: then the lane takes no more.

use goconductor_saga::Side;
use goconductor_service_kit::fair::{FairSemaphore, Permit};
use goconductor_store::{ActionLimits, ServiceSettings};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Commands that wait beside one lane for a place of their action. Each is a small task: a few KiB.
const BESIDE: usize = 1000;

/// Places of one kind, of which there may be more or fewer later.
#[derive(Debug)]
pub(crate) struct Places {
    permits: Arc<Semaphore>,
    size: usize,
}

impl Places {
    pub(crate) fn new(size: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(size)), size }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.permits)
    }

    /// Gives it as many places as it is to have. What is taken is not taken away: the next look goes on where
    /// this one had to stop.
    pub(crate) fn resize(&mut self, size: usize) {
        if size > self.size {
            self.permits.add_permits(size - self.size);
            self.size = size;
        } else {
            self.size -= self.permits.forget_permits(self.size - size);
        }
    }
}

/// The actions of one service that have limits of their own, each for either side: undo never waits behind
/// executes.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    limited: Mutex<BTreeMap<String, [Limited; 2]>>,
    beside: [AtomicUsize; 2],
    fewer: Notify,
}

#[derive(Debug)]
struct Limited {
    places: Places,
    waiting: Arc<AtomicUsize>,
}

fn index(side: Side) -> usize {
    match side {
        Side::Execute => 0,
        Side::Compensate => 1,
    }
}

impl Actions {
    fn limited(&self) -> MutexGuard<'_, BTreeMap<String, [Limited; 2]>> {
        self.limited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the limits as they are set; an action that has none any more has as many places as there can be.
    pub(crate) fn set(&self, limits: &BTreeMap<String, usize>) {
        let mut limited = self.limited();
        for (action, sides) in &mut *limited {
            let limit = limits.get(action).copied().unwrap_or(Semaphore::MAX_PERMITS);
            sides.iter_mut().for_each(|side| side.places.resize(limit));
        }
        for (action, limit) in limits {
            limited.entry(action.clone()).or_insert_with(|| {
                [(); 2].map(|()| Limited { places: Places::new(*limit), waiting: Arc::default() })
            });
        }
    }

    /// How many executes of each limited action wait.
    pub(crate) fn waiting(&self) -> Vec<(String, usize)> {
        let limited = self.limited();
        limited
            .iter()
            .map(|(action, [execute, _])| (action.clone(), execute.waiting.load(Ordering::Relaxed)))
            .collect()
    }

    fn of(&self, side: Side, action: &str) -> Option<(Arc<Semaphore>, Arc<AtomicUsize>)> {
        let limited = self.limited();
        let limited = limited.get(action)?.get(index(side))?;
        Some((limited.places.permits(), Arc::clone(&limited.waiting)))
    }

    /// Whether no more commands wait beside a lane than may.
    pub(crate) fn has_room_beside(&self, side: Side) -> bool {
        self.beside.get(index(side)).is_none_or(|beside| beside.load(Ordering::Relaxed) < BESIDE)
    }

    /// Waits until no more commands wait beside a lane than may. Safe to cancel.
    pub(crate) async fn room_beside(&self, side: Side) {
        loop {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            // From here on no ring is missed.
            fewer.as_mut().enable();
            if self.has_room_beside(side) {
                return;
            }
            fewer.await;
        }
    }
}

/// The limits of a service's actions, by name.
pub(crate) fn limits(settings: &ServiceSettings) -> BTreeMap<String, usize> {
    let limit = |(action, limits): (&String, &ActionLimits)| {
        let limit = usize::try_from(limits.max_in_flight).unwrap_or(usize::MAX);
        (action.clone(), limit.clamp(1, Semaphore::MAX_PERMITS))
    };
    settings.actions.iter().map(limit).collect()
}

/// What all commands of a lane have their room from.
#[derive(Debug, Clone)]
pub(crate) struct Rooms {
    pub(crate) side: Side,
    pub(crate) namespace: String,
    pub(crate) lane: Arc<Semaphore>,
    pub(crate) executor: FairSemaphore,
    pub(crate) actions: Arc<Actions>,
}

/// The room of one command.
#[derive(Debug)]
pub(crate) struct Room {
    rooms: Rooms,
    /// Of the lane and of the executor; none while it waits beside the lane.
    held: Option<(OwnedSemaphorePermit, Permit)>,
    action: Option<OwnedSemaphorePermit>,
    stop: CancellationToken,
}

/// Whether an action has a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// At once.
    Free,
    /// After a while: what was known before may not hold any more.
    Waited,
    /// No: the lane ends, or the command is not wanted any more.
    Left,
}

/// One that waits beside a lane.
struct Beside<'a> {
    actions: &'a Actions,
    side: Side,
    waiting: Arc<AtomicUsize>,
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(beside) = self.actions.beside.get(index(self.side)) {
            beside.fetch_sub(1, Ordering::Relaxed);
        }
        self.actions.fewer.notify_waiters();
    }
}

impl Room {
    pub(crate) fn new(
        rooms: Rooms,
        permit: OwnedSemaphorePermit,
        place: Permit,
        stop: CancellationToken,
    ) -> Self {
        Self { rooms, held: Some((permit, place)), action: None, stop }
    }

    /// Takes a place of the action, too, if it has a limit. A second time changes nothing.
    pub(crate) async fn enter(&mut self, action: &str, cancelled: &CancellationToken) -> Entered {
        let rooms = &self.rooms;
        if self.action.is_some() {
            return Entered::Free;
        }
        let Some((places, waiting)) = rooms.actions.of(rooms.side, action) else { return Entered::Free };
        if let Ok(permit) = Arc::clone(&places).try_acquire_owned() {
            self.action = Some(permit);
            return Entered::Free;
        }
        waiting.fetch_add(1, Ordering::Relaxed);
        if let Some(beside) = rooms.actions.beside.get(index(rooms.side)) {
            beside.fetch_add(1, Ordering::Relaxed);
        }
        let _beside = Beside { actions: &rooms.actions, side: rooms.side, waiting };
        // Others of the service go on meanwhile.
        self.held = None;
        let places = async {
            let action = places.acquire_owned().await.ok()?;
            let lane = Arc::clone(&rooms.lane).acquire_owned().await.ok()?;
            let executor = rooms.executor.acquire_up_to(&rooms.namespace, 1).await.ok()?.pop()?;
            Some((action, (lane, executor)))
        };
        // All are safe to cancel: who goes away gives back what it has.
        let taken = tokio::select! {
            taken = places => taken,
            () = self.stop.cancelled() => None,
            () = cancelled.cancelled() => None,
        };
        match taken {
            Some((action, held)) => {
                (self.action, self.held) = (Some(action), Some(held));
                Entered::Waited
            }
            None => Entered::Left,
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

    fn rooms(lane: usize, limits: Json) -> Rooms {
        let actions = Arc::new(Actions::default());
        actions.set(&super::limits(&limits.into()));
        Rooms {
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

    async fn room(rooms: &Rooms) -> Room {
        let permit = Arc::clone(&rooms.lane).acquire_owned().await.unwrap();
        let place = rooms.executor.acquire_up_to("default", 1).await.unwrap().pop().unwrap();
        Room::new(rooms.clone(), permit, place, CancellationToken::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_limited_action_holds_up_no_other() {
        let rooms = rooms(2, json!({"actions": {"charge": {"max_in_flight": 1}}}));
        let never = CancellationToken::new();
        let mut first = room(&rooms).await;
        assert_eq!(first.enter("charge", &never).await, Entered::Free);
        assert_eq!(first.enter("charge", &never).await, Entered::Free, "it has its place");
        let mut second = room(&rooms).await;
        let waits = tokio::spawn({
            let never = never.clone();
            async move { (second.enter("charge", &never).await, second) }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(rooms.actions.waiting(), [("charge".to_owned(), 1)]);
        // The second waits beside the lane: others find its place free.
        let mut other = room(&rooms).await;
        assert_eq!(other.enter("refresh", &never).await, Entered::Free);
        drop(first);
        let (entered, second) = waits.await.unwrap();
        assert_eq!(entered, Entered::Waited);
        assert_eq!((rooms.lane.available_permits(), rooms.actions.waiting().first().unwrap().1), (0, 0));
        drop((second, other));
        assert_eq!((rooms.lane.available_permits(), rooms.executor.in_use()), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_leaves_when_it_is_not_wanted() {
        let rooms = rooms(2, json!({"actions": {"charge": {"max_in_flight": 1}}}));
        let never = CancellationToken::new();
        let mut first = room(&rooms).await;
        assert_eq!(first.enter("charge", &never).await, Entered::Free);
        let (mut second, cancelled) = (room(&rooms).await, CancellationToken::new());
        cancelled.cancel();
        assert_eq!(second.enter("charge", &cancelled).await, Entered::Left);
        assert_eq!(rooms.lane.available_permits(), 1);
        let mut third = room(&rooms).await;
        third.stop.cancel();
        assert_eq!(third.enter("charge", &never).await, Entered::Left);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_change_and_go() {
        let rooms = rooms(9, json!({"actions": {"charge": {"max_in_flight": 1}, "odd": 3}}));
        let never = CancellationToken::new();
        let mut held = room(&rooms).await;
        assert_eq!(held.enter("charge", &never).await, Entered::Free);
        rooms.actions.set(&super::limits(&json!({"actions": {"charge": {"max_in_flight": 2}}}).into()));
        let mut more = room(&rooms).await;
        assert_eq!(more.enter("charge", &never).await, Entered::Free);
        rooms.actions.set(&BTreeMap::new());
        for _ in 0..3 {
            let mut free = room(&rooms).await;
            assert_eq!(free.enter("charge", &never).await, Entered::Free);
        }
        rooms.actions.set(&super::limits(&json!({"actions": {"charge": {"max_in_flight": 1}}}).into()));
        assert_eq!(held.enter("charge", &never).await, Entered::Free, "what is taken is not taken away");
    }
}
