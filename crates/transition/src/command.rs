//! The message that asks a service to execute or compensate a step.

use bytes::Bytes;
use goconductor_queue::{Lane, Message, Topic};
use goconductor_saga::{OwedKey, Side, StepIndex, Timestamp, WorkflowId};
use goconductor_store::LedgerRowKey;
use serde::{Deserialize, Serialize};

/// The format that commands are published in; raised when an older reader could not read a newer one.
pub const COMMAND_FORMAT: u16 = 1;

/// A hint that a row of the ledger is due. The ledger is the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl Command {
    /// The row of the ledger that it is for.
    #[must_use]
    pub fn row(&self) -> LedgerRowKey {
        LedgerRowKey { id: self.id, key: OwedKey::Command(self.step, self.side), attempt: self.attempt }
    }

    /// As a message; ordered by workflow.
    #[must_use]
    pub fn message(&self) -> Message {
        // Invariant: a struct of numbers and ids has a JSON form; an empty payload would be refused as poison.
        let payload = serde_json::to_vec(self).map(Bytes::from).unwrap_or_default();
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
