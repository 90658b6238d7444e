//! A workflow that was started.

use crate::Error;
use goconductor_client::{Client, Failure, Follow, Outcome, Status, Workflow};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// One long poll.
const WAIT: Duration = Duration::from_secs(30);
/// Between tries while the gateway can't be reached.
const PAUSE: Duration = Duration::from_millis(200);
/// A gateway that has been away for so long is given up.
const PATIENCE: u32 = 300;

/// A workflow that was started. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) client: Client,
    pub(crate) id: String,
}

/// A workflow that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// `Completed`, `RolledBack` or `Terminated`.
    pub status: Status,
    /// What it gave; null unless it completed.
    pub output: Value,
    /// What went wrong first.
    pub error: Option<Failure>,
}

impl Ended {
    /// Its output as a type.
    ///
    /// # Errors
    /// When it is not of the type.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_value(self.output.clone())?)
    }
}

impl Handle {
    /// The workflow's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits for its end, however long that takes. Safe to cancel.
    ///
    /// # Errors
    /// When there is no such workflow, or the gateway stays away for a minute.
    pub async fn result(&self) -> Result<Ended, Error> {
        let mut failures = 0;
        loop {
            match self.client.result(&self.id, WAIT).await {
                Ok(Outcome::Ended(reply)) => {
                    let Workflow { status, output, error, .. } = reply.value;
                    return Ok(Ended { status, output: output.unwrap_or_default(), error });
                }
                Ok(Outcome::NotYet(_)) => failures = 0,
                Err(error) if is_passing(&error) && failures < PATIENCE => {
                    failures += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// As it stands.
    ///
    /// # Errors
    /// When there is no such workflow, or the gateway can't be reached.
    pub async fn describe(&self) -> Result<Workflow, Error> {
        Ok(self.client.workflow(&self.id).await?.value)
    }

    /// Its history, from its first event to its last, as it happens.
    #[must_use]
    pub fn watch(&self) -> Follow {
        self.client.follow(&self.id, 0)
    }

    /// Asks for it to be rolled back.
    ///
    /// # Errors
    /// When it has ended, or its pivot has completed.
    pub async fn cancel(&self, reason: &str) -> Result<(), Error> {
        self.client.cancel(&self.id, Some(reason)).await?;
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended, or the gateway does not know signals yet.
    pub async fn signal(&self, name: &str, payload: &Value) -> Result<(), Error> {
        self.client.signal(&self.id, name, payload).await?;
        Ok(())
    }
}

/// Whether the same read may succeed later.
pub(crate) fn is_passing(error: &goconductor_client::Error) -> bool {
    use goconductor_client::Error as E;
    match error {
        E::Unreachable { .. } | E::Timeout { .. } => true,
        E::Other(problem) => problem.retryable || matches!(problem.status, 429 | 503),
        E::Address { .. }
        | E::NotFound(_)
        | E::Conflict(_)
        | E::Invalid(_)
        | E::NotAllowed(_)
        | E::Unreadable { .. } => false,
    }
}
