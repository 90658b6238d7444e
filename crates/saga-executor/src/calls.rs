//! Calls that definitions spell out. They need no worker and no registered service.
//!
//! The definition decides the method, the names of the headers and which of them are secrets. The input of the command
//! contains the rest of the request. A reference to a secret in an input is only a text.

mod grpc;

use crate::failure;
use crate::http_client::{HttpClient, RequestBody};
use crate::http_participant::{Exchange, JSON, Target, command_request};
use crate::task::{Participant, Task, TaskCall};
use async_trait::async_trait;
use goconductor_process::Vault;
use goconductor_saga::{Call, Failure, GrpcCall, HttpCall, Json, Outcome};
use goconductor_service_kit::config::SecretReference;
use grpc::{GrpcCalls, GrpcRequest, server_of};
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The participant of all calls.
#[derive(Debug)]
pub(crate) struct Calls {
    exchange: Exchange,
    grpc: GrpcCalls,
    vault: Option<Arc<Vault>>,
}

/// A request that cannot be made. Nothing was sent.
#[derive(Debug)]
enum CallError {
    /// The rendered request is not valid. The next attempt would render the same.
    Invalid(String),
    /// A secret is not available now.
    Secret(String),
    /// A part of the request was not available. The outcome is that of the attempt.
    Failed(Outcome),
}

impl CallError {
    fn into_outcome(self, call: &Call) -> Outcome {
        match self {
            Self::Invalid(reason) => {
                let message = format!("the call {call} cannot be made: {reason}");
                // A server can be the source of the reason.
                Outcome::Refused { failure: failure::limited("BAD_CALL", &message, None) }
            }
            Self::Secret(reason) => {
                let message = format!("a secret of the call {call} is not available: {reason}");
                Outcome::Retryable { failure: Failure::of("SECRET_UNAVAILABLE", message), not_before: None }
            }
            Self::Failed(outcome) => outcome,
        }
    }
}

impl Calls {
    pub(crate) fn new(client: HttpClient, vault: Option<Arc<Vault>>, output_bytes: usize) -> Self {
        let grpc = GrpcCalls::new(client.clone(), output_bytes);
        Self { exchange: Exchange::new(client, output_bytes), grpc, vault }
    }

    async fn http(&self, task: &Task, namespace: &str, call: &HttpCall) -> Result<Outcome, CallError> {
        let (url, target) = self.target(task, namespace, "url", call.url_secret()).await?;
        let mut request = build(task, call, &url)?;
        for (name, value) in self.secrets(namespace, &call.secret_headers).await? {
            request.headers_mut().insert(name, value);
        }
        Ok(self.exchange.attempt(task, request, &target).await)
    }

    async fn grpc(&self, task: &Task, namespace: &str, call: &GrpcCall) -> Result<Outcome, CallError> {
        let (text, target) = self.target(task, namespace, "target", call.target_secret()).await?;
        let server = server_of(&text, target.is_secret)?;
        let mut metadata = texts_of(&task.input, "metadata", &call.secret_metadata)?;
        metadata.extend(self.secrets(namespace, &call.secret_metadata).await?);
        let request = GrpcRequest { namespace, call, server, metadata, target };
        self.grpc.attempt(task, &request).await
    }

    /// Returns where a request goes to: the value of a secret, or that of a key of the input.
    async fn target(
        &self,
        task: &Task,
        namespace: &str,
        key: &str,
        secret: Option<&str>,
    ) -> Result<(String, Target), CallError> {
        match secret {
            Some(reference) => {
                let url = self.secret(namespace, reference).await?;
                let target = Target { shown: Arc::from(reference), is_secret: true };
                Ok((url.expose_secret().trim().to_owned(), target))
            }
            None => {
                let url = text_of(&task.input, key)?;
                // A query often contains personal data.
                let shown = url.split(['?', '#']).next().unwrap_or_default();
                Ok((url.to_owned(), Target { shown: Arc::from(shown), is_secret: false }))
            }
        }
    }

    /// Returns the headers whose values are secrets.
    async fn secrets(
        &self,
        namespace: &str,
        references: &BTreeMap<String, String>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, CallError> {
        let mut headers = Vec::with_capacity(references.len());
        for (name, reference) in references {
            let value = self.secret(namespace, reference).await?;
            let invalid = || CallError::Secret(format!("the value of {reference} is not valid in a header"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            let mut value = HeaderValue::from_str(value.expose_secret().trim()).map_err(|_| invalid())?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        Ok(headers)
    }

    async fn secret(&self, namespace: &str, reference: &str) -> Result<SecretString, CallError> {
        let unavailable = CallError::Secret;
        let no_key = || unavailable("the executor has no master key: set secrets.master_key".to_owned());
        let vault = self.vault.as_ref().ok_or_else(no_key)?;
        let parsed: SecretReference =
            reference.parse().map_err(|error| unavailable(format!("{reference}: {error}")))?;
        match vault.get(namespace, &parsed.name, parsed.version).await {
            Ok(Some((_, value))) => Ok(value),
            Ok(None) => Err(unavailable(format!("{reference} does not exist in the namespace {namespace}"))),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }
}

#[async_trait]
impl Participant for Calls {
    async fn attempt(&self, task: &Task) -> Outcome {
        let Some(TaskCall { namespace, call }) = &task.call else {
            let failure = Failure::of("BAD_CALL", "the step makes no call");
            return Outcome::Refused { failure };
        };
        task.at_deadline.set(|| {
            let failure = Failure::of("SECRET_UNAVAILABLE", "the secrets of the call were not read in time");
            Outcome::Retryable { failure, not_before: None }
        });
        let outcome = match call {
            Call::Http(http) => self.http(task, namespace, http).await,
            Call::Grpc(grpc) => self.grpc(task, namespace, grpc).await,
        };
        outcome.unwrap_or_else(|error| error.into_outcome(call))
    }
}

/// Builds the request from the input, without the headers that are secrets.
fn build(task: &Task, call: &HttpCall, url: &str) -> Result<Request<RequestBody>, CallError> {
    let method: Method =
        call.method.parse().map_err(|_| CallError::Invalid(format!("{} is not a method", call.method)))?;
    let uri = uri_of(url, call.url_secret().is_some())?;
    let headers = texts_of(&task.input, "headers", &call.secret_headers)?;
    let content_type = headers.iter().find(|(name, _)| *name == header::CONTENT_TYPE).map(|(_, value)| value);
    let body = task.input.get("body");
    let bytes = body.map(|body| body_of(body, content_type)).transpose()?;
    let has_body = bytes.is_some();
    let body = match bytes {
        Some(bytes) if !bytes.is_empty() => RequestBody::new(bytes, task.at_deadline.clone()),
        Some(_) | None => RequestBody::empty(task.at_deadline.clone()),
    };
    // Some servers refuse these methods without a length (RFC 9110, section 8.6).
    let needs_length = body.is_empty() && [Method::POST, Method::PUT, Method::PATCH].contains(&method);
    let mut request = command_request(task, method, uri, body).map_err(CallError::Invalid)?;
    if needs_length {
        request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    request.headers_mut().insert(header::ACCEPT, JSON);
    if has_body {
        request.headers_mut().insert(header::CONTENT_TYPE, JSON);
    }
    for (name, value) in headers {
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

fn text_of<'a>(input: &'a Json, key: &str) -> Result<&'a str, CallError> {
    match input.get(key) {
        Some(Json::String(url)) => Ok(url),
        Some(_) | None => Err(CallError::Invalid(format!("`{key}` is not a string"))),
    }
}

/// Parses a rendered URL. The message does not repeat a secret.
fn uri_of(url: &str, is_secret: bool) -> Result<Uri, CallError> {
    let invalid = |reason: &str| {
        let url = if is_secret { "the URL" } else { url };
        Err(CallError::Invalid(format!("{url}: {reason}")))
    };
    let Ok(uri) = url.parse::<Uri>() else { return invalid("it is not a URL; encode values with spaces") };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return invalid("the scheme must be http or https");
    }
    if uri.host().is_none_or(str::is_empty) {
        return invalid("it has no host");
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return invalid("it contains credentials; use a header with a secret");
    }
    if url.contains('#') {
        return invalid("it has a fragment, which would not be sent");
    }
    Ok(uri)
}

/// Returns the headers or the metadata of the input, without the `secrets`. A null leaves the entry out.
fn texts_of(
    input: &Json,
    key: &str,
    secrets: &BTreeMap<String, String>,
) -> Result<Vec<(HeaderName, HeaderValue)>, CallError> {
    let Some(Json::Object(entries)) = input.get(key) else { return Ok(Vec::new()) };
    let mut headers = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let invalid = |reason: &str| CallError::Invalid(format!("the header {name} {reason}"));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("has no valid name"))?;
        if secrets.contains_key(header.as_str()) {
            continue;
        }
        let text = match value {
            Json::Null => continue,
            Json::String(text) => text.clone(),
            value @ (Json::Bool(_) | Json::Number(_)) => value.to_string(),
            Json::Array(_) | Json::Object(_) => return Err(invalid("is neither a text nor a number")),
        };
        let value = HeaderValue::from_str(&text).map_err(|_| invalid("contains control characters"))?;
        headers.push((header, value));
    }
    Ok(headers)
}

/// Returns the bytes of a body: JSON, or a text as it is if the content type is another one.
fn body_of(body: &Json, content_type: Option<&HeaderValue>) -> Result<Vec<u8>, CallError> {
    let media_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = media_type == "application/json" || media_type.ends_with("+json");
    if let (Json::String(text), false) = (body, is_json) {
        return Ok(text.clone().into_bytes());
    }
    serde_json::to_vec(body).map_err(|error| CallError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{CallError, body_of, build, uri_of};
    use crate::task::{DeadlineOutcome, Task, TaskCall};
    use goconductor_saga::{Call, HttpCall, Json, RulesVersion, Side, Timestamp, WorkflowId};
    use http::HeaderValue;
    use serde_json::json;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    fn call(method: &str, url: &str) -> HttpCall {
        HttpCall { method: method.to_owned(), url: url.to_owned(), secret_headers: BTreeMap::new() }
    }

    fn task(call: &HttpCall, input: Json) -> Task {
        Task {
            workflow: WorkflowId(uuid::Uuid::nil()),
            rules: RulesVersion::CURRENT,
            step: "charge".to_owned(),
            side: Side::Execute,
            is_probe: false,
            lock_tokens: BTreeMap::new(),
            action: "call".to_owned(),
            call: Some(TaskCall { namespace: "default".to_owned(), call: Call::Http(call.clone()) }),
            attempt: 1,
            idempotency_key: "w/charge/execute".to_owned(),
            input: Arc::new(input),
            payload_slot: goconductor_transition::PayloadSlot::default(),
            deadline: Timestamp(0),
            timeout: Duration::from_secs(1),
            heartbeat: None,
            cancelled: CancellationToken::new(),
            at_deadline: DeadlineOutcome::default(),
            span: tracing::Span::none(),
            trace: None,
        }
    }

    #[test]
    fn request_has_the_headers_of_the_definition_and_of_the_command() {
        let call = call("PUT", "http://api.example/charges/${ input.id }");
        let input = json!({
            "url": "http://api.example/charges/7",
            "headers": {"X-Number": 7, "X-None": null, "Accept": "text/plain", "X-Text": "secret://a"},
            "body": {"amount": 42},
        });
        let request = build(&task(&call, input), &call, "http://api.example/charges/7").unwrap();
        assert_eq!((request.method().as_str(), request.uri().path()), ("PUT", "/charges/7"));
        for (name, value) in [
            ("x-number", "7"),
            ("accept", "text/plain"),
            ("content-type", "application/json"),
            ("x-text", "secret://a"),
            ("idempotency-key", "w/charge/execute"),
            ("goconductor-step", "charge"),
            ("goconductor-operation", "execute"),
        ] {
            assert_eq!(request.headers()[name], value, "{name}");
        }
        assert!(!request.headers().contains_key("x-none") && !request.body().is_empty());
    }

    #[test]
    fn request_without_a_body_is_empty() {
        for method in ["GET", "DELETE", "POST"] {
            let call = call(method, "http://api.example/");
            let input = json!({"url": "http://api.example/"});
            let request = build(&task(&call, input), &call, "http://api.example/").unwrap();
            assert!(request.body().is_empty() && !request.headers().contains_key("content-type"), "{method}");
            assert_eq!(request.headers().contains_key("content-length"), method == "POST", "{method}");
        }
    }

    #[test]
    fn request_that_cannot_be_sent_is_refused() {
        for url in [
            "ftp://api.example/",
            "api.example",
            "http://user:pw@api.example/",
            "http://api.example/a b",
            "http://api.example/#a",
            "",
        ] {
            assert!(matches!(uri_of(url, false), Err(CallError::Invalid(_))), "{url}");
        }
        let Err(CallError::Invalid(message)) = uri_of("http://user:pw@api.example/", true) else { panic!() };
        assert!(!message.contains("pw"), "{message}");
        let call = call("POST", "http://api.example/");
        for headers in [json!({"x-a": "a\r\nx-b: c"}), json!({"x-a": ["a"]}), json!({"a b": "c"})] {
            let input = json!({"url": "http://api.example/", "headers": headers});
            let built = build(&task(&call, input), &call, "http://api.example/");
            assert!(matches!(built, Err(CallError::Invalid(_))), "{headers}");
        }
    }

    #[test]
    fn text_is_sent_as_it_is_if_the_content_type_is_not_json() {
        let of = |content_type: Option<&'static str>| {
            body_of(&json!("a=1"), content_type.map(HeaderValue::from_static).as_ref()).unwrap()
        };
        assert_eq!(of(Some("application/x-www-form-urlencoded")), b"a=1");
        assert_eq!(of(Some("text/xml; charset=utf-8")), b"a=1");
        assert_eq!(of(Some("application/problem+json")), b"\"a=1\"");
        assert_eq!(of(None), b"\"a=1\"");
    }
}
