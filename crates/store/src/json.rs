//! Values as they are stored: JSON text, in which every number and every depth comes back as it was.

use crate::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn corrupt(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::corrupt(what, error.to_string()).caused_by(error)
}

/// A value as text.
///
/// # Errors
/// When it has no JSON form.
pub fn json<T: Serialize>(what: &str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| corrupt(what, error))
}

/// A value from its text. Without a limit in depth: what users wrote was limited when it came in, and stands some levels deeper
/// in a state than it did there. What was written has to be readable.
///
/// # Errors
/// When the text is none of the type: `what` says in the error what it was to be.
pub fn parsed<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let value = T::deserialize(&mut reader).map_err(|error| corrupt(what, error))?;
    reader.end().map_err(|error| corrupt(what, error))?;
    Ok(value)
}
