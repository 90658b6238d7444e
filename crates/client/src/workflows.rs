//! Requests about workflows.

use crate::{
    Client, Counts, Error, EventPage, Follow, Reply, Workflow, WorkflowMigration, WorkflowPage, is_replay,
};
use backon::{ConstantBuilder, Retryable};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// The time that a response to a long poll may take beyond the requested wait.
const POLL_GRACE: Duration = Duration::from_secs(15);

/// A request to start a workflow.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StartWorkflow {
    /// The definition's name.
    pub definition: String,
    /// The version of the definition. `None` for the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The input. `None` for `{}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The idempotency key. A repeated start with the same key returns the existing workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// An accepted start.
#[derive(Debug, Clone)]
pub struct Started {
    /// The workflow.
    pub workflow: Workflow,
    /// Whether an earlier start with the same idempotency key started the workflow.
    pub replayed: bool,
}

/// A request for a page of workflows.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The AIP-160 filter, such as `status = ERROR AND labels.team = "shop"`.
    pub filter: Option<String>,
    /// The size of the page: 1 to 1000. `None` for the server's default.
    pub page_size: Option<u32>,
    /// The token of the previous page. `None` for the first page.
    pub page_token: Option<String>,
}

/// The outcome of a wait for a workflow's end.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The workflow has ended.
    Ended(Reply<Workflow>),
    /// The workflow has not ended yet.
    NotYet(Reply<Workflow>),
}

impl Client {
    /// Starts a workflow.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the definition does not exist, [`Error::Conflict`] if the idempotency key belongs
    /// to a start with another definition or input, and [`Error::Invalid`] if the input does not match its schema.
    /// After [`Error::Unreachable`] or [`Error::Timeout`], the workflow may have been started: repeat the request only
    /// if it has an idempotency key.
    pub async fn start_workflow(&self, start: &StartWorkflow) -> Result<Reply<Started>, Error> {
        let request = self.api(Method::POST, &["workflows"]).json(start).timeout(crate::CALL_TIMEOUT);
        let response = self.send(request).await?;
        let replayed = is_replay(&response);
        let Reply { value, text } = self.read(response).await?;
        Ok(Reply { value: Started { workflow: value, replayed }, text })
    }

    /// Starts a workflow, and retries for up to `timeout` while the server is overloaded, after the delays that it asks
    /// for. A start that was refused because of overload had no effect, so it needs no idempotency key.
    ///
    /// # Errors
    /// Returns the errors of [`Client::start_workflow`]. After `timeout`, returns the last refusal.
    pub async fn start_workflow_within(
        &self,
        timeout: Duration,
        start: &StartWorkflow,
    ) -> Result<Reply<Started>, Error> {
        let deadline = Instant::now() + timeout;
        (|| self.start_workflow(start))
            .retry(ConstantBuilder::default().without_max_times())
            // The server sets the delay. `None` gives up.
            .adjust(|error, _| error.retry_delay().filter(|delay| Instant::now() + *delay <= deadline))
            .await
    }

    /// Returns a workflow.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the workflow does not exist.
    pub async fn workflow(&self, id: &str) -> Result<Reply<Workflow>, Error> {
        self.call(self.api(Method::GET, &["workflows", id])).await
    }

    /// Lists workflows, newest first.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the filter is invalid.
    pub async fn workflows(&self, listing: &Listing) -> Result<Reply<WorkflowPage>, Error> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(listing.filter.clone().map(|filter| ("filter", filter)));
        query.extend(listing.page_size.map(|size| ("page_size", size.to_string())));
        query.extend(listing.page_token.clone().map(|token| ("page_token", token)));
        self.call(self.api(Method::GET, &["workflows"]).query(&query)).await
    }

    /// Counts workflows by `status` or `definition`.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if `by` is another field or the filter is invalid.
    pub async fn workflow_counts(&self, by: &str, filter: Option<&str>) -> Result<Reply<Counts>, Error> {
        let mut query = vec![("by", by)];
        query.extend(filter.map(|filter| ("filter", filter)));
        self.call(self.api(Method::GET, &["workflow-counts"]).query(&query)).await
    }

    /// Lists the events of a workflow after `after_seq`, in order.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the workflow does not exist.
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

    /// Reads a payload that is too large for a view of its workflow. `sha256` is the digest from the reference in the view.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the workflow does not exist, or has no such payload.
    pub async fn payload(&self, id: &str, sha256: &str) -> Result<Reply<Value>, Error> {
        self.call(self.api(Method::GET, &["workflows", id, "payloads", sha256])).await
    }

    /// Follows the history of a workflow from the event after `after_seq` to its last event.
    #[must_use]
    pub fn follow(&self, id: &str, after_seq: u64) -> Follow {
        Follow::new(self.clone(), id.to_owned(), after_seq)
    }

    /// Waits up to `wait` for the end of a workflow.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the workflow does not exist.
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

    /// Cancels a workflow: it rolls back.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the workflow has ended or its pivot has completed.
    pub async fn cancel(&self, id: &str, reason: Option<&str>) -> Result<Reply<Workflow>, Error> {
        self.operate(&["workflows", id, "cancel"], reason, None).await
    }

    /// Rolls a completed workflow back.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the workflow has not completed, its pivot has completed, or its definition is gone.
    pub async fn compensate(&self, id: &str, reason: Option<&str>) -> Result<Reply<Workflow>, Error> {
        self.operate(&["workflows", id, "compensate"], reason, None).await
    }

    /// Executes a step and its dependants again, or all steps. Their effects are undone first, unless `keeps_effects`
    /// states that they stay.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the workflow or the step does not exist, [`Error::Conflict`] if the workflow cannot
    /// be re-run and [`Error::Invalid`] if the reason is empty.
    pub async fn rerun(
        &self,
        id: &str,
        step: Option<&str>,
        keeps_effects: bool,
        reason: &str,
    ) -> Result<Reply<Workflow>, Error> {
        let effects = if keeps_effects { "keep" } else { "undo" };
        let body = json!({"step": step, "effects": effects, "reason": reason});
        self.call(self.api(Method::POST, &["workflows", id, "rerun"]).json(&body)).await
    }

    /// Migrates a workflow to another version of its definition. With `dry_run`, only checks whether that is possible.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the workflow or the version does not exist and [`Error::Conflict`] if the workflow
    /// cannot follow the version.
    pub async fn migrate(
        &self,
        id: &str,
        to_version: u32,
        reason: Option<&str>,
        dry_run: bool,
    ) -> Result<Reply<WorkflowMigration>, Error> {
        let body = json!({"to_version": to_version, "reason": reason, "dry_run": dry_run});
        self.call(self.api(Method::POST, &["workflows", id, "migrate"]).json(&body)).await
    }

    /// Ends a workflow without a rollback.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the workflow has ended and [`Error::Invalid`] if the reason is empty.
    pub async fn terminate(&self, id: &str, reason: &str) -> Result<Reply<Workflow>, Error> {
        self.operate(&["workflows", id, "terminate"], Some(reason), None).await
    }

    /// Sends a signal to a workflow. It is kept until a step waits for it.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the workflow does not exist, [`Error::Conflict`] if it has ended, rolls back or
    /// keeps too many signals, and [`Error::Invalid`] if the payload does not match the schema of the signal.
    pub async fn signal(&self, id: &str, name: &str, payload: &Value) -> Result<Reply<Workflow>, Error> {
        self.signal_with_key(id, name, payload, None).await
    }

    /// Sends a signal like [`signal`](Self::signal). A repeat with the same idempotency key changes nothing.
    ///
    /// # Errors
    /// See [`Client::signal`].
    pub async fn signal_with_key(
        &self,
        id: &str,
        name: &str,
        payload: &Value,
        key: Option<&str>,
    ) -> Result<Reply<Workflow>, Error> {
        let request = self.api(Method::POST, &["workflows", id, "signals", name]).json(payload);
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        self.call(request).await
    }

    /// Pauses a workflow: it issues no new commands.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the status does not allow it.
    pub async fn pause(&self, id: &str, reason: Option<&str>) -> Result<Reply<Workflow>, Error> {
        self.operate(&["workflows", id, "pause"], reason, None).await
    }

    /// Resumes a paused workflow.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the workflow is not paused.
    pub async fn resume(&self, id: &str, reason: Option<&str>) -> Result<Reply<Workflow>, Error> {
        self.operate(&["workflows", id, "resume"], reason, None).await
    }

    /// Retries a step, or its compensation during a rollback.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the workflow or the step does not exist and [`Error::Conflict`] if the step cannot
    /// be retried.
    pub async fn retry_step(
        &self,
        id: &str,
        step: &str,
        reason: Option<&str>,
    ) -> Result<Reply<Workflow>, Error> {
        self.operate(&["workflows", id, "steps", step, "retry"], reason, None).await
    }

    /// Skips a step, or its compensation during a rollback.
    ///
    /// # Errors
    /// Returns the errors of [`Client::retry_step`], and [`Error::Invalid`] if the reason is empty.
    pub async fn skip_step(&self, id: &str, step: &str, reason: &str) -> Result<Reply<Workflow>, Error> {
        self.operate(&["workflows", id, "steps", step, "skip"], Some(reason), None).await
    }

    /// Supplies the result of a step, or completes its compensation during a rollback.
    ///
    /// # Errors
    /// Returns the errors of [`Client::skip_step`].
    pub async fn complete_step(
        &self,
        id: &str,
        step: &str,
        reason: &str,
        output: Option<&Value>,
    ) -> Result<Reply<Workflow>, Error> {
        self.operate(&["workflows", id, "steps", step, "complete"], Some(reason), output).await
    }

    async fn operate(
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
