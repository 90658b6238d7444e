//! Pending inputs of one workflow, applied as one transition.

use super::Engine;
use super::commit::Prepared;
use super::references::PayloadOwner;
use super::rules::with_owner;
use crate::pending::PendingInput;
use crate::{Error, clock, trace};
use goconductor_saga::{
    ChildEnd, Event, Expressions, Failure, Input, Outcome, Plan, Refusal, Side, State, Timestamp, WorkflowId,
    decide, json_bytes, transition,
};
use goconductor_telemetry::trace::SpanContext;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::Instrument;

/// Maximum retries after conflicts. Each conflict means that another process made progress, so this many in a row
/// occur only if something is wrong.
pub(super) const MAX_CONFLICT_RETRIES: u32 = 100;

impl Engine {
    /// Decides the pending inputs of one workflow in order, commits them as one transition and sends each result.
    #[tracing::instrument(level = "debug", skip_all, fields(workflow = %id, inputs = batch.len()))]
    pub(super) async fn apply_batch(&self, id: WorkflowId, batch: Vec<PendingInput>) {
        let (mut inputs, mut replies, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for PendingInput { input, reply, span } in batch {
            inputs.push(input);
            replies.push(reply);
            spans.push(span);
        }
        // The transition is part of the work of the first caller. Those of the others are linked to it.
        let causes = trace::further_contexts(&spans);
        let first = spans.into_iter().find(|span| !span.is_disabled()).unwrap_or_else(tracing::Span::none);
        match self.apply_inputs(id, Arc::new(inputs), &causes).instrument(first).await {
            Ok(results) => {
                for (reply, result) in replies.into_iter().zip(results) {
                    // A caller that was cancelled no longer needs the result.
                    drop(reply.send(result));
                }
            }
            Err(error) => {
                self.states.evict(id);
                for reply in replies {
                    drop(reply.send(Err(error.clone())));
                }
            }
        }
    }

    async fn apply_inputs(
        &self,
        id: WorkflowId,
        mut inputs: Arc<Vec<Input>>,
        causes: &[SpanContext],
    ) -> Result<Vec<Result<Arc<State>, Error>>, Error> {
        let (mut before, mut from_store) = match self.states.get(id) {
            Some(state) => (state, false),
            None => (Arc::new(self.load(id).await?.state), true),
        };
        for _ in 0..MAX_CONFLICT_RETRIES {
            let plan = self.plan_of(&before).await?;
            let now = clock::now();
            let owner = self.owner_of(&plan, &before).await?;
            let rules = {
                let (plan, before, inputs) = (Arc::clone(&plan), Arc::clone(&before), Arc::clone(&inputs));
                move |expressions: &dyn Expressions| {
                    let decide =
                        |expressions: &dyn Expressions| decide_all(&plan, expressions, &before, &inputs, now);
                    with_owner(owner.as_ref(), expressions, decide)
                }
            };
            let Decided { events, after, refusals } =
                self.run_rules(PayloadOwner::of(&before), rules).await?;
            // A cached state may be stale, so only a loaded state justifies a refusal.
            if !from_store && refusals.iter().any(Option::is_some) {
                (before, from_store) = (Arc::new(self.load(id).await?.state), true);
                continue;
            }
            let after = match after {
                Some(after) if !events.is_empty() => {
                    let transition = transition(&plan, Some(&before), events, after);
                    let prepared = self.prepare(transition, now).await?;
                    if let Some(fewer) = self.without_an_output(&prepared, &inputs) {
                        inputs = Arc::new(fewer);
                        continue;
                    }
                    match self.commit(prepared, causes).await? {
                        Ok(state) => state,
                        Err(current) => {
                            (before, from_store) = (current, true);
                            continue;
                        }
                    }
                }
                Some(_) | None => before,
            };
            let result = |refusal: Option<Refusal>| {
                refusal.map_or_else(|| Ok(Arc::clone(&after)), |refusal| Err(refusal.into()))
            };
            return Ok(refusals.into_iter().map(result).collect());
        }
        Err(Error::Contention(MAX_CONFLICT_RETRIES))
    }

    /// Returns the inputs with the largest output rejected, if the state would exceed its limit. `None` if the state
    /// is within the limit, or no input has an output: an event must never be lost for its size.
    fn without_an_output(&self, prepared: &Prepared, inputs: &[Input]) -> Option<Vec<Input>> {
        let (bytes, limit) = (prepared.write.record.state.len(), self.state_bytes.load(Ordering::Relaxed));
        if bytes <= limit || !prepared.state.rules.has_state_limit() {
            return None;
        }
        let largest = (0..inputs.len()).filter_map(|at| Some((output_bytes(inputs.get(at)?)?, at))).max();
        let (output, at) = largest?;
        tracing::warn!(workflow = %prepared.state.id, bytes, limit, output, "output of a step was rejected");
        let message = format!(
            "the state of the workflow would have {bytes} bytes with the output of {output} bytes; \
             limits.state_bytes is {limit}"
        );
        let mut inputs = inputs.to_vec();
        let failure = Failure::of("STATE_TOO_LARGE", message);
        match inputs.get_mut(at) {
            Some(Input::ReportOutcome { outcome, .. }) => *outcome = Outcome::OutputRejected { failure },
            Some(Input::ChildEnded { end, .. }) => *end = ChildEnd::OutputRejected { failure },
            Some(_) | None => {}
        }
        Some(inputs)
    }
}

/// Returns the size of the output that an input adds to the state. The output of a compensation is not kept.
fn output_bytes(input: &Input) -> Option<usize> {
    match input {
        Input::ReportOutcome { side: Side::Execute, outcome: Outcome::Done { output }, .. } => {
            Some(json_bytes(output))
        }
        Input::ChildEnded { end: ChildEnd::Completed { output }, .. } => Some(json_bytes(output)),
        Input::ReportOutcome { .. }
        | Input::StartAttempt { .. }
        | Input::LoseAttempt { .. }
        | Input::WithdrawCommand { .. }
        | Input::FireTimer { .. }
        | Input::Signal { .. }
        | Input::AcquireLocks { .. }
        | Input::Cancel { .. }
        | Input::RollBack { .. }
        | Input::Rerun { .. }
        | Input::ChildStarted { .. }
        | Input::ChildEnded { .. }
        | Input::Terminate { .. }
        | Input::Pause { .. }
        | Input::Resume { .. }
        | Input::RetryStep { .. }
        | Input::SkipStep { .. }
        | Input::CompleteStep { .. } => None,
    }
}

/// The decision on several inputs.
struct Decided {
    events: Vec<Event>,
    /// The state after the events, or `None` if every input was refused.
    after: Option<State>,
    /// For each input, why it was refused, if it was.
    refusals: Vec<Option<Refusal>>,
}

/// Decides the inputs in order. A refused input changes nothing for the inputs after it.
fn decide_all(
    plan: &Plan,
    expressions: &dyn Expressions,
    before: &State,
    inputs: &[Input],
    now: Timestamp,
) -> Decided {
    let mut events = Vec::new();
    let mut after: Option<State> = None;
    let mut refusals = Vec::with_capacity(inputs.len());
    for input in inputs {
        match decide(plan, expressions, after.as_ref().unwrap_or(before), input, now) {
            Ok((more, state)) => {
                events.extend(more);
                after = Some(state);
                refusals.push(None);
            }
            Err(refusal) => refusals.push(Some(refusal)),
        }
    }
    Decided { events, after, refusals }
}
