//! The response to a migration.

use super::Status;
use serde::Deserialize;

/// A migration of a workflow to another version of its definition, or the check of one.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WorkflowMigration {
    /// The id of the workflow.
    pub id: String,
    /// The name of the definition.
    #[serde(default)]
    pub definition: String,
    /// The status of the workflow.
    pub status: Status,
    /// The version that the workflow followed before.
    #[serde(default)]
    pub from_version: u32,
    /// The version that the workflow follows, or could follow.
    #[serde(default)]
    pub to_version: u32,
    /// Whether nothing was changed.
    #[serde(default)]
    pub dry_run: bool,
    /// The steps that only the new version has.
    #[serde(default)]
    pub added: Vec<String>,
    /// The steps that only the old version has.
    #[serde(default)]
    pub removed: Vec<String>,
    /// The steps that differ.
    #[serde(default)]
    pub changed: Vec<String>,
}
