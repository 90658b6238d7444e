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
use tokio::time::Instant;

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
    /// The executor drains. No task follows.
    Drain,
    /// The drain of the worker was processed. No task follows.
    DrainAck,
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
    /// No more tasks are assigned to the worker.
    draining: bool,
    /// The drain of the worker was acknowledged.
    acknowledged: bool,
    next_id: u64,
    pending: HashMap<u64, PendingTask>,
}

/// A task that is assigned to a worker.
#[derive(Debug)]
struct PendingTask {
    side: Side,
    heartbeat: Option<Heartbeat>,
    end: oneshot::Sender<TaskEnd>,
}

/// The end of a task that was assigned to a worker.
#[derive(Debug)]
enum TaskEnd {
    /// The worker ran the task.
    Outcome(Outcome),
    /// The stream ended before the task was sent, which certainly had no effect.
    NotSent,
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

    /// Stops assigning tasks to a worker, because the executor drains. [`WorkerMessage::Drain`] follows the tasks that are
    /// assigned.
    pub(crate) fn drain(&self, session: &WorkerSession) {
        let mut state = session.state.lock();
        state.draining = true;
        session.send(WorkerMessage::Drain);
        self.changed.notify_one();
    }

    /// Stops assigning tasks to a worker that drains. [`WorkerMessage::DrainAck`] follows the tasks that are assigned.
    pub(crate) fn acknowledge_drain(&self, session: &WorkerSession) {
        let mut state = session.state.lock();
        state.draining = true;
        // A worker that repeats its drain must not fill the channel.
        if !std::mem::replace(&mut state.acknowledged, true) {
            session.send(WorkerMessage::DrainAck);
        }
        self.changed.notify_one();
    }

    /// Closes the session of a worker, whose stream has ended. `messages` are those that were not sent: their tasks are
    /// assigned to other workers. The outcomes of the other pending tasks are unknown.
    pub(crate) fn deregister(
        &self,
        key: &ServiceKey,
        session: &Arc<WorkerSession>,
        mut messages: mpsc::UnboundedReceiver<WorkerMessage>,
    ) {
        if let Some(pool) = self.pools.lock().get(key) {
            pool.sessions.lock().retain(|each| !Arc::ptr_eq(each, session));
        }
        // No task is assigned after this.
        session.state.lock().draining = true;
        while let Ok(message) = messages.try_recv() {
            if let WorkerMessage::Task(id, _) = message {
                session.withdraw(id);
            }
        }
        session.state.lock().pending.clear();
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
            Some(pending) => drop(pending.end.send(TaskEnd::Outcome(outcome))),
            None => metrics::LATE_RESULTS.increment(1),
        }
    }

    /// Ends a task that was not sent to the worker and never will be. It is assigned to another worker.
    pub(crate) fn withdraw(&self, task: u64) {
        let pending = self.state.lock().pending.remove(&task);
        // The attempt may have ended in between.
        drop(pending.map(|pending| pending.end.send(TaskEnd::NotSent)));
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

    /// Assigns a task to the worker, with the time until its deadline. Returns `None` if the worker has just disconnected
    /// or drains.
    fn assign(&self, task: &Task, timeout: Duration) -> Option<(u64, oneshot::Receiver<TaskEnd>)> {
        let (sender, end) = oneshot::channel();
        let mut state = self.state.lock();
        if state.draining {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        let heartbeat = task.heartbeat.clone();
        state.pending.insert(id, PendingTask { side: task.side, heartbeat, end: sender });
        // The lock is held, so that no task follows the message of a drain.
        let task = Box::new(Task { timeout, ..task.clone() });
        if self.messages.send(WorkerMessage::Task(id, task)).is_err() {
            state.pending.remove(&id);
            return None;
        }
        Some((id, end))
    }

    fn cancel(&self, task: u64, reason: &'static str) {
        self.send(WorkerMessage::Cancel(task, reason));
    }

    /// Sends a message that is not a task. It fails only if the stream has ended, which says more than the message.
    fn send(&self, message: WorkerMessage) {
        drop(self.messages.send(message));
    }
}

impl Pool {
    fn capacity(&self) -> usize {
        let sessions = self.sessions.lock();
        let accepting = sessions.iter().filter(|session| !session.state.lock().draining);
        accepting.map(|session| session.worker.capacity).sum()
    }

    /// Assigns a task to the worker with the most free slots. Waits until a slot is free. The timeout of the task counts
    /// from `began`.
    async fn assign(&self, task: &Task, began: Instant) -> (InFlightTask<'_>, oneshot::Receiver<TaskEnd>) {
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
                let left = task.timeout.saturating_sub(began.elapsed());
                if let Some((id, end)) = session.assign(task, left) {
                    return (InFlightTask { pool: self, session, id }, end);
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

impl InFlightTask<'_> {
    /// Waits for the end of the task. Returns `None` if it was not sent to the worker.
    async fn end(&self, task: &Task, mut end: oneshot::Receiver<TaskEnd>) -> Option<Outcome> {
        // Cancel-safe: the end stays in its channel.
        let ended = tokio::select! {
            ended = &mut end => ended,
            () = task.cancelled.cancelled() => {
                self.session.cancel(self.id, "the workflow is rolling back");
                end.await
            }
        };
        match ended {
            Ok(TaskEnd::Outcome(outcome)) => Some(outcome),
            Ok(TaskEnd::NotSent) => None,
            Err(_) => {
                let reason = format!("the connection to worker {} was lost", self.session.worker.identity);
                let failure = Failure::of("WORKER_LOST", reason);
                Some(Outcome::Unknown { failure, not_before: None, answered: false })
            }
        }
    }
}

#[async_trait]
impl Participant for Pool {
    async fn attempt(&self, task: &Task) -> Outcome {
        let began = Instant::now();
        let timeout = task.timeout.mul_f64(ASSIGN_TIMEOUT_FACTOR).max(Duration::from_millis(1));
        // A task that was not sent before the stream of its worker ended is assigned again. The attempt goes on.
        loop {
            let left = timeout.saturating_sub(began.elapsed());
            let assigned = tokio::time::timeout(left, self.assign(task, began)).await;
            let Ok((in_flight, end)) = assigned else {
                let reason =
                    format!("no worker with the action {} had a free slot within {timeout:?}", task.action);
                return Outcome::Retryable { failure: Failure::of("NO_WORKER", reason), not_before: None };
            };
            for (name, value) in RPC_ATTRIBUTES {
                trace::set_text(&task.span, name, || value.to_owned());
            }
            let identity = || in_flight.session.worker.identity.clone();
            trace::set_text(&task.span, "goconductor.worker", identity);
            // Cancel-safe: if the heartbeats expire, dropping `in_flight` cancels the task.
            let outcome = tokio::select! {
                outcome = in_flight.end(task, end) => outcome,
                outcome = task.heartbeat_expired() => Some(outcome),
            };
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }
}

#[cfg(test)]
mod tests;
