//! The views of the settings.

use crate::time::Time;
use goconductor_saga::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// The settings of the API, and what the processes make of them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigView {
    /// Version of the settings. 0 if they were never changed. The header ETag holds it in quotes.
    pub(crate) version: u64,
    /// Digest of the settings. Equal settings have equal digests.
    pub(crate) digest: String,
    /// Time of the change that created the version.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) time: Option<Time>,
    /// Caller who made the change.
    pub(crate) actor: Option<String>,
    /// Reason for the change.
    pub(crate) reason: Option<String>,
    /// The settings, in the form of the configuration file. They override all other sources.
    #[schema(value_type = Object)]
    pub(crate) settings: Json,
    /// Settings that the request changes. Empty in a read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) changes: Vec<ChangeView>,
    /// Settings that are not in effect yet, because a process must be restarted.
    pub(crate) pending: Vec<PendingView>,
    /// Version that each process uses.
    pub(crate) processes: Vec<ConfigProcessView>,
}

/// A changed setting.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeView {
    /// Dotted path, such as `limits.page_size`.
    pub(crate) setting: String,
    /// When the change takes effect: `live`, `restart`
    pub(crate) apply: &'static str,
}

/// A setting that takes effect when a process is restarted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PendingView {
    /// Dotted path, such as `election.lease`.
    pub(crate) setting: String,
    /// Instance of the process.
    pub(crate) process: String,
    /// `api-gateway`, `state-store`, `saga-executor`, `leader-elector`
    pub(crate) kind: String,
    /// Time of the first change that is not in effect in the process.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Time,
}

/// The settings that a process uses.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigProcessView {
    /// Random identity of the process, new at each start.
    pub(crate) process: String,
    /// `api-gateway`, `state-store`, `saga-executor`, `leader-elector`
    pub(crate) kind: String,
    /// Version in effect, except for its pending settings. Null if the release of the process does not know it.
    pub(crate) version: Option<u64>,
    /// Reason why the process does not use the newest version that it knows.
    pub(crate) error: Option<String>,
}

/// A version of the settings.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigVersionView {
    /// Number of the version.
    pub(crate) version: u64,
    /// Digest of the settings.
    pub(crate) digest: String,
    /// Time of the change.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) time: Time,
    /// Caller who made the change.
    pub(crate) actor: Option<String>,
    /// Reason for the change.
    pub(crate) reason: Option<String>,
    /// The settings. Absent in lists.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) settings: Option<Json>,
}

/// A page of versions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigHistoryPage {
    /// Versions, newest first.
    pub(crate) versions: Vec<ConfigVersionView>,
    /// Token of the next page. Empty on the last page.
    pub(crate) next_page_token: String,
}
