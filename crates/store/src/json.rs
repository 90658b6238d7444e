//! JSON text of stored values. Numbers and values of any depth are read back unchanged.

use crate::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn corrupt(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::corrupt(what, error.to_string()).caused_by(error)
}

/// Encodes a value.
///
/// # Errors
/// Returns `Error::Corrupt`, with `what` as the name of the value, if it has no JSON form.
pub fn json<T: Serialize>(what: &str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| corrupt(what, error))
}

/// Decodes a value, without a limit on its depth.
///
/// The depth of a user's values is limited when they are accepted. In a state they are nested some levels deeper, and
/// every stored value must be readable.
///
/// # Errors
/// Returns `Error::Corrupt`, with `what` as the name of the value, if the text is not valid JSON of the type.
pub fn parsed<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let value = T::deserialize(&mut reader).map_err(|error| corrupt(what, error))?;
    reader.end().map_err(|error| corrupt(what, error))?;
    Ok(value)
}
