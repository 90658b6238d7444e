//! The relations of a workflow: its parent, its children, its schedule, its locks and its trace.

use super::workflow_id::parse_id;
use super::{Api, CallContext};
use crate::error::ApiResult;
use crate::time::Time;
use goconductor_saga::{LockState, Plan, State, Status, Step, StepIndex, WorkflowId};
use goconductor_schedule::{NAME_LABEL, TIME_LABEL};
use goconductor_telemetry::trace::SpanContext;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Maximum children of one response.
const MAX_CHILDREN: usize = 1000;
/// Maximum locks whose holders are read.
const MAX_HOLDERS: usize = 64;

/// The relations of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RelationsView {
    /// The workflow that started this one as its child. Null if there is none.
    parent: Option<RelatedWorkflow>,
    /// The current children of the steps, in the order of the steps.
    children: Vec<RelatedWorkflow>,
    /// Whether there are more children than the list has.
    is_more: bool,
    /// The schedule that started the workflow. Null if there is none.
    schedule: Option<ScheduleRelation>,
    /// The locks that the workflow holds or waits for.
    locks: Vec<LockRelation>,
    /// Trace of the workflow (W3C), 32 hexadecimal digits. Null if its start belonged to no trace.
    trace_id: Option<String>,
}

/// The parent or a child of a workflow.
#[derive(Debug, Serialize, ToSchema)]
struct RelatedWorkflow {
    #[schema(value_type = String)]
    id: WorkflowId,
    /// Step of the parent that started the child.
    step: Option<String>,
    /// Name of the definition. Null if it is not known.
    definition: Option<String>,
    /// Status. Null if the workflow was deleted.
    #[schema(value_type = Option<String>)]
    status: Option<Status>,
}

/// The schedule that started a workflow.
#[derive(Debug, Serialize, ToSchema)]
struct ScheduleRelation {
    name: String,
    /// Due time of the start, in RFC 3339.
    time: Option<String>,
}

/// A lock that a workflow holds or waits for.
#[derive(Debug, Serialize, ToSchema)]
struct LockRelation {
    key: String,
    /// Step that requested the lock. Null for a lock of the definition.
    step: Option<String>,
    /// Whether several holders may share the lock.
    shared: bool,
    /// Whether the workflow holds the lock.
    held: bool,
    /// Fencing token of the hold. Null while the workflow waits.
    fencing_token: Option<u64>,
    /// Owner that holds the lock while the workflow waits. Null if it is not known.
    holder: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    requested_at: Time,
}

impl Api {
    /// Returns the relations of a workflow.
    pub(crate) async fn workflow_relations(
        &self,
        context: &CallContext,
        id: &str,
    ) -> ApiResult<RelationsView> {
        let state = self.load(context, parse_id(id)?).await?.state;
        let plan = self.engine.plan_of(&state).await?;
        let (children, is_more) = self.children_of(&plan, &state).await?;
        Ok(RelationsView {
            parent: self.parent_of(&state).await,
            children,
            is_more,
            schedule: state.labels.get(NAME_LABEL).map(|name| ScheduleRelation {
                name: name.clone(),
                time: state.labels.get(TIME_LABEL).cloned(),
            }),
            locks: self.locks_of(&plan, &state).await,
            trace_id: state.trace.as_ref().and_then(|trace| trace_id(&trace.traceparent)),
        })
    }

    /// Returns the parent. One that was deleted or cannot be read has no status.
    async fn parent_of(&self, state: &State) -> Option<RelatedWorkflow> {
        let parent = state.parent?;
        let loaded = self.engine.load(parent.id).await.ok().map(|loaded| loaded.state);
        // The parent is in the namespace of its child.
        let Some(loaded) = loaded.filter(|loaded| loaded.namespace == state.namespace) else {
            return Some(RelatedWorkflow { id: parent.id, step: None, definition: None, status: None });
        };
        let plan = self.engine.plan_of(&loaded).await.ok();
        let step = plan.and_then(|plan| plan.step(parent.step).map(|step| step.name.clone()));
        let status = Some(loaded.status());
        Some(RelatedWorkflow { id: parent.id, step, definition: Some(loaded.definition), status })
    }

    async fn children_of(&self, plan: &Plan, state: &State) -> ApiResult<(Vec<RelatedWorkflow>, bool)> {
        let steps = plan.definition().steps.iter().zip(&state.steps);
        let mut children: Vec<(&Step, WorkflowId)> =
            steps.filter_map(|(step, state)| Some((step, state.child?))).collect();
        let is_more = children.len() > MAX_CHILDREN;
        children.truncate(MAX_CHILDREN);
        if children.is_empty() {
            return Ok((Vec::new(), false));
        }
        let ids: Vec<WorkflowId> = children.iter().map(|(_, id)| *id).collect();
        let heads = self.store().heads(&ids).await?;
        let statuses: BTreeMap<WorkflowId, Status> =
            heads.into_iter().map(|head| (head.id, head.status)).collect();
        let view = |(step, id): (&Step, WorkflowId)| RelatedWorkflow {
            id,
            step: Some(step.name.clone()),
            definition: step.action.child().map(|child| child.workflow.clone()),
            status: statuses.get(&id).copied(),
        };
        Ok((children.into_iter().map(view).collect(), is_more))
    }

    async fn locks_of(&self, plan: &Plan, state: &State) -> Vec<LockRelation> {
        let mut locks = Vec::new();
        if state.status().is_final() {
            return locks;
        }
        let of_steps = (0u32..).map(StepIndex).zip(&state.steps).filter_map(|(index, step)| {
            Some((plan.step(index).map(|step| step.name.clone()), step.lock.as_deref()?))
        });
        let requests = state.lock.as_deref().map(|lock| (None, lock)).into_iter().chain(of_steps);
        for (step, request) in requests {
            locks.extend(views(step.as_deref(), request));
        }
        for lock in locks.iter_mut().filter(|lock| !lock.held).take(MAX_HOLDERS) {
            let holder = self.store().lock_holder(&state.namespace, &lock.key).await;
            lock.holder = holder.ok().flatten().map(|holder| holder.owner);
        }
        locks
    }
}

fn views<'a>(step: Option<&'a str>, request: &'a LockState) -> impl Iterator<Item = LockRelation> + 'a {
    request.locks.iter().map(move |lock| LockRelation {
        key: lock.key.clone(),
        step: step.map(str::to_owned),
        shared: lock.shared,
        held: lock.token.is_some(),
        fencing_token: lock.token,
        holder: None,
        requested_at: request.requested_at.into(),
    })
}

/// Returns the trace id of a `traceparent` (W3C Trace Context, section 3.2).
fn trace_id(traceparent: &str) -> Option<String> {
    SpanContext::read(Some(traceparent), None).map(|span| span.trace_id().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_id_is_the_second_part() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_id(&format!("00-{id}-b7ad6b7169203331-01")).as_deref(), Some(id));
        for text in ["", "00", "00-0af7-b7ad6b7169203331-01", "00-zzf7651916cd43dd8448eb211c80319c-b7-01"] {
            assert_eq!(trace_id(text), None, "{text}");
        }
    }
}
