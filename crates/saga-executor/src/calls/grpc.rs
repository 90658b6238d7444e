//! Unary gRPC requests that definitions spell out.
//!
//! A request goes through the HTTP client of participants, with HTTP/2, so the same addresses are allowed, and the same
//! moment decides whether it was sent: when its message is read. Before, a server does not begin a unary method.

mod descriptors;
mod messages;
mod status;

use super::CallError;
use crate::failure;
use crate::http_client::{HttpClient, RequestBody, chain};
use crate::http_participant::{Exchange, Target, before_request, command_request, no_response};
use crate::stated_outcome::StatedOutcome;
use crate::task::Task;
use descriptors::Descriptors;
use goconductor_saga::{Failure, GrpcCall, Outcome, json_bytes};
use goconductor_telemetry::trace;
use goconductor_transition::{PayloadSlot, clock};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use messages::{MessageError, MessageReader};
use prost_reflect::MethodDescriptor;
use serde_json::json;
use status::CallStatus;
use std::time::Duration;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The largest number of a timeout, which has eight digits.
const MAX_TIMEOUT_NUMBER: u128 = 99_999_999;

/// A gRPC request whose secrets are resolved.
pub(super) struct GrpcRequest<'a> {
    pub(super) namespace: &'a str,
    pub(super) call: &'a GrpcCall,
    /// The scheme, the host and the port.
    pub(super) server: Uri,
    pub(super) metadata: Vec<(HeaderName, HeaderValue)>,
    pub(super) target: Target,
}

/// Sends the gRPC requests of attempts.
#[derive(Debug)]
pub(super) struct GrpcCalls {
    client: HttpClient,
    /// Reads the responses of servers and proxies that do not answer with gRPC.
    exchange: Exchange,
    descriptors: Descriptors,
    output_bytes: usize,
}

/// Returns the URL of a target: `host:port` for a connection without TLS, or a URL without a path.
///
/// # Errors
/// Returns [`CallError::Invalid`] if the target is not one. The message does not repeat a secret.
pub(super) fn server_of(target: &str, is_secret: bool) -> Result<Uri, CallError> {
    let url = if target.contains("://") { target.to_owned() } else { format!("http://{target}") };
    let uri = super::uri_of(&url, is_secret)?;
    if uri.path() != "/" || uri.query().is_some() {
        let shown = if is_secret { "the target" } else { target };
        return Err(CallError::Invalid(format!("{shown}: a target has no path")));
    }
    Ok(uri)
}

impl GrpcRequest<'_> {
    /// Returns the URL of a method of the server.
    fn method_uri(&self, method: &str) -> Result<Uri, CallError> {
        let mut parts = self.server.clone().into_parts();
        let path =
            format!("/{method}").parse().map_err(|error| CallError::Invalid(format!("{method}: {error}")))?;
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(|error| CallError::Invalid(error.to_string()))
    }

    /// Adds the headers that every request of gRPC has, and the metadata.
    fn add_headers(&self, headers: &mut HeaderMap, timeout: Duration) {
        headers.insert(header::CONTENT_TYPE, GRPC);
        headers.insert(header::TE, TRAILERS);
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("goconductor/", env!("CARGO_PKG_VERSION"))),
        );
        if let Ok(value) = HeaderValue::try_from(timeout_text(timeout)) {
            headers.insert(TIMEOUT, value);
        }
        for (name, value) in &self.metadata {
            headers.insert(name, value.clone());
        }
    }
}

/// Formats the timeout of a request, in milliseconds or in seconds.
fn timeout_text(timeout: Duration) -> String {
    let millis = timeout.as_millis();
    if millis <= MAX_TIMEOUT_NUMBER { format!("{millis}m") } else { format!("{}S", timeout.as_secs()) }
}

impl GrpcCalls {
    pub(super) fn new(client: HttpClient, output_bytes: usize) -> Self {
        let exchange = Exchange::new(client.clone(), output_bytes);
        Self { descriptors: Descriptors::new(client.clone()), client, exchange, output_bytes }
    }

    /// Sends a request and returns the outcome of the attempt.
    ///
    /// # Errors
    /// Returns [`CallError`] if nothing was sent to the method.
    pub(super) async fn attempt(&self, task: &Task, request: &GrpcRequest<'_>) -> Result<Outcome, CallError> {
        let (method, message) = self.message(task, request).await?;
        let uri = request.method_uri(&request.call.method)?;
        let body = RequestBody::new(messages::frame(&message), task.at_deadline.clone());
        let mut sent = command_request(task, Method::POST, uri, body).map_err(CallError::Invalid)?;
        request.add_headers(sent.headers_mut(), task.timeout);
        before_request(task, &sent, &request.target);
        let response = match self.client.send_http2(sent).await {
            Ok(response) => response,
            Err(error) => return Ok(no_response(task, &request.target, &error)),
        };
        Ok(self.outcome(task, &method, response).await)
    }

    /// Returns the method and the encoded message of a request.
    async fn message(
        &self,
        task: &Task,
        request: &GrpcRequest<'_>,
    ) -> Result<(MethodDescriptor, Vec<u8>), CallError> {
        let message = task.input.get("message");
        let known = self.descriptors.known(request);
        if let Some(method) = &known
            && let Ok(bytes) = messages::encode(method, message)
        {
            return Ok((method.clone(), bytes));
        }
        task.at_deadline.set(|| {
            let failure = Failure::of("REFLECTION_FAILED", "the types of the call were not read in time");
            Outcome::Retryable { failure, not_before: None }
        });
        // The server can have got fields since it was asked.
        let method = self.descriptors.read(task, request).await?;
        let bytes = messages::encode(&method, message).map_err(CallError::Invalid)?;
        Ok((method, bytes))
    }

    async fn outcome(&self, task: &Task, method: &MethodDescriptor, response: Response<Incoming>) -> Outcome {
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let is_grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let has_status = response.headers().contains_key("grpc-status");
        if response.status() != StatusCode::OK && !has_status {
            return self.exchange.read(task, response).await;
        }
        if !is_grpc && !has_status {
            let message =
                "HTTP 200 with a content type that is not application/grpc: the target is not a gRPC server";
            return unknown("BAD_RESPONSE", message, true);
        }
        let (parts, body) = response.into_parts();
        let limits = BodyLimits { message: self.output_bytes, messages: 1, bytes: usize::MAX };
        let read = match read_body(body, limits, &task.payload_slot).await {
            Ok(read) => read,
            Err(failed) => return failed.into_outcome(),
        };
        let Some(status) = CallStatus::read(&parts.headers, read.trailers.as_ref(), clock::now()) else {
            return unknown("CONNECTION_BROKEN", "the response ended without a gRPC status", false);
        };
        trace::set_number(&task.span, "rpc.grpc.status_code", i64::from(status.code() as i32));
        match status.stated_outcome() {
            StatedOutcome::Done => self.done(method, &status, &read.messages),
            StatedOutcome::Retry | StatedOutcome::Refused | StatedOutcome::Unknown { .. } => {
                status.outcome(json!(null))
            }
        }
    }

    /// Returns the outcome of a request that is done.
    fn done(&self, method: &MethodDescriptor, status: &CallStatus, messages: &[Vec<u8>]) -> Outcome {
        let message = match messages {
            [message] => message,
            // A server that states that the operation is done need not have a response.
            [] if status.code() != tonic::Code::Ok => return status.outcome(json!(null)),
            several => {
                let reason = format!("the response has {} messages, and a call gets one", several.len());
                return unknown("BAD_RESPONSE", &reason, true);
            }
        };
        match messages::decode(method, message, self.output_bytes) {
            Ok(output) => {
                let bytes = json_bytes(&output);
                if bytes > self.output_bytes {
                    let reason = format!("the output has {bytes} bytes; the limit is {}", self.output_bytes);
                    return unknown("OUTPUT_TOO_LARGE", &reason, true);
                }
                status.outcome(output)
            }
            Err((code, reason)) => unknown(code, &reason, true),
        }
    }
}

fn unknown(code: &str, message: &str, answered: bool) -> Outcome {
    Outcome::Unknown { failure: failure::limited(code, message, None), not_before: None, answered }
}

/// The messages and the trailers of a response.
struct ReadBody {
    messages: Vec<Vec<u8>>,
    trailers: Option<HeaderMap>,
}

/// Why the body of a response cannot be used.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the response was truncated: {0}")]
    Broken(String),
    #[error("the last message of the response is incomplete")]
    Incomplete,
    #[error("the response has more than {0} messages")]
    TooMany(usize),
    #[error(transparent)]
    Message(#[from] MessageError),
}

impl BodyError {
    fn into_outcome(self) -> Outcome {
        let reason = self.to_string();
        match self {
            Self::Broken(_) => unknown("CONNECTION_BROKEN", &reason, false),
            Self::Message(MessageError::TooLarge { .. }) => unknown("OUTPUT_TOO_LARGE", &reason, true),
            Self::Incomplete | Self::TooMany(_) | Self::Message(MessageError::Compressed) => {
                unknown("BAD_RESPONSE", &reason, true)
            }
        }
    }
}

/// The limits of the body of a response.
#[derive(Debug, Clone, Copy)]
struct BodyLimits {
    /// Maximum bytes of a message.
    message: usize,
    /// Maximum number of messages.
    messages: usize,
    /// Maximum bytes of the body.
    bytes: usize,
}

/// Reads the body of a response. Waits for the memory for a large message.
async fn read_body(
    mut body: Incoming,
    limits: BodyLimits,
    slot: &PayloadSlot,
) -> Result<ReadBody, BodyError> {
    let mut reader = MessageReader::new(limits.message);
    let mut trailers = None;
    let mut bytes = 0_usize;
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| BodyError::Broken(chain(&error)))?.into_data() {
            Ok(data) => {
                bytes = bytes.saturating_add(data.len());
                if bytes > limits.bytes {
                    return Err(MessageError::TooLarge { bytes, limit: limits.bytes }.into());
                }
                reader.push(&data)?;
                slot.acquire(reader.expected().unwrap_or(0)).await;
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if reader.count() > limits.messages {
            return Err(BodyError::TooMany(limits.messages));
        }
    }
    let messages = reader.into_messages().ok_or(BodyError::Incomplete)?;
    Ok(ReadBody { messages, trailers })
}

/// Creates a request that is not an attempt, such as one for types.
fn plain_request(
    request: &GrpcRequest<'_>,
    method: &str,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<Request<RequestBody>, CallError> {
    let uri = request.method_uri(method)?;
    let body = RequestBody::new(body, crate::task::DeadlineOutcome::default());
    let built = Request::builder().method(Method::POST).uri(uri).body(body);
    let mut built = built.map_err(|error| CallError::Invalid(error.to_string()))?;
    request.add_headers(built.headers_mut(), timeout);
    Ok(built)
}

/// Returns the failure of types that cannot be read now.
fn no_types(message: &str) -> CallError {
    let failure: Failure = failure::limited("REFLECTION_FAILED", message, None);
    CallError::Failed(Outcome::Retryable { failure, not_before: None })
}

#[cfg(test)]
mod tests {
    use super::{server_of, timeout_text};
    use crate::calls::CallError;
    use std::time::Duration;

    #[test]
    fn target_is_a_server() {
        for (target, expected) in [
            ("127.0.0.1:9101", "http://127.0.0.1:9101/"),
            ("https://payments.example", "https://payments.example/"),
            ("http://payments.example:80/", "http://payments.example:80/"),
        ] {
            assert_eq!(server_of(target, false).unwrap().to_string(), expected);
        }
        for target in ["https://payments.example/a", "https://user:pw@payments.example", "ftp://a", "", "a b"]
        {
            assert!(matches!(server_of(target, false), Err(CallError::Invalid(_))), "{target}");
            let Err(CallError::Invalid(message)) = server_of(target, true) else { panic!("{target}") };
            assert!(target.is_empty() || !message.contains(target), "{message}");
        }
    }

    #[test]
    fn timeout_has_at_most_eight_digits() {
        assert_eq!(timeout_text(Duration::from_millis(1500)), "1500m");
        assert_eq!(timeout_text(Duration::from_secs(200_000)), "200000S");
    }
}
