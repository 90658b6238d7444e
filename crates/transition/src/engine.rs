//! The engine: loads, decides, commits, publishes.

mod apply;
mod children;
mod commit;
mod local_dispatch;
mod locks;
mod migrate;
mod plans;
mod references;
mod rules;
mod write;

use crate::cache::{Plans, States};
use crate::digest::request_digest;
use crate::payload_memory::PayloadMemory;
use crate::payload_slot::PayloadSlots;
use crate::pending::{PendingInput, PendingInputs};
use crate::{Error, LongWork, PayloadKeys, PayloadSlot, TimerNotifier, clock, payloads, trace};
use commit::Prepared;
use goconductor_queue::Queue;
use goconductor_saga::{
    Event, Expressions, Input, Json, Plan, Refusal, RollbackCause, RulesVersion, StartChild, StartWorkflow,
    State, WorkflowId, start_by, start_child, transition,
};
use goconductor_store::{Loaded, NewWorkflow, Store, Write, WriteOutcome};
use goconductor_telemetry::trace::SpanContext;
use parking_lot::Mutex;
use references::PayloadOwner;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;
use tracing::Span;

pub use local_dispatch::LocalDispatch;
pub use migrate::Migrated;

/// Why a start is refused while an earlier release is in use.
const NOT_UPGRADED: &str = "the definition uses a part of the language that the earlier release in use does not know; \
                            upgrade every process, then run `goconductor db migrate --finish`";
/// Why an input is refused while an earlier release is in use.
const UNKNOWN_TO_EARLIER: &str = "the earlier release in use does not know this operation; upgrade every process, then run \
                                  `goconductor db migrate --finish`";

/// Events of one read of a history. With payloads of the largest size that is not carried by reference, they fit into a
/// message of the state store.
const HISTORY_PART: u32 = 256;

/// Settings of the engine.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The time after which a published command is due again, unless an executor sends heartbeats for it.
    pub redelivery: Duration,
    /// The maximum size of the state of a workflow in bytes. An output that would exceed it is rejected.
    pub state_bytes: usize,
    /// The size from which on a payload is stored apart from the state and carried by reference, in bytes.
    pub inline_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        // Each transition writes the whole state, so a large one makes every step slow.
        Self { redelivery: Duration::from_secs(5), state_bytes: 16 << 20, inline_bytes: 16 << 10 }
    }
}

/// A request to start a workflow.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// The namespace of the workflow.
    pub namespace: String,
    /// The plan of the definition.
    pub plan: Arc<Plan>,
    /// The input, which the caller has checked against the schema of the definition.
    pub input: Json,
    /// Labels, by which workflows can be searched.
    pub labels: BTreeMap<String, String>,
    /// The idempotency key, unique in the namespace.
    pub idempotency_key: Option<String>,
    /// The person who starts the workflow.
    pub actor: Option<String>,
    /// The span that starts the workflow, or that of the caller if this process exports no spans.
    pub trace: Option<SpanContext>,
}

/// A workflow that was started, by this request or by an earlier one with the same idempotency key.
#[derive(Debug, Clone)]
pub struct Started {
    /// The state of the workflow.
    pub state: Arc<State>,
    /// Whether an earlier request started the workflow.
    pub replayed: bool,
}

/// The component of a process that turns inputs into transitions.
#[derive(Debug)]
pub struct Engine {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    expressions: Arc<dyn Expressions>,
    /// Permits for decisions whose expressions take long.
    long_rules: LongWork,
    settings: Settings,
    /// The limit of the state of a workflow, which can change.
    state_bytes: AtomicUsize,
    /// The size from which on a payload is carried by reference, which can change.
    inline_bytes: AtomicUsize,
    payloads: PayloadMemory,
    payload_slots: PayloadSlots,
    plans: Plans,
    states: States,
    pending: PendingInputs,
    tasks: TaskTracker,
    timer_notifier: TimerNotifier,
    services_changed: Notify,
    schedules_due: Notify,
    local_dispatch: OnceLock<Weak<dyn LocalDispatch>>,
    /// The engine itself, for tasks that outlive the call that starts them.
    this: Weak<Self>,
    /// The keys of encrypted payloads. Not set if the process has no master key.
    payload_keys: OnceLock<Arc<dyn PayloadKeys>>,
    /// The rules of new workflows.
    start_rules: Mutex<RulesVersion>,
}

impl Engine {
    /// Creates the engine of a process.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        expressions: Arc<dyn Expressions>,
        settings: Settings,
    ) -> Arc<Self> {
        goconductor_telemetry::describe(crate::metrics::ALL);
        Arc::new_cyclic(|this| Self {
            store,
            queue,
            expressions,
            long_rules: LongWork::default(),
            state_bytes: AtomicUsize::new(settings.state_bytes),
            inline_bytes: AtomicUsize::new(settings.inline_bytes),
            payloads: PayloadMemory::new(),
            payload_slots: PayloadSlots::new(),
            settings,
            plans: Plans::new(),
            states: States::new(),
            pending: PendingInputs::default(),
            tasks: TaskTracker::new(),
            timer_notifier: TimerNotifier::new(),
            services_changed: Notify::new(),
            schedules_due: Notify::new(),
            local_dispatch: OnceLock::new(),
            this: Weak::clone(this),
            payload_keys: OnceLock::new(),
            start_rules: Mutex::new(RulesVersion::CURRENT),
        })
    }

    /// Sets the maximum size of the state of a workflow, in bytes.
    pub fn set_state_bytes(&self, bytes: usize) {
        self.state_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Returns the memory for the large payloads of an attempt, which it has not acquired yet.
    #[must_use]
    pub fn payload_slot(&self) -> PayloadSlot {
        self.payload_slots.slot()
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the queue.
    #[must_use]
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }

    /// Sets the rules of new workflows (default: those of this release). While processes of an earlier release are in use,
    /// new workflows must follow rules that it knows.
    pub fn set_start_rules(&self, rules: RulesVersion) {
        *self.start_rules.lock() = rules;
    }

    /// Sets the keys of encrypted payloads. Must be called at most once, before the first workflow is loaded.
    pub fn set_payload_keys(&self, keys: Arc<dyn PayloadKeys>) {
        drop(self.payload_keys.set(keys));
    }

    /// Opens the encrypted payload of a state that does not come from this engine.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the key is not available, or if the payload was changed.
    pub async fn open_state(&self, state: &Arc<State>) -> Result<Arc<State>, Error> {
        if state.sealed.is_none() {
            return Ok(Arc::clone(state));
        }
        let mut opened = State::clone(state);
        payloads::open_state(self.keys(), &mut opened).await?;
        Ok(Arc::new(opened))
    }

    /// Returns up to `limit` events of the history of a workflow that follow `after_seq`, in order.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the store failed, or if an encrypted event cannot be opened.
    pub async fn history(
        &self,
        namespace: &str,
        id: WorkflowId,
        after_seq: u64,
        limit: u32,
    ) -> Result<Vec<Event>, Error> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let after = events.last().map_or(after_seq, |event| event.seq);
            let left = limit.saturating_sub(u32::try_from(events.len()).unwrap_or(u32::MAX));
            let part = left.min(HISTORY_PART);
            let mut page = self.store.history(id, after, part).await?;
            let is_last = page.len() < usize::try_from(part).unwrap_or(usize::MAX) || part == left;
            for event in &mut page {
                payloads::open_event(self.keys(), namespace, id, event).await?;
            }
            events.append(&mut page);
            if is_last {
                return Ok(events);
            }
        }
    }

    fn keys(&self) -> Option<&dyn PayloadKeys> {
        self.payload_keys.get().map(|keys| &**keys)
    }

    async fn opened(&self, mut loaded: Loaded) -> Result<Loaded, Error> {
        payloads::open_state(self.keys(), &mut loaded.state).await?;
        Ok(loaded)
    }

    /// Returns the notifier that wakes the dispatcher when a row of the ledger is due before its next poll.
    #[must_use]
    pub fn timer_notifier(&self) -> &TimerNotifier {
        &self.timer_notifier
    }

    /// Returns the notification that the settings of a service were changed. The executor waits for it.
    #[must_use]
    pub fn services_changed(&self) -> &Notify {
        &self.services_changed
    }

    /// Returns the notification that schedules can be due before the next poll of the scheduler. The scheduler waits for it.
    #[must_use]
    pub fn schedules_due(&self) -> &Notify {
        &self.schedules_due
    }

    /// Wakes the dispatcher and the scheduler of this process after a move of the virtual clock.
    pub fn notify_clock_moved(&self) {
        self.timer_notifier.notify();
        self.schedules_due.notify_one();
    }

    /// Returns whether no task of the engine runs: no input is pending, and no command is being published.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Starts a workflow. The start is durable when this returns.
    ///
    /// # Errors
    /// Returns [`Error::KeyConflict`] if the idempotency key belongs to another start, [`Error::Refused`] if an earlier
    /// release in use cannot read the definition, and [`Error::Store`] if the store failed.
    #[tracing::instrument(
        level = "debug",
        skip_all,
        fields(
            workflow = tracing::field::Empty,
            namespace = request.namespace,
            definition = request.plan.definition().name
        )
    )]
    pub async fn start(self: &Arc<Self>, request: StartRequest) -> Result<Started, Error> {
        self.start_as(request, None).await
    }

    /// Starts a workflow, as a child if `child` names its parent.
    async fn start_as(
        self: &Arc<Self>,
        request: StartRequest,
        child: Option<StartChild>,
    ) -> Result<Started, Error> {
        let now = clock::now();
        let mut first = StartWorkflow {
            id: WorkflowId(uuid::Uuid::now_v7()),
            namespace: request.namespace,
            input: request.input,
            labels: request.labels,
            actor: request.actor,
            trace: request.trace.map(trace::stored),
        };
        tracing::Span::current().record("workflow", tracing::field::display(first.id));
        let request_digest = request_digest(&request.plan.definition().name, &first.input);
        let plan = Arc::clone(&request.plan);
        let rules = *self.start_rules.lock();
        if plan.required_rules() > rules {
            return Err(Refusal::Conflict(NOT_UPGRADED.to_owned()).into());
        }
        let namespace = first.namespace.clone();
        let owner = PayloadOwner { namespace: &namespace, id: first.id, elements_of: None };
        let parent = child.as_ref().map(|child| child.parent.id);
        first.input = self.stored_start(owner, first.input, parent).await?;
        let start = move |expressions: &dyn Expressions| match child {
            Some(child) => start_child(rules, &plan, expressions, &first, child, now),
            None => start_by(rules, &plan, expressions, &first, now),
        };
        let decided = self.run_rules(owner, start).await?;
        let transition = transition(&request.plan, None, decided.0, decided.1);
        let Prepared { write, state, dispatch } = self.prepare(transition, now).await?;
        let record = Arc::clone(&write.record);
        let new = NewWorkflow { write, idempotency_key: request.idempotency_key, request_digest };
        match self.write_traced(Write::Start(new), &state, &[]).await? {
            WriteOutcome::Written => {
                self.states.put(&state);
                let (this, after) = (Arc::clone(self), Arc::clone(&state));
                // The start is durable, so the caller need not wait for the queue.
                self.tasks.spawn(async move { this.after_commit(&after, &record, dispatch).await });
                Ok(Started { state, replayed: false })
            }
            WriteOutcome::Replayed(loaded) => {
                let state = Arc::new(self.opened(*loaded).await?.state);
                Ok(Started { state, replayed: true })
            }
            WriteOutcome::KeyConflict(id) => Err(Error::KeyConflict(id)),
            WriteOutcome::Lost(_) | WriteOutcome::Missing => {
                Err(Error::Internal("the store treated a start as a transition"))
            }
        }
    }

    /// Applies an input to a workflow. Returns the state after it.
    ///
    /// # Errors
    /// Returns [`Error::NoSuchWorkflow`] if the workflow does not exist, [`Error::Refused`] if its status does not
    /// allow the input, [`Error::Contention`] if every commit met a conflict, and [`Error::Store`] if the store
    /// failed.
    pub async fn submit(self: &Arc<Self>, id: WorkflowId, mut input: Input) -> Result<Arc<State>, Error> {
        self.store_values(id, &mut input).await?;
        self.submit_stored(id, input).await
    }

    /// Applies an input like [`submit`](Self::submit), after [`store_values`](Self::store_values).
    ///
    /// # Errors
    /// See [`Engine::submit`].
    pub async fn submit_stored(self: &Arc<Self>, id: WorkflowId, input: Input) -> Result<Arc<State>, Error> {
        self.submit_within(trace::current_span(), id, input).await
    }

    /// Applies an input like [`submit`](Self::submit). Its transition is part of the trace of the workflow, and not of the
    /// current span. A process that is killed does not export a span that has not ended, and other spans must not be its
    /// children.
    ///
    /// # Errors
    /// See [`Engine::submit`].
    pub async fn submit_apart(
        self: &Arc<Self>,
        id: WorkflowId,
        mut input: Input,
    ) -> Result<Arc<State>, Error> {
        self.store_values(id, &mut input).await?;
        self.submit_within(Span::none(), id, input).await
    }

    async fn submit_within(
        self: &Arc<Self>,
        span: Span,
        id: WorkflowId,
        input: Input,
    ) -> Result<Arc<State>, Error> {
        if is_unknown_to_earlier(&input) && *self.start_rules.lock() < RulesVersion::CURRENT {
            return Err(Refusal::Conflict(UNKNOWN_TO_EARLIER.to_owned()).into());
        }
        let (reply, result) = oneshot::channel();
        if self.pending.push(id, PendingInput { input, reply, span }) {
            // A separate task, because the caller may be cancelled while other inputs of the workflow are pending.
            let this = Arc::clone(self);
            self.tasks.spawn(async move {
                loop {
                    let batch = this.pending.take(id);
                    if batch.is_empty() {
                        break;
                    }
                    this.apply_batch(id, batch).await;
                }
            });
        }
        result.await.unwrap_or(Err(Error::Internal("the task that applies inputs stopped")))
    }

    /// Returns the cached state of a workflow, which may be stale. A final state is not cached.
    #[must_use]
    pub fn cached(&self, id: WorkflowId) -> Option<Arc<State>> {
        self.states.get(id)
    }

    /// Removes the cached state of a workflow.
    pub fn evict(&self, id: WorkflowId) {
        self.states.evict(id);
    }

    /// Returns the cached state of a workflow or, if there is none, the stored state.
    ///
    /// # Errors
    /// See [`Engine::load`].
    pub async fn cached_or_load(&self, id: WorkflowId) -> Result<Arc<State>, Error> {
        if let Some(state) = self.states.get(id) {
            return Ok(state);
        }
        self.load(id).await.map(|loaded| Arc::new(loaded.state))
    }

    /// Caches a state that arrived with a command. Returns it, or the cached state if that is newer.
    #[must_use]
    pub fn adopt(&self, state: &Arc<State>) -> Arc<State> {
        self.states.put(state);
        self.states.get(state.id).unwrap_or_else(|| Arc::clone(state))
    }

    /// Loads the stored state of a workflow.
    ///
    /// # Errors
    /// Returns [`Error::NoSuchWorkflow`] if the workflow does not exist, and [`Error::Store`] if the store failed.
    pub async fn load(&self, id: WorkflowId) -> Result<Loaded, Error> {
        let loaded = self.store.load(&[id]).await?.into_iter().next().flatten();
        let loaded = self.opened(loaded.ok_or(Error::NoSuchWorkflow)?).await?;
        self.states.put(&Arc::new(loaded.state.clone()));
        Ok(loaded)
    }

    /// Waits until all submitted inputs are applied and all commands of committed starts are published.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Returns whether an earlier release cannot continue a workflow after this input, whichever rules the workflow follows.
/// The rollback that a parent requests is not among them, because its rules are those of this release.
fn is_unknown_to_earlier(input: &Input) -> bool {
    matches!(
        input,
        Input::Signal { .. } | Input::RollBack { cause: RollbackCause::Operator, .. } | Input::Rerun { .. }
    )
}
