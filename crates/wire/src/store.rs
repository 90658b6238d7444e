//! Conversions between the types of the store and their messages.

mod access_key;
mod audit;
pub mod batch;
mod claim;
mod config_entry;
mod definition;
pub mod filter;
mod lease;
pub mod lock;
mod payload;
mod process;
mod schedule;
mod secret;
mod workflow;

use bytes::Bytes;
use goconductor_saga::{OwedKey, WorkflowId};
use goconductor_store::json;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use workflow::{write_bytes, write_of};

/// A malformed message. The text states which part of it, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub String);

impl From<goconductor_store::Error> for Malformed {
    fn from(error: goconductor_store::Error) -> Self {
        Self(error.to_string())
    }
}

/// Returns the value of a required field.
///
/// # Errors
/// Returns [`Malformed`] if the field is absent.
pub fn required<T>(value: Option<T>, what: &str) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed(format!("{what} is missing")))
}

/// Converts an id to its bytes.
#[must_use]
pub fn id_bytes(id: WorkflowId) -> Bytes {
    Bytes::copy_from_slice(id.0.as_bytes())
}

/// Parses an id.
///
/// # Errors
/// Returns [`Malformed`] unless the length is 16 bytes.
pub fn id(bytes: &[u8]) -> Result<WorkflowId, Malformed> {
    uuid::Uuid::from_slice(bytes).map(WorkflowId).map_err(|error| Malformed(format!("workflow id: {error}")))
}

/// Parses ids.
///
/// # Errors
/// Returns [`Malformed`] unless each has 16 bytes.
pub fn ids(all: &[Bytes]) -> Result<Vec<WorkflowId>, Malformed> {
    all.iter().map(|bytes| id(bytes)).collect()
}

/// Serializes a value to JSON.
///
/// # Errors
/// Returns [`Malformed`] if the value cannot be represented in JSON.
pub fn value<T: Serialize>(what: &str, value: &T) -> Result<Bytes, Malformed> {
    Ok(json::json(what, value)?.into())
}

/// Parses a value from JSON.
///
/// # Errors
/// Returns [`Malformed`] if the bytes are not valid JSON or not of the type.
pub fn parsed<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|error| Malformed(format!("{what}: {error}")))?;
    Ok(json::parsed(what, text)?)
}

fn owed_key(text: &str) -> Result<OwedKey, Malformed> {
    text.parse().map_err(|error| Malformed(format!("{text:?}: {error}")))
}
