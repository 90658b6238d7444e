//! Requests about batches.

use crate::{Batch, BatchItemPage, BatchPage, BatchPreview, Client, Error, Reply};
use reqwest::Method;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

/// The timeout of the creation. The server selects up to a million workflows before it responds.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(600);

/// A batch to create: an operation on all workflows that match a filter.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewBatch {
    /// `retry`, `cancel`, `pause`, `resume`, `skip` or `terminate`.
    pub operation: String,
    /// The filter of the workflows. Empty for all that have not ended.
    pub filter: String,
    /// The step to retry or to skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The reason, which the history of each workflow records.
    pub reason: String,
    /// The number of matching workflows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_count: Option<u64>,
    /// The maximum number of operations per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
}

impl Client {
    /// Returns the number of workflows that a batch would have, and a sample of them.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the batch is invalid.
    pub async fn preview_batch(&self, batch: &NewBatch) -> Result<Reply<BatchPreview>, Error> {
        let batch = NewBatch { expected_count: None, ..batch.clone() };
        self.call(self.api(Method::POST, &["batches"]).json(&batch)).await
    }

    /// Creates a batch. The batch must have an expected count.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if another number of workflows matches the filter.
    pub async fn create_batch(&self, batch: &NewBatch) -> Result<Reply<Batch>, Error> {
        let request = self.api(Method::POST, &["batches"]).json(batch).timeout(SELECTION_TIMEOUT);
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// Returns a batch.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the batch does not exist.
    pub async fn batch(&self, id: &str) -> Result<Reply<Batch>, Error> {
        self.call(self.api(Method::GET, &["batches", id])).await
    }

    /// Lists the batches, newest first.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn batches(
        &self,
        page_size: Option<u32>,
        page_token: Option<&str>,
    ) -> Result<Reply<BatchPage>, Error> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(page_size.map(|size| ("page_size", size.to_string())));
        query.extend(page_token.map(|token| ("page_token", token.to_owned())));
        self.call(self.api(Method::GET, &["batches"]).query(&query)).await
    }

    /// Lists the workflows of a batch, of one status or all.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the batch does not exist.
    pub async fn batch_items(
        &self,
        id: &str,
        status: Option<&str>,
        page_size: Option<u32>,
        page_token: Option<&str>,
    ) -> Result<Reply<BatchItemPage>, Error> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(status.map(|status| ("status", status.to_owned())));
        query.extend(page_size.map(|size| ("page_size", size.to_string())));
        query.extend(page_token.map(|token| ("page_token", token.to_owned())));
        self.call(self.api(Method::GET, &["batches", id, "items"]).query(&query)).await
    }

    /// Pauses a batch.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the batch has ended.
    pub async fn pause_batch(&self, id: &str, reason: Option<&str>) -> Result<Reply<Batch>, Error> {
        self.control_batch(id, "pause", reason).await
    }

    /// Resumes a paused batch.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the batch has ended.
    pub async fn resume_batch(&self, id: &str, reason: Option<&str>) -> Result<Reply<Batch>, Error> {
        self.control_batch(id, "resume", reason).await
    }

    /// Cancels a batch. Operations that were applied are not undone.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the batch has completed.
    pub async fn cancel_batch(&self, id: &str, reason: Option<&str>) -> Result<Reply<Batch>, Error> {
        self.control_batch(id, "cancel", reason).await
    }

    async fn control_batch(&self, id: &str, verb: &str, reason: Option<&str>) -> Result<Reply<Batch>, Error> {
        self.call(self.api(Method::POST, &["batches", id, verb]).json(&json!({ "reason": reason }))).await
    }
}
