//! Responses about schedules.

use serde::Deserialize;

/// A schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Schedule {
    /// The name.
    pub name: String,
    /// The name of the definition.
    pub definition: String,
    /// The cron pattern, unless the schedule has an interval.
    pub cron: Option<String>,
    /// The IANA name of the time zone of the pattern. `None` for UTC.
    pub timezone: Option<String>,
    /// The interval, unless the schedule has a pattern.
    pub every: Option<String>,
    /// `skip`, `buffer_one`, `allow` or `cancel_other`.
    pub overlap: String,
    /// Rises with each change by a user.
    pub generation: u64,
    /// Set while it is paused.
    pub paused: Option<SchedulePause>,
    /// The next due time. `None` while it is paused.
    pub next_due: Option<String>,
    /// The newest due time whose workflow was started.
    pub last_due: Option<String>,
    /// The due time that waits for the end of a running workflow.
    pub buffered: Option<String>,
    /// Number of started workflows.
    pub started: u64,
    /// Number of due times that were skipped because a workflow was running.
    pub skipped: u64,
    /// Number of due times that were older than the catch-up window.
    pub missed: u64,
    /// Number of due times whose start was refused.
    pub failed: u64,
    /// The newest workflows, newest first.
    pub recent: Vec<ScheduleRun>,
}

/// A pause of a schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SchedulePause {
    /// The reason.
    pub reason: Option<String>,
    /// The user.
    pub actor: Option<String>,
    /// When it began.
    pub since: String,
}

/// A workflow of a schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ScheduleRun {
    /// The id of the workflow.
    pub workflow: String,
    /// The due time, or the time of the trigger.
    pub due: String,
    /// `due`, `buffered`, `backfill` or `trigger`.
    pub kind: String,
    /// The status of the workflow. `None` in lists, and if the workflow is no longer retained.
    pub status: Option<String>,
}

/// A page of schedules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SchedulePage {
    /// The schedules, ordered by name.
    pub schedules: Vec<Schedule>,
    /// The token of the next page. Empty on the last page.
    pub next_page_token: String,
}

/// The next due times of a schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DueTimes {
    /// The due times, earliest first.
    pub due_times: Vec<String>,
}

/// A workflow that was started by a trigger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TriggeredWorkflow {
    /// The id of the workflow.
    pub workflow: String,
    /// The time in place of a due time.
    pub time: String,
}
