//! A step of a workflow with its inputs and its attempts.

use super::payloads::ShownPayloads;
use super::workflow_id::parse_id;
use super::{Api, CallContext};
use crate::error::{ApiResult, NO_STEP, Problem};
use crate::redaction::Redaction;
use crate::time::rfc3339;
use crate::view::{self, EventView, WorkflowStepView};
use goconductor_saga::{Json, Plan, Side, State, StepIndex, StepStatus, WorkflowId};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use utoipa::ToSchema;

/// Events that are read at once.
const EVENTS_PER_READ: u32 = 500;
/// Maximum events that are searched for the attempts of a step.
const MAX_EVENTS: u64 = 50_000;
/// The outcome of an attempt that has none yet.
const RUNNING: &str = "RUNNING";
/// Maximum attempts of one response. Earlier ones are left out.
const MAX_ATTEMPTS: usize = 200;

/// A step of a workflow with its inputs and its attempts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepDetailView {
    step: WorkflowStepView,
    /// Input of the action. Null if the step was not queued, or if the input cannot be computed.
    #[schema(value_type = Option<Json>)]
    input: Option<Arc<Json>>,
    /// Reason why the input cannot be computed.
    input_error: Option<String>,
    /// Input of the compensation. Null unless the compensation was issued.
    #[schema(value_type = Option<Json>)]
    compensation_input: Option<Arc<Json>>,
    /// Reason why the input of the compensation cannot be computed.
    compensation_input_error: Option<String>,
    /// The attempts at both sides, in the order of their first events.
    attempts: Vec<AttemptView>,
    /// Whether attempts were left out, because there are too many.
    is_more: bool,
}

/// An attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
struct AttemptView {
    /// `execute`, `compensate`
    side: String,
    /// Number of the attempt, from 1. 0 if the side ended without an attempt.
    attempt: u64,
    /// `RUNNING`, `RETRYING`, `COMPLETED`, `FAILED`, `UNKNOWN`
    outcome: &'static str,
    /// Start of the attempt. Null if it is not known.
    #[schema(format = DateTime)]
    started_at: Option<String>,
    /// Time at which the attempt was settled. Null while it runs.
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    /// Time at which the next attempt is due.
    #[schema(format = DateTime)]
    retry_at: Option<String>,
    /// Executor that ran the attempt. Null for an attempt that ended before its start was recorded.
    executor: Option<String>,
    /// Workflow that the attempt started as its child.
    child: Option<String>,
    #[schema(value_type = Option<Json>)]
    output: Option<Json>,
    /// Failure: `code`, `message` and `detail`.
    #[schema(value_type = Option<Json>)]
    error: Option<Json>,
    /// Operator who supplied the outcome.
    actor: Option<String>,
    /// Reason of the operator.
    reason: Option<String>,
}

/// The attempts of a step, while its history is read.
#[derive(Debug, Default)]
struct StepAttempts {
    all: VecDeque<AttemptView>,
    is_cut: bool,
}

impl Api {
    /// Returns a step with its inputs and its attempts.
    pub(crate) async fn workflow_step(
        &self,
        context: &CallContext,
        id: &str,
        step: &str,
    ) -> ApiResult<StepDetailView> {
        let state = Arc::new(self.load(context, parse_id(id)?).await?.state);
        let plan = self.engine.plan_of(&state).await?;
        let redaction = self.redaction.for_caller(context).of_definition(&plan.definition().name);
        let found = plan
            .step_named(step)
            .and_then(|index| Some((index, state.step(index)?, view::step(&plan, &state, index)?)));
        let Some((index, step_state, mut view)) = found else {
            return Err(Problem::new(NO_STEP, format!("workflow {id} has no step {step:?}")));
        };
        let mut payloads = ShownPayloads::new(self, context.namespace.as_str(), state.id);
        let (mut input, mut input_error) = (None, None);
        if !matches!(step_state.execution, StepStatus::Pending | StepStatus::Skipped) {
            (input, input_error) = self.step_input(&plan, &state, index, Side::Execute).await?;
        }
        let (mut compensation_input, mut compensation_input_error) = (None, None);
        if step_state.compensation.is_some() {
            (compensation_input, compensation_input_error) =
                self.step_input(&plan, &state, index, Side::Compensate).await?;
        }
        for side in [&mut input, &mut compensation_input] {
            if let Some(value) = side.take() {
                *side = Some(redaction.anywhere(&payloads.shown(value).await));
            }
        }
        if let Some(output) = view.output.take() {
            view.output = Some(payloads.shown(output).await);
        }
        let (attempts, is_more) = self.attempts(&redaction, &mut payloads, &plan, &state, step).await?;
        let step = redaction.step(view);
        Ok(StepDetailView {
            step,
            input,
            input_error,
            compensation_input,
            compensation_input_error,
            attempts,
            is_more,
        })
    }

    /// Returns the input of one side of a step, or the reason why it cannot be computed.
    async fn step_input(
        &self,
        plan: &Arc<Plan>,
        state: &Arc<State>,
        step: StepIndex,
        side: Side,
    ) -> ApiResult<(Option<Arc<Json>>, Option<String>)> {
        Ok(match self.engine.input_with_references(plan, state, step, side).await? {
            Ok(input) => (Some(input), None),
            Err(error) => (None, Some(error.to_string())),
        })
    }

    async fn attempts(
        &self,
        redaction: &Redaction,
        payloads: &mut ShownPayloads<'_>,
        plan: &Plan,
        state: &State,
        step: &str,
    ) -> ApiResult<(Vec<AttemptView>, bool)> {
        let (mut attempts, mut after) = (StepAttempts::default(), 0);
        let id: WorkflowId = state.id;
        while after < state.seq.min(MAX_EVENTS) {
            let events = self.engine.history(&state.namespace, id, after, EVENTS_PER_READ).await?;
            let Some(last) = events.last() else { break };
            after = last.seq;
            let views = events.iter().map(|event| view::event(plan, event));
            for event in views.filter(|event| event.step.as_deref() == Some(step)) {
                attempts.add(redaction.event(payloads.event(event).await));
            }
        }
        Ok((attempts.all.into(), attempts.is_cut || after < state.seq))
    }
}

impl StepAttempts {
    /// Adds an event of the step. Events that say nothing about an attempt have no effect.
    fn add(&mut self, event: EventView) {
        let (side, outcome) = match event.kind.as_str() {
            "ATTEMPT_STARTED" | "CHILD_STARTED" => (None, RUNNING),
            "ATTEMPT_FAILED" => (None, "RETRYING"),
            "STEP_COMPLETED" => (Some("execute"), "COMPLETED"),
            "STEP_FAILED" => (Some("execute"), "FAILED"),
            "STEP_UNKNOWN" | "STEP_PROBING" => (Some("execute"), "UNKNOWN"),
            "STEP_COMPENSATED" => (Some("compensate"), "COMPLETED"),
            "COMPENSATION_FAILED" => (Some("compensate"), "FAILED"),
            _ => return,
        };
        let text = |name: &str| event.detail.get(name).and_then(Json::as_str).map(str::to_owned);
        let side = side.map(str::to_owned).or_else(|| text("side")).unwrap_or_else(|| "execute".to_owned());
        let number = event.attempt.unwrap_or_default();
        let is_same = |each: &&mut AttemptView| each.side == side && each.attempt == number;
        // An attempt is one of the last ones.
        if let Some(attempt) = self.all.iter_mut().rev().find(is_same) {
            attempt.update(outcome, event);
            return;
        }
        if self.all.len() >= MAX_ATTEMPTS {
            self.all.pop_front();
            self.is_cut = true;
        }
        let mut attempt = AttemptView { side, attempt: number, ..AttemptView::default() };
        attempt.update(outcome, event);
        self.all.push_back(attempt);
    }
}

impl AttemptView {
    fn update(&mut self, outcome: &'static str, event: EventView) {
        let text = |name: &str| event.detail.get(name).and_then(Json::as_str).map(str::to_owned);
        let time = rfc3339(event.time.0);
        self.outcome = outcome;
        self.started_at = text("started_at").or_else(|| self.started_at.take());
        if outcome == RUNNING {
            // The start of a child is an event of its own, and the attempt starts with it.
            self.started_at.get_or_insert(time);
        } else {
            self.ended_at = Some(time);
        }
        self.retry_at = text("retry_at");
        self.executor = text("executor").or_else(|| self.executor.take());
        self.child = text("child").or_else(|| self.child.take());
        self.output = event.detail.get("output").cloned();
        self.error = event.detail.get("failure").cloned();
        self.reason = text("reason");
        self.actor = event.actor.filter(|_| self.reason.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;
    use goconductor_saga::Timestamp;
    use serde_json::json;

    fn event(seq: u64, kind: &str, attempt: u64, detail: Json) -> EventView {
        EventView {
            seq,
            time: Time(Timestamp(i64::try_from(seq).unwrap() * 1_000_000)),
            kind: kind.to_owned(),
            step: Some("charge".to_owned()),
            attempt: Some(attempt),
            detail,
            actor: Some("ada".to_owned()),
        }
    }

    #[test]
    fn events_of_an_attempt_become_one_entry() {
        let mut attempts = StepAttempts::default();
        let failure = json!({"code": "BUSY", "message": "later"});
        for event in [
            event(1, "STEP_QUEUED", 0, json!({})),
            event(
                2,
                "ATTEMPT_STARTED",
                1,
                json!({"side": "execute", "started_at": "1970-01-01T00:00:01Z", "executor": "e"}),
            ),
            event(
                3,
                "ATTEMPT_FAILED",
                1,
                json!({"side": "execute", "failure": failure, "retry_at": "1970-01-01T00:00:09Z"}),
            ),
            event(4, "STEP_COMPLETED", 2, json!({"output": {"id": 7}})),
            event(5, "COMPENSATION_FAILED", 1, json!({"failure": failure})),
            event(6, "STEP_COMPENSATED", 1, json!({"reason": "by hand"})),
        ] {
            attempts.add(event);
        }
        let found: Vec<_> =
            attempts.all.iter().map(|each| (each.side.as_str(), each.attempt, each.outcome)).collect();
        let expected =
            [("execute", 1, "RETRYING"), ("execute", 2, "COMPLETED"), ("compensate", 1, "COMPLETED")];
        assert_eq!(found, expected);
        let [first, second, third] = attempts.all.make_contiguous() else { panic!("three attempts") };
        assert_eq!(first.executor.as_deref(), Some("e"));
        assert_eq!(first.started_at.as_deref(), Some("1970-01-01T00:00:01Z"));
        assert_eq!((first.error.as_ref(), first.actor.as_ref()), (Some(&failure), None));
        assert_eq!(second.output, Some(json!({"id": 7})));
        assert_eq!((third.actor.as_deref(), third.reason.as_deref()), (Some("ada"), Some("by hand")));
        assert_eq!(third.error, None, "the failure was that of an earlier outcome");
    }

    #[test]
    fn first_attempts_are_left_out_if_there_are_too_many() {
        let mut attempts = StepAttempts::default();
        for attempt in 1..=MAX_ATTEMPTS as u64 + 1 {
            attempts.add(event(attempt, "ATTEMPT_FAILED", attempt, json!({"side": "execute"})));
        }
        assert_eq!((attempts.all.len(), attempts.is_cut), (MAX_ATTEMPTS, true));
        assert_eq!(attempts.all.front().map(|each| each.attempt), Some(2));
    }
}
