//! Dead letters: messages that could not be processed, stored with the reason for an operator to inspect.

use crate::Error;
use crate::layer::layer;
use async_trait::async_trait;
use goconductor_saga::Timestamp;

/// Dead letters.
#[async_trait]
pub trait DeadLetterStore: std::fmt::Debug + Send + Sync {
    /// Stores dead letters and returns how many of them are new.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn put_dead_letters(&self, letters: &[DeadLetter]) -> Result<u64, Error>;

    /// Returns a page of at most `limit` dead letters, newest first. `before` is the position of the last letter of the
    /// previous page.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn dead_letters(
        &self,
        before: Option<&DeadLetterPosition>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error>;

    /// Returns a dead letter.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, Error>;

    /// Deletes a dead letter and returns whether it existed.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was deleted and `Error::OutcomeUnknown` if the response was lost.
    async fn delete_dead_letter(&self, id: &str) -> Result<bool, Error>;
}

layer!(DeadLetterStore, DeadLetterLayer {
    fn put_dead_letters(letters: &[DeadLetter]) -> u64;
    fn dead_letters(before: Option<&DeadLetterPosition>, limit: u32) -> Vec<DeadLetter>;
    fn dead_letter(id: &str) -> Option<DeadLetter>;
    fn delete_dead_letter(id: &str) -> bool;
});

/// A message that could not be processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Identifies the message in its queue. A message that is consumed repeatedly is stored once.
    pub id: String,
    /// The topic of the queue.
    pub topic: String,
    /// The key of the message.
    pub key: String,
    /// The payload, which may have any format.
    pub payload: Vec<u8>,
    /// Why the message could not be processed.
    pub reason: String,
    /// Time when the message was stored, by the clock of the consumer.
    pub at: Timestamp,
}

/// The position of a dead letter in the list, at which the next page starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterPosition {
    /// The time of the letter.
    pub at: Timestamp,
    /// The id of the letter.
    pub id: String,
}
