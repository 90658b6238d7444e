//! The trigger of a schedule.

use super::{TriggeredView, check_name, not_found};
use crate::api::workflows::{WorkflowStart, check_idempotency_key};
use crate::api::{Api, CallContext};
use crate::audit_notes;
use crate::error::{ApiResult, KEY_CONFLICT};
use crate::time;
use goconductor_schedule::{NAME_LABEL, RunKind, ScheduledRun, TIME_LABEL};
use goconductor_service_kit::permission::Permission;
use goconductor_store::{Comparison, Field, Filter, FilterValue, ListRequest};
use goconductor_transition::clock;
use std::time::Duration;

impl Api {
    /// Starts a workflow of a schedule now, regardless of its overlap policy, and also while it is paused. A repeat with the
    /// same idempotency key returns the workflow of the first trigger.
    pub(crate) async fn trigger_schedule(
        &self,
        context: &CallContext,
        name: &str,
    ) -> ApiResult<TriggeredView> {
        check_name(name)?;
        audit_notes::target("schedule", name);
        context.require(Permission::WorkflowsStart, "a trigger")?;
        let key = check_idempotency_key(context.idempotency_key.as_deref(), None)?;
        // The input contains the time, so the start itself would not recognize the repeat.
        if let Some(earlier) = self.earlier_trigger(context, name, key.as_deref()).await? {
            return Ok(earlier);
        }
        let (_, schedule) = self.find_schedule(context, name).await?.ok_or_else(|| not_found(name))?;
        let now = clock::now();
        let scheduled = schedule.spec.start(name, now.0);
        let start = WorkflowStart {
            definition: schedule.spec.definition,
            version: schedule.spec.version,
            input: Some(scheduled.input),
            idempotency_key: key.clone(),
            labels: scheduled.labels,
            wait: Duration::ZERO,
        };
        let started = match self.start_workflow(context, start).await {
            // A repeat that was sent at the same time may have been faster.
            Err(problem) if problem.code() == KEY_CONFLICT.code => {
                let earlier = self.earlier_trigger(context, name, key.as_deref()).await?;
                return earlier.ok_or(problem);
            }
            started => started?,
        };
        let workflow = started.workflow.id.to_string();
        if started.is_replayed {
            let earlier = self.earlier_trigger(context, name, key.as_deref()).await?;
            let time = started.workflow.created_at;
            return Ok(earlier.unwrap_or(TriggeredView { workflow, time, is_replayed: true }));
        }
        let run = ScheduledRun { workflow: workflow.clone(), due: now.0, kind: RunKind::Trigger };
        let recorded = self.change_schedule(context, name, |schedule, _| {
            schedule.started(run.clone());
            Ok(())
        });
        // The workflow is started, whether or not the schedule names it.
        if let Err(problem) = recorded.await {
            tracing::debug!(schedule = name, code = problem.code(), "trigger was not recorded");
        }
        Ok(TriggeredView { workflow, time: now.into(), is_replayed: false })
    }

    /// Returns the workflow of this schedule that was started with a key.
    async fn earlier_trigger(
        &self,
        context: &CallContext,
        name: &str,
        key: Option<&str>,
    ) -> ApiResult<Option<TriggeredView>> {
        let Some(key) = key else { return Ok(None) };
        let is =
            |field, text: &str| Filter::Compare(field, Comparison::Equal, FilterValue::Text(text.to_owned()));
        let filter =
            Filter::All(vec![is(Field::IdempotencyKey, key), is(Field::Label(NAME_LABEL.to_owned()), name)]);
        let namespace = context.namespace.to_string();
        let request = ListRequest { namespace, filter: Some(filter), limit: 1, before: None };
        let found = self.store().list(&request).await?.workflows.into_iter().next();
        Ok(found.map(|found| {
            let time = found.labels.get(TIME_LABEL).and_then(|time| time::parse(time));
            TriggeredView {
                workflow: found.id.to_string(),
                time: time.unwrap_or(found.created_at).into(),
                is_replayed: true,
            }
        }))
    }
}
