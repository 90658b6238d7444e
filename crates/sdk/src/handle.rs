//! A handle to a workflow.

use crate::error::Error;
use goconductor_client::{Client, Failure, Follow, Outcome, Status, Workflow};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// The duration of one long poll.
const POLL_TIMEOUT: Duration = Duration::from_secs(30);
/// The delay between retries while the gateway cannot be reached.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// Retries in a row, which is a minute.
const MAX_RETRIES: u32 = 300;

/// A handle to a workflow. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) client: Client,
    pub(crate) id: String,
    pub(crate) replayed: bool,
}

/// The result of a workflow that has ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkflowResult {
    /// `Completed`, `RolledBack` or `Terminated`.
    pub status: Status,
    /// The cause of a rollback, such as `STEP_FAILED` or `CANCELLED`.
    pub cause: Option<String>,
    /// The output of the workflow; null unless it completed.
    pub output: Value,
    /// The first failure; `None` if the workflow completed.
    pub error: Option<Failure>,
}

impl WorkflowResult {
    /// Converts the output to a type.
    ///
    /// # Errors
    /// Returns [`Error::Output`] if the output cannot be converted.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_value(self.output.clone())?)
    }
}

impl Handle {
    /// Returns the id of the workflow.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns whether an earlier start with the same idempotency key started the workflow. `false` for a handle that no
    /// start returned.
    #[must_use]
    pub fn replayed(&self) -> bool {
        self.replayed
    }

    /// Waits until the workflow ends, without a time limit. Cancel-safe.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the workflow does not exist, or if the gateway cannot be reached for a minute.
    pub async fn result(&self) -> Result<WorkflowResult, Error> {
        let mut retries = 0;
        loop {
            match self.client.result(&self.id, POLL_TIMEOUT).await {
                Ok(Outcome::Ended(reply)) => {
                    let Workflow { status, cause, output, error, .. } = reply.value;
                    let output = output.unwrap_or_default();
                    return Ok(WorkflowResult { status, cause, output, error });
                }
                Ok(Outcome::NotYet(_)) => retries = 0,
                Err(error) if error.is_retryable() && retries < MAX_RETRIES => {
                    retries += 1;
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the current state of the workflow.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the workflow does not exist or the gateway cannot be reached.
    pub async fn describe(&self) -> Result<Workflow, Error> {
        Ok(self.client.workflow(&self.id).await?.value)
    }

    /// Follows the history of the workflow, from its first event to its last.
    #[must_use]
    pub fn watch(&self) -> Follow {
        self.client.follow(&self.id, 0)
    }

    /// Requests a rollback of the workflow.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the workflow has ended, if its pivot has completed, or if the gateway cannot be
    /// reached.
    pub async fn cancel(&self, reason: &str) -> Result<(), Error> {
        self.client.cancel(&self.id, Some(reason)).await?;
        Ok(())
    }

    /// Sends a signal to the workflow.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the workflow has ended, rolls back or keeps too many signals, if the payload does not
    /// match the schema of the signal, or if the gateway cannot be reached.
    pub async fn signal(&self, name: &str, payload: &Value) -> Result<(), Error> {
        self.client.signal(&self.id, name, payload).await?;
        Ok(())
    }
}
