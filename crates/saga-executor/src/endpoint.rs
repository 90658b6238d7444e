//! The HTTP endpoints of services, with the values of their references to secrets.

use crate::workers::ServiceKey;
use goconductor_process::{Vault, VaultError};
use goconductor_service_kit::config::{SecretReference, SecretUrl};
use goconductor_store::{HttpEndpoint, ServiceRecord};
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// An endpoint that can be called.
#[derive(Debug, Clone)]
pub(crate) struct ServiceEndpoint {
    settings: HttpEndpoint,
    /// The URL with its credentials.
    pub(crate) url: SecretUrl,
    /// The URL for messages and spans, if the URL itself is a secret.
    pub(crate) shown: Option<String>,
    /// Headers of each request.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The versions of the secrets. A new version makes another endpoint.
    versions: BTreeMap<SecretReference, u32>,
}

impl PartialEq for ServiceEndpoint {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.versions == other.versions
    }
}

/// The reason why an endpoint cannot be called. It never contains a value.
#[derive(Debug, thiserror::Error)]
enum EndpointError {
    #[error("{0}")]
    Reference(String),
    #[error("{0} refers to a secret that does not exist in the namespace of the service")]
    Missing(SecretReference),
    #[error("the secret of the header {0} is not a valid value of a header")]
    Header(String),
    #[error("the executor has no master key: set secrets.master_key")]
    NoKey,
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Resolves the references of endpoints. An endpoint that was resolved is kept while the store is not reachable.
#[derive(Debug, Default)]
pub(crate) struct EndpointResolver {
    vault: Option<Arc<Vault>>,
    resolved: HashMap<ServiceKey, Arc<ServiceEndpoint>>,
    /// The last failure of each service, which is logged once.
    failures: HashMap<ServiceKey, String>,
}

impl EndpointResolver {
    pub(crate) fn new(vault: Option<Arc<Vault>>) -> Self {
        Self { vault, ..Self::default() }
    }

    /// Returns the endpoints of all services that have one and can be called.
    pub(crate) async fn resolve(
        &mut self,
        services: &[ServiceRecord],
    ) -> BTreeMap<ServiceKey, Arc<ServiceEndpoint>> {
        let mut endpoints = BTreeMap::new();
        for service in services {
            let Some(settings) = &service.settings.http else { continue };
            let key = (service.namespace.clone(), service.name.clone());
            match self.endpoint(&service.namespace, settings).await {
                Ok(endpoint) => {
                    self.failures.remove(&key);
                    endpoints.insert(key, Arc::new(endpoint));
                }
                Err(error) => {
                    let is_temporary = matches!(&error, EndpointError::Vault(error) if error.is_retryable());
                    let known = self.resolved.get(&key).filter(|known| known.settings == *settings);
                    if let Some(known) = known.filter(|_| is_temporary) {
                        endpoints.insert(key, Arc::clone(known));
                        continue;
                    }
                    let text = error.to_string();
                    if self.failures.get(&key) != Some(&text) {
                        let (service, namespace) = (&key.1, &key.0);
                        tracing::warn!(service, namespace, %error, "endpoint of a service cannot be used");
                        self.failures.insert(key, text);
                    }
                }
            }
        }
        self.resolved = endpoints.iter().map(|(key, endpoint)| (key.clone(), Arc::clone(endpoint))).collect();
        endpoints
    }

    async fn endpoint(
        &self,
        namespace: &str,
        settings: &HttpEndpoint,
    ) -> Result<ServiceEndpoint, EndpointError> {
        let mut endpoint = ServiceEndpoint {
            settings: settings.clone(),
            url: SecretUrl::new(&settings.url),
            shown: None,
            headers: Vec::new(),
            versions: BTreeMap::new(),
        };
        if SecretReference::is_reference(&settings.url) {
            let value = self.value(namespace, &settings.url, &mut endpoint.versions).await?;
            endpoint.url = SecretUrl::new(value.expose_secret().trim());
            endpoint.shown = Some(settings.url.clone());
        }
        for (name, reference) in &settings.headers {
            let value = self.value(namespace, reference, &mut endpoint.versions).await?;
            let invalid = || EndpointError::Header(name.clone());
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            let mut value = HeaderValue::from_str(value.expose_secret().trim()).map_err(|_| invalid())?;
            value.set_sensitive(true);
            endpoint.headers.push((header, value));
        }
        Ok(endpoint)
    }

    async fn value(
        &self,
        namespace: &str,
        reference: &str,
        versions: &mut BTreeMap<SecretReference, u32>,
    ) -> Result<SecretString, EndpointError> {
        let vault = self.vault.as_ref().ok_or(EndpointError::NoKey)?;
        let reference: SecretReference =
            reference.parse().map_err(|error| EndpointError::Reference(format!("{error}")))?;
        match vault.get(namespace, &reference.name, reference.version).await? {
            Some((version, value)) => {
                versions.insert(reference, version);
                Ok(value)
            }
            None => Err(EndpointError::Missing(reference)),
        }
    }
}
