//! A participant with an HTTP endpoint.

mod response;

use crate::endpoint::ServiceEndpoint;
use crate::failure;
use crate::http_client::{ConnectCause, HttpClient, RequestBody, SendError, chain};
use crate::task::{Participant, Task};
use async_trait::async_trait;
use goconductor_saga::{Failure, Outcome, Timestamp};
use goconductor_service_kit::config::HttpUrl;
use goconductor_telemetry::trace;
use goconductor_transition::clock;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use response::{ResponseBody, ResponseHead};
use std::sync::Arc;
use tracing::Span;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const WORKFLOW_ID: HeaderName = HeaderName::from_static("goconductor-workflow-id");
const STEP: HeaderName = HeaderName::from_static("goconductor-step");
const OPERATION: HeaderName = HeaderName::from_static("goconductor-operation");
const ATTEMPT: HeaderName = HeaderName::from_static("goconductor-attempt");
const DEADLINE: HeaderName = HeaderName::from_static("goconductor-deadline");
const LOCK_TOKEN: HeaderName = HeaderName::from_static("goconductor-lock-token");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The characters of a lock's key that are percent-encoded in a header. The others are shown as they are.
const LOCK_KEY: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'=').add(b',').add(b';').add(b'"');

/// A participant that is called by `POST {url}/{action}`.
#[derive(Debug)]
pub struct HttpParticipant {
    client: HttpClient,
    /// Without credentials.
    url: Arc<str>,
    authorization: Option<HeaderValue>,
    /// The URL in messages: `url`, or the reference to the secret that contains it.
    shown: Arc<str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    output_bytes: usize,
}

impl HttpParticipant {
    pub(crate) fn new(client: HttpClient, endpoint: &ServiceEndpoint, output_bytes: usize) -> Self {
        let url = endpoint.url.expose();
        // A URL that an earlier release accepted and that cannot be used fails with `BAD_ENDPOINT`.
        let (url, authorization) = match HttpUrl::parse(url) {
            Ok(url) => (Arc::from(url.as_str()), url.authorization().cloned()),
            Err(_) => (Arc::from(url.trim_end_matches('/')), None),
        };
        let shown = endpoint.shown.as_deref().map_or_else(|| Arc::clone(&url), Arc::from);
        Self { client, url, authorization, shown, headers: endpoint.headers.clone(), output_bytes }
    }

    fn request(&self, task: &Task) -> Result<Request<RequestBody>, String> {
        let uri: Uri = format!("{}/{}", self.url, task.action).parse().map_err(|error| format!("{error}"))?;
        let operation = if task.is_probe { "probe" } else { task.side.as_str() };
        let body = serde_json::to_vec(&task.input).map_err(|error| error.to_string())?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, JSON)
            .header(header::ACCEPT, JSON)
            .header(IDEMPOTENCY_KEY, &task.idempotency_key)
            .header(WORKFLOW_ID, task.workflow.to_string())
            .header(STEP, &task.step)
            .header(OPERATION, HeaderValue::from_static(operation))
            .header(ATTEMPT, task.attempt)
            .header(DEADLINE, rfc3339(task.deadline))
            .header(TRACEPARENT, task.traceparent())
            .body(RequestBody::new(body, task.at_deadline.clone()))
            .map_err(|error| error.to_string())?;
        if let Some(state) = task.tracestate().and_then(|state| HeaderValue::from_str(state).ok()) {
            request.headers_mut().insert("tracestate", state);
        }
        for (key, token) in &task.lock_tokens {
            let value = format!("{}={token}", utf8_percent_encode(key, LOCK_KEY));
            let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
            request.headers_mut().append(LOCK_TOKEN, value);
        }
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }

    /// Returns the outcome of an attempt without a response.
    fn no_response(&self, task: &Task, error: &SendError) -> Outcome {
        let reason = chain(error);
        match error {
            SendError::Connect(error) if error.cause == ConnectCause::LocalShortage => {
                let message = format!("this executor failed to connect to {}: {reason}", self.shown);
                Outcome::NotSent { failure: failure::limited(error.cause.code(), &message, None) }
            }
            SendError::Connect(error) => {
                let message = format!("failed to connect to {}: {reason}", self.shown);
                let failure = failure::limited(error.cause.code(), &message, None);
                Outcome::Retryable { failure, not_before: None }
            }
            SendError::Broken(_) => {
                let failure = failure::limited("CONNECTION_BROKEN", &reason, None);
                if task.at_deadline.is_set() {
                    // The request was not read, for example because the connection broke while it was idle.
                    return Outcome::Retryable { failure, not_before: None };
                }
                Outcome::Unknown { failure, not_before: None, answered: false }
            }
        }
    }

    /// Reads the body of a response, as far as the outcome needs it.
    async fn body(&self, head: &ResponseHead, mut body: Incoming) -> ResponseBody {
        let mut read = ResponseBody::new(self.output_bytes, head.has_output());
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => {
                    if frame.data_ref().is_some_and(|data| !read.push(data)) {
                        break;
                    }
                }
                Err(error) => {
                    read.break_off("CONNECTION_BROKEN", chain(&error));
                    break;
                }
            }
        }
        read
    }
}

#[async_trait]
impl Participant for HttpParticipant {
    async fn attempt(&self, task: &Task) -> Outcome {
        let request = match self.request(task) {
            Ok(request) => request,
            Err(reason) => {
                let message = format!("failed to create a request to {}: {reason}", self.shown);
                let failure = Failure::of("BAD_ENDPOINT", message);
                return Outcome::Retryable { failure, not_before: None };
            }
        };
        // The URL may be a secret.
        if self.shown == self.url {
            record_request(&task.span, request.uri());
        }
        // Until the request is sent, nothing happens, whatever takes so long.
        let (url, timeout) = (Arc::clone(&self.shown), task.timeout);
        task.at_deadline.set(move || {
            let message = format!("no connection to {url} was established within {timeout:?}");
            let failure = Failure::of(ConnectCause::TimedOut.code(), message);
            Outcome::Retryable { failure, not_before: None }
        });
        let response = match self.client.send(request).await {
            Ok(response) => response,
            Err(error) => return self.no_response(task, &error),
        };
        let (parts, body) = response.into_parts();
        trace::set_number(&task.span, "http.response.status_code", parts.status.as_u16().into());
        let head = Arc::new(ResponseHead::new(task.rules, parts.status, &parts.headers, clock::now()));
        // The head decides, even if its body does not end in time.
        let without_body = Arc::clone(&head);
        task.at_deadline.set(move || without_body.without_body(timeout));
        let body = self.body(&head, body).await;
        if task.is_probe { head.probed(body) } else { head.outcome(body) }
    }
}

/// Adds the attributes of a request to the span of its attempt. The URI contains no credentials.
fn record_request(span: &Span, uri: &Uri) {
    if span.is_disabled() {
        return;
    }
    trace::set_text(span, "http.request.method", || "POST".to_owned());
    trace::set_text(span, "url.full", || uri.to_string());
    trace::set_text(span, "server.address", || uri.host().unwrap_or_default().to_owned());
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    trace::set_number(span, "server.port", port.into());
}

/// Formats a time as RFC 3339 in UTC.
fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.3}"))
}
