//! The message that asks a service to execute or compensate a step.

use bytes::Bytes;
use goconductor_queue::{Lane, Message, Topic};
use goconductor_saga::{OwedKey, Side, State, StepIndex, Timestamp, WorkflowId};
use goconductor_store::LedgerRowKey;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The format of published commands. It is raised when an older release could not read the new format.
pub const COMMAND_FORMAT: u16 = 1;
/// Maximum bytes of a command that carries the state of the workflow. Without it, the consumer loads the state.
const WITH_STATE_BYTES: usize = 64 << 10;
/// The JSON before the state in a command. The state itself was already serialized for the database.
const STATE_KEY: &str = r#","state":"#;

/// A hint that a row of the ledger is due. The ledger is authoritative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// The value of [`COMMAND_FORMAT`] when the command was published.
    pub format: u16,
    /// The id of the workflow.
    pub id: WorkflowId,
    /// The `seq` of the workflow, if its engine published the command after the commit. 0 if the dispatcher did.
    pub seq: u64,
    /// The step.
    pub step: StepIndex,
    /// The side of the step.
    pub side: Side,
    /// The number of the attempt, counted from 1.
    pub attempt: u32,
    /// How often the command was, or may have been, published before. Above 0, an attempt may have been lost.
    pub redelivery: u32,
    /// When the command was published.
    pub published_at: Timestamp,
    /// The span that published the command, as a W3C `traceparent`, if its trace is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The state of the workflow when the command was issued. It saves the consumer a read before the attempt.
    #[serde(default, skip_serializing)]
    pub state: Option<Arc<State>>,
}

impl Command {
    /// Returns the key of the ledger row that the command belongs to.
    #[must_use]
    pub fn row(&self) -> LedgerRowKey {
        LedgerRowKey { id: self.id, key: OwedKey::Command(self.step, self.side), attempt: self.attempt }
    }

    /// Returns the message, whose key is the workflow. `state` is the serialized state of the workflow, which is
    /// included if the message stays below 64 KiB.
    #[must_use]
    pub fn message(&self, state: Option<&str>) -> Message {
        // Invariant: a struct of numbers, ids and texts always has a JSON form. An empty payload would be a poison message.
        let mut payload = serde_json::to_vec(self).unwrap_or_default();
        if let Some(state) = state
            && payload.len() + state.len() < WITH_STATE_BYTES
            && payload.pop() == Some(b'}')
        {
            payload.extend_from_slice(STATE_KEY.as_bytes());
            payload.extend_from_slice(state.as_bytes());
            payload.push(b'}');
        }
        let payload = Bytes::from(payload);
        Message { key: self.id.to_string(), payload, published_at_ms: self.published_at.as_millis() }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Returns the reason if the message is not a command in a format that this release can read.
    pub fn read(message: &Message) -> Result<Self, String> {
        let command: Self = serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
        if command.format != COMMAND_FORMAT {
            return Err(format!(
                "unknown command format {}: this release reads format {COMMAND_FORMAT}",
                command.format
            ));
        }
        if command.state.as_ref().is_some_and(|state| state.id != command.id) {
            return Err("the state belongs to another workflow".to_owned());
        }
        Ok(command)
    }
}

/// Returns the topic of one lane of a service.
#[must_use]
pub fn topic_of(namespace: &str, service: &str, side: Side) -> Topic {
    let lane = match side {
        Side::Execute => Lane::Execute,
        Side::Compensate => Lane::Compensate,
    };
    let service = if namespace == "default" { service.to_owned() } else { format!("{namespace}/{service}") };
    Topic { service, lane }
}
