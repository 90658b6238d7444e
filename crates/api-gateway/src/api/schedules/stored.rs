//! Reads and changes of stored schedules. A change is repeated if the schedule changed in between: the elected executor
//! records its progress in the same record.

use super::{MAX_SCHEDULES, check_name, conflict, not_found, timing, too_many};
use crate::api::{Api, CallContext};
use crate::audit_notes;
use crate::error::ApiResult;
use goconductor_saga::Timestamp;
use goconductor_schedule::{Schedule, ScheduleOrigin, Spec};
use goconductor_store::{StoredSchedule, json};
use goconductor_transition::clock;

/// Maximum number of attempts of a change.
const MAX_ATTEMPTS: u32 = 20;

pub(super) fn decode(stored: &StoredSchedule) -> ApiResult<Schedule> {
    Ok(json::parsed("a schedule", &stored.record)?)
}

impl Api {
    pub(super) async fn find_schedule(
        &self,
        context: &CallContext,
        name: &str,
    ) -> ApiResult<Option<(u64, Schedule)>> {
        let stored = self.store().schedule(context.namespace.as_str(), name).await?;
        stored.map(|stored| Ok((stored.revision, decode(&stored)?))).transpose()
    }

    /// Changes an existing schedule, and returns its view.
    pub(super) async fn change_schedule(
        &self,
        context: &CallContext,
        name: &str,
        change: impl Fn(&mut Schedule, Timestamp) -> ApiResult<()>,
    ) -> ApiResult<super::ScheduleView> {
        check_name(name)?;
        audit_notes::target("schedule", name);
        for _ in 0..MAX_ATTEMPTS {
            let found = self.find_schedule(context, name).await?;
            let (revision, mut schedule) = found.ok_or_else(|| not_found(name))?;
            let now = clock::now();
            change(&mut schedule, now)?;
            if self.write_schedule(context, name, &schedule, Some(revision), now).await? {
                return Ok(self.schedule_view(name, &schedule, now));
            }
        }
        Err(conflict(name))
    }

    /// Creates or replaces a schedule, unless `check` refuses. Returns it, and whether it is new.
    pub(super) async fn store_spec(
        &self,
        context: &CallContext,
        name: &str,
        spec: Spec,
        origin: ScheduleOrigin,
        check: impl Fn(Option<&Schedule>) -> ApiResult<()>,
    ) -> ApiResult<(Schedule, bool)> {
        for _ in 0..MAX_ATTEMPTS {
            let found = self.find_schedule(context, name).await?;
            check(found.as_ref().map(|(_, schedule)| schedule))?;
            let (now, actor) = (clock::now(), context.actor.clone());
            let is_new = found.is_none();
            let (revision, schedule) = match found {
                Some((_, schedule)) if is_unchanged(&schedule, &spec, origin) => {
                    return Ok((schedule, false));
                }
                Some((revision, mut schedule)) => {
                    schedule.replace(spec.clone(), origin, actor.clone(), now.0);
                    if schedule.pause.as_ref().is_some_and(|pause| pause.by_archive) {
                        schedule.resume(actor, now.0);
                    }
                    (Some(revision), schedule)
                }
                None => {
                    if self.store().schedule_count(context.namespace.as_str()).await? >= MAX_SCHEDULES {
                        return Err(too_many());
                    }
                    (None, Schedule::new(spec.clone(), origin, actor, now.0))
                }
            };
            if self.write_schedule(context, name, &schedule, revision, now).await? {
                return Ok((schedule, is_new));
            }
        }
        Err(conflict(name))
    }

    /// Deletes a schedule, unless `check` refuses. Returns whether it existed.
    pub(super) async fn remove_schedule(
        &self,
        context: &CallContext,
        name: &str,
        check: impl Fn(&Schedule) -> ApiResult<()>,
    ) -> ApiResult<bool> {
        for _ in 0..MAX_ATTEMPTS {
            let Some((revision, schedule)) = self.find_schedule(context, name).await? else {
                return Ok(false);
            };
            check(&schedule)?;
            if self.store().delete_schedule(context.namespace.as_str(), name, revision).await? {
                return Ok(true);
            }
        }
        Err(conflict(name))
    }

    async fn write_schedule(
        &self,
        context: &CallContext,
        name: &str,
        schedule: &Schedule,
        replaces: Option<u64>,
        now: Timestamp,
    ) -> ApiResult<bool> {
        // The first revision is a time, so that a schedule that is created again has other revisions.
        let first = u64::try_from(now.0).unwrap_or_default();
        let stored = StoredSchedule {
            namespace: context.namespace.to_string(),
            name: name.to_owned(),
            revision: replaces.map_or(first, |replaced| replaced.saturating_add(1)),
            next_due: schedule.next_wake(&timing(schedule)?, now.0).map(Timestamp),
            record: json::json("a schedule", schedule)?,
        };
        Ok(self.store().put_schedule(&stored, replaces).await?)
    }
}

/// Whether a repeated request changes nothing.
fn is_unchanged(schedule: &Schedule, spec: &Spec, origin: ScheduleOrigin) -> bool {
    let is_archived = schedule.pause.as_ref().is_some_and(|pause| pause.by_archive);
    schedule.spec == *spec && schedule.origin == origin && !is_archived
}
