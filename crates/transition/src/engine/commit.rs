//! The commit of a transition, and the publication of its commands.

use super::Engine;
use crate::{COMMAND_FORMAT, Command, Error, metrics, payloads, topic_of, trace};
use goconductor_queue::{Message, Topic};
use goconductor_saga::{
    Due, Elements, LedgerChange, Owed, OwedKey, Side, State, StepIndex, Timestamp, Transition, WorkflowId,
};
use goconductor_store::{EncodedTransition, LedgerRowKey, TransitionWrite, Write, WriteOutcome};
use goconductor_telemetry::SharedString;
use goconductor_telemetry::trace::{SpanContext, context_of, is_on, set_error};
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::Span;

/// A transition that is ready to be written.
pub(super) struct Prepared {
    pub(super) write: TransitionWrite,
    /// The state after the transition.
    pub(super) state: Arc<State>,
    pub(super) dispatch: Dispatch,
}

/// The actions after the commit of a transition.
#[derive(Default)]
pub(super) struct Dispatch {
    /// The commands that this process publishes.
    commands: Vec<(Topic, Command)>,
    /// When the first row that is left to the dispatcher is due.
    next_due: Option<Timestamp>,
    /// The span that causes the commands.
    cause: Option<SpanContext>,
}

/// The commands of one topic.
#[derive(Default)]
struct Publication {
    messages: Vec<Message>,
    rows: Vec<LedgerRowKey>,
    /// The spans of the commands. They end with the publication.
    spans: Vec<Span>,
}

impl Engine {
    /// Commits a transition. Returns the state after it or, on a conflict, the current state as the inner error.
    #[tracing::instrument(
        level = "debug",
        skip_all,
        fields(
            workflow = %prepared.state.id,
            namespace = prepared.state.namespace,
            seq = prepared.state.seq
        )
    )]
    pub(super) async fn commit(
        &self,
        prepared: Prepared,
        causes: &[SpanContext],
    ) -> Result<Result<Arc<State>, Arc<State>>, Error> {
        let Prepared { write, state, dispatch } = prepared;
        let record = Arc::clone(&write.record);
        match self.write_traced(Write::Transition(write), &state, causes).await? {
            WriteOutcome::Written => {
                self.after_commit(&state, &record, dispatch).await;
                Ok(Ok(state))
            }
            WriteOutcome::Lost(current) => {
                metrics::CONFLICTS.increment(1);
                let current = Arc::new(self.opened(*current).await?.state);
                self.states.put(&current);
                Ok(Err(current))
            }
            WriteOutcome::Missing => Err(Error::NoSuchWorkflow),
            WriteOutcome::Replayed(_) | WriteOutcome::KeyConflict(_) => {
                Err(Error::Internal("the store treated a transition as a start"))
            }
        }
    }

    /// Decides which commands this process publishes itself, and which it leaves to the dispatcher.
    pub(super) async fn prepare(&self, transition: Transition, now: Timestamp) -> Result<Prepared, Error> {
        let transition = self.with_stored_values(transition).await?;
        let record = Arc::new(self.encode(&transition).await?);
        let state = Arc::new(transition.state);
        let mut publishes = Vec::new();
        let mut dispatch = Dispatch { cause: trace::cause(&state), ..Dispatch::default() };
        for change in &record.ledger {
            let (LedgerChange::Issue(row) | LedgerChange::Change(row)) = change else { continue };
            let at = match row.due {
                Due::At(at) => at,
                Due::Withdraw => now,
                Due::Held => continue,
            };
            let target = command_target(&state, row);
            let served = match &target {
                Some((topic, ..)) => self.queue.has_consumer(topic).await.unwrap_or(false),
                None => true,
            };
            // A changed row may be in flight, and only the dispatcher knows how often it was published.
            let due = matches!(change, LedgerChange::Issue(_)) && matches!(row.due, Due::At(_)) && at <= now;
            match target {
                Some((topic, step, side)) if due && served => {
                    publishes.push(row.key);
                    dispatch.commands.push((topic, command(&state, step, side, row.attempt, now)));
                }
                // A topic without consumers is polled once it has one. A withdrawal needs no consumer.
                Some(_) | None if served || row.due == Due::Withdraw => {
                    dispatch.next_due = Some(dispatch.next_due.map_or(at, |next| next.min(at)));
                }
                Some(_) | None => {}
            }
        }
        if !record.locks.is_empty() {
            // The commit makes the requests due that wait for the locks.
            dispatch.next_due = Some(dispatch.next_due.map_or(now, |next| next.min(now)));
        }
        let redeliver_at = now.after(self.settings.redelivery);
        let write = TransitionWrite { record, publishes, now, redeliver_at, trace: None };
        Ok(Prepared { write, state, dispatch })
    }

    /// Encodes a transition, with sealed payloads if its namespace has them.
    async fn encode(&self, transition: &Transition) -> Result<EncodedTransition, Error> {
        let namespace = &transition.state.namespace;
        match self.keys().filter(|keys| keys.seals(namespace)) {
            Some(keys) => {
                let key = keys.current(namespace).await?;
                Ok(EncodedTransition::of(&payloads::seal(&key, transition)?)?)
            }
            None => Ok(EncodedTransition::of(transition)?),
        }
    }

    /// Caches the new state, wakes the dispatcher and publishes the commands. Must not run before the commit.
    pub(super) async fn after_commit(
        &self,
        state: &Arc<State>,
        record: &EncodedTransition,
        dispatch: Dispatch,
    ) {
        let Dispatch { mut commands, next_due, cause } = dispatch;
        self.states.put(state);
        record_progress(record);
        if record.ends && state.parent.is_some() {
            self.notify_parent(state);
        }
        if let Some(at) = next_due {
            self.timer_notifier.notify_due(at);
        }
        if let Some(cause) = &cause {
            commands.iter_mut().for_each(|(_, command)| command.trace = Some(cause.traceparent.clone()));
        }
        self.publish_with(self.dispatch_locally(commands), Some(&record.state), |_| cause.clone()).await;
    }

    /// Publishes commands. Commands that cannot be published stay in the ledger and are redelivered.
    pub async fn publish(&self, commands: Vec<(Topic, Command)>) {
        let cause =
            |id| if is_on() { self.states.get(id).and_then(|state| trace::cause(&state)) } else { None };
        self.publish_with(commands, None, cause).await;
    }

    /// Publishes commands with the serialized state of their workflow, if another process may consume them. `cause`
    /// returns the span that causes the commands of a workflow.
    async fn publish_with(
        &self,
        commands: Vec<(Topic, Command)>,
        state: Option<&str>,
        cause: impl Fn(WorkflowId) -> Option<SpanContext>,
    ) {
        let state = state.filter(|_| self.queue.is_durable());
        let mut by_topic: BTreeMap<Topic, Publication> = BTreeMap::new();
        for (topic, mut command) in commands {
            let span = trace::publish_span(self.queue.system(), &topic, &command, cause(command.id).as_ref());
            if let Some(context) = context_of(&span) {
                command.trace = Some(context.traceparent);
            }
            let publication = by_topic.entry(topic).or_default();
            publication.messages.push(command.message(state));
            publication.rows.push(command.row());
            publication.spans.push(span);
        }
        for (topic, Publication { messages, rows, spans }) in by_topic {
            if let Err(error) = self.queue.publish(&topic, messages).await {
                for span in &spans {
                    set_error(span, "queue", || error.report());
                }
                tracing::debug!(%topic, error = error.report(), "commands were left to the ledger");
                if error.kind() == goconductor_queue::ErrorKind::Unavailable {
                    // Some may have been published, so all of them count as delivered until their redelivery.
                    continue;
                }
                // None was published, so the next delivery must count as the first.
                if let Err(error) = self.store.release(&rows).await {
                    tracing::warn!(%topic, %error, "unpublished commands were not released and wait for redelivery");
                }
            }
        }
    }
}

/// Counts the starts and the ends of workflows. The transitions in between are not counted.
fn record_progress(record: &EncodedTransition) {
    if record.from_seq != 0 && !record.ends {
        return;
    }
    // The ranges of elements differ with the lists, and each would be a time series of its own.
    let definition: SharedString = match Elements::parse(&record.definition) {
        Some(elements) => format!("{}/{}/{}[]", record.namespace, elements.definition, elements.step),
        None => format!("{}/{}", record.namespace, record.definition),
    }
    .into();
    if record.from_seq == 0 {
        metrics::STARTED.with([definition.clone()]).increment(1);
    }
    if let Some(ended_at) = record.ended_at.filter(|_| record.ends) {
        let labels = [definition, record.status.as_str().into()];
        metrics::DURATION.with(labels.clone()).record(ended_at.since(record.created_at).as_secs_f64());
        metrics::ENDED.with(labels).increment(1);
    }
}

/// Returns the topic, the step and the side of a command row, or `None` for a timer.
fn command_target(state: &State, row: &Owed) -> Option<(Topic, StepIndex, Side)> {
    match (row.key, &row.service) {
        (OwedKey::Command(step, side), Some(service)) => {
            Some((topic_of(&state.namespace, service, side), step, side))
        }
        (OwedKey::Command(..) | OwedKey::Timer(_), _) => None,
    }
}

fn command(state: &State, step: StepIndex, side: Side, attempt: u32, now: Timestamp) -> Command {
    Command {
        format: COMMAND_FORMAT,
        id: state.id,
        seq: state.seq,
        step,
        side,
        attempt,
        redelivery: 0,
        published_at: now,
        trace: None,
        state: None,
    }
}
