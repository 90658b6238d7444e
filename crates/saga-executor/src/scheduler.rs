//! The scheduler: the elected executor starts the workflows of schedules that are due.
//!
//! A start has an idempotency key that follows from the due time, and the progress of the schedule is recorded after it. A
//! leader that is killed in between repeats the start, and a leader that was paused and replaced cannot start a second
//! workflow.

use crate::metrics;
use crate::settings::Settings;
use goconductor_definition::check_input;
use goconductor_election::{Election, Leadership};
use goconductor_saga::{Input, Json, Plan, Timestamp, WorkflowId};
use goconductor_schedule::{Overlap, Pause, RunKind, Schedule, ScheduleAction, ScheduledRun, Timing};
use goconductor_store::{Error, StoredSchedule, json};
use goconductor_transition::{self as transition, Engine, StartRequest, clock};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The election of the scheduler. Clients of the API cannot campaign in elections with this prefix.
const ELECTION: &str = "duties/schedules";
/// The longest delay between polls. It bounds the delay of a schedule that another process has changed.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The shortest delay between polls.
const MIN_DELAY: Duration = Duration::from_millis(5);
/// Maximum number of schedules of one poll.
const MAX_SCHEDULES: u32 = 100;
/// Schedules that are processed at the same time.
const CONCURRENCY: usize = 16;
/// Maximum number of starts of one schedule in one poll, so that a long catch-up does not delay the others.
const MAX_ACTIONS: u32 = 100;

/// The scheduler of all namespaces.
#[derive(Debug)]
pub(crate) struct Scheduler {
    engine: Arc<Engine>,
    election: Arc<dyn Election>,
    settings: Arc<Settings>,
}

/// Why a workflow was not started.
enum ScheduledStartError {
    /// The start was refused, and a repeat would be refused as well.
    Refused(String),
    /// The start must be repeated.
    Retry(transition::Error),
}

impl Scheduler {
    pub(crate) fn new(engine: Arc<Engine>, election: Arc<dyn Election>, settings: Arc<Settings>) -> Self {
        Self { engine, election, settings }
    }

    /// Campaigns for leadership, and starts due workflows while it leads, until `stop` is cancelled.
    pub(crate) async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            // Cancel-safe: a dropped campaign leaves no candidate behind.
            let elected = tokio::select! {
                () = stop.cancelled() => return,
                elected = self.election.campaign(ELECTION, &self.settings.identity) => elected,
            };
            match elected {
                Ok(leadership) => self.lead(leadership, &stop).await,
                Err(error) => {
                    tracing::warn!(election = ELECTION, %error, "executor failed to campaign; retrying");
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
        }
    }

    async fn lead(&self, leadership: Leadership, stop: &CancellationToken) {
        tracing::info!(token = leadership.token().0, "executor acquired leadership of schedules");
        while leadership.is_valid() && !stop.is_cancelled() {
            let delay = match self.poll_once(&leadership).await {
                Ok(delay) => delay,
                Err(error) => {
                    tracing::warn!(%error, "executor failed to read due schedules");
                    POLL_INTERVAL
                }
            };
            // Cancel-safe: all arms only wait.
            tokio::select! {
                () = stop.cancelled() => {}
                () = leadership.lost() => {}
                () = self.engine.schedules_due().notified() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
        if let Err(error) = leadership.resign().await {
            tracing::debug!(election = ELECTION, %error, "executor failed to resign; its lease must expire first");
        }
    }

    /// Processes the due schedules. Returns the delay until the next poll.
    async fn poll_once(&self, leadership: &Leadership) -> Result<Duration, Error> {
        let now = clock::now();
        let stored = self.engine.store().due_schedules(now.after(POLL_INTERVAL), MAX_SCHEDULES).await?;
        let is_more = u32::try_from(stored.len()).is_ok_and(|count| count >= MAX_SCHEDULES);
        let is_due = |stored: &StoredSchedule| stored.next_due.is_some_and(|due| due <= now);
        let (due, later): (Vec<_>, Vec<_>) = stored.into_iter().partition(is_due);
        let next = later.iter().filter_map(|stored| stored.next_due).min();
        let has_due = !due.is_empty();
        let advanced = due.into_iter().map(|stored| self.advance(stored, leadership));
        let advanced = futures::StreamExt::buffer_unordered(futures::stream::iter(advanced), CONCURRENCY);
        let is_unfinished =
            futures::StreamExt::fold(advanced, false, |any, one| async move { any || one }).await;
        if is_unfinished || (is_more && has_due) {
            return Ok(MIN_DELAY);
        }
        let now = clock::now();
        Ok(next.map_or(POLL_INTERVAL, |next| next.since(now).clamp(MIN_DELAY, POLL_INTERVAL)))
    }

    /// Starts what is due of one schedule, and records it. Returns whether more must be done at once.
    async fn advance(&self, stored: StoredSchedule, leadership: &Leadership) -> bool {
        let (namespace, name) = (stored.namespace.clone(), stored.name.clone());
        match self.try_advance(stored, leadership).await {
            Ok(is_unfinished) => is_unfinished,
            Err(error) => {
                tracing::warn!(namespace, schedule = name, %error, "schedule was not advanced; retrying");
                false
            }
        }
    }

    async fn try_advance(
        &self,
        stored: StoredSchedule,
        leadership: &Leadership,
    ) -> Result<bool, transition::Error> {
        let mut schedule: Schedule = json::parsed("a schedule", &stored.record)?;
        let now = clock::now();
        let next_due = match schedule.timing() {
            Ok(timing) => {
                let before = schedule.progress.clone();
                let result = self.act(&stored, &mut schedule, &timing, leadership, now).await;
                record_progress(&before, &schedule);
                if let Err(error) = result {
                    // The starts before the error are recorded.
                    self.record(&stored, &schedule, Some(now)).await?;
                    return Err(error);
                }
                schedule.next_wake(&timing, clock::now().0).map(Timestamp)
            }
            Err(error) => {
                // The time zone database of this process does not have the zone.
                tracing::error!(namespace = stored.namespace, schedule = stored.name, %error, "schedule was paused");
                let pause =
                    Pause { reason: Some(error.to_string()), actor: None, since: now.0, by_archive: false };
                schedule.pause(pause, now.0);
                None
            }
        };
        let is_stored = self.record(&stored, &schedule, next_due).await?;
        Ok(!is_stored || next_due.is_some_and(|due| due <= clock::now()))
    }

    /// Performs the actions that are due.
    async fn act(
        &self,
        stored: &StoredSchedule,
        schedule: &mut Schedule,
        timing: &Timing,
        leadership: &Leadership,
        now: Timestamp,
    ) -> Result<(), transition::Error> {
        let mut running = self.running(schedule).await?;
        for _ in 0..MAX_ACTIONS {
            let Some(action) = schedule.next(timing, now.0, !running.is_empty()) else { break };
            if !leadership.is_valid() {
                break;
            }
            match action {
                ScheduleAction::Start { due, kind } => match self.start(stored, schedule, due, kind).await {
                    Ok(id) => {
                        if kind.is_due() {
                            running.push(id);
                        }
                        schedule.started(ScheduledRun { workflow: id.to_string(), due, kind });
                    }
                    Err(ScheduledStartError::Refused(reason)) => {
                        tracing::warn!(
                            namespace = stored.namespace,
                            schedule = stored.name,
                            reason,
                            "start was refused"
                        );
                        metrics::SCHEDULE_STARTS.with(["refused".into()]).increment(1);
                        schedule.failed(due, kind, reason);
                    }
                    Err(ScheduledStartError::Retry(error)) => return Err(error),
                },
                ScheduleAction::Cancel { due } => {
                    self.cancel(&stored.name, &running).await?;
                    schedule.cancelled(due);
                }
            }
        }
        Ok(())
    }

    /// Returns the workflows of the schedule that were due and have not ended, as far as its policy needs them.
    async fn running(&self, schedule: &Schedule) -> Result<Vec<WorkflowId>, Error> {
        if schedule.spec.overlap == Overlap::Allow {
            return Ok(Vec::new());
        }
        let ids: Vec<WorkflowId> = schedule.due_runs().filter_map(|run| run.workflow.parse().ok()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let heads = self.engine.store().heads(&ids).await?;
        Ok(heads.into_iter().filter(|head| !head.status.is_final()).map(|head| head.id).collect())
    }

    /// Starts the workflow of a due time. Returns its id, also if it was started before.
    async fn start(
        &self,
        stored: &StoredSchedule,
        schedule: &Schedule,
        due: i64,
        kind: RunKind,
    ) -> Result<WorkflowId, ScheduledStartError> {
        let spec = &schedule.spec;
        let plan = self.engine.plan_to_start(&stored.namespace, &spec.definition, spec.version).await?;
        let start = spec.start(&stored.name, due);
        let input = check(&plan, start.input).await?;
        let request = StartRequest {
            namespace: stored.namespace.clone(),
            plan,
            input,
            labels: start.labels,
            idempotency_key: Some(start.idempotency_key),
            actor: Some(format!("schedule/{}", stored.name)),
            trace: None,
        };
        let (id, outcome) = match self.engine.start(request).await {
            Ok(started) if started.replayed => (started.state.id, "replayed"),
            Ok(started) => (started.state.id, "started"),
            // The schedule was changed after an earlier start of this due time.
            Err(transition::Error::KeyConflict(id)) => (id, "replayed"),
            Err(error) => return Err(error.into()),
        };
        metrics::SCHEDULE_STARTS.with([outcome.into()]).increment(1);
        if kind == RunKind::Due {
            metrics::SCHEDULE_LAG.record(clock::now().since(Timestamp(due)).as_secs_f64());
        }
        Ok(id)
    }

    async fn cancel(&self, name: &str, running: &[WorkflowId]) -> Result<(), transition::Error> {
        for id in running {
            let input = Input::Cancel {
                actor: Some(format!("schedule/{name}")),
                reason: Some("the next workflow of the schedule is due".to_owned()),
            };
            match self.engine.submit(*id, input).await {
                // A workflow that has ended or passed its pivot is not cancelled. The next one waits for its end.
                Ok(_) | Err(transition::Error::Refused(_) | transition::Error::NoSuchWorkflow) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Records the progress. Returns `false` if the schedule was changed or deleted in the meantime: its next poll finds
    /// the same due times, whose starts are recognized.
    async fn record(
        &self,
        stored: &StoredSchedule,
        schedule: &Schedule,
        next_due: Option<Timestamp>,
    ) -> Result<bool, Error> {
        let next = StoredSchedule {
            namespace: stored.namespace.clone(),
            name: stored.name.clone(),
            revision: stored.revision.saturating_add(1),
            next_due,
            record: json::json("a schedule", schedule)?,
        };
        self.engine.store().put_schedule(&next, Some(stored.revision)).await
    }
}

impl From<transition::Error> for ScheduledStartError {
    fn from(error: transition::Error) -> Self {
        // A start is refused while an earlier release is in use, and until the rules of new workflows were read. A process
        // that shuts down has internal errors. Neither may settle a due time.
        let is_temporary = matches!(error, transition::Error::Refused(_) | transition::Error::Internal(_));
        if is_temporary || error.is_retryable() {
            Self::Retry(error)
        } else {
            Self::Refused(error.to_string())
        }
    }
}

/// Checks an input against the schema of its definition, on a thread that serves nothing else.
async fn check(plan: &Arc<Plan>, input: Json) -> Result<Json, ScheduledStartError> {
    if plan.definition().input.is_none() {
        return Ok(input);
    }
    let plan = Arc::clone(plan);
    let checked = tokio::task::spawn_blocking(move || {
        let schema = plan.definition().input.as_ref().unwrap_or(&Json::Bool(true));
        check_input(schema, &input).map(|()| input)
    });
    match checked.await {
        Ok(Ok(input)) => Ok(input),
        Ok(Err(problems)) => {
            let problem = problems.into_iter().next().map_or_else(String::new, |problem| problem.detail);
            Err(ScheduledStartError::Refused(format!("the input does not match its schema: {problem}")))
        }
        Err(_) => Err(ScheduledStartError::Refused("the check of the input failed".to_owned())),
    }
}

/// Counts what was settled without a start.
fn record_progress(before: &goconductor_schedule::ScheduleProgress, schedule: &Schedule) {
    let progress = &schedule.progress;
    let missed = progress.missed.saturating_sub(before.missed);
    let skipped = progress.skipped.saturating_sub(before.skipped);
    for (reason, count) in [("missed", missed), ("skipped", skipped)] {
        if count > 0 {
            metrics::SCHEDULE_MISSED.with([reason.into()]).increment(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ScheduledStartError, transition};
    use goconductor_saga::Refusal;

    #[test]
    fn due_time_is_not_settled_by_the_state_of_the_process() {
        for (error, is_repeated) in [
            (Refusal::Conflict("an earlier release is in use".to_owned()).into(), true),
            (transition::Error::Internal("the thread stopped"), true),
            (transition::Error::Contention(100), true),
            (transition::Error::NoSuchDefinition, false),
        ] {
            let is_retry = matches!(ScheduledStartError::from(error), ScheduledStartError::Retry(_));
            assert_eq!(is_retry, is_repeated);
        }
    }
}
