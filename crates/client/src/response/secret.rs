//! Responses about secrets.

use serde::Deserialize;

/// A secret without its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// The name.
    pub name: String,
    /// The newest version, from 1.
    pub version: u32,
    /// The time at which the secret was created.
    pub created_at: String,
    /// The time of the newest version.
    pub updated_at: String,
}

/// A page of secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SecretPage {
    /// The secrets, ordered by name.
    pub secrets: Vec<Secret>,
    /// The token of the next page. Empty on the last page.
    pub next_page_token: String,
}

/// The progress of a rotation of the master key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rotation {
    /// The id of the current master key.
    pub key_id: String,
    /// Whether the request made it the current one.
    pub changed: bool,
    /// Versions whose data keys are still wrapped with an earlier master key, at most 1000.
    pub pending: u32,
}

/// The key of the payloads of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RotatedPayloadKey {
    /// The namespace.
    pub namespace: String,
    /// The newest version, from 1.
    pub version: u32,
}
