//! Definitions and services.

use crate::Error;
use crate::layer::layer;
use async_trait::async_trait;
use goconductor_saga::{Definition, Json, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Definitions and services.
#[async_trait]
pub trait DefinitionStore: std::fmt::Debug + Send + Sync {
    /// Applies a definition. Content equal to the newest version changes nothing; changed content becomes the next
    /// version. An archived definition is restored.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn put_definition(&self, new: NewDefinition) -> Result<PutDefinition, Error>;

    /// Archives a definition: its newest version is no longer returned, while each version can still be read by its
    /// number. Returns `false`, and changes nothing, if the definition does not exist or is archived.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn archive_definition(&self, name: &DefinitionName) -> Result<bool, Error>;

    /// Returns the newest version of each definition, in the order of `names`. The entry of an unknown or archived
    /// definition is `None`.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn newest(&self, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error>;

    /// Returns a definition, in its newest version if `version` is `None`. An archived definition has no newest version.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn definition(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, Error>;

    /// Returns the newest version of each definition that is not archived, by name. If `name` is set, returns every
    /// version of that definition instead, newest first, archived or not.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn definitions(&self, namespace: &str, name: Option<&str>) -> Result<Vec<DefinitionRecord>, Error>;

    /// Stores how a service is reached and replaces its previous record.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn put_service(&self, service: ServiceRecord) -> Result<(), Error>;

    /// Deletes the record of a service. Returns `false` if there is none.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn delete_service(&self, namespace: &str, name: &str) -> Result<bool, Error>;

    /// Returns all services of all namespaces, by name.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn services(&self) -> Result<Vec<ServiceRecord>, Error>;
}

layer!(DefinitionStore, DefinitionLayer {
    fn put_definition(new: NewDefinition) -> PutDefinition;
    fn archive_definition(name: &DefinitionName) -> bool;
    fn newest(names: &[DefinitionName]) -> Vec<Option<u32>>;
    fn definition(namespace: &str, name: &str, version: Option<u32>) -> Option<DefinitionRecord>;
    fn definitions(namespace: &str, name: Option<&str>) -> Vec<DefinitionRecord>;
    fn put_service(service: ServiceRecord) -> ();
    fn delete_service(namespace: &str, name: &str) -> bool;
    fn services() -> Vec<ServiceRecord>;
});

/// A definition to apply.
#[derive(Debug, Clone)]
pub struct NewDefinition {
    /// The namespace.
    pub namespace: String,
    /// The checked graph, which contains the name.
    pub definition: Definition,
    /// Digest of the content. Equal content has an equal digest.
    pub digest: String,
    /// The submitted text.
    pub source: String,
    /// `yaml` or `json`.
    pub source_format: String,
    /// The user who applies it.
    pub actor: Option<String>,
}

/// The name of a definition in its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DefinitionName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// Result of applying a definition.
#[derive(Debug, Clone)]
pub struct PutDefinition {
    /// The current version.
    pub record: Arc<DefinitionRecord>,
    /// Whether the call created this version.
    pub created: bool,
}

/// A stored version of a definition.
#[derive(Debug, Clone)]
pub struct DefinitionRecord {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The version, from 1.
    pub version: u32,
    /// Digest of the content.
    pub digest: String,
    /// The checked graph.
    pub definition: Definition,
    /// The submitted text.
    pub source: String,
    /// `yaml` or `json`.
    pub source_format: String,
    /// Time when the version was applied.
    pub created_at: Timestamp,
    /// The user who applied it.
    pub actor: Option<String>,
}

/// A registered service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceRecord {
    /// The namespace of the service.
    pub namespace: String,
    /// The name of the service.
    pub name: String,
    /// How executors call the service, and its limits.
    pub settings: ServiceSettings,
    /// The time of the last change.
    pub updated_at: Timestamp,
}

/// How executors call a service, and its concurrency limits.
///
/// The stored form is JSON, as in the API: `{"http": {"url": …}, "max_in_flight": …, "actions": {…}}`. Reading never
/// fails: keys of other releases are kept in `other`, and keys that cannot be read have their defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Json")]
pub struct ServiceSettings {
    /// The HTTP endpoint; `None` if only workers serve the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpEndpoint>,
    /// Commands of each side that may be in flight; `None` for the executor's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u64>,
    /// Limits of single actions, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub actions: BTreeMap<String, ActionLimits>,
    /// Keys of other releases.
    #[serde(flatten)]
    pub other: serde_json::Map<String, Json>,
}

/// The HTTP endpoint of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpEndpoint {
    /// The URL to which `/{action}` is appended, or a reference to a secret that contains it.
    pub url: String,
    /// Headers of each request, by name. The values are references to secrets, such as `secret://payments-token`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// The limits of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionLimits {
    /// Commands of each side that may be in flight.
    pub max_in_flight: u64,
}

impl ServiceSettings {
    /// The settings of a service with an HTTP endpoint and without limits.
    #[must_use]
    pub fn http(url: impl Into<String>) -> Self {
        Self { http: Some(HttpEndpoint { url: url.into(), headers: BTreeMap::new() }), ..Self::default() }
    }

    /// The URL of the HTTP endpoint.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.http.as_ref().map(|http| &*http.url)
    }
}

impl From<Json> for ServiceSettings {
    fn from(value: Json) -> Self {
        let Json::Object(mut fields) = value else { return Self::default() };
        let actions = match fields.remove("actions") {
            Some(Json::Object(actions)) => actions,
            Some(_) | None => serde_json::Map::new(),
        };
        let limits = |(name, limits)| Some((name, serde_json::from_value(limits).ok()?));
        Self {
            http: fields.remove("http").and_then(|http| serde_json::from_value(http).ok()),
            max_in_flight: fields.remove("max_in_flight").as_ref().and_then(Json::as_u64),
            actions: actions.into_iter().filter_map(limits).collect(),
            other: fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn service_settings_of_previous_release_are_read_and_written_unchanged() {
        let limited = ServiceSettings {
            max_in_flight: Some(8),
            actions: BTreeMap::from([("charge".to_owned(), ActionLimits { max_in_flight: 4 })]),
            ..ServiceSettings::http("http://127.0.0.1:9101")
        };
        let cases = [
            (
                r#"{"actions":{"charge":{"max_in_flight":4}},"http":{"url":"http://127.0.0.1:9101"},"max_in_flight":8}"#,
                limited,
            ),
            (r#"{"http":{"url":"http://127.0.0.1:1"}}"#, ServiceSettings::http("http://127.0.0.1:1")),
            (
                r#"{"max_in_flight":2}"#,
                ServiceSettings { max_in_flight: Some(2), ..ServiceSettings::default() },
            ),
            ("{}", ServiceSettings::default()),
        ];
        for (text, settings) in cases {
            assert_eq!(serde_json::from_str::<ServiceSettings>(text).unwrap(), settings);
            assert_eq!(json!(settings).to_string(), text);
        }
    }

    #[test]
    fn unknown_absent_and_unreadable_settings_are_tolerated() {
        // `goconductor dev` of the previous release wrote absent values as null and an empty map.
        let dev = json!({"http": {"url": "http://a"}, "max_in_flight": null, "actions": {}});
        assert_eq!(ServiceSettings::from(dev), ServiceSettings::http("http://a"));
        let odd =
            json!({"http": 1, "max_in_flight": "x", "actions": {"charge": {"max_in_flight": 1}, "odd": 3}});
        let actions = BTreeMap::from([("charge".to_owned(), ActionLimits { max_in_flight: 1 })]);
        assert_eq!(ServiceSettings::from(odd), ServiceSettings { actions, ..ServiceSettings::default() });
        let newer = json!({"http": {"url": "http://a"}, "tls": true});
        assert_eq!(json!(ServiceSettings::from(newer.clone())), newer, "keys of a newer release are kept");
    }
}
