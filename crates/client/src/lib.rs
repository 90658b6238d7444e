//! The typed client of GoConductor's REST API, for programs and for the command line.
//!
//! A [`Client`] speaks for one namespace of one server. Each call returns a [`Reply`]: the answer as a
//! type, and the JSON that it was read from, so that a caller can show fields that this release does
//! not know. A call that does not succeed is an [`Error`], with variants by what the caller can do.
//!
//! The crate deliberately knows nothing of the rules of a saga and takes no decision: it repeats no
//! call by itself, but for [`Client::follow`], which is a read and resumes where it was cut, and
//! [`Client::start_workflow_within`], for starts that the server certainly did not carry out.
//!
//! Invariants: fields that are added to an answer break nothing; events of a followed workflow are
//! passed on in order, each once.

mod answer;
mod definitions;
mod error;
mod follow;
mod locks;
mod queues;
mod services;
mod sse;
mod workflows;

use reqwest::{Method, RequestBuilder, Response, Url, header};
use serde::de::DeserializeOwned;
use std::time::Duration;

pub use answer::{
    AppliedDefinition, Count, Counts, DeadLetter, DeadLetterPage, DefinitionList, DefinitionRecord,
    ElectionList, Event, EventPage, Failure, Health, Leader, Lock, LockPage, Process, ProcessList,
    QueueBacklog, QueueBacklogs, QueueLane, QueueMove, QueueUser, Released, ServiceList, ServiceRecord,
    Status, Step, SteppedDown, Version, WaitingOn, Workflow, WorkflowPage,
};
pub use error::{Error, Problem, ProblemDetail};
pub use follow::Follow;
pub use workflows::{Listing, Outcome, StartWorkflow, Started};

/// A connection that is not made after this long will not be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An ordinary call has this long; the slowest is a page of a large list.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The header that names the namespace.
const NAMESPACE: &str = "goconductor-namespace";

/// A client of one namespace of one server. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    namespace: String,
}

/// An answer, and the text it was read from.
#[derive(Debug, Clone)]
pub struct Reply<T> {
    /// The answer.
    pub value: T,
    /// The body as the server sent it.
    pub text: String,
}

impl Client {
    /// A client of `namespace` at a server such as `http://127.0.0.1:8470`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Address`] when `base_url` is no address of a server.
    pub fn new(base_url: &str, namespace: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Address { text: base_url.to_owned(), reason: reason.to_owned() };
        let base = Url::parse(base_url).map_err(|error| wrong(&error.to_string()))?;
        if base.scheme() != "http" {
            return Err(wrong("only http:// is spoken"));
        }
        if base.cannot_be_a_base() || base.host_str().is_none() {
            return Err(wrong("it names no host"));
        }
        if header::HeaderValue::from_str(namespace).is_err() {
            return Err(wrong("the namespace can't stand in a header"));
        }
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
        if is_loopback(&base) {
            // A proxy has no way to this machine's own loopback.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { http, base, namespace: namespace.to_owned() })
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The namespace that every call is about.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether the server is ready to take work.
    ///
    /// # Errors
    /// When it can't be reached, or says that it is not.
    pub async fn ready(&self) -> Result<(), Error> {
        let request = self.http.get(self.url(&["readyz"])).timeout(CALL_TIMEOUT);
        self.send(request).await.map(|_| ())
    }

    /// What the server says of its health.
    ///
    /// # Errors
    /// When it can't be reached, or is not healthy.
    pub async fn health(&self) -> Result<Health, Error> {
        let request = self.http.get(self.url(&["healthz"])).timeout(CALL_TIMEOUT);
        let response = self.send(request).await?;
        let text = self.text(response).await?;
        // A health page may be plain words.
        Ok(serde_json::from_str(&text).unwrap_or_else(|_| Health { status: text.trim().to_owned() }))
    }

    /// The server's release.
    ///
    /// # Errors
    /// When it can't be reached.
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

    /// A request to the versioned API; a segment may be any text, it is escaped.
    fn api(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut all = vec!["api", "v1"];
        all.extend_from_slice(path);
        self.http.request(method, self.url(&all)).header(NAMESPACE, &self.namespace)
    }

    /// Sends an ordinary call and reads its answer.
    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Reply<T>, Error> {
        let response = self.send(request.timeout(CALL_TIMEOUT)).await?;
        self.read(response).await
    }

    /// Sends a request; an answer that is no success is an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let after = response.headers().get(header::RETRY_AFTER);
        let after = after.and_then(|after| after.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let text = self.text(response).await.unwrap_or_default();
        Err(Error::from_answer(status.as_u16(), after, &text))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<Reply<T>, Error> {
        let text = self.text(response).await?;
        match serde_json::from_str(&text) {
            Ok(value) => Ok(Reply { value, text }),
            Err(error) => {
                Err(Error::Unreadable { url: self.address().to_owned(), reason: error.to_string() })
            }
        }
    }

    async fn text(&self, response: Response) -> Result<String, Error> {
        response.text().await.map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &reqwest::Error) -> Error {
        let url = self.address().to_owned();
        if error.is_timeout() && !error.is_connect() {
            return Error::Timeout { url };
        }
        Error::Unreachable { url, reason: innermost(error) }
    }
}

/// The last link of a chain of errors: what the system said.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an answer says that it repeats an earlier one.
fn is_replay(response: &Response) -> bool {
    response.headers().get("idempotency-replayed").is_some_and(|value| value == "true")
}
