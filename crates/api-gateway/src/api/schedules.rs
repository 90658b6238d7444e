//! Schedules: apply, read, pause, trigger, backfill.

mod fields;
mod origin;
mod stored;
mod trigger;
mod view;

use super::{Api, CallContext, PageRequest, cut_to_page, invalid_page_token};
use crate::audit_notes;
use crate::error::{
    ApiResult, BACKFILL_CONFLICT, INVALID_SCHEDULE, NO_SCHEDULE, PARAMETER, Problem, SCHEDULE_CHANGED,
    SCHEDULE_CONFLICT, TOO_MANY_SCHEDULES,
};
use crate::time::Time;
use goconductor_saga::{Json, NameKind, Timestamp, check_labels};
use goconductor_schedule::{Backfill, Pause, Schedule, ScheduleOrigin, Spec, SpecError, Timing, rfc3339};
use goconductor_service_kit::permission::Permission;
use goconductor_store::StoredSchedule;
use goconductor_transition::clock;
use serde_json::json;

pub(crate) use fields::ScheduleFields;
pub(crate) use view::{DueTimes, PauseView, RunView, SchedulePage, ScheduleView, TriggeredView};

/// Maximum number of schedules of a namespace.
pub(crate) const MAX_SCHEDULES: u64 = 10_000;
/// Maximum number of due times that one backfill starts.
pub(crate) const MAX_BACKFILL: usize = 1000;
/// Maximum number of due times that one request returns.
pub(crate) const MAX_NEXT: u32 = 1000;
/// The number of due times that a request returns unless it states one.
const DEFAULT_NEXT: u32 = 5;

/// A schedule that was created or replaced.
#[derive(Debug)]
pub(crate) struct PutSchedule {
    pub(crate) schedule: ScheduleView,
    /// Whether the request created it.
    pub(crate) is_new: bool,
}

impl Api {
    /// Creates or replaces a schedule. With `if_generation`, the schedule must have that generation.
    pub(crate) async fn put_schedule(
        &self,
        context: &CallContext,
        name: &str,
        spec: Spec,
        if_generation: Option<u64>,
    ) -> ApiResult<PutSchedule> {
        check_name(name)?;
        audit_notes::target("schedule", name);
        context.require(Permission::WorkflowsStart, "a schedule")?;
        self.check_spec(context, name, &spec).await?;
        audit_notes::after(&json!({"definition": spec.definition, "timing": spec.timing}));
        let (schedule, is_new) = self
            .store_spec(context, name, spec, ScheduleOrigin::Api, |found| {
                check_generation(found, if_generation)
            })
            .await?;
        Ok(PutSchedule { schedule: self.schedule_view(name, &schedule, clock::now()), is_new })
    }

    /// Returns a schedule with the statuses of its newest workflows.
    pub(crate) async fn schedule(&self, context: &CallContext, name: &str) -> ApiResult<ScheduleView> {
        check_name(name)?;
        let (_, schedule) = self.find_schedule(context, name).await?.ok_or_else(|| not_found(name))?;
        let mut view = self.schedule_view(name, &schedule, clock::now());
        self.add_statuses(&mut view).await?;
        Ok(view)
    }

    /// Lists the schedules of the namespace.
    pub(crate) async fn list_schedules(
        &self,
        context: &CallContext,
        page: &PageRequest,
    ) -> ApiResult<SchedulePage> {
        let size = self.page_size(page.size)?;
        if page.token().is_some_and(|name| check_name(name).is_err()) {
            return Err(invalid_page_token());
        }
        let namespace = context.namespace.as_str();
        let mut stored = self.store().schedules(namespace, page.token(), size.saturating_add(1)).await?;
        let is_more = cut_to_page(&mut stored, size);
        let last = stored.last().filter(|_| is_more).map(|stored| stored.name.clone());
        let now = clock::now();
        let view = |stored: &StoredSchedule| -> ApiResult<ScheduleView> {
            Ok(self.schedule_view(&stored.name, &stored::decode(stored)?, now))
        };
        let schedules = stored.iter().map(view).collect::<ApiResult<_>>()?;
        Ok(SchedulePage { schedules, next_page_token: last.unwrap_or_default() })
    }

    /// Deletes a schedule. Its workflows continue. With `if_generation`, it must have that generation.
    pub(crate) async fn delete_schedule(
        &self,
        context: &CallContext,
        name: &str,
        if_generation: Option<u64>,
    ) -> ApiResult<()> {
        check_name(name)?;
        audit_notes::target("schedule", name);
        let check = |schedule: &Schedule| check_generation(Some(schedule), if_generation);
        if self.remove_schedule(context, name, check).await? { Ok(()) } else { Err(not_found(name)) }
    }

    /// Pauses a schedule: only a trigger then starts a workflow.
    pub(crate) async fn pause_schedule(
        &self,
        context: &CallContext,
        name: &str,
        reason: Option<String>,
    ) -> ApiResult<ScheduleView> {
        let reason = super::reason::optional_reason(reason)?;
        audit_notes::after(&json!({ "reason": reason }));
        let actor = context.actor.clone();
        self.change_schedule(context, name, |schedule, now| {
            let pause =
                Pause { reason: reason.clone(), actor: actor.clone(), since: now.0, by_archive: false };
            schedule.pause(pause, now.0);
            Ok(())
        })
        .await
    }

    /// Resumes a paused schedule. Due times during the pause are skipped.
    pub(crate) async fn resume_schedule(
        &self,
        context: &CallContext,
        name: &str,
        reason: Option<String>,
    ) -> ApiResult<ScheduleView> {
        let reason = super::reason::optional_reason(reason)?;
        audit_notes::after(&json!({ "reason": reason }));
        let actor = context.actor.clone();
        self.change_schedule(context, name, |schedule, now| {
            schedule.resume(actor.clone(), now.0);
            Ok(())
        })
        .await
    }

    /// Starts the due times from `from` until `until`, both inclusive. The elected executor starts them in order.
    pub(crate) async fn backfill_schedule(
        &self,
        context: &CallContext,
        name: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> ApiResult<ScheduleView> {
        check_name(name)?;
        audit_notes::target("schedule", name);
        audit_notes::after(&json!({"from": rfc3339(from.0), "until": rfc3339(until.0)}));
        context.require(Permission::WorkflowsStart, "a backfill")?;
        if from > until || until > clock::now() {
            let detail = "a backfill starts past due times: `from` must not be after `until`, and `until` not after now";
            return Err(invalid("/until", detail));
        }
        self.change_schedule(context, name, |schedule, _| {
            let after = from.0.saturating_sub(1);
            let due = timing(schedule)?.between(after, until.0, MAX_BACKFILL.saturating_add(1)).len();
            if due > MAX_BACKFILL {
                let detail =
                    format!("the range has more than {MAX_BACKFILL} due times: choose a shorter one");
                return Err(invalid("/until", detail));
            }
            if due == 0 {
                return Err(invalid("/from", "the range has no due times"));
            }
            if let Some(backfill) = schedule.progress.backfill {
                let detail = format!(
                    "schedule {name} has a backfill until {}, which is at {}: retry when it has ended",
                    rfc3339(backfill.until),
                    rfc3339(backfill.done_until)
                );
                return Err(Problem::new(BACKFILL_CONFLICT, detail));
            }
            schedule.progress.backfill = Some(Backfill { done_until: after, until: until.0 });
            Ok(())
        })
        .await
    }

    /// Returns the next due times of a schedule.
    pub(crate) async fn next_due_times(
        &self,
        context: &CallContext,
        name: &str,
        count: Option<u32>,
    ) -> ApiResult<DueTimes> {
        check_name(name)?;
        let count = count.unwrap_or(DEFAULT_NEXT);
        if !(1..=MAX_NEXT).contains(&count) {
            let detail = format!("invalid count {count}: it must be between 1 and {MAX_NEXT}");
            return Err(Problem::new(PARAMETER, detail));
        }
        let (_, schedule) = self.find_schedule(context, name).await?.ok_or_else(|| not_found(name))?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let due = schedule.upcoming(&timing(&schedule)?, clock::now().0, count);
        Ok(DueTimes { due_times: due.into_iter().map(|due| Time(Timestamp(due))).collect() })
    }

    /// Checks a specification, its definition and the input of its next start.
    async fn check_spec(&self, context: &CallContext, name: &str, spec: &Spec) -> ApiResult<()> {
        let timing = spec.check().map_err(|error| invalid_spec(&error))?;
        NameKind::Definition.check(&spec.definition)?;
        let next = timing.next_after(clock::now().0).unwrap_or_default();
        let start = spec.start(name, next);
        check_labels(&start.labels)?;
        let namespace = context.namespace.as_str();
        let plan = self.plan(namespace, &spec.definition, spec.version, None).await?;
        self.check_input(namespace, &plan, start.input).await?;
        Ok(())
    }
}

/// The problem of a request about a schedule that has the wrong form.
pub(crate) fn invalid(pointer: &str, detail: impl Into<String>) -> Problem {
    let detail = detail.into();
    Problem::new(INVALID_SCHEDULE, detail.clone()).at(pointer, detail)
}

fn invalid_spec(error: &SpecError) -> Problem {
    invalid(&format!("/{}", error.key()), error.to_string())
}

fn timing(schedule: &Schedule) -> ApiResult<Timing> {
    schedule.timing().map_err(|error| invalid_spec(&error))
}

fn check_name(name: &str) -> ApiResult<()> {
    // A definition and its schedule have the same name.
    NameKind::Definition.check(name)?;
    Ok(())
}

fn not_found(name: &str) -> Problem {
    Problem::new(NO_SCHEDULE, format!("schedule {name} not found in this namespace"))
}

/// Checks the generation of a schedule. A schedule that does not exist has none.
fn check_generation(found: Option<&Schedule>, expected: Option<u64>) -> ApiResult<()> {
    let generation = found.map_or(0, |schedule| schedule.generation);
    match expected {
        Some(expected) if expected != generation => {
            let detail = format!(
                "the schedule has generation {generation}, and If-Match names {expected}: read it again, and repeat the change"
            );
            Err(Problem::new(SCHEDULE_CHANGED, detail))
        }
        Some(_) | None => Ok(()),
    }
}

/// The input of a view, with masked fields.
fn shown_input(api: &Api, input: &Json) -> Json {
    let input = std::sync::Arc::new(input.clone());
    (*api.redaction.shared(&input)).clone()
}

fn conflict(name: &str) -> Problem {
    Problem::new(
        SCHEDULE_CONFLICT,
        format!("schedule {name} changed during each attempt to change it: retry"),
    )
}

fn too_many() -> Problem {
    let detail = format!("the namespace has {MAX_SCHEDULES} schedules, which is the limit: delete one first");
    Problem::new(TOO_MANY_SCHEDULES, detail)
}
