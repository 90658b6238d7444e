//! Repairs of a workflow: the re-run from a step, and the migration to another version of its definition.

use super::operate::step_of;
use super::reason::{optional_reason, required_reason};
use super::workflow_id::parse_id;
use super::{Api, CallContext};
use crate::audit_notes;
use crate::error::{ApiResult, MIGRATION, Problem, RERUN, WRONG_SHAPE};
use crate::view::WorkflowView;
use goconductor_saga::{
    Input, Json, MigrateWorkflow, PayloadRef, Plan, State, Status, StepIndex, StepStatus, WorkflowId,
};
use goconductor_transition::{Error, Migrated};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A request to re-run a workflow.
#[derive(Debug, Default)]
pub(crate) struct RerunRequest {
    /// The step to begin with, or `None` for all steps.
    pub(crate) step: Option<String>,
    /// `undo` (default) or `keep`.
    pub(crate) effects: Option<String>,
    /// The reason, which is required.
    pub(crate) reason: Option<String>,
}

/// A request to migrate a workflow.
#[derive(Debug, Default)]
pub(crate) struct MigrationRequest {
    /// The version of the definition.
    pub(crate) to_version: u32,
    /// The reason.
    pub(crate) reason: Option<String>,
    /// Whether the request only checks.
    pub(crate) dry_run: bool,
}

/// A migration of a workflow, or the check of one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MigrationView {
    #[schema(value_type = String)]
    pub(crate) id: WorkflowId,
    pub(crate) definition: String,
    #[schema(value_type = String)]
    pub(crate) status: Status,
    /// Version that the workflow followed before
    pub(crate) from_version: u32,
    /// Version that the workflow follows, or could follow
    pub(crate) to_version: u32,
    /// Whether nothing was changed
    pub(crate) dry_run: bool,
    /// Steps that only the new version has
    pub(crate) added: Vec<String>,
    /// Steps that only the old version has
    pub(crate) removed: Vec<String>,
    /// Steps that differ
    pub(crate) changed: Vec<String>,
}

impl Api {
    /// Executes a step and its dependants again, after their effects were undone.
    pub(crate) async fn rerun_workflow(
        &self,
        context: &CallContext,
        id: &str,
        request: RerunRequest,
    ) -> ApiResult<WorkflowView> {
        let RerunRequest { step, effects, reason } = request;
        let reason = required_reason(reason)?;
        let keeps_effects = parse_effects(effects.as_deref())?;
        let effects = if keeps_effects { "keep" } else { "undo" };
        audit_notes::after(&serde_json::json!({"step": step, "effects": effects, "reason": reason}));
        let loaded = self.load(context, parse_id(id)?).await?;
        let plan = match self.engine.plan_of(&loaded.state).await {
            Ok(plan) => plan,
            Err(Error::NoSuchDefinition) => {
                let State { definition, version, .. } = &loaded.state;
                let detail = format!(
                    "version {version} of definition {definition} no longer exists, so the steps of workflow {id} are not known"
                );
                return Err(Problem::new(RERUN, detail));
            }
            Err(error) => return Err(error.into()),
        };
        let step = step.map(|name| step_of(&plan, &name)).transpose()?;
        if let Some(step) = step {
            self.check_kept_children(&plan, &loaded.state, step).await?;
        }
        self.submit(context, id, |actor| Input::Rerun { step, keeps_effects, actor, reason }).await
    }

    /// Refuses a re-run that builds on a child whose effects were undone. An operator can roll a completed child back once
    /// its parent has ended.
    async fn check_kept_children(&self, plan: &Plan, state: &State, step: StepIndex) -> ApiResult<()> {
        let repeated = plan.downstream(step);
        for (index, kept) in (0u32..).map(StepIndex).zip(&state.steps) {
            if index == step || repeated.contains(&index) || kept.execution != StepStatus::Completed {
                continue;
            }
            let Some(child) = kept.child else { continue };
            let status = match self.engine.load(child).await {
                Ok(loaded) => loaded.state.status(),
                Err(Error::NoSuchWorkflow) => continue,
                Err(error) => return Err(error.into()),
            };
            if status != Status::Completed {
                let name = plan.step(index).map_or("", |step| step.name.as_str());
                let detail = format!(
                    "step `{name}` is not part of the re-run, and its child {child} is {}: begin at it or at a step above \
                     it, or re-run all steps",
                    status.as_str()
                );
                return Err(Problem::new(RERUN, detail));
            }
        }
        Ok(())
    }

    /// Migrates a workflow to another version of its definition, or checks whether that is possible.
    pub(crate) async fn migrate_workflow(
        &self,
        context: &CallContext,
        id: &str,
        request: MigrationRequest,
    ) -> ApiResult<MigrationView> {
        let MigrationRequest { to_version, reason, dry_run } = request;
        let reason = optional_reason(reason)?;
        audit_notes::after(
            &serde_json::json!({"to_version": to_version, "reason": reason, "dry_run": dry_run}),
        );
        let loaded = self.load(context, parse_id(id)?).await?;
        let state = &loaded.state;
        audit_notes::before(&serde_json::json!({"version": state.version, "seq": state.seq}));
        self.check_input_of(state, to_version).await?;
        let actor = context.actor.clone().or_else(|| Some("api".to_owned()));
        let request = MigrateWorkflow { actor, reason };
        let Migrated { from, changes, state } =
            self.engine.migrate(state.id, to_version, request, dry_run).await?;
        Ok(MigrationView {
            id: state.id,
            definition: state.definition.clone(),
            status: state.status(),
            from_version: from,
            to_version,
            dry_run,
            added: changes.added,
            removed: changes.removed,
            changed: changes.changed,
        })
    }

    /// Refuses a version whose schema the input of the workflow does not match.
    async fn check_input_of(&self, state: &State, version: u32) -> ApiResult<()> {
        let plan = self.engine.plan(&state.namespace, &state.definition, Some(version)).await?;
        if plan.definition().input.is_none() {
            return Ok(());
        }
        let input = match PayloadRef::of(&state.input) {
            Some(reference) => self.engine.payload(&state.namespace, state.id, reference).await?,
            None => Arc::clone(&state.input),
        };
        match self.check_input(&state.namespace, &plan, Json::clone(&input)).await {
            Ok(_) => Ok(()),
            Err(problem) if problem.status().is_client_error() => {
                let detail = format!(
                    "the input of the workflow does not match version {version}: {}",
                    problem.into_body().detail
                );
                Err(Problem::new(MIGRATION, detail))
            }
            Err(problem) => Err(problem),
        }
    }
}

/// Parses the treatment of effects. Returns whether they stay.
fn parse_effects(text: Option<&str>) -> ApiResult<bool> {
    match text {
        None | Some("undo") => Ok(false),
        Some("keep") => Ok(true),
        Some(other) => {
            let detail = format!(
                "effects must be `undo` or `keep`, not {:?}",
                goconductor_saga::shortened(other, MAX_SHOWN_CHARS)
            );
            Err(Problem::new(WRONG_SHAPE, detail.clone()).at("/effects", detail))
        }
    }
}

/// Maximum characters of a rejected value in a message.
const MAX_SHOWN_CHARS: usize = 40;

#[cfg(test)]
mod tests {
    use super::parse_effects;

    #[test]
    fn effects_are_undone_unless_the_operator_keeps_them() {
        assert!(!parse_effects(None).unwrap());
        assert!(!parse_effects(Some("undo")).unwrap());
        assert!(parse_effects(Some("keep")).unwrap());
        for text in ["", "Keep", "leave"] {
            assert_eq!(parse_effects(Some(text)).unwrap_err().into_body().code, "GC2002", "{text}");
        }
    }
}
