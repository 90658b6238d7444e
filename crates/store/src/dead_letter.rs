//! Messages that are no command: kept with the reason, for a person to look at.

use goconductor_saga::Timestamp;

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
