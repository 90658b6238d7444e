//! Requests about queues.

use crate::{Client, Error, QueueBacklogs, QueueMove, Reply};
use reqwest::Method;
use serde_json::json;

impl Client {
    /// Returns the backlog of the services of all namespaces.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn queues(&self) -> Result<Reply<QueueBacklogs>, Error> {
        self.call(self.api(Method::GET, &["queues"])).await
    }

    /// Returns the queue in use and the progress of a switch.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or refuses the request.
    pub async fn queue_move(&self) -> Result<Reply<QueueMove>, Error> {
        self.call(self.api(Method::GET, &["queues", "switch"])).await
    }

    /// Begins the switch of all processes to another queue. It continues without further requests. During a switch, a
    /// request for the queue that is being left reverses it.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if a switch is not possible now and [`Error::Invalid`] if the queue does not exist.
    pub async fn switch_queue(&self, to: &str) -> Result<Reply<QueueMove>, Error> {
        self.call(self.api(Method::POST, &["queues", "switch"]).json(&json!({"to": to}))).await
    }
}
