//! Calls about queues.

use crate::{Client, Error, QueueBacklogs, QueueMove, Reply};
use reqwest::Method;
use serde_json::json;

impl Client {
    /// What waits, for each service of all namespaces.
    ///
    /// # Errors
    /// When the server can't be reached, or refuses.
    pub async fn queues(&self) -> Result<Reply<QueueBacklogs>, Error> {
        self.call(self.api(Method::GET, &["queues"])).await
    }

    /// Which queue is in use, and how far a move to another one is.
    ///
    /// # Errors
    /// When the server can't be reached, or refuses.
    pub async fn queue_move(&self) -> Result<Reply<QueueMove>, Error> {
        self.call(self.api(Method::GET, &["queues", "switch"])).await
    }

    /// Has all processes move to another queue: it goes on by itself. To ask for the one that is being left turns a
    /// move back.
    ///
    /// # Errors
    /// [`Error::Conflict`] when they may not now, [`Error::Invalid`] when there is no such queue.
    pub async fn switch_queue(&self, to: &str) -> Result<Reply<QueueMove>, Error> {
        self.call(self.api(Method::POST, &["queues", "switch"]).json(&json!({"to": to}))).await
    }
}
