//! Calls about workflows.

use crate::{Client, Counts, Error, EventPage, Follow, Reply, Workflow, WorkflowPage, is_replay};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// What an answer to a long poll may take beyond the time that was asked for.
const POLL_GRACE: Duration = Duration::from_secs(15);

/// What to start.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StartWorkflow {
    /// The definition's name.
    pub definition: String,
    /// The definition's version; none: the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// What to start it with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// A repeat with the same key returns the workflow that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// To find it by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A workflow that was started.
#[derive(Debug, Clone)]
pub struct Started {
    /// The workflow.
    pub workflow: Workflow,
    /// Whether an earlier start with the same key had started it.
    pub replayed: bool,
}

/// Which workflows to list.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// AIP-160: `status = ERROR AND labels.team = "shop"`.
    pub filter: Option<String>,
    /// 1 to 1000; none: the server's choice.
    pub page_size: Option<u32>,
    /// From the page before.
    pub page_token: Option<String>,
}

/// How a wait for the end went.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It has ended.
    Ended(Reply<Workflow>),
    /// It has not, yet.
    NotYet(Reply<Workflow>),
}

impl Client {
    /// Starts a workflow.
    ///
    /// # Errors
    /// [`Error::NotFound`]: no such definition; [`Error::Conflict`]: the key is that of another start;
    /// [`Error::Invalid`]: the input does not fit. Without an answer it may have been started: only with
    /// an idempotency key can the call be repeated.
    pub async fn start_workflow(&self, start: &StartWorkflow) -> Result<Reply<Started>, Error> {
        let request = self.api(Method::POST, &["workflows"]).json(start).timeout(crate::CALL_TIMEOUT);
        let response = self.send(request).await?;
        let replayed = is_replay(&response);
        let Reply { value, text } = self.read(response).await?;
        Ok(Reply { value: Started { workflow: value, replayed }, text })
    }

    /// Starts a workflow; for as long as the server says that too much is going on, comes back when it says,
    /// for so long in all. Such a start was certainly not carried out, so it needs no idempotency key.
    ///
    /// # Errors
    /// As [`Client::start_workflow`]; at last with the server's refusal.
    pub async fn start_workflow_within(
        &self,
        patience: Duration,
        start: &StartWorkflow,
    ) -> Result<Reply<Started>, Error> {
        let give_up = tokio::time::Instant::now() + patience;
        loop {
            let error = match self.start_workflow(start).await {
                Ok(started) => return Ok(started),
                Err(error) => error,
            };
            match error.refused_for_now().map(|after| tokio::time::Instant::now() + after) {
                Some(again) if again <= give_up => tokio::time::sleep_until(again).await,
                Some(_) | None => return Err(error),
            }
        }
    }

    /// A workflow as it stands.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn workflow(&self, id: &str) -> Result<Reply<Workflow>, Error> {
        self.call(self.api(Method::GET, &["workflows", id])).await
    }

    /// A page of workflows, newest first.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the filter can't be read.
    pub async fn workflows(&self, listing: &Listing) -> Result<Reply<WorkflowPage>, Error> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(listing.filter.clone().map(|filter| ("filter", filter)));
        query.extend(listing.page_size.map(|size| ("page_size", size.to_string())));
        query.extend(listing.page_token.clone().map(|token| ("page_token", token)));
        self.call(self.api(Method::GET, &["workflows"]).query(&query)).await
    }

    /// How many workflows there are, by `status` or `definition`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they can't be counted by that, or the filter can't be read.
    pub async fn workflow_counts(&self, by: &str, filter: Option<&str>) -> Result<Reply<Counts>, Error> {
        let mut query = vec![("by", by)];
        query.extend(filter.map(|filter| ("filter", filter)));
        self.call(self.api(Method::GET, &["workflow-counts"]).query(&query)).await
    }

    /// A part of a workflow's history, in order.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such workflow.
    pub async fn events(
        &self,
        id: &str,
        after_seq: u64,
        page_size: Option<u32>,
    ) -> Result<Reply<EventPage>, Error> {
        let mut query = vec![("after_seq", after_seq.to_string())];
        query.extend(page_size.map(|size| ("page_size", size.to_string())));
        self.call(self.api(Method::GET, &["workflows", id, "events"]).query(&query)).await
    }

    /// Follows a workflow's history from the event after `after_seq` until its last one.
    #[must_use]
    pub fn follow(&self, id: &str, after_seq: u64) -> Follow {
        Follow::new(self.clone(), id.to_owned(), after_seq)
    }

    /// Waits up to `wait` for a workflow's end.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such workflow.
    pub async fn result(&self, id: &str, wait: Duration) -> Result<Outcome, Error> {
        let request = self
            .api(Method::GET, &["workflows", id, "result"])
            .query(&[("wait", format!("{}ms", wait.as_millis()))])
            .timeout(wait.saturating_add(POLL_GRACE));
        let response = self.send(request).await?;
        let ended = response.status() == StatusCode::OK;
        let reply = self.read(response).await?;
        Ok(if ended { Outcome::Ended(reply) } else { Outcome::NotYet(reply) })
    }

    /// Asks a workflow to be rolled back.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it has ended, or its pivot has completed.
    pub async fn cancel(&self, id: &str, reason: Option<&str>) -> Result<Reply<Workflow>, Error> {
        self.verb(&["workflows", id, "cancel"], reason, None).await
    }

    /// Ends a workflow without a roll-back.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it has ended; [`Error::Invalid`] without a reason.
    pub async fn terminate(&self, id: &str, reason: &str) -> Result<Reply<Workflow>, Error> {
        self.verb(&["workflows", id, "terminate"], Some(reason), None).await
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such workflow; [`Error::Conflict`] when it has ended.
    pub async fn signal(&self, id: &str, name: &str, payload: &Value) -> Result<Reply<Workflow>, Error> {
        self.call(self.api(Method::POST, &["workflows", id, "signals", name]).json(payload)).await
    }

    /// Holds a workflow: nothing new is issued.
    ///
    /// # Errors
    /// [`Error::Conflict`] when its status does not allow it.
    pub async fn pause(&self, id: &str, reason: Option<&str>) -> Result<Reply<Workflow>, Error> {
        self.verb(&["workflows", id, "pause"], reason, None).await
    }

    /// Lets a held workflow go on.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is not held.
    pub async fn resume(&self, id: &str, reason: Option<&str>) -> Result<Reply<Workflow>, Error> {
        self.verb(&["workflows", id, "resume"], reason, None).await
    }

    /// Has a step tried again; during a roll-back it is the compensation that is meant.
    ///
    /// # Errors
    /// [`Error::NotFound`]: no such workflow or step; [`Error::Conflict`]: there is nothing to retry.
    pub async fn retry_step(
        &self,
        id: &str,
        step: &str,
        reason: Option<&str>,
    ) -> Result<Reply<Workflow>, Error> {
        self.verb(&["workflows", id, "steps", step, "retry"], reason, None).await
    }

    /// Lets a step be; during a roll-back it is the compensation that is meant.
    ///
    /// # Errors
    /// As [`Client::retry_step`]; [`Error::Invalid`] without a reason.
    pub async fn skip_step(&self, id: &str, step: &str, reason: &str) -> Result<Reply<Workflow>, Error> {
        self.verb(&["workflows", id, "steps", step, "skip"], Some(reason), None).await
    }

    /// Gives a step's result by hand; during a roll-back it is the compensation that is meant.
    ///
    /// # Errors
    /// As [`Client::skip_step`].
    pub async fn complete_step(
        &self,
        id: &str,
        step: &str,
        reason: &str,
        output: Option<&Value>,
    ) -> Result<Reply<Workflow>, Error> {
        self.verb(&["workflows", id, "steps", step, "complete"], Some(reason), output).await
    }

    async fn verb(
        &self,
        path: &[&str],
        reason: Option<&str>,
        output: Option<&Value>,
    ) -> Result<Reply<Workflow>, Error> {
        let mut body = Map::new();
        if let Some(reason) = reason {
            body.insert("reason".to_owned(), json!(reason));
        }
        if let Some(output) = output {
            body.insert("output".to_owned(), output.clone());
        }
        self.call(self.api(Method::POST, path).json(&body)).await
    }
}
