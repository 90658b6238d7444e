//! Between the store's port and its messages.

mod agreement;
mod claim;
mod definition;
pub mod filter;
mod lease;
pub mod lock;
mod process;
mod workflow;

use bytes::Bytes;
use goconductor_saga::{OwedKey, WorkflowId};
use goconductor_store::json;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use workflow::{write_bytes, write_of};

/// A message that is not what it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message can't be read: {0}")]
pub struct Malformed(pub String);

impl From<goconductor_store::Error> for Malformed {
    fn from(error: goconductor_store::Error) -> Self {
        Self(error.to_string())
    }
}

/// What has to be in a message.
///
/// # Errors
/// When it is not.
pub fn there<T>(value: Option<T>, what: &str) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed(format!("{what} is missing")))
}

/// An id as bytes.
#[must_use]
pub fn id_bytes(id: WorkflowId) -> Bytes {
    Bytes::copy_from_slice(id.0.as_bytes())
}

/// An id from its bytes.
///
/// # Errors
/// When they are none.
pub fn id(bytes: &[u8]) -> Result<WorkflowId, Malformed> {
    uuid::Uuid::from_slice(bytes).map(WorkflowId).map_err(|error| Malformed(format!("an id: {error}")))
}

/// Ids from their bytes.
///
/// # Errors
/// When one of them is none.
pub fn ids(all: &[Bytes]) -> Result<Vec<WorkflowId>, Malformed> {
    all.iter().map(|bytes| id(bytes)).collect()
}

/// A value as the bytes of its JSON.
///
/// # Errors
/// When it has none.
pub fn value<T: Serialize>(what: &str, value: &T) -> Result<Bytes, Malformed> {
    Ok(json::json(what, value)?.into())
}

/// A value from the bytes of its JSON.
///
/// # Errors
/// When they are none of the type.
pub fn parsed<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|error| Malformed(format!("{what}: {error}")))?;
    Ok(json::parsed(what, text)?)
}

fn owed_key(text: &str) -> Result<OwedKey, Malformed> {
    text.parse().map_err(|error| Malformed(format!("{text:?}: {error}")))
}
