//! Workers: processes that hold a stream to this executor and carry out the actions of a service.
//!
//! A worker has a seat for as long as its stream lives. A task that was handed to a seat which is then lost
//! counts as one that may have happened; one that found no seat certainly did not.

use crate::task::{Participant, Pulse, Task};
use async_trait::async_trait;
use goconductor_saga::{Failure, Outcome, Side};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// A service of a namespace.
pub(crate) type ServiceKey = (String, String);

/// What is handed to a worker's stream.
#[derive(Debug)]
pub(crate) enum Order {
    /// Do this.
    Task(u64, Box<Task>),
    /// Nobody waits for it any more.
    Cancel(u64, &'static str),
}

/// Who connects.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) actions: BTreeSet<String>,
    /// Tasks of each side at once.
    pub(crate) capacity: usize,
    pub(crate) version: String,
    pub(crate) identity: String,
}

/// All workers that are connected to this executor.
#[derive(Debug, Default)]
pub struct Workers {
    pools: Mutex<BTreeMap<ServiceKey, Arc<Pool>>>,
    changed: Notify,
}

/// The workers of one service, as one participant.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    seats: Mutex<Vec<Arc<Seat>>>,
    /// A place became free, or a worker came.
    freed: Notify,
}

/// One worker's place.
#[derive(Debug)]
pub(crate) struct Seat {
    worker: Worker,
    orders: mpsc::UnboundedSender<Order>,
    state: Mutex<SeatState>,
}

#[derive(Debug, Default)]
struct SeatState {
    /// It takes no more tasks.
    leaving: bool,
    next: u64,
    pending: HashMap<u64, Pending>,
}

/// A task that a worker has.
#[derive(Debug)]
struct Pending {
    side: Side,
    pulse: Option<Pulse>,
    answer: oneshot::Sender<Outcome>,
}

impl Workers {
    /// Rings when a worker came or went.
    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    fn pools(&self) -> MutexGuard<'_, BTreeMap<ServiceKey, Arc<Pool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The services that have workers, each with its pool and how many tasks of each side it can take.
    pub(crate) fn serving(&self) -> Vec<(ServiceKey, Arc<Pool>, usize)> {
        let pools = self.pools();
        let each = |(key, pool): (&ServiceKey, &Arc<Pool>)| {
            let capacity = pool.capacity();
            (capacity > 0).then(|| (key.clone(), Arc::clone(pool), capacity))
        };
        pools.iter().filter_map(each).collect()
    }

    /// How many workers a service has.
    pub(crate) fn count(&self, key: &ServiceKey) -> usize {
        self.pools().get(key).map_or(0, |pool| pool.seats().len())
    }

    /// Gives a worker a seat, and the orders that are given to it.
    pub(crate) fn sit(
        &self,
        key: &ServiceKey,
        worker: Worker,
    ) -> (Arc<Seat>, mpsc::UnboundedReceiver<Order>) {
        let (orders, ordered) = mpsc::unbounded_channel();
        let seat = Arc::new(Seat { worker, orders, state: Mutex::default() });
        let pool = Arc::clone(self.pools().entry(key.clone()).or_default());
        pool.seats().push(Arc::clone(&seat));
        pool.freed.notify_waiters();
        self.changed.notify_one();
        (seat, ordered)
    }

    /// The worker takes no more tasks.
    pub(crate) fn leaving(&self, seat: &Seat) {
        seat.state().leaving = true;
        self.changed.notify_one();
    }

    /// The worker has gone: what it had may have happened.
    pub(crate) fn leave(&self, key: &ServiceKey, seat: &Arc<Seat>) {
        if let Some(pool) = self.pools().get(key) {
            pool.seats().retain(|each| !Arc::ptr_eq(each, seat));
        }
        let mut state = seat.state();
        state.leaving = true;
        state.pending.clear();
        self.changed.notify_one();
    }
}

impl Seat {
    fn state(&self) -> MutexGuard<'_, SeatState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.state().pending.is_empty()
    }

    /// The worker's answer. One that nobody waits for any more is passed over.
    pub(crate) fn answer(&self, task: u64, outcome: Outcome) {
        let waiting = self.state().pending.remove(&task);
        match waiting {
            // Whoever waited may have gone in between.
            Some(waiting) => drop(waiting.answer.send(outcome)),
            None => metrics::counter!("goconductor_late_answers_total").increment(1),
        }
    }

    /// A sign of life of a task.
    pub(crate) fn beat(&self, task: u64) {
        if let Some(Pending { pulse: Some(pulse), .. }) = self.state().pending.get(&task) {
            pulse.beat();
        }
    }

    /// Places left for tasks of this side; none if it can't do the action.
    fn room(&self, action: &str, side: Side) -> usize {
        let state = self.state();
        if state.leaving || !self.worker.actions.contains(action) {
            return 0;
        }
        let taken = state.pending.values().filter(|pending| pending.side == side).count();
        self.worker.capacity.saturating_sub(taken)
    }

    /// Hands a task over; nothing if the worker has just gone.
    fn give(&self, task: &Task) -> Option<(u64, oneshot::Receiver<Outcome>)> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state();
        if state.leaving {
            return None;
        }
        let id = state.next;
        state.next += 1;
        state.pending.insert(id, Pending { side: task.side, pulse: task.pulse.clone(), answer });
        if self.orders.send(Order::Task(id, Box::new(task.clone()))).is_err() {
            state.pending.remove(&id);
            return None;
        }
        Some((id, answered))
    }

    fn cancel(&self, task: u64, reason: &'static str) {
        // A stream that has ended does not want to know.
        drop(self.orders.send(Order::Cancel(task, reason)));
    }
}

impl Pool {
    fn seats(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn capacity(&self) -> usize {
        let seats = self.seats();
        seats.iter().filter(|seat| !seat.state().leaving).map(|seat| seat.worker.capacity).sum()
    }

    /// Hands a task to the worker with the most room; waits until there is one.
    async fn give(&self, task: &Task) -> (Arc<Seat>, u64, oneshot::Receiver<Outcome>) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // From here on no ring is missed.
            freed.as_mut().enable();
            let best = {
                let seats = self.seats();
                let room = |seat: &&Arc<Seat>| seat.room(&task.action, task.side);
                seats.iter().max_by_key(room).filter(|seat| room(seat) > 0).cloned()
            };
            if let Some(seat) = best {
                if let Some((id, answered)) = seat.give(task) {
                    return (seat, id, answered);
                }
                continue;
            }
            freed.await;
        }
    }
}

/// A task in a worker's hands. Dropping it tells the worker that nobody waits any more.
struct Handed<'a> {
    pool: &'a Pool,
    seat: Arc<Seat>,
    id: u64,
}

impl Drop for Handed<'_> {
    fn drop(&mut self) {
        if self.seat.state().pending.remove(&self.id).is_some() {
            self.seat.cancel(self.id, "its time is up");
        }
        self.pool.freed.notify_waiters();
    }
}

#[async_trait]
impl Participant for Pool {
    async fn attempt(&self, task: &Task) -> Outcome {
        // Sooner than the caller gives up, who could not know that nothing was sent.
        let patience = task.timeout.mul_f64(0.9).max(Duration::from_millis(1));
        let Ok((seat, id, mut answered)) = tokio::time::timeout(patience, self.give(task)).await else {
            let reason = format!("no worker that can do {} had room", task.action);
            return Outcome::Retryable { failure: Failure::of("NO_WORKER", reason), not_before: None };
        };
        let handed = Handed { pool: self, seat, id };
        let answer = async {
            // Safe to cancel: the answer stays in its channel.
            let answer = tokio::select! {
                answer = &mut answered => answer,
                () = task.cancelled.cancelled() => {
                    handed.seat.cancel(id, "the workflow is rolled back");
                    answered.await
                }
            };
            answer.unwrap_or_else(|_| {
                let reason = format!("the stream of worker {} was lost", handed.seat.worker.identity);
                Outcome::Unknown { failure: Failure::of("WORKER_LOST", reason), not_before: None }
            })
        };
        // Safe to cancel: one whose heartbeats have stopped is told that nobody waits.
        tokio::select! {
            outcome = answer => outcome,
            outcome = task.fell_silent() => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::{Json, Timestamp, WorkflowId};
    use tokio_util::sync::CancellationToken;

    fn worker(actions: &[&str], capacity: usize) -> Worker {
        Worker {
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            capacity,
            version: "1".to_owned(),
            identity: "test".to_owned(),
        }
    }

    fn task(action: &str, timeout: Duration) -> Task {
        Task {
            workflow: WorkflowId(uuid::Uuid::now_v7()),
            step: "pay".to_owned(),
            side: Side::Execute,
            action: action.to_owned(),
            attempt: 1,
            idempotency_key: "k".to_owned(),
            input: Json::Null.into(),
            deadline: Timestamp(0),
            timeout,
            pulse: None,
            cancelled: CancellationToken::new(),
        }
    }

    fn key() -> ServiceKey {
        ("default".to_owned(), "payments".to_owned())
    }

    fn pool(workers: &Workers) -> Arc<Pool> {
        let (_, pool, _) = workers.serving().pop().unwrap();
        pool
    }

    #[tokio::test]
    async fn a_lost_seat_leaves_doubt() {
        let workers = Workers::default();
        let (seat, mut orders) = workers.sit(&key(), worker(&["charge"], 1));
        let pool = pool(&workers);
        let attempt =
            tokio::spawn(async move { pool.attempt(&task("charge", Duration::from_secs(5))).await });
        assert!(matches!(orders.recv().await, Some(Order::Task(0, _))));
        workers.leave(&key(), &seat);
        let Outcome::Unknown { failure, .. } = attempt.await.unwrap() else { panic!("no doubt") };
        assert_eq!(failure.code, "WORKER_LOST");
        assert!(workers.serving().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn whose_heartbeats_stop_is_given_up_in_doubt() {
        let workers = Workers::default();
        let (seat, mut orders) = workers.sit(&key(), worker(&["charge"], 1));
        let pool = pool(&workers);
        let pulse = Some(Pulse::of(Duration::from_secs(2)));
        let task = Task { pulse, ..task("charge", Duration::from_secs(60)) };
        let attempt = tokio::spawn(async move { pool.attempt(&task).await });
        assert!(matches!(orders.recv().await, Some(Order::Task(0, _))));
        let begun = tokio::time::Instant::now();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            seat.beat(0);
        }
        let Outcome::Unknown { failure, .. } = attempt.await.unwrap() else { panic!("no doubt") };
        assert_eq!(failure.code, "HEARTBEAT_TIMED_OUT");
        assert_eq!(begun.elapsed().as_secs(), 7, "two seconds after the last");
        assert!(matches!(orders.recv().await, Some(Order::Cancel(0, _))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_found_no_seat_did_not_happen() {
        let workers = Workers::default();
        let _seat = workers.sit(&key(), worker(&["charge"], 1));
        let outcome = pool(&workers).attempt(&task("ship", Duration::from_secs(1))).await;
        let Outcome::Retryable { failure, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.code, "NO_WORKER");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_worker_is_given_more_once_it_has_room() {
        let workers = Workers::default();
        let (seat, mut orders) = workers.sit(&key(), worker(&["charge"], 1));
        let pool = pool(&workers);
        let attempts: Vec<_> = (0..2)
            .map(|_| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.attempt(&task("charge", Duration::from_secs(5))).await })
            })
            .collect();
        for id in 0..2 {
            assert!(matches!(orders.recv().await, Some(Order::Task(given, _)) if given == id));
            assert!(orders.try_recv().is_err(), "one at a time");
            seat.answer(id, Outcome::Done { output: Json::Null });
        }
        for attempt in attempts {
            assert!(matches!(attempt.await.unwrap(), Outcome::Done { .. }));
        }
    }

    #[tokio::test]
    async fn who_is_not_waited_for_is_told() {
        let workers = Workers::default();
        let (seat, mut orders) = workers.sit(&key(), worker(&["charge"], 1));
        let pool = pool(&workers);
        let mut task = task("charge", Duration::from_secs(5));
        task.cancelled.cancel();
        let attempt = tokio::spawn({
            let (pool, task) = (Arc::clone(&pool), task.clone());
            async move { pool.attempt(&task).await }
        });
        assert!(matches!(orders.recv().await, Some(Order::Task(0, _))));
        assert!(matches!(orders.recv().await, Some(Order::Cancel(0, _))));
        seat.answer(0, Outcome::Done { output: Json::Null });
        assert!(matches!(attempt.await.unwrap(), Outcome::Done { .. }), "a late success is a success");
        task.cancelled = CancellationToken::new();
        let given_up = tokio::time::timeout(Duration::from_millis(20), pool.attempt(&task)).await;
        assert!(given_up.is_err());
        assert!(matches!(orders.recv().await, Some(Order::Task(1, _))));
        assert!(matches!(orders.recv().await, Some(Order::Cancel(1, _))));
        assert!(seat.is_idle());
    }
}
