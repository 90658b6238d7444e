//! The responses about the configuration.

use serde::Deserialize;
use serde_json::Value;

/// The settings of the API.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The version of the settings. 0 if they were never changed.
    pub version: u64,
    /// The digest of the settings.
    pub digest: String,
    /// The time of the change that created the version.
    pub time: Option<String>,
    /// The caller who made the change.
    pub actor: Option<String>,
    /// The reason for the change.
    pub reason: Option<String>,
    /// The settings, in the form of the configuration file.
    pub settings: Value,
    /// The settings that the request changes. Empty in a read.
    pub changes: Vec<ConfigChange>,
    /// The settings that take effect when a process is restarted.
    pub pending: Vec<PendingSetting>,
    /// The version that each process uses.
    pub processes: Vec<ConfigProcess>,
}

/// A changed setting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConfigChange {
    /// The dotted path, such as `limits.page_size`.
    pub setting: String,
    /// When the change takes effect: `live`, `restart`.
    pub apply: String,
}

/// A setting that takes effect when a process is restarted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PendingSetting {
    /// The dotted path.
    pub setting: String,
    /// The instance of the process.
    pub process: String,
    /// The kind of the process.
    pub kind: String,
    /// The time of the first change that is not in effect.
    pub since: Option<String>,
}

/// The settings that a process uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConfigProcess {
    /// The instance of the process.
    pub process: String,
    /// The kind of the process.
    pub kind: String,
    /// The version in effect. `None` if the release of the process does not know it.
    pub version: Option<u64>,
    /// The reason why the process does not use the newest version that it knows.
    pub error: Option<String>,
}

/// A version of the settings.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ConfigVersion {
    /// The number of the version.
    pub version: u64,
    /// The digest of the settings.
    pub digest: String,
    /// The time of the change.
    pub time: Option<String>,
    /// The caller who made the change.
    pub actor: Option<String>,
    /// The reason for the change.
    pub reason: Option<String>,
    /// The settings. `None` in lists.
    pub settings: Option<Value>,
}

/// A page of versions.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ConfigHistory {
    /// The versions, newest first.
    pub versions: Vec<ConfigVersion>,
    /// The token of the next page. Empty on the last page.
    pub next_page_token: String,
}
