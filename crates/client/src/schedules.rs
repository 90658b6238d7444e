//! Requests about schedules.

use crate::{Client, DueTimes, Error, Reply, Schedule, SchedulePage, TriggeredWorkflow};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The definition that a schedule starts, and its due times. Either `cron` or `every` is required. Absent fields have the server's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ScheduleSpec {
    /// The name of the definition.
    pub definition: String,
    /// The version of the definition. `None` for the newest one at each start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The cron pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The IANA name of the time zone of the pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The interval, such as `15m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// A due time of the interval, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
    /// `skip`, `buffer_one`, `allow` or `cancel_other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// Due times that were missed are started if they are not older than this, such as `1h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<String>,
    /// The input of the workflows, with placeholders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The labels of the workflows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Client {
    /// Creates or replaces a schedule. With `if_generation`, it must have that generation; 0 stands for no schedule.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the definition does not exist, and [`Error::Invalid`] if the schedule is invalid.
    pub async fn put_schedule(
        &self,
        name: &str,
        spec: &ScheduleSpec,
        if_generation: Option<u64>,
    ) -> Result<Reply<Schedule>, Error> {
        let mut request = self.api(Method::PUT, &["schedules", name]).json(spec);
        if let Some(generation) = if_generation {
            request = request.header(reqwest::header::IF_MATCH, format!("\"{generation}\""));
        }
        self.call(request).await
    }

    /// Returns a schedule, with the statuses of its newest workflows.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the schedule does not exist.
    pub async fn schedule(&self, name: &str) -> Result<Reply<Schedule>, Error> {
        self.call(self.api(Method::GET, &["schedules", name])).await
    }

    /// Lists the schedules, ordered by name.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn schedules(
        &self,
        page_size: Option<u32>,
        page_token: Option<&str>,
    ) -> Result<Reply<SchedulePage>, Error> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(page_size.map(|size| ("page_size", size.to_string())));
        query.extend(page_token.map(|token| ("page_token", token.to_owned())));
        self.call(self.api(Method::GET, &["schedules"]).query(&query)).await
    }

    /// Deletes a schedule. Its workflows continue.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the schedule does not exist.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), Error> {
        let request = self.api(Method::DELETE, &["schedules", name]).timeout(crate::CALL_TIMEOUT);
        self.send(request).await.map(|_| ())
    }

    /// Pauses a schedule.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the schedule does not exist.
    pub async fn pause_schedule(&self, name: &str, reason: Option<&str>) -> Result<Reply<Schedule>, Error> {
        self.call(self.api(Method::POST, &["schedules", name, "pause"]).json(&json!({ "reason": reason })))
            .await
    }

    /// Resumes a paused schedule. Due times during the pause are skipped.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the schedule does not exist.
    pub async fn resume_schedule(&self, name: &str, reason: Option<&str>) -> Result<Reply<Schedule>, Error> {
        self.call(self.api(Method::POST, &["schedules", name, "resume"]).json(&json!({ "reason": reason })))
            .await
    }

    /// Starts a workflow of a schedule now.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the schedule or its definition does not exist.
    pub async fn trigger_schedule(&self, name: &str) -> Result<Reply<TriggeredWorkflow>, Error> {
        self.call(self.api(Method::POST, &["schedules", name, "trigger"])).await
    }

    /// Starts the due times of a past range. Both ends are included, as RFC 3339.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the range is invalid, and [`Error::Conflict`] if a backfill is in progress.
    pub async fn backfill_schedule(
        &self,
        name: &str,
        from: &str,
        until: &str,
    ) -> Result<Reply<Schedule>, Error> {
        let body = json!({"from": from, "until": until});
        self.call(self.api(Method::POST, &["schedules", name, "backfill"]).json(&body)).await
    }

    /// Returns the next `count` due times of a schedule.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the schedule does not exist.
    pub async fn next_due_times(&self, name: &str, count: u32) -> Result<Reply<DueTimes>, Error> {
        let query = [("count", count.to_string())];
        self.call(self.api(Method::GET, &["schedules", name, "next"]).query(&query)).await
    }
}
