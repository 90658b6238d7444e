//! The request of one attempt, and the outcome of its response.

use super::response::{ResponseBody, ResponseHead};
use crate::failure;
use crate::http_client::{ConnectCause, HttpClient, RequestBody, SendError, chain};
use crate::task::Task;
use goconductor_saga::{Failure, Outcome, Timestamp};
use goconductor_telemetry::trace;
use goconductor_transition::{LARGE_PAYLOAD_BYTES, clock};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
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
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Maximum bytes of the body of a failure whose details are kept.
const FAILURE_BYTES: usize = 512 << 10;
/// The characters of a lock's key that are percent-encoded in a header. The others are shown as they are.
const LOCK_KEY: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'=').add(b',').add(b';').add(b'"');

/// The target of a request, for messages and spans.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The URL without credentials, or the reference to the secret that contains it.
    pub(crate) shown: Arc<str>,
    /// Whether the URL is a secret, which spans must not contain.
    pub(crate) is_secret: bool,
}

/// Creates the request of an attempt, with the headers that every participant gets.
pub(crate) fn command_request(
    task: &Task,
    method: Method,
    uri: Uri,
    body: RequestBody,
) -> Result<Request<RequestBody>, String> {
    let operation = if task.is_probe { "probe" } else { task.side.as_str() };
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(IDEMPOTENCY_KEY, &task.idempotency_key)
        .header(WORKFLOW_ID, task.workflow.to_string())
        .header(STEP, &task.step)
        .header(OPERATION, HeaderValue::from_static(operation))
        .header(ATTEMPT, task.attempt)
        .header(DEADLINE, rfc3339(clock::to_wall(task.deadline)))
        .header(TRACEPARENT, task.traceparent())
        .body(body)
        .map_err(|error| error.to_string())?;
    if let Some(state) = task.tracestate().and_then(|state| HeaderValue::from_str(state).ok()) {
        request.headers_mut().insert("tracestate", state);
    }
    for (key, token) in &task.lock_tokens {
        let value = format!("{}={token}", utf8_percent_encode(key, LOCK_KEY));
        let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
        request.headers_mut().append(LOCK_TOKEN, value);
    }
    Ok(request)
}

/// Sends the requests of attempts. The table of outcomes is part of the contract with participants.
#[derive(Debug)]
pub(crate) struct Exchange {
    client: HttpClient,
    output_bytes: usize,
}

impl Exchange {
    pub(crate) fn new(client: HttpClient, output_bytes: usize) -> Self {
        Self { client, output_bytes }
    }

    /// Sends a request and returns the outcome of the attempt.
    pub(crate) async fn attempt(
        &self,
        task: &Task,
        request: Request<RequestBody>,
        target: &Target,
    ) -> Outcome {
        before_request(task, &request, target);
        // The client does not read a body without a byte, so it does not report when it sends the request.
        if request.body().is_empty() && !task.at_deadline.clear() {
            let failure = Failure::of("NOT_SENT", "the deadline of the attempt has passed");
            return Outcome::NotSent { failure };
        }
        let response = match self.client.send(request).await {
            Ok(response) => response,
            Err(error) => return no_response(task, target, &error),
        };
        self.read(task, response).await
    }

    /// Reads a response and returns the outcome of the attempt.
    pub(crate) async fn read(&self, task: &Task, response: Response<Incoming>) -> Outcome {
        let (parts, body) = response.into_parts();
        trace::set_number(&task.span, "http.response.status_code", parts.status.as_u16().into());
        let head = Arc::new(ResponseHead::new(task.rules, parts.status, &parts.headers, clock::now()));
        // The head decides, even if its body does not end in time.
        let (without_body, timeout) = (Arc::clone(&head), task.timeout);
        task.at_deadline.set(move || without_body.without_body(timeout));
        let length = parts.headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length = length.and_then(|length| length.parse().ok());
        let body = self.body(task, &head, length, body).await;
        if task.is_probe { head.probed(body) } else { head.outcome(body) }
    }

    /// Reads the body of a response, as far as the outcome needs it.
    async fn body(
        &self,
        task: &Task,
        head: &ResponseHead,
        length: Option<u64>,
        mut body: Incoming,
    ) -> ResponseBody {
        // The details of a failure are part of the state.
        let limit = if head.has_output() { self.output_bytes } else { self.output_bytes.min(FAILURE_BYTES) };
        let mut read = ResponseBody::new(limit, head.has_output());
        let largest = u64::try_from(limit).unwrap_or(u64::MAX);
        let expected = length.map_or(largest, |length| length.min(largest));
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => {
                    let Some(data) = frame.data_ref() else { continue };
                    received += u64::try_from(data.len()).unwrap_or(u64::MAX);
                    if head.has_output() && received >= LARGE_PAYLOAD_BYTES {
                        task.payload_slot.acquire(expected).await;
                    }
                    if !read.push(data) {
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

/// Records a request that is about to be sent. Until the request is sent, the attempt has no effect, even if a part takes long.
pub(crate) fn before_request(task: &Task, request: &Request<RequestBody>, target: &Target) {
    if !target.is_secret {
        record_request(&task.span, request.method(), request.uri());
    }
    let (url, timeout) = (Arc::clone(&target.shown), task.timeout);
    task.at_deadline.set(move || {
        let message = format!("no connection to {url} was established within {timeout:?}");
        let failure = Failure::of(ConnectCause::TimedOut.code(), message);
        Outcome::Retryable { failure, not_before: None }
    });
}

/// Returns the outcome of an attempt without a response.
pub(crate) fn no_response(task: &Task, target: &Target, error: &SendError) -> Outcome {
    let reason = chain(error);
    let shown = &target.shown;
    match error {
        SendError::Connect(error) if error.cause == ConnectCause::LocalShortage => {
            let message = format!("this executor failed to connect to {shown}: {reason}");
            Outcome::NotSent { failure: failure::limited(error.cause.code(), &message, None) }
        }
        // The next attempt would go to the same address, and nothing was sent.
        SendError::Connect(error) if error.cause == ConnectCause::AddressDenied => {
            let message = format!("refused to connect to {shown}: {reason}");
            let failure = failure::limited(error.cause.code(), &message, None);
            // A probe that was not sent says nothing about the attempt in doubt.
            if task.is_probe {
                return Outcome::Retryable { failure, not_before: None };
            }
            Outcome::Refused { failure }
        }
        SendError::Connect(error) => {
            let message = format!("failed to connect to {shown}: {reason}");
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

/// Adds the attributes of a request to the span of its attempt. The URI contains no credentials, and its query, which can
/// contain personal data, is left out.
fn record_request(span: &Span, method: &Method, uri: &Uri) {
    if span.is_disabled() {
        return;
    }
    trace::set_text(span, "http.request.method", || method.to_string());
    let without_query = || uri.to_string().split('?').next().unwrap_or_default().to_owned();
    trace::set_text(span, "url.full", without_query);
    trace::set_text(span, "server.address", || uri.host().unwrap_or_default().to_owned());
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    trace::set_number(span, "server.port", port.into());
}

/// Formats a time as RFC 3339 in UTC.
fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.3}"))
}
