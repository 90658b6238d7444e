//! The message that asks a service to execute or compensate a step.

use bytes::Bytes;
use goconductor_queue::{Lane, Message, Topic};
use goconductor_saga::{OwedKey, Side, State, StepIndex, Timestamp, WorkflowId};
use goconductor_store::LedgerRowKey;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The format that commands are published in; raised when an older reader could not read a newer one.
pub const COMMAND_FORMAT: u16 = 1;
/// A command of more bytes leaves out the workflow's state: whoever takes it reads that.
const WITH_STATE_BYTES: usize = 64 << 10;
/// What stands before the state in a command's text: it was made into text already, for the database.
const STATE: &str = r#","state":"#;

/// A hint that a row of the ledger is due. The ledger is the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// [`COMMAND_FORMAT`] when it was published.
    pub format: u16,
    /// The workflow.
    pub id: WorkflowId,
    /// The workflow's `seq` when it was published by whoever issued it; 0 from the duty runner.
    pub seq: u64,
    /// Which step.
    pub step: StepIndex,
    /// Which side of it.
    pub side: Side,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How often it was, or may have been, published before: above 0 an attempt may be lost.
    pub redelivery: u32,
    /// When it was published.
    pub published_at: Timestamp,
    /// The workflow as it stood when the command was issued, so that nothing need be read before it is run: it
    /// comes with the message.
    #[serde(default, skip_serializing)]
    pub state: Option<Arc<State>>,
}

impl Command {
    /// The row of the ledger that it is for.
    #[must_use]
    pub fn row(&self) -> LedgerRowKey {
        LedgerRowKey { id: self.id, key: OwedKey::Command(self.step, self.side), attempt: self.attempt }
    }

    /// As a message; ordered by workflow. The workflow's state goes with it, if its text is given and is not
    /// too long.
    #[must_use]
    pub fn message(&self, state: Option<&str>) -> Message {
        // Invariant: a struct of numbers and ids has a JSON form; an empty payload would be refused as poison.
        let mut payload = serde_json::to_vec(self).unwrap_or_default();
        if let Some(state) = state
            && payload.len() + state.len() < WITH_STATE_BYTES
            && payload.pop() == Some(b'}')
        {
            payload.extend_from_slice(STATE.as_bytes());
            payload.extend_from_slice(state.as_bytes());
            payload.push(b'}');
        }
        let payload = Bytes::from(payload);
        Message { key: self.id.to_string(), payload, published_at_ms: self.published_at.as_millis() }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When it is no command of a format that this release knows: what is wrong with it.
    pub fn read(message: &Message) -> Result<Self, String> {
        let command: Self = serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
        if command.format != COMMAND_FORMAT {
            return Err(format!(
                "format {} is not {COMMAND_FORMAT}, which this release reads",
                command.format
            ));
        }
        if command.state.as_ref().is_some_and(|state| state.id != command.id) {
            return Err("its state is that of another workflow".to_owned());
        }
        Ok(command)
    }
}

/// The topic of one lane of a service.
#[must_use]
pub fn topic_of(namespace: &str, service: &str, side: Side) -> Topic {
    let lane = match side {
        Side::Execute => Lane::Execute,
        Side::Compensate => Lane::Compensate,
    };
    let service = if namespace == "default" { service.to_owned() } else { format!("{namespace}/{service}") };
    Topic { service, lane }
}
