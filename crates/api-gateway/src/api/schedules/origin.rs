//! The schedules of definitions: the key `schedule`.

use super::not_found;
use crate::api::{Api, CallContext};
use crate::error::{ApiResult, NO_SCHEDULE, Problem, SCHEDULE_ORIGIN};
use goconductor_schedule::{Pause, Schedule, ScheduleOrigin, Spec};
use goconductor_service_kit::permission::Permission;

impl Api {
    /// Checks that a definition may be applied with or without the key `schedule`, before it is stored.
    pub(in crate::api) async fn check_schedule_of_definition(
        &self,
        context: &CallContext,
        name: &str,
        has_key: bool,
    ) -> ApiResult<()> {
        if has_key {
            for permission in [Permission::SchedulesWrite, Permission::WorkflowsStart] {
                context.require(permission, "the key `schedule`")?;
            }
        }
        let found = self.find_schedule(context, name).await?.map(|(_, schedule)| schedule);
        match found.map(|schedule| schedule.origin) {
            Some(ScheduleOrigin::Api) if has_key => Err(created_by_api(name)),
            Some(ScheduleOrigin::Definition) if !has_key => check_may_remove(context, name),
            Some(ScheduleOrigin::Api | ScheduleOrigin::Definition) | None => Ok(()),
        }
    }

    /// Creates, replaces or deletes the schedule of a definition that was applied with or without the key `schedule`.
    pub(in crate::api) async fn apply_schedule(
        &self,
        context: &CallContext,
        name: &str,
        spec: Option<Spec>,
    ) -> ApiResult<()> {
        // The schedule may have changed since the check.
        let Some(spec) = spec else {
            let may_be_removed = |schedule: &Schedule| match schedule.origin {
                ScheduleOrigin::Definition => check_may_remove(context, name),
                ScheduleOrigin::Api => Err(not_found(name)),
            };
            return match self.remove_schedule(context, name, may_be_removed).await {
                Err(problem) if problem.code() != NO_SCHEDULE.code => Err(problem),
                Ok(_) | Err(_) => Ok(()),
            };
        };
        let may_be_replaced = |found: Option<&Schedule>| match found.map(|schedule| schedule.origin) {
            Some(ScheduleOrigin::Api) => Err(created_by_api(name)),
            Some(ScheduleOrigin::Definition) | None => Ok(()),
        };
        self.store_spec(context, name, spec, ScheduleOrigin::Definition, may_be_replaced).await.map(|_| ())
    }

    /// Pauses the schedule of a definition that was archived. Applying the definition again ends the pause.
    pub(in crate::api) async fn pause_archived_schedule(
        &self,
        context: &CallContext,
        name: &str,
    ) -> ApiResult<()> {
        let found = self.find_schedule(context, name).await?;
        let is_active =
            |schedule: &Schedule| schedule.origin == ScheduleOrigin::Definition && schedule.pause.is_none();
        if !found.is_some_and(|(_, schedule)| is_active(&schedule)) {
            return Ok(());
        }
        let actor = context.actor.clone();
        let changed = self.change_schedule(context, name, |schedule, now| {
            if is_active(schedule) {
                let reason = Some("the definition was archived".to_owned());
                schedule.pause(Pause { reason, actor: actor.clone(), since: now.0, by_archive: true }, now.0);
            }
            Ok(())
        });
        match changed.await {
            Err(problem) if problem.code() != NO_SCHEDULE.code => Err(problem),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn check_may_remove(context: &CallContext, name: &str) -> ApiResult<()> {
    let what = format!("definition {name} without the key `schedule` removes its schedule, which");
    context.require(Permission::SchedulesWrite, &what)
}

fn created_by_api(name: &str) -> Problem {
    let detail = format!(
        "schedule {name} was created or replaced through the API, so the key `schedule` does not change it: delete the schedule, or \
         remove the key"
    );
    Problem::new(SCHEDULE_ORIGIN, detail.clone()).at("/schedule", detail)
}
