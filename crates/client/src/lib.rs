//! The typed client of GoConductor's REST API, for programs and for the command line.
//!
//! A [`Client`] sends requests to one namespace of one server. Each request returns a [`Reply`]: the typed response,
//! and its JSON text, so that a caller can show fields that this release does not know. A failed request returns an
//! [`Error`], with variants by what the caller can do.
//!
//! The crate deliberately knows nothing about the rules of a saga. It repeats a request in three cases only: a read whose
//! connection breaks is repeated once, [`Client::follow`] resumes after a broken connection, and
//! [`Client::start_workflow_within`] retries starts that had no effect.
//!
//! Invariants: new fields in a response break nothing. The events of a followed workflow are returned in order, each
//! once.

mod access;
mod audit;
mod batches;
mod config;
mod definitions;
mod error;
mod follow;
mod locks;
mod queues;
mod response;
mod schedules;
mod secrets;
mod services;
mod workflows;

use goconductor_tls::{ClientTls, PeerRole, TlsFiles};
use reqwest::{Method, RequestBuilder, Response, Url, header};
use serde::de::DeserializeOwned;
use std::time::Duration;

pub use access::NewAccessKey;
pub use audit::{AuditHead, AuditListing, AuditPage, AuditRecord};
pub use batches::NewBatch;
pub use config::ConfigWrite;
pub use error::{Error, Problem, ProblemDetail};
pub use follow::Follow;
pub use response::config::{
    Config, ConfigChange, ConfigHistory, ConfigProcess, ConfigVersion, PendingSetting,
};
pub use response::schedule::{
    DueTimes, Schedule, SchedulePage, SchedulePause, ScheduleRun, TriggeredWorkflow,
};
pub use response::{
    AccessKey, AccessKeyPage, AppliedDefinition, Batch, BatchItem, BatchItemPage, BatchPage, BatchPreview,
    Count, Counts, CreatedAccessKey, DeadLetter, DeadLetterPage, DefinitionList, DefinitionRecord,
    DeletedService, ElectionList, ElectionProcess, Event, EventPage, Failure, Health, Leader, Lock, LockPage,
    Process, ProcessList, QueueBacklog, QueueBacklogs, QueueLane, QueueMove, QueueUser, ReadinessCheck,
    RelatedWorkflow, Released, RotatedPayloadKey, Rotation, Secret, SecretPage, ServerReadiness, ServiceList,
    ServiceRecord, Status, Step, SteppedDown, Version, WaitingOn, Workflow, WorkflowMigration, WorkflowPage,
};
pub use schedules::ScheduleSpec;
pub use workflows::{Listing, Outcome, StartWorkflow, Started};

/// The timeout for establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout of a request that is not a long poll. The slowest is a page of a large list.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The protocol that is negotiated over TLS.
const HTTP1: &[u8] = b"http/1.1";

/// The header that selects the namespace.
const NAMESPACE: &str = "goconductor-namespace";

/// A client of one namespace of one server. Clones are cheap and share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// The base address for messages, without a password.
    address: String,
    namespace: String,
    tls: Option<ClientTls>,
    /// The value of the header `Authorization`, which is marked as sensitive.
    authorization: Option<header::HeaderValue>,
}

/// A response and its text.
#[derive(Debug, Clone)]
pub struct Reply<T> {
    /// The typed response.
    pub value: T,
    /// The body as the server sent it.
    pub text: String,
}

impl Client {
    /// Creates a client of `namespace` at a server such as `http://127.0.0.1:8470`. A server with `https` is verified by the
    /// authorities that this machine trusts. Sends no request.
    ///
    /// # Errors
    /// Returns [`Error::Address`] if `base_url` or `namespace` is invalid.
    pub fn new(base_url: &str, namespace: &str) -> Result<Self, Error> {
        let is_secure = base_url.starts_with("https://");
        let tls = is_secure.then(|| ClientTls::load(TlsFiles::default(), "tls", PeerRole::ApiGateway));
        let tls = tls
            .transpose()
            .map_err(|error| Error::Address { text: base_url.to_owned(), reason: error.to_string() })?;
        Self::with_tls(base_url, namespace, tls)
    }

    /// Creates a client like [`new`](Self::new), which verifies a server with `https` by `tls` and presents the certificate
    /// of `tls`. A server with `http` is refused if `tls` is not `None`.
    ///
    /// # Errors
    /// Returns [`Error::Address`] if `base_url` or `namespace` is invalid, or if the scheme does not fit `tls`.
    pub fn with_tls(base_url: &str, namespace: &str, tls: Option<ClientTls>) -> Result<Self, Error> {
        let invalid_text =
            |text: &str, reason: &str| Error::Address { text: text.to_owned(), reason: reason.to_owned() };
        let base = Url::parse(base_url).map_err(|_| {
            invalid_text(base_url, "it is not a URL: write it in the form http://127.0.0.1:8470")
        })?;
        let address = without_credentials(&base);
        let invalid = |reason: &str| invalid_text(&address, reason);
        match (base.scheme(), &tls) {
            ("http", None) | ("https", Some(_)) => {}
            ("http", Some(_)) => return Err(invalid("a server with certificates requires https://")),
            (_, _) => return Err(invalid("the scheme must be http:// or https://")),
        }
        if base.cannot_be_a_base() || base.host_str().is_none() {
            return Err(invalid("the host is missing"));
        }
        if header::HeaderValue::from_str(namespace).is_err() {
            return Err(invalid("the namespace contains characters that a header cannot contain"));
        }
        let tls = tls.map(ClientTls::or_by_name);
        let http = connections(&base, tls.as_ref(), None).map_err(|reason| invalid(&reason))?;
        Ok(Self { http, base, address, namespace: namespace.to_owned(), tls, authorization: None })
    }

    /// Returns the TLS of the connections. Returns `None` for a server without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    /// Sends an access key, or a token of the identity provider, with each request.
    ///
    /// # Errors
    /// Returns [`Error::Address`] if a header cannot contain the token.
    pub fn with_token(self, token: &str) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::Address { text: self.address.clone(), reason: reason.to_owned() };
        let mut value = header::HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| invalid("the token contains characters that a header cannot contain"))?;
        value.set_sensitive(true);
        let http = connections(&self.base, self.tls.as_ref(), Some(value.clone()))
            .map_err(|reason| invalid(&reason))?;
        Ok(Self { http, authorization: Some(value), ..self })
    }

    /// Returns the value of the header `Authorization`, if the client has a token.
    #[must_use]
    pub fn authorization(&self) -> Option<&header::HeaderValue> {
        self.authorization.as_ref()
    }

    /// Returns the address of the server, with a password masked.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Checks that the server is ready.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or is not ready.
    pub async fn ready(&self) -> Result<(), Error> {
        let request = self.http.get(self.url(&["readyz"])).timeout(CALL_TIMEOUT);
        self.send(request).await.map(|_| ())
    }

    /// Returns the readiness of the server. A server that is not ready is not an error: its response names the failed checks.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached, or if its response is not that of a GoConductor server.
    pub async fn readiness(&self) -> Result<Reply<ServerReadiness>, Error> {
        let request = self.http.get(self.url(&["readyz"])).timeout(CALL_TIMEOUT);
        let response = self.exchange(request).await?;
        self.read(response).await
    }

    /// Returns the health of the server.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or is not healthy.
    pub async fn health(&self) -> Result<Health, Error> {
        let request = self.http.get(self.url(&["healthz"])).timeout(CALL_TIMEOUT);
        let response = self.send(request).await?;
        let text = self.text(response).await?;
        // The health endpoint of another release may return plain text.
        Ok(serde_json::from_str(&text).unwrap_or_else(|_| Health { status: text.trim().to_owned() }))
    }

    /// Returns the version of the server.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached.
    pub async fn version(&self) -> Result<Reply<Version>, Error> {
        self.call(self.http.get(self.url(&["version"]))).await
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Builds a request to the versioned API, with the trace context of the current span. The segments of the path are
    /// escaped.
    fn api(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut all = vec!["api", "v1"];
        all.extend_from_slice(path);
        let request = self.http.request(method, self.url(&all)).header(NAMESPACE, &self.namespace);
        let Some(current) = goconductor_telemetry::trace::current() else { return request };
        let request = request.header("traceparent", current.traceparent);
        match current.tracestate {
            Some(state) => request.header("tracestate", state),
            None => request,
        }
    }

    /// Sends a request with the usual timeout, and reads its response.
    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Reply<T>, Error> {
        let response = self.send(request.timeout(CALL_TIMEOUT)).await?;
        self.read(response).await
    }

    /// Sends a request. A response without a success status is an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = self.exchange(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        let text = self.text(response).await.unwrap_or_default();
        Err(Error::from_response(status.as_u16(), retry_after, &text))
    }

    /// Sends a request and ignores the status of its response. A read is repeated once if its connection breaks: a server that closes an
    /// idle connection cannot know that a request is on its way.
    async fn exchange(&self, request: RequestBuilder) -> Result<Response, Error> {
        let request = request.build().map_err(|error| self.transport_error(error))?;
        let repeat = if request.method() == Method::GET { request.try_clone() } else { None };
        let sent = match (self.http.execute(request).await, repeat) {
            (Err(error), Some(repeat)) if is_broken(&error) => self.http.execute(repeat).await,
            (sent, _) => sent,
        };
        sent.map_err(|error| self.transport_error(error))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<Reply<T>, Error> {
        let text = self.text(response).await?;
        match serde_json::from_str(&text) {
            Ok(value) => Ok(Reply { value, text }),
            Err(error) => Err(Error::unreadable(self.address(), error)),
        }
    }

    async fn text(&self, response: Response) -> Result<String, Error> {
        response.text().await.map_err(|error| self.transport_error(error))
    }

    fn transport_error(&self, source: reqwest::Error) -> Error {
        let url = self.address().to_owned();
        if source.is_timeout() && !source.is_connect() {
            return Error::Timeout { url, source };
        }
        Error::Unreachable { url, reason: root_cause(&source), source }
    }
}

/// Returns whether an established connection broke before the response.
fn is_broken(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}

/// Creates the connections to a server. `authorization` is sent with each request. The client always gets a configuration
/// of TLS, because the library would look for one in the process.
fn connections(
    base: &Url,
    tls: Option<&ClientTls>,
    authorization: Option<header::HeaderValue>,
) -> Result<reqwest::Client, String> {
    let headers = authorization.into_iter().map(|value| (header::AUTHORIZATION, value)).collect();
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).default_headers(headers);
    if is_loopback(base) {
        // A proxy cannot reach the loopback interface of this machine.
        builder = builder.no_proxy();
    }
    let builder = match tls {
        Some(tls) => {
            let config = tls.config(&[HTTP1]).map_err(|error| error.to_string())?;
            builder.https_only(true).tls_backend_preconfigured(config)
        }
        None => {
            let config = goconductor_tls::no_servers().map_err(|error| error.to_string())?;
            builder.tls_backend_preconfigured(config)
        }
    };
    builder.build().map_err(|error| error.to_string())
}

/// Returns the message of the last error of a chain, which is that of the operating system.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Returns a base address for messages, with its credentials masked. A token may be the user name.
fn without_credentials(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.password().is_some() || !shown.username().is_empty() {
        // The calls fail only for a URL without a host, which has no credentials.
        shown.set_username("***").ok();
        shown.set_password(None).ok();
    }
    shown.as_str().trim_end_matches('/').to_owned()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the server marked a response as that of a repeated request.
fn is_replay(response: &Response) -> bool {
    response.headers().get("idempotency-replayed").is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_not_in_debug_output() {
        let client = Client::new("http://127.0.0.1:8470", "default").unwrap();
        assert!(client.authorization().is_none());
        let client = client.with_token("gck_secret\n").unwrap();
        assert_eq!(client.authorization().map(|value| value.as_bytes()), Some(&b"Bearer gck_secret"[..]));
        assert!(!format!("{client:?}").contains("gck_secret"));
        assert!(client.with_token("a\u{1}b").is_err());
    }

    #[test]
    fn credentials_of_an_address_are_masked_in_messages() {
        let client = Client::new("http://operator:secret@127.0.0.1:8470/", "default").unwrap();
        assert_eq!(client.address(), "http://***@127.0.0.1:8470");
        let refused = Client::new("ftp://operator:secret@127.0.0.1:8470", "default").unwrap_err().to_string();
        assert!(refused.contains("scheme") && !refused.contains("secret"), "{refused}");
        assert_eq!(Client::new("http://[::1]:8470", "default").unwrap().address(), "http://[::1]:8470");
    }
}
