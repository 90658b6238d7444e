//! Workers: processes that connect to this executor with a stream and run the actions of a service.
//!
//! A worker has a session while its stream is open. If the session of an assigned task is lost, the outcome of the
//! task is unknown. A task that was never assigned certainly had no effect.

use crate::metrics;
use crate::task::{Heartbeat, Participant, Task};
use async_trait::async_trait;
use goconductor_saga::{Failure, Outcome, Side};
use goconductor_telemetry::trace;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// The namespace and the name of a service.
pub(crate) type ServiceKey = (String, String);

/// The part of the attempt's timeout that may pass before a worker is free. The caller's timeout must not expire
/// first: the caller cannot know that the task was never assigned.
const ASSIGN_TIMEOUT_FACTOR: f64 = 0.9;

/// The attributes of the span of an attempt at a worker.
const RPC_ATTRIBUTES: [(&str, &str); 3] =
    [("rpc.system", "grpc"), ("rpc.service", "goconductor.v1.WorkerService"), ("rpc.method", "Connect")];

/// A message to a worker.
#[derive(Debug)]
pub(crate) enum WorkerMessage {
    /// Run this task.
    Task(u64, Box<Task>),
    /// Cancel this task; the reason is for people.
    Cancel(u64, &'static str),
}

/// A worker, as it described itself when it connected.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) actions: BTreeSet<String>,
    /// Tasks of each side in flight.
    pub(crate) capacity: usize,
    pub(crate) version: String,
    pub(crate) identity: String,
}

/// The workers that are connected to this executor.
#[derive(Debug, Default)]
pub struct Workers {
    pools: Mutex<BTreeMap<ServiceKey, Arc<Pool>>>,
    changed: Notify,
}

/// The workers of one service, as one participant.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    sessions: Mutex<Vec<Arc<WorkerSession>>>,
    /// Notified when a slot becomes free or a worker connects.
    slot_freed: Notify,
}

/// The session of a connected worker.
#[derive(Debug)]
pub(crate) struct WorkerSession {
    worker: Worker,
    messages: mpsc::UnboundedSender<WorkerMessage>,
    state: Mutex<SessionState>,
}

#[derive(Debug, Default)]
struct SessionState {
    /// The worker accepts no more tasks.
    draining: bool,
    next_id: u64,
    pending: HashMap<u64, PendingTask>,
}

/// A task that is assigned to a worker.
#[derive(Debug)]
struct PendingTask {
    side: Side,
    heartbeat: Option<Heartbeat>,
    outcome: oneshot::Sender<Outcome>,
}

impl Workers {
    /// Notified when a worker connects, drains or disconnects.
    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Returns the services that have workers, each with its pool and its capacity for each side.
    pub(crate) fn serving(&self) -> Vec<(ServiceKey, Arc<Pool>, usize)> {
        let pools = self.pools.lock();
        let each = |(key, pool): (&ServiceKey, &Arc<Pool>)| {
            let capacity = pool.capacity();
            (capacity > 0).then(|| (key.clone(), Arc::clone(pool), capacity))
        };
        pools.iter().filter_map(each).collect()
    }

    /// Returns the number of workers of a service.
    pub(crate) fn count(&self, key: &ServiceKey) -> usize {
        self.pools.lock().get(key).map_or(0, |pool| pool.sessions.lock().len())
    }

    /// Opens a session for a worker. Returns it with the messages for the worker.
    pub(crate) fn register(
        &self,
        key: &ServiceKey,
        worker: Worker,
    ) -> (Arc<WorkerSession>, mpsc::UnboundedReceiver<WorkerMessage>) {
        let (sender, messages) = mpsc::unbounded_channel();
        let session = Arc::new(WorkerSession { worker, messages: sender, state: Mutex::default() });
        let pool = Arc::clone(self.pools.lock().entry(key.clone()).or_default());
        pool.sessions.lock().push(Arc::clone(&session));
        pool.slot_freed.notify_waiters();
        self.changed.notify_one();
        (session, messages)
    }

    /// Stops assigning tasks to a worker.
    pub(crate) fn drain(&self, session: &WorkerSession) {
        session.state.lock().draining = true;
        self.changed.notify_one();
    }

    /// Closes the session of a worker. The outcomes of its pending tasks are unknown.
    pub(crate) fn deregister(&self, key: &ServiceKey, session: &Arc<WorkerSession>) {
        if let Some(pool) = self.pools.lock().get(key) {
            pool.sessions.lock().retain(|each| !Arc::ptr_eq(each, session));
        }
        let mut state = session.state.lock();
        state.draining = true;
        state.pending.clear();
        self.changed.notify_one();
    }
}

impl WorkerSession {
    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Returns whether no task is pending.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.lock().pending.is_empty()
    }

    /// Completes a task. The outcome of a task that is not pending is dropped.
    pub(crate) fn complete(&self, task: u64, outcome: Outcome) {
        let pending = self.state.lock().pending.remove(&task);
        match pending {
            // The attempt may have ended in between.
            Some(pending) => drop(pending.outcome.send(outcome)),
            None => metrics::LATE_RESULTS.increment(1),
        }
    }

    /// Records a heartbeat of a task.
    pub(crate) fn beat(&self, task: u64) {
        if let Some(PendingTask { heartbeat: Some(heartbeat), .. }) = self.state.lock().pending.get(&task) {
            heartbeat.beat();
        }
    }

    /// Returns the number of free slots for tasks of a side; 0 if the worker does not have the action.
    fn free_slots(&self, action: &str, side: Side) -> usize {
        let state = self.state.lock();
        if state.draining || !self.worker.actions.contains(action) {
            return 0;
        }
        let used = state.pending.values().filter(|pending| pending.side == side).count();
        self.worker.capacity.saturating_sub(used)
    }

    /// Assigns a task to the worker. Returns `None` if the worker has just disconnected.
    fn assign(&self, task: &Task) -> Option<(u64, oneshot::Receiver<Outcome>)> {
        let (sender, outcome) = oneshot::channel();
        let mut state = self.state.lock();
        if state.draining {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        let heartbeat = task.heartbeat.clone();
        state.pending.insert(id, PendingTask { side: task.side, heartbeat, outcome: sender });
        if self.messages.send(WorkerMessage::Task(id, Box::new(task.clone()))).is_err() {
            state.pending.remove(&id);
            return None;
        }
        Some((id, outcome))
    }

    fn cancel(&self, task: u64, reason: &'static str) {
        // Fails only if the stream has ended, which cancels the task as well.
        drop(self.messages.send(WorkerMessage::Cancel(task, reason)));
    }
}

impl Pool {
    fn capacity(&self) -> usize {
        let sessions = self.sessions.lock();
        let accepting = sessions.iter().filter(|session| !session.state.lock().draining);
        accepting.map(|session| session.worker.capacity).sum()
    }

    /// Assigns a task to the worker with the most free slots. Waits until a slot is free.
    async fn assign(&self, task: &Task) -> (Arc<WorkerSession>, u64, oneshot::Receiver<Outcome>) {
        loop {
            let slot_freed = self.slot_freed.notified();
            tokio::pin!(slot_freed);
            // Registers before the search, so that no notification is missed.
            slot_freed.as_mut().enable();
            let best = {
                let sessions = self.sessions.lock();
                let free = |session: &&Arc<WorkerSession>| session.free_slots(&task.action, task.side);
                sessions.iter().max_by_key(free).filter(|session| free(session) > 0).cloned()
            };
            if let Some(session) = best {
                if let Some((id, outcome)) = session.assign(task) {
                    return (session, id, outcome);
                }
                continue;
            }
            slot_freed.await;
        }
    }
}

/// A task that is in flight at a worker. Dropping it cancels the task.
struct InFlightTask<'a> {
    pool: &'a Pool,
    session: Arc<WorkerSession>,
    id: u64,
}

impl Drop for InFlightTask<'_> {
    fn drop(&mut self) {
        let pending = self.session.state.lock().pending.remove(&self.id);
        if pending.is_some() {
            self.session.cancel(self.id, "the attempt timed out");
        }
        self.pool.slot_freed.notify_waiters();
    }
}

#[async_trait]
impl Participant for Pool {
    async fn attempt(&self, task: &Task) -> Outcome {
        let timeout = task.timeout.mul_f64(ASSIGN_TIMEOUT_FACTOR).max(Duration::from_millis(1));
        let Ok((session, id, mut outcome)) = tokio::time::timeout(timeout, self.assign(task)).await else {
            let reason =
                format!("no worker with the action {} had a free slot within {timeout:?}", task.action);
            return Outcome::Retryable { failure: Failure::of("NO_WORKER", reason), not_before: None };
        };
        for (name, value) in RPC_ATTRIBUTES {
            trace::set_text(&task.span, name, || value.to_owned());
        }
        trace::set_text(&task.span, "goconductor.worker", || session.worker.identity.clone());
        let in_flight = InFlightTask { pool: self, session, id };
        let result = async {
            // Cancel-safe: the outcome stays in its channel.
            let result = tokio::select! {
                result = &mut outcome => result,
                () = task.cancelled.cancelled() => {
                    in_flight.session.cancel(id, "the workflow is rolling back");
                    outcome.await
                }
            };
            result.unwrap_or_else(|_| {
                let worker = &in_flight.session.worker.identity;
                let reason = format!("the connection to worker {worker} was lost");
                let failure = Failure::of("WORKER_LOST", reason);
                Outcome::Unknown { failure, not_before: None, answered: false }
            })
        };
        // Cancel-safe: if the heartbeats expire, dropping `in_flight` cancels the task.
        tokio::select! {
            outcome = result => outcome,
            outcome = task.heartbeat_expired() => outcome,
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
            rules: goconductor_saga::RulesVersion::CURRENT,
            step: "pay".to_owned(),
            side: Side::Execute,
            is_probe: false,
            action: action.to_owned(),
            call: None,
            attempt: 1,
            idempotency_key: "k".to_owned(),
            input: Json::Null.into(),
            payload_slot: goconductor_transition::PayloadSlot::default(),
            lock_tokens: std::collections::BTreeMap::new(),
            deadline: Timestamp(0),
            timeout,
            heartbeat: None,
            cancelled: CancellationToken::new(),
            at_deadline: crate::task::DeadlineOutcome::default(),
            span: tracing::Span::none(),
            trace: None,
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
    async fn lost_session_makes_outcome_unknown() {
        let workers = Workers::default();
        let (session, mut messages) = workers.register(&key(), worker(&["charge"], 1));
        let pool = pool(&workers);
        let attempt =
            tokio::spawn(async move { pool.attempt(&task("charge", Duration::from_secs(5))).await });
        assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(0, _))));
        workers.deregister(&key(), &session);
        let Outcome::Unknown { failure, .. } = attempt.await.unwrap() else { panic!("no doubt") };
        assert_eq!(failure.code, "WORKER_LOST");
        assert!(workers.serving().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn expired_heartbeat_makes_outcome_unknown_and_cancels_task() {
        let workers = Workers::default();
        let (session, mut messages) = workers.register(&key(), worker(&["charge"], 1));
        let pool = pool(&workers);
        let heartbeat = Some(Heartbeat::new(Duration::from_secs(2)));
        let task = Task { heartbeat, ..task("charge", Duration::from_secs(60)) };
        let attempt = tokio::spawn(async move { pool.attempt(&task).await });
        assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(0, _))));
        let start = tokio::time::Instant::now();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            session.beat(0);
        }
        let Outcome::Unknown { failure, .. } = attempt.await.unwrap() else { panic!("no doubt") };
        assert_eq!(failure.code, "HEARTBEAT_TIMED_OUT");
        assert_eq!(start.elapsed().as_secs(), 7, "two seconds after the last heartbeat");
        assert!(matches!(messages.recv().await, Some(WorkerMessage::Cancel(0, _))));
    }

    #[tokio::test(start_paused = true)]
    async fn unassigned_task_is_retryable() {
        let workers = Workers::default();
        let _session = workers.register(&key(), worker(&["charge"], 1));
        let outcome = pool(&workers).attempt(&task("ship", Duration::from_secs(1))).await;
        let Outcome::Retryable { failure, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.code, "NO_WORKER");
    }

    #[tokio::test(start_paused = true)]
    async fn full_worker_gets_next_task_when_slot_is_free() {
        let workers = Workers::default();
        let (session, mut messages) = workers.register(&key(), worker(&["charge"], 1));
        let pool = pool(&workers);
        let attempts: Vec<_> = (0..2)
            .map(|_| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.attempt(&task("charge", Duration::from_secs(5))).await })
            })
            .collect();
        for expected in 0..2 {
            assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(id, _)) if id == expected));
            assert!(messages.try_recv().is_err(), "one task at a time");
            session.complete(expected, Outcome::Done { output: Json::Null });
        }
        for attempt in attempts {
            assert!(matches!(attempt.await.unwrap(), Outcome::Done { .. }));
        }
    }

    #[tokio::test]
    async fn cancelled_task_is_cancelled_at_worker_and_keeps_its_outcome() {
        let workers = Workers::default();
        let (session, mut messages) = workers.register(&key(), worker(&["charge"], 1));
        let pool = pool(&workers);
        let mut task = task("charge", Duration::from_secs(5));
        task.cancelled.cancel();
        let attempt = tokio::spawn({
            let (pool, task) = (Arc::clone(&pool), task.clone());
            async move { pool.attempt(&task).await }
        });
        assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(0, _))));
        assert!(matches!(messages.recv().await, Some(WorkerMessage::Cancel(0, _))));
        session.complete(0, Outcome::Done { output: Json::Null });
        assert!(matches!(attempt.await.unwrap(), Outcome::Done { .. }), "a late success is a success");
        task.cancelled = CancellationToken::new();
        let dropped = tokio::time::timeout(Duration::from_millis(20), pool.attempt(&task)).await;
        assert!(dropped.is_err());
        assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(1, _))));
        assert!(matches!(messages.recv().await, Some(WorkerMessage::Cancel(1, _))));
        assert!(session.is_idle());
    }
}
