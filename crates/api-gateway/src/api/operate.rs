//! Interventions of an operator.

use super::reason::{optional_reason, required_reason};
use super::workflow_id::parse_id;
use super::{Api, CallContext};
use crate::audit_notes;
use crate::error::{ApiResult, NO_STEP, NOT_COMPENSATABLE, Problem};
use crate::view::WorkflowView;
use goconductor_saga::{Input, Json, Phase, Plan, RollbackCause, State, StepIndex};
use goconductor_transition::Error;

impl Api {
    /// Cancels a workflow: it rolls back.
    pub(crate) async fn cancel_workflow(
        &self,
        context: &CallContext,
        id: &str,
        reason: Option<String>,
    ) -> ApiResult<WorkflowView> {
        let reason = optional_reason(reason)?;
        note_reason(reason.as_deref());
        self.submit(context, id, |actor| Input::Cancel { actor, reason }).await
    }

    /// Rolls a completed workflow back.
    pub(crate) async fn compensate_workflow(
        &self,
        context: &CallContext,
        id: &str,
        reason: Option<String>,
    ) -> ApiResult<WorkflowView> {
        let reason = optional_reason(reason)?;
        note_reason(reason.as_deref());
        let loaded = self.load(context, parse_id(id)?).await?;
        if let Err(Error::NoSuchDefinition) = self.engine.plan_of(&loaded.state).await {
            let State { definition, version, .. } = &loaded.state;
            let detail = format!(
                "version {version} of definition {definition} no longer exists, so the compensations of workflow {id} \
                 are not known"
            );
            return Err(Problem::new(NOT_COMPENSATABLE, detail));
        }
        self.check_parent(&loaded.state).await?;
        let cause = RollbackCause::Operator;
        self.submit(context, id, |actor| Input::RollBack { cause, actor, reason }).await
    }

    /// Refuses the rollback of a completed child whose parent continues, because the parent uses its output and would
    /// complete as if the child had.
    async fn check_parent(&self, child: &State) -> ApiResult<()> {
        let Some(parent) = child.parent.filter(|_| child.phase == Phase::Completed) else { return Ok(()) };
        let parent = match self.engine.load(parent.id).await {
            Ok(loaded) => loaded.state,
            Err(Error::NoSuchWorkflow) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if parent.phase.is_final() {
            return Ok(());
        }
        let detail = format!(
            "workflow {} is a child of workflow {}, which has not ended; cancel the parent, which rolls its children \
             back, or wait until it has ended",
            child.id, parent.id
        );
        Err(Problem::new(NOT_COMPENSATABLE, detail))
    }

    /// Ends a workflow without a rollback.
    pub(crate) async fn terminate_workflow(
        &self,
        context: &CallContext,
        id: &str,
        reason: Option<String>,
    ) -> ApiResult<WorkflowView> {
        let reason = required_reason(reason)?;
        note_reason(Some(&reason));
        self.submit(context, id, |actor| Input::Terminate { actor, reason }).await
    }

    /// Pauses a workflow: it issues no new commands.
    pub(crate) async fn pause_workflow(
        &self,
        context: &CallContext,
        id: &str,
        reason: Option<String>,
    ) -> ApiResult<WorkflowView> {
        let reason = optional_reason(reason)?;
        note_reason(reason.as_deref());
        self.submit(context, id, |actor| Input::Pause { actor, reason }).await
    }

    /// Resumes a paused workflow.
    pub(crate) async fn resume_workflow(
        &self,
        context: &CallContext,
        id: &str,
        reason: Option<String>,
    ) -> ApiResult<WorkflowView> {
        let reason = optional_reason(reason)?;
        note_reason(reason.as_deref());
        self.submit(context, id, |actor| Input::Resume { actor, reason }).await
    }

    /// Retries a step, or its compensation during a rollback.
    pub(crate) async fn retry_step(
        &self,
        context: &CallContext,
        id: &str,
        step: &str,
        reason: Option<String>,
    ) -> ApiResult<WorkflowView> {
        let reason = optional_reason(reason)?;
        note_step(step, reason.as_deref());
        let step = self.step_index(context, id, step).await?;
        self.submit(context, id, |actor| Input::RetryStep { step, actor, reason }).await
    }

    /// Skips a step, or its compensation during a rollback.
    pub(crate) async fn skip_step(
        &self,
        context: &CallContext,
        id: &str,
        step: &str,
        reason: Option<String>,
    ) -> ApiResult<WorkflowView> {
        let reason = required_reason(reason)?;
        note_step(step, Some(&reason));
        let step = self.step_index(context, id, step).await?;
        self.submit(context, id, |actor| Input::SkipStep { step, actor, reason }).await
    }

    /// Supplies the result of a step, or completes its compensation during a rollback. The output of a compensation
    /// is ignored.
    pub(crate) async fn complete_step(
        &self,
        context: &CallContext,
        id: &str,
        step: &str,
        reason: Option<String>,
        output: Option<Json>,
    ) -> ApiResult<WorkflowView> {
        let reason = required_reason(reason)?;
        let output = output.unwrap_or(Json::Null);
        self.check_size("output", &output)?;
        note_step(step, Some(&reason));
        let step = self.step_index(context, id, step).await?;
        self.submit(context, id, |actor| Input::CompleteStep { step, output, actor, reason }).await
    }

    pub(super) async fn submit(
        &self,
        context: &CallContext,
        id: &str,
        input: impl FnOnce(Option<String>) -> Input,
    ) -> ApiResult<WorkflowView> {
        let loaded = self.load(context, parse_id(id)?).await?;
        audit_notes::before(
            &serde_json::json!({"status": loaded.state.status().as_str(), "seq": loaded.state.seq}),
        );
        let id = loaded.state.id;
        let actor = context.actor.clone().or_else(|| Some("api".to_owned()));
        self.engine.submit(id, input(actor)).await?;
        self.workflow_view(context, self.load(context, id).await?).await
    }

    async fn step_index(&self, context: &CallContext, id: &str, step: &str) -> ApiResult<StepIndex> {
        let loaded = self.load(context, parse_id(id)?).await?;
        step_of(self.engine.plan_of(&loaded.state).await?.as_ref(), step)
    }
}

/// Returns the step with this name.
pub(super) fn step_of(plan: &Plan, step: &str) -> ApiResult<StepIndex> {
    plan.step_named(step).ok_or_else(|| {
        let names: Vec<&str> = plan.definition().steps.iter().map(|step| step.name.as_str()).collect();
        Problem::new(NO_STEP, format!("step {step} not found; the workflow's steps are {}", names.join(", ")))
    })
}

/// Notes the parameters of an intervention for the audit log. The output that an operator supplies is not among them.
fn note_reason(reason: Option<&str>) {
    audit_notes::after(&serde_json::json!({ "reason": reason }));
}

fn note_step(step: &str, reason: Option<&str>) {
    audit_notes::after(&serde_json::json!({"step": step, "reason": reason}));
}
