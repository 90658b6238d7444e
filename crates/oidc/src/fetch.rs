//! Fetching of the issuer's documents over HTTP.

use crate::keys::{InvalidKeySet, KeySet};
use crate::settings::{Error, Settings, is_loopback, is_secure};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use url::Url;

/// Maximum bytes of a document. A discovery document has some 10 KiB, and a set of 64 keys fits.
const MAX_DOCUMENT_BYTES: usize = 256 << 10;

/// The place where the keys of the issuer are, and the client that fetches them. The client does not follow
/// redirects: the issuer could otherwise be made to point at an address inside the operator's network.
#[derive(Debug)]
pub(crate) struct KeySource {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    settings: Settings,
}

/// A failed fetch. The message names the URL, which contains no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("failed to fetch {url}: {reason}")]
    Request { url: String, reason: String },
    #[error("failed to fetch {url}: the response has status {status}, and redirects are not followed")]
    Status { url: String, status: StatusCode },
    #[error("the discovery document at {url} is malformed: {reason}")]
    Discovery { url: String, reason: String },
    #[error("the discovery document is that of `{found}`, not of `{wanted}`: correct access.oidc.issuer")]
    OtherIssuer { found: String, wanted: String },
    #[error("the discovery document names the key set `{url}`, which is not an https:// URL")]
    InsecureKeys { url: String },
    #[error("the discovery document names the endpoint `{url}`, which is not an https:// URL")]
    InsecureEndpoint { url: String },
    #[error("the discovery document names no {name}")]
    NoEndpoint { name: &'static str },
    #[error("the key set at {url} cannot be used: {reason}")]
    KeySet { url: String, reason: InvalidKeySet },
    #[error("the fetch did not end within {timeout:?}")]
    Timeout { timeout: std::time::Duration },
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
}

/// The endpoints of the authorization code flow.
#[derive(Debug, Clone)]
pub(crate) struct IssuerEndpoints {
    pub(crate) authorization: Url,
    pub(crate) token: Url,
}

impl KeySource {
    /// Creates a source. Reads the certificates of authorities, and sends no request.
    pub(crate) fn new(settings: Settings) -> Result<Self, Error> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(&settings)?)
            .https_or_http()
            .enable_http1()
            .build();
        // A fetch is rare, so no idle connection is kept.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, settings })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Fetches the keys within the timeout of the settings.
    pub(crate) async fn fetch(&self) -> Result<KeySet, FetchError> {
        let timeout = self.settings.fetch_timeout;
        let fetched = tokio::time::timeout(timeout, self.fetch_keys()).await;
        fetched.unwrap_or(Err(FetchError::Timeout { timeout }))
    }

    async fn fetch_keys(&self) -> Result<KeySet, FetchError> {
        let url = match &self.settings.jwks_url {
            Some(url) => url.clone(),
            None => self.discover_keys().await?,
        };
        let body = self.get(&url).await?;
        KeySet::parse(&body, &self.settings.algorithms).map_err(|reason| FetchError::KeySet { url, reason })
    }

    /// Fetches the endpoints of the authorization code flow within the timeout of the settings.
    pub(crate) async fn endpoints(&self) -> Result<IssuerEndpoints, FetchError> {
        let timeout = self.settings.fetch_timeout;
        let discovered = tokio::time::timeout(timeout, self.discover()).await;
        let document = discovered.unwrap_or(Err(FetchError::Timeout { timeout }))?;
        let endpoint = |name: &'static str, url: Option<String>| {
            let url = url.ok_or(FetchError::NoEndpoint { name })?;
            let parsed = Url::parse(&url).ok().filter(|parsed| self.is_accepted(parsed));
            parsed.ok_or(FetchError::InsecureEndpoint { url })
        };
        Ok(IssuerEndpoints {
            authorization: endpoint("authorization_endpoint", document.authorization_endpoint)?,
            token: endpoint("token_endpoint", document.token_endpoint)?,
        })
    }

    /// Sends a form, and returns the status and the body of the response. The form may have a secret, so that no message
    /// contains a part of it.
    pub(crate) async fn post_form(
        &self,
        url: &Url,
        authorization: Option<HeaderValue>,
        form: String,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let failed = |reason: &dyn std::error::Error| FetchError::Request {
            url: url.to_string(),
            reason: chain(reason),
        };
        let mut request = Request::post(url.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::from(form)).map_err(|error| failed(&error))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| failed(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES).collect().await;
            Ok::<_, FetchError>((status, body.map_err(|error| failed(&*error))?.to_bytes()))
        };
        let timeout = self.settings.fetch_timeout;
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(FetchError::Timeout { timeout }))
    }

    async fn discover_keys(&self) -> Result<String, FetchError> {
        let document = self.discover().await?;
        let is_accepted = Url::parse(&document.jwks_uri).is_ok_and(|url| self.is_accepted(&url));
        if !is_accepted {
            return Err(FetchError::InsecureKeys { url: document.jwks_uri });
        }
        Ok(document.jwks_uri)
    }

    /// Whether a URL of the discovery document can be trusted. Only an issuer on this machine may name one without TLS.
    fn is_accepted(&self, url: &Url) -> bool {
        let is_local = Url::parse(&self.settings.issuer).is_ok_and(|issuer| is_loopback(&issuer));
        is_secure(url) && (url.scheme() == "https" || is_local)
    }

    /// Reads the discovery document (OpenID Connect Discovery 1.0, section 4).
    async fn discover(&self) -> Result<Discovery, FetchError> {
        let issuer = &self.settings.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let body = self.get(&url).await?;
        let document: Discovery = serde_json::from_slice(&body)
            .map_err(|error| FetchError::Discovery { url, reason: error.to_string() })?;
        if document.issuer != *issuer {
            return Err(FetchError::OtherIssuer { found: document.issuer, wanted: issuer.clone() });
        }
        Ok(document)
    }

    async fn get(&self, url: &str) -> Result<Bytes, FetchError> {
        let failed = |reason: &dyn std::error::Error| FetchError::Request {
            url: url.to_owned(),
            reason: chain(reason),
        };
        let request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .body(Full::default())
            .map_err(|error| failed(&error))?;
        let response = self.client.request(request).await.map_err(|error| failed(&error))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status { url: url.to_owned(), status: response.status() });
        }
        let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES).collect().await;
        Ok(body.map_err(|error| failed(&*error))?.to_bytes())
    }
}

/// The message of an error with those of its sources, because `hyper-util` names the cause only there.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn tls(settings: &Settings) -> Result<ClientConfig, Error> {
    let roots = match &settings.ca_file {
        Some(file) => file_roots(file)?,
        None => system_roots(settings)?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("the TLS library", error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn file_roots(file: &Path) -> Result<RootCertStore, Error> {
    let name = || file.display().to_string();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(name(), error))? {
        let certificate = certificate.map_err(|error| unusable(name(), error))?;
        roots.add(certificate).map_err(|error| unusable(name(), error))?;
    }
    if roots.is_empty() {
        return Err(unusable(name(), "the file has no certificate"));
    }
    Ok(roots)
}

/// The authorities of the system. An issuer without TLS needs none.
fn system_roots(settings: &Settings) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let is_needed = |url: &str| url.starts_with("https:");
    if !is_needed(&settings.issuer) && !settings.jwks_url.as_deref().is_some_and(is_needed) {
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let cause = found.errors.first().map_or_else(|| "it is empty".to_owned(), ToString::to_string);
        return Err(unusable("the certificate store of the system", cause));
    }
    Ok(roots)
}

fn unusable(
    source_name: impl Into<String>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Certificates { source_name: source_name.into(), source: source.into() }
}
