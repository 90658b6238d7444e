//! Pending inputs of one workflow, applied as one transition.

use super::Engine;
use crate::pending::PendingInput;
use crate::{Error, clock};
use goconductor_saga::{
    Event, Expressions, Input, Plan, Refusal, State, Timestamp, WorkflowId, decide, transition,
};
use std::sync::Arc;

/// Maximum retries after conflicts. Each conflict means that another process made progress, so this many in a row
/// occur only if something is wrong.
const MAX_CONFLICT_RETRIES: u32 = 100;

impl Engine {
    /// Decides the pending inputs of one workflow in order, commits them as one transition and sends each result.
    #[tracing::instrument(level = "debug", skip_all, fields(workflow = %id, inputs = batch.len()))]
    pub(super) async fn apply_batch(&self, id: WorkflowId, batch: Vec<PendingInput>) {
        let (inputs, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|PendingInput { input, reply }| (input, reply)).unzip();
        match self.apply_inputs(id, Arc::new(inputs)).await {
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
        inputs: Arc<Vec<Input>>,
    ) -> Result<Vec<Result<Arc<State>, Error>>, Error> {
        let (mut before, mut from_store) = match self.states.get(id) {
            Some(state) => (state, false),
            None => (Arc::new(self.load(id).await?.state), true),
        };
        for _ in 0..MAX_CONFLICT_RETRIES {
            let plan = self.plan_of(&before).await?;
            let now = clock::now();
            let rules = {
                let (plan, before, inputs) = (Arc::clone(&plan), Arc::clone(&before), Arc::clone(&inputs));
                move |expressions: &dyn Expressions| decide_all(&plan, expressions, &before, &inputs, now)
            };
            let Decided { events, after, refusals } = self.run_rules(rules).await?;
            // A cached state may be stale, so only a loaded state justifies a refusal.
            if !from_store && refusals.iter().any(Option::is_some) {
                (before, from_store) = (Arc::new(self.load(id).await?.state), true);
                continue;
            }
            let after = match after {
                Some(after) if !events.is_empty() => {
                    let transition = transition(&plan, Some(&before), events, after);
                    match self.commit(transition, now).await? {
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
