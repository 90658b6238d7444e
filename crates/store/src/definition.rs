//! Definitions and services as they are written and read.

use goconductor_saga::{Definition, Json, Timestamp};
use std::sync::Arc;

/// A definition to apply.
#[derive(Debug, Clone)]
pub struct NewDefinition {
    /// Where it lives.
    pub namespace: String,
    /// The checked graph; its name is the definition's.
    pub definition: Definition,
    /// Digest of its content: equal content has an equal digest.
    pub digest: String,
    /// The text as it was given.
    pub source: String,
    /// `yaml` or `json`.
    pub source_format: String,
    /// Who applies it.
    pub actor: Option<String>,
}

/// What a definition is found by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DefinitionName {
    /// Where it lives.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What applying a definition did.
#[derive(Debug, Clone)]
pub struct PutDefinition {
    /// The definition as it stands.
    pub record: Arc<DefinitionRecord>,
    /// Whether this is a new version.
    pub created: bool,
}

/// A definition as it is stored.
#[derive(Debug, Clone)]
pub struct DefinitionRecord {
    /// Where it lives.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// From 1.
    pub version: u32,
    /// Digest of its content.
    pub digest: String,
    /// The checked graph.
    pub definition: Definition,
    /// The text as it was given.
    pub source: String,
    /// `yaml` or `json`.
    pub source_format: String,
    /// When it was applied.
    pub created_at: Timestamp,
    /// Who applied it.
    pub actor: Option<String>,
}

/// How a service is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceRecord {
    /// Where it lives.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its settings, as the API has them: `{"http": {"url": …}}`.
    pub settings: Json,
    /// When it was last changed.
    pub updated_at: Timestamp,
}
