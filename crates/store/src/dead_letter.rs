//! Messages that are no command: kept with the reason, for a person to look at.

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
        before: Option<&DeadLetterPlace>,
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
    fn dead_letters(before: Option<&DeadLetterPlace>, limit: u32) -> Vec<DeadLetter>;
    fn dead_letter(id: &str) -> Option<DeadLetter>;
    fn delete_dead_letter(id: &str) -> bool;
});

/// A message that nobody could act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names the message where it came from, so that it is kept once however often it is read.
    pub id: String,
    /// Where it came from.
    pub topic: String,
    /// Its key there.
    pub key: String,
    /// What it holds, whatever that is.
    pub payload: Vec<u8>,
    /// Why nobody could act on it.
    pub reason: String,
    /// When it was put here, by whoever did.
    pub at: Timestamp,
}

/// Where a page of dead letters goes on: behind the last of the page before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterPlace {
    /// Its time.
    pub at: Timestamp,
    /// Its id.
    pub id: String,
}
