//! Access keys.

use serde::Deserialize;
use std::fmt;

/// An access key, without its token.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AccessKey {
    /// Identifies the key. Its token begins with `gck_` and the id.
    pub id: String,
    /// The purpose of the key.
    pub name: String,
    /// The roles.
    pub roles: Vec<String>,
    /// The namespaces in which the roles apply, or `*` for all.
    pub namespaces: Vec<String>,
    /// The services that a worker with the key may serve. Empty for all.
    pub services: Vec<String>,
    /// The caller that created the key.
    pub created_by: String,
    /// The time of the creation.
    pub created_at: String,
    /// The time from which on the key is refused.
    pub expires_at: Option<String>,
    /// The time at which the key was revoked.
    pub revoked_at: Option<String>,
}

/// A new access key with its token.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CreatedAccessKey {
    /// The key.
    pub key: AccessKey,
    /// The token. It is in no later response.
    pub token: String,
}

impl fmt::Debug for CreatedAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedAccessKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A page of access keys.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AccessKeyPage {
    /// The keys, ordered by id.
    pub keys: Vec<AccessKey>,
    /// The token of the next page. Empty on the last page.
    pub next_page_token: String,
}
