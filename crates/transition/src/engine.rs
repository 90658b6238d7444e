//! Loads, decides, commits, publishes.

mod local_dispatch;
mod plans;
mod write;

use crate::cache::{Plans, States, Waiting};
use crate::digest::request_digest;
use crate::{Command, Error, TimerNotifier, clock, topic_of};
use goconductor_queue::{Message, Queue, Topic};
use goconductor_saga::{
    Due, Expressions, Input, Json, LedgerChange, OwedKey, Plan, Refusal, Side, StartWorkflow, State,
    Timestamp, Transition, WorkflowId, decide, start, transition,
};
use goconductor_store::{
    LedgerRowKey, Loaded, NewWorkflow, Record, Store, TransitionWrite, Write, WriteOutcome,
};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

pub use local_dispatch::LocalDispatch;

/// A lost race is decided again this often before the caller is told to come back: each loss means that
/// somebody else got on, so this is reached only if something is wrong.
const TRIES: u32 = 100;

/// What a engine is set to.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// A command that was published is due again after this, unless somebody says that it is under way.
    pub redelivery: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { redelivery: Duration::from_secs(5) }
    }
}

/// A start.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// Where it lives.
    pub namespace: String,
    /// What runs.
    pub plan: Arc<Plan>,
    /// Its input, already found to fit the definition's schema.
    pub input: Json,
    /// To find it by.
    pub labels: BTreeMap<String, String>,
    /// Unique in its namespace.
    pub idempotency_key: Option<String>,
    /// Who starts it.
    pub actor: Option<String>,
}

/// A start that was accepted, now or before.
#[derive(Debug, Clone)]
pub struct Started {
    /// The workflow.
    pub state: Arc<State>,
    /// Whether it was there before.
    pub replayed: bool,
}

/// What waits for a workflow: some news and whoever wants to know what became of it.
type News = (Input, oneshot::Sender<Result<Arc<State>, Error>>);

/// A transition that is ready to be written.
struct Prepared {
    write: TransitionWrite,
    /// The state after it.
    state: Arc<State>,
    /// What this process publishes itself, once it is written.
    commands: Vec<(Topic, Command)>,
    /// When the first of what is left to the ledger is due.
    left: Option<Timestamp>,
}

/// The one of a process that turns news into transitions.
#[derive(Debug)]
pub struct Engine {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    expressions: Arc<dyn Expressions>,
    settings: Settings,
    plans: Plans,
    states: States,
    waiting: Waiting<News>,
    tasks: TaskTracker,
    timer_notifier: TimerNotifier,
    services_changed: Notify,
    local_dispatch: OnceLock<Weak<dyn LocalDispatch>>,
}

impl Engine {
    /// One engine for a process.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        expressions: Arc<dyn Expressions>,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            queue,
            expressions,
            settings,
            plans: Plans::new(),
            states: States::new(),
            waiting: Waiting::new(),
            tasks: TaskTracker::new(),
            timer_notifier: TimerNotifier::new(),
            services_changed: Notify::new(),
            local_dispatch: OnceLock::new(),
        })
    }

    /// Durable state.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Where commands wait.
    #[must_use]
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }

    /// What computes expressions.
    #[must_use]
    pub fn expressions(&self) -> &dyn Expressions {
        &*self.expressions
    }

    /// Rings when something becomes due that only the ledger knows of: for the duty runner.
    #[must_use]
    pub fn timer_notifier(&self) -> &TimerNotifier {
        &self.timer_notifier
    }

    /// Rings when it was changed how a service is reached: for the executor.
    #[must_use]
    pub fn services_changed(&self) -> &Notify {
        &self.services_changed
    }

    /// Starts a workflow: once this has answered, it is never lost.
    ///
    /// # Errors
    /// When the key belongs to another start, or the database does not answer.
    pub async fn start(self: &Arc<Self>, request: StartRequest) -> Result<Started, Error> {
        let now = clock::now();
        let first = StartWorkflow {
            id: WorkflowId(uuid::Uuid::now_v7()),
            namespace: request.namespace,
            input: request.input,
            labels: request.labels,
            actor: request.actor,
        };
        let request_digest = request_digest(&request.plan.definition().name, &first.input);
        let (events, state) = start(&request.plan, &*self.expressions, &first, now);
        let transition = transition(&request.plan, None, events, state);
        let Prepared { write, state, commands, left } = self.prepare(transition, now).await?;
        let record = Arc::clone(&write.record);
        let new = NewWorkflow { write, idempotency_key: request.idempotency_key, request_digest };
        match self.write_one(Write::Start(new)).await? {
            WriteOutcome::Written => {
                self.states.put(&state);
                let (this, after) = (Arc::clone(self), Arc::clone(&state));
                // It is durable: nobody has to wait for the queue to hear that.
                self.tasks.spawn(async move { this.written(&after, &record, commands, left).await });
                Ok(Started { state, replayed: false })
            }
            WriteOutcome::Replayed(loaded) => Ok(Started { state: Arc::new(loaded.state), replayed: true }),
            WriteOutcome::KeyConflict(id) => Err(Error::KeyConflict(id)),
            WriteOutcome::Lost(_) | WriteOutcome::Missing => {
                Err(Error::Internal("the store judged a start as a transition".to_owned()))
            }
        }
    }

    /// Hands in news of a workflow; the state after it.
    ///
    /// # Errors
    /// When it changes nothing, with why.
    pub async fn submit(self: &Arc<Self>, id: WorkflowId, input: Input) -> Result<Arc<State>, Error> {
        let (answer, answered) = oneshot::channel();
        if self.waiting.add(id, (input, answer)) {
            // In a task of its own: the caller may go away, the others who wait may not be left alone.
            let this = Arc::clone(self);
            self.tasks.spawn(async move {
                loop {
                    let batch = this.waiting.take(id);
                    if batch.is_empty() {
                        break;
                    }
                    this.settle(id, batch).await;
                }
            });
        }
        answered.await.unwrap_or_else(|_| Err(Error::Internal("the decision was dropped".to_owned())))
    }

    /// The state of a workflow that has not ended, as this process last saw it; none: it is not known here.
    #[must_use]
    pub fn known(&self, id: WorkflowId) -> Option<Arc<State>> {
        self.states.get(id)
    }

    /// Whatever is known of a workflow is not to be relied on any more.
    pub fn forget(&self, id: WorkflowId) {
        self.states.forget(id);
    }

    /// The state of a workflow as this process last saw it, or as it is stored.
    ///
    /// # Errors
    /// When there is no such workflow, or it can't be read.
    pub async fn remembered(&self, id: WorkflowId) -> Result<Arc<State>, Error> {
        if let Some(state) = self.states.get(id) {
            return Ok(state);
        }
        self.load(id).await.map(|loaded| Arc::new(loaded.state))
    }

    /// A state that came with a command, or a newer one that is known here.
    #[must_use]
    pub fn adopt(&self, state: &Arc<State>) -> Arc<State> {
        self.states.put(state);
        self.states.get(state.id).unwrap_or_else(|| Arc::clone(state))
    }

    /// A workflow as it is stored.
    ///
    /// # Errors
    /// When there is no such workflow, or it can't be read.
    pub async fn load(&self, id: WorkflowId) -> Result<Loaded, Error> {
        let loaded = self.store.load(&[id]).await?.into_iter().next().flatten();
        let loaded = loaded.ok_or(Error::NoSuchWorkflow)?;
        self.states.put(&Arc::new(loaded.state.clone()));
        Ok(loaded)
    }

    /// Publishes commands; what does not fit is left to the ledger.
    pub async fn publish(&self, commands: Vec<(Topic, Command)>) {
        self.publish_with(commands, None).await;
    }

    /// With the state of the workflow that they are of, for whoever takes them, if that may be another process.
    async fn publish_with(&self, commands: Vec<(Topic, Command)>, state: Option<&str>) {
        let state = state.filter(|_| self.queue.outlives_processes());
        let mut by_topic: BTreeMap<Topic, (Vec<Message>, Vec<LedgerRowKey>)> = BTreeMap::new();
        for (topic, command) in commands {
            let (messages, rows) = by_topic.entry(topic).or_default();
            messages.push(command.message(state));
            rows.push(command.row());
        }
        for (topic, (messages, rows)) in by_topic {
            if let Err(error) = self.queue.publish(&topic, messages).await {
                tracing::debug!(%topic, %error, "commands are left to the ledger");
                if error.kind() == goconductor_queue::ErrorKind::Unavailable {
                    // Some may have been published: they are redelivered in their time, with doubt.
                    continue;
                }
                // Certainly not published, so the next delivery is to count as the first.
                if let Err(error) = self.store.release(&rows).await {
                    tracing::warn!(%topic, %error, "commands that were not published wait for their redelivery");
                }
            }
        }
    }

    /// Waits until all news that was handed in is settled.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Decides all news of one workflow that waits together, and commits it as one transition.
    async fn settle(&self, id: WorkflowId, batch: Vec<News>) {
        let (inputs, answers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        match self.settle_inputs(id, &inputs).await {
            Ok(results) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    // A caller who went away does not want to know.
                    drop(answer.send(result));
                }
            }
            Err(error) => {
                self.states.forget(id);
                for answer in answers {
                    drop(answer.send(Err(error.clone())));
                }
            }
        }
    }

    async fn settle_inputs(
        &self,
        id: WorkflowId,
        inputs: &[Input],
    ) -> Result<Vec<Result<Arc<State>, Error>>, Error> {
        let mut base = match self.states.get(id) {
            Some(state) => (state, false),
            None => (Arc::new(self.load(id).await?.state), true),
        };
        for _ in 0..TRIES {
            let (before, fresh) = (&base.0, base.1);
            let plan = self.plan_of(before).await?;
            let now = clock::now();
            let (events, after, refusals) = decide_all(&plan, &*self.expressions, before, inputs, now);
            // A memory may lag behind: nobody is refused on the word of it.
            if !fresh && refusals.iter().any(Option::is_some) {
                base = (Arc::new(self.load(id).await?.state), true);
                continue;
            }
            let after = match after {
                None => Arc::clone(before),
                Some(_) if events.is_empty() => Arc::clone(before),
                Some(after) => {
                    let transition = transition(&plan, Some(before), events, after);
                    match self.commit(transition, now).await? {
                        Ok(state) => state,
                        Err(present) => {
                            base = (present, true);
                            continue;
                        }
                    }
                }
            };
            let result = |refusal: Option<Refusal>| {
                refusal.map_or_else(|| Ok(Arc::clone(&after)), |why| Err(why.into()))
            };
            return Ok(refusals.into_iter().map(result).collect());
        }
        Err(Error::Contention(TRIES))
    }

    /// The state after the transition; or, if the race was lost, the state as it stands.
    async fn commit(
        &self,
        transition: Transition,
        now: Timestamp,
    ) -> Result<Result<Arc<State>, Arc<State>>, Error> {
        let Prepared { write, state, commands, left } = self.prepare(transition, now).await?;
        let record = Arc::clone(&write.record);
        match self.write_one(Write::Transition(write)).await? {
            WriteOutcome::Written => {
                self.written(&state, &record, commands, left).await;
                Ok(Ok(state))
            }
            WriteOutcome::Lost(present) => {
                metrics::counter!("goconductor_transitions_lost_total").increment(1);
                let present = Arc::new(present.state);
                self.states.put(&present);
                Ok(Err(present))
            }
            WriteOutcome::Missing => Err(Error::NoSuchWorkflow),
            WriteOutcome::Replayed(_) | WriteOutcome::KeyConflict(_) => {
                Err(Error::Internal("the store judged a transition as a start".to_owned()))
            }
        }
    }

    /// Which commands this process publishes itself, and which it leaves to the ledger.
    async fn prepare(&self, transition: Transition, now: Timestamp) -> Result<Prepared, Error> {
        let record = Arc::new(Record::of(&transition)?);
        let state = Arc::new(transition.state);
        let mut publishes = Vec::new();
        let mut commands = Vec::new();
        let mut left: Option<Timestamp> = None;
        for change in &record.ledger {
            let (LedgerChange::Issue(row) | LedgerChange::Change(row)) = change else { continue };
            let at = match row.due {
                Due::At(at) => at,
                Due::Withdraw => now,
                Due::Held => continue,
            };
            let topic = match (row.key, &row.service) {
                (OwedKey::Command(step, side), Some(service)) => {
                    Some((topic_of(&state.namespace, service, side), step, side))
                }
                (OwedKey::Command(..) | OwedKey::Timer(_), _) => None,
            };
            let served = match &topic {
                Some((topic, ..)) => self.queue.has_consumer(topic).await.unwrap_or(false),
                None => true,
            };
            // A change of a row that may be under way is the duty runner's, who knows how often it was sent.
            let due = matches!(change, LedgerChange::Issue(_)) && matches!(row.due, Due::At(_)) && at <= now;
            match topic {
                Some((topic, step, side)) if due && served => {
                    publishes.push(row.key);
                    commands.push((topic, command(&state, step, side, row.attempt, now)));
                }
                // What nobody serves is looked at when somebody does; but a command to be taken back is not for its service.
                Some(_) | None if served || row.due == Due::Withdraw => {
                    left = Some(left.map_or(at, |left| left.min(at)))
                }
                Some(_) | None => {}
            }
        }
        let redeliver_at = now.after(self.settings.redelivery);
        let write = TransitionWrite { record, publishes, now, redeliver_at };
        Ok(Prepared { write, state, commands, left })
    }

    /// What follows a commit, and never comes before it.
    async fn written(
        &self,
        state: &Arc<State>,
        record: &Record,
        commands: Vec<(Topic, Command)>,
        left: Option<Timestamp>,
    ) {
        self.states.put(state);
        if let Some(at) = left {
            self.timer_notifier.notify_due(at);
        }
        self.publish_with(self.dispatch_locally(commands), Some(&record.state)).await;
    }
}

fn command(
    state: &State,
    step: goconductor_saga::StepIndex,
    side: Side,
    attempt: u32,
    now: Timestamp,
) -> Command {
    Command {
        format: crate::COMMAND_FORMAT,
        id: state.id,
        seq: state.seq,
        step,
        side,
        attempt,
        redelivery: 0,
        published_at: now,
        state: None,
    }
}

/// Decides one input after the other; a refused one changes nothing for those behind it. No state: all were refused.
fn decide_all(
    plan: &Plan,
    expressions: &dyn Expressions,
    before: &State,
    inputs: &[Input],
    now: Timestamp,
) -> (Vec<goconductor_saga::Event>, Option<State>, Vec<Option<Refusal>>) {
    let mut events = Vec::new();
    let mut state: Option<State> = None;
    let mut refusals = Vec::with_capacity(inputs.len());
    for input in inputs {
        match decide(plan, expressions, state.as_ref().unwrap_or(before), input, now) {
            Ok((more, after)) => {
                events.extend(more);
                state = Some(after);
                refusals.push(None);
            }
            Err(refusal) => refusals.push(Some(refusal)),
        }
    }
    (events, state, refusals)
}
