//! Views of schedules.

use super::shown_input;
use crate::api::Api;
use crate::error::ApiResult;
use crate::time::Time;
use goconductor_saga::{Json, Status, Timestamp, WorkflowId};
use goconductor_schedule::{Schedule, TimingSpec};
use goconductor_service_kit::duration;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// A schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleView {
    pub(crate) name: String,
    /// Definition of the workflows.
    pub(crate) definition: String,
    /// Version of the definition. Absent for the newest one at each start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u32>,
    /// Cron pattern. A schedule has either a pattern or an interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cron: Option<String>,
    /// IANA name of the time zone of the pattern. Absent for UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timezone: Option<String>,
    /// Interval, such as `15m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) every: Option<String>,
    /// A due time of the interval. Absent for 1970-01-01T00:00:00Z.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) anchor: Option<Time>,
    /// `skip`, `buffer_one`, `allow` or `cancel_other`
    pub(crate) overlap: &'static str,
    /// Due times that were missed are started if they are not older than this.
    pub(crate) catch_up: String,
    /// Input of the workflows, with placeholders.
    #[schema(value_type = Json)]
    pub(crate) input: Json,
    pub(crate) labels: BTreeMap<String, String>,
    /// `api`, or `definition` if the key `schedule` of the definition created it
    pub(crate) origin: &'static str,
    /// Rises with each change by a user. The header ETag holds it in quotes.
    pub(crate) generation: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Time,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) updated_at: Time,
    /// User who last changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actor: Option<String>,
    /// Present while it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) paused: Option<PauseView>,
    /// Next due time. Absent while it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) next_due: Option<Time>,
    /// Newest due time whose workflow was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) last_due: Option<Time>,
    /// Due time that waits for the end of a running workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) buffered: Option<Time>,
    /// Backfill in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backfill: Option<BackfillView>,
    /// Started workflows.
    pub(crate) started: u64,
    /// Due times that were skipped because a workflow was running.
    pub(crate) skipped: u64,
    /// Due times that were older than `catch_up` when they were found.
    pub(crate) missed: u64,
    /// Due times whose start was refused.
    pub(crate) failed: u64,
    /// Last refused start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_failure: Option<StartFailureView>,
    /// Last ten workflows that were due, and last ten that were triggered or backfilled, newest first.
    pub(crate) recent: Vec<RunView>,
}

/// A pause.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PauseView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actor: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Time,
}

/// A backfill in progress.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BackfillView {
    /// Due times up to this time are started.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) done_until: Time,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: Time,
}

/// A start that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StartFailureView {
    #[schema(value_type = String, format = DateTime)]
    pub(crate) due: Time,
    pub(crate) reason: String,
}

/// A workflow of a schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunView {
    pub(crate) workflow: String,
    /// Due time, or the time of the trigger.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) due: Time,
    /// `due`, `buffered`, `backfill` or `trigger`
    pub(crate) kind: &'static str,
    /// Status of the workflow. Absent in lists, and if the workflow is no longer retained.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(crate) status: Option<&'static str>,
}

/// A page of schedules.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SchedulePage {
    /// Schedules, ordered by name.
    pub(crate) schedules: Vec<ScheduleView>,
    /// Token of the next page. Empty on the last page.
    pub(crate) next_page_token: String,
}

/// The next due times of a schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DueTimes {
    /// Due times, earliest first. Fewer than requested if the pattern ends.
    #[schema(value_type = Vec<String>)]
    pub(crate) due_times: Vec<Time>,
}

/// A triggered workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TriggeredView {
    pub(crate) workflow: String,
    /// The time in place of a due time.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) time: Time,
    /// Whether an earlier request with the same idempotency key started the workflow.
    #[serde(skip)]
    pub(crate) is_replayed: bool,
}

impl Api {
    /// Builds the view of a schedule, without the statuses of its workflows.
    pub(super) fn schedule_view(&self, name: &str, schedule: &Schedule, now: Timestamp) -> ScheduleView {
        let at = |micros: i64| Time(Timestamp(micros));
        let Schedule { spec, progress, .. } = schedule;
        let (cron, timezone, every, anchor) = match &spec.timing {
            TimingSpec::Cron { cron, timezone } => (Some(cron.clone()), timezone.clone(), None, None),
            TimingSpec::Every { every_ms, anchor } => {
                (None, None, Some(duration::format(Duration::from_millis(*every_ms))), anchor.map(at))
            }
        };
        let upcoming = |timing| schedule.upcoming(&timing, now.0, 1).first().copied();
        let next_due = schedule.timing().ok().and_then(upcoming).filter(|_| schedule.pause.is_none());
        let recent = progress.recent.iter().map(|run| RunView {
            workflow: run.workflow.clone(),
            due: at(run.due),
            kind: run.kind.as_str(),
            status: None,
        });
        ScheduleView {
            name: name.to_owned(),
            definition: spec.definition.clone(),
            version: spec.version,
            cron,
            timezone,
            every,
            anchor,
            overlap: spec.overlap.as_str(),
            catch_up: duration::format(Duration::from_millis(spec.catch_up_ms)),
            input: shown_input(self, &spec.input),
            labels: spec.labels.clone(),
            origin: schedule.origin.as_str(),
            generation: schedule.generation,
            created_at: at(schedule.created_at),
            updated_at: at(schedule.updated_at),
            actor: schedule.actor.clone(),
            paused: schedule.pause.as_ref().map(|pause| PauseView {
                reason: pause.reason.clone(),
                actor: pause.actor.clone(),
                since: at(pause.since),
            }),
            next_due: next_due.map(at),
            last_due: progress.last_due.map(at),
            buffered: progress.buffered.map(at),
            backfill: progress.backfill.map(|backfill| BackfillView {
                done_until: at(backfill.done_until),
                until: at(backfill.until),
            }),
            started: progress.started,
            skipped: progress.skipped,
            missed: progress.missed,
            failed: progress.failed,
            last_failure: progress
                .last_failure
                .as_ref()
                .map(|failure| StartFailureView { due: at(failure.due), reason: failure.reason.clone() }),
            recent: recent.collect(),
        }
    }

    /// Adds the statuses of the workflows.
    pub(super) async fn add_statuses(&self, view: &mut ScheduleView) -> ApiResult<()> {
        let ids: Vec<WorkflowId> = view.recent.iter().filter_map(|run| run.workflow.parse().ok()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let heads = self.store().heads(&ids).await?;
        let status_of = |workflow: &str| -> Option<Status> {
            let id: WorkflowId = workflow.parse().ok()?;
            heads.iter().find(|head| head.id == id).map(|head| head.status)
        };
        for run in &mut view.recent {
            run.status = status_of(&run.workflow).map(Status::as_str);
        }
        Ok(())
    }
}
