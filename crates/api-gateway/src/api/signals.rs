//! Signals to workflows.

use super::workflow_id::parse_id;
use super::workflows::check_idempotency_key;
use super::{Api, CallContext};
use crate::audit_notes;
use crate::error::{ApiResult, Location, Problem, SIGNAL_PAYLOAD};
use crate::view::WorkflowView;
use goconductor_definition::{InputProblem, check_input};
use goconductor_saga::{Action, Input, Json, NameKind, Plan};
use std::sync::Arc;

impl Api {
    /// Sends a signal to a workflow. A step that waits for it completes. Otherwise, the signal is kept.
    pub(crate) async fn signal_workflow(
        &self,
        context: &CallContext,
        id: &str,
        name: &str,
        payload: Json,
    ) -> ApiResult<WorkflowView> {
        NameKind::Signal.check(name)?;
        let key = check_idempotency_key(context.idempotency_key.as_deref(), None)?;
        audit_notes::after(&serde_json::json!({"signal": name, "idempotency_key": key}));
        let loaded = self.load(context, parse_id(id)?).await?;
        let plan = self.engine.plan_of(&loaded.state).await?;
        // A final workflow refuses every signal, regardless of the payload.
        let payload = if loaded.state.phase.is_final() {
            payload
        } else {
            self.check_payload(&plan, name, payload).await?
        };
        let (name, payload) = (name.to_owned(), Arc::new(payload));
        self.submit(context, id, |actor| Input::Signal { name, payload, key, actor }).await
    }

    /// Checks a payload by the schema of the steps that wait for the signal. They have the same one.
    async fn check_payload(&self, plan: &Arc<Plan>, name: &str, payload: Json) -> ApiResult<Json> {
        self.check_size("payload", &payload)?;
        let Some(schema) = schema_of(plan, name) else { return Ok(payload) };
        let check = move || {
            let checked = check_input(&schema, &payload);
            (payload, checked)
        };
        let (payload, checked) = self.schemas.run(check).await?;
        checked.map(|()| payload).map_err(violations)
    }
}

fn schema_of(plan: &Plan, name: &str) -> Option<Json> {
    plan.definition().steps.iter().find_map(|step| match &step.action {
        Action::Signal { name: signal, schema, .. } if signal == name => schema.clone(),
        Action::Signal { .. }
        | Action::Sleep { .. }
        | Action::Run { .. }
        | Action::Call(_)
        | Action::Child(_) => None,
    })
}

fn violations(problems: Vec<InputProblem>) -> Problem {
    let detail = match problems.as_slice() {
        [only] => format!("the payload does not match the schema of the signal: {}", only.detail),
        several => format!("the payload does not match the schema of the signal: {} errors", several.len()),
    };
    let locations = problems.into_iter().map(|problem| Location {
        pointer: problem.pointer,
        line: None,
        column: None,
        code: SIGNAL_PAYLOAD.code,
        detail: problem.detail,
    });
    Problem::new(SIGNAL_PAYLOAD, detail).with_errors(locations.collect())
}
