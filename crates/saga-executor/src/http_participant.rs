//! A participant with an HTTP endpoint.

use crate::task::{Participant, Task};
use async_trait::async_trait;
use bytes::Bytes;
use goconductor_saga::{Failure, Json, Outcome, Timestamp};
use goconductor_transition::clock;
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, ResponseFuture, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::CryptoProvider;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A connection that was idle for longer is not reused. Many servers close idle connections after five seconds, and a
/// request that races with the close has an unknown outcome.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// A participant's `Retry-After` is limited to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// The maximum number of characters of a failure's message.
const MAX_MESSAGE_CHARS: usize = 2000;

type SecureClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The HTTP client that all participants of a process share, with its connection pool.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    plain: Client<HttpConnector, Full<Bytes>>,
    connect_timeout: Duration,
    /// Created on first use, because loading the system's root certificates is slow.
    secure: Arc<OnceLock<Result<SecureClient, String>>>,
}

impl HttpClient {
    pub(crate) fn new(connect_timeout: Duration) -> Self {
        let plain = pool().build(connector(connect_timeout));
        Self { plain, connect_timeout, secure: Arc::default() }
    }

    fn send(&self, request: Request<Full<Bytes>>) -> Result<ResponseFuture, String> {
        if request.uri().scheme() != Some(&Scheme::HTTPS) {
            return Ok(self.plain.request(request));
        }
        let secure = self.secure.get_or_init(|| {
            let mut inner = connector(self.connect_timeout);
            inner.enforce_http(false);
            let https = HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(tls_provider()?)
                .map_err(|error| format!("failed to load the system's root certificates: {error}"))?
                .https_only()
                .enable_http1()
                .wrap_connector(inner);
            Ok(pool().build(https))
        });
        secure.as_ref().map(|client| client.request(request)).map_err(Clone::clone)
    }
}

/// Returns the implementation of the cryptography. An explicit one, so that the choice does not depend on the features
/// of other crates.
#[cfg(feature = "aws-lc")]
fn tls_provider() -> Result<CryptoProvider, String> {
    Ok(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(all(feature = "ring", not(feature = "aws-lc")))]
fn tls_provider() -> Result<CryptoProvider, String> {
    Ok(rustls::crypto::ring::default_provider())
}

#[cfg(not(any(feature = "aws-lc", feature = "ring")))]
fn tls_provider() -> Result<CryptoProvider, String> {
    Err("this build does not contain TLS: build with `--features aws-lc`".to_owned())
}

fn connector(connect_timeout: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(connect_timeout));
    connector.set_keepalive(Some(Duration::from_secs(15)));
    connector
}

fn pool() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).pool_max_idle_per_host(256);
    builder
}

/// A participant that is called by `POST {url}/{action}`.
#[derive(Debug)]
pub struct HttpParticipant {
    client: HttpClient,
    url: String,
    output_bytes: usize,
}

impl HttpParticipant {
    pub(crate) fn new(client: HttpClient, url: &str, output_bytes: usize) -> Self {
        Self { client, url: url.trim_end_matches('/').to_owned(), output_bytes }
    }

    fn request(&self, task: &Task) -> Result<Request<Full<Bytes>>, String> {
        let uri: Uri = format!("{}/{}", self.url, task.action).parse().map_err(|error| format!("{error}"))?;
        let body = serde_json::to_vec(&task.input).map_err(|error| error.to_string())?;
        Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header("idempotency-key", &task.idempotency_key)
            .header("goconductor-workflow-id", task.workflow.to_string())
            .header("goconductor-step", &task.step)
            .header("goconductor-operation", task.side.as_str())
            .header("goconductor-attempt", task.attempt)
            .header("goconductor-deadline", rfc3339(task.deadline))
            .header("traceparent", task.traceparent())
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Participant for HttpParticipant {
    async fn attempt(&self, task: &Task) -> Outcome {
        let sent = self.request(task).and_then(|request| self.client.send(request));
        let response = match sent {
            Ok(response) => response,
            Err(reason) => {
                let message = format!("failed to create a request to {}: {reason}", self.url);
                return Outcome::Retryable {
                    failure: Failure::of("BAD_ENDPOINT", message),
                    not_before: None,
                };
            }
        };
        let response = match response.await {
            Ok(response) => response,
            // Without a connection, no request was sent, so nothing happened.
            Err(error) if error.is_connect() => {
                let message = format!("failed to connect to {}: {}", self.url, chain(&error));
                return Outcome::Retryable {
                    failure: Failure::of("CONNECTION_REFUSED", message),
                    not_before: None,
                };
            }
            Err(error) => return unknown("CONNECTION_BROKEN", chain(&error), None),
        };
        let (parts, body) = response.into_parts();
        let not_before = retry_after(&parts.headers, clock::now());
        match Limited::new(body, self.output_bytes).collect().await {
            Ok(body) => classify(parts.status, not_before, &body.to_bytes()),
            // The status decides, even if its body cannot be read.
            Err(_) if is_clean_failure(parts.status) => classify(parts.status, not_before, &[]),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let message = format!("the response body exceeds {} bytes", self.output_bytes);
                unknown("OUTPUT_TOO_LARGE", message, not_before)
            }
            Err(error) => unknown("CONNECTION_BROKEN", error.to_string(), not_before),
        }
    }
}

/// Returns whether the status alone states that nothing happened.
fn is_clean_failure(status: StatusCode) -> bool {
    status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE
}

/// Converts a response to an outcome. The meaning of each status is part of the contract with participants.
fn classify(status: StatusCode, not_before: Option<Timestamp>, body: &[u8]) -> Outcome {
    if status.is_success() {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Outcome::Done { output: Json::Null };
        }
        return match serde_json::from_slice(body) {
            Ok(output) => Outcome::Done { output },
            Err(error) => {
                let message = format!("HTTP {status} with a body that is not valid JSON: {error}");
                unknown("UNREADABLE_ANSWER", message, not_before)
            }
        };
    }
    match status {
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE => {
            Outcome::Retryable { failure: failure(status, body), not_before }
        }
        _ if status.is_client_error() => Outcome::Refused { failure: failure(status, body) },
        _ => Outcome::Unknown { failure: failure(status, body), not_before },
    }
}

fn unknown(code: &str, message: String, not_before: Option<Timestamp>) -> Outcome {
    Outcome::Unknown { failure: Failure::of(code, message), not_before }
}

/// Reads the failure from a body such as `{"code": …, "message": …}`. Other bodies become the message.
fn failure(status: StatusCode, body: &[u8]) -> Failure {
    let code = format!("HTTP_{}", status.as_u16());
    let Ok(Json::Object(mut fields)) = serde_json::from_slice::<Json>(body) else {
        let text: String = String::from_utf8_lossy(body).chars().take(MAX_MESSAGE_CHARS).collect();
        let message = if text.trim().is_empty() { format!("HTTP {status}") } else { text };
        return Failure { code, message, detail: None };
    };
    let mut text = |name: &str| match fields.remove(name) {
        Some(Json::String(value)) if !value.is_empty() => {
            Some(value.chars().take(MAX_MESSAGE_CHARS).collect())
        }
        Some(_) | None => None,
    };
    let code = text("code").unwrap_or(code);
    let message = text("message").unwrap_or_else(|| format!("HTTP {status}"));
    let detail = (!fields.is_empty()).then_some(Json::Object(fields));
    Failure { code, message, detail }
}

/// Reads the header `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
            Timestamp(date.as_microsecond()).since(now)
        }
    };
    Some(now.after(delay.min(MAX_RETRY_AFTER)))
}

/// Formats a time as RFC 3339 in UTC.
fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.3}"))
}

/// Formats an error with its sources, because the outermost error alone is not specific.
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

#[cfg(test)]
mod tests {
    use super::{classify, retry_after};
    use goconductor_saga::{Failure, Json, Outcome, Timestamp};
    use http::{HeaderMap, StatusCode};
    use serde_json::json;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    #[test]
    fn each_status_maps_to_one_outcome() {
        let cases = [
            ("200 201 202 204 299", "done"),
            ("408 425 429 503", "retryable"),
            ("400 401 403 404 409 410 422 451 499", "refused"),
            ("301 302 307 308 304 500 501 502 504 599", "unknown"),
        ];
        for (statuses, expected) in cases {
            for status in statuses.split(' ') {
                let status = StatusCode::from_bytes(status.as_bytes()).unwrap();
                let outcome = match classify(status, Some(NOW), b"{}") {
                    Outcome::Done { .. } => "done",
                    Outcome::Retryable { not_before: Some(NOW), .. } => "retryable",
                    Outcome::Refused { .. } => "refused",
                    Outcome::Unknown { not_before: Some(NOW), .. } => "unknown",
                    Outcome::Retryable { .. } | Outcome::Unknown { .. } => "without Retry-After",
                };
                assert_eq!(outcome, expected, "{status}");
            }
        }
    }

    #[test]
    fn empty_body_is_null_and_invalid_json_is_unknown() {
        assert_eq!(classify(StatusCode::NO_CONTENT, None, b" \n"), Outcome::Done { output: Json::Null });
        assert!(matches!(classify(StatusCode::OK, None, b"OK"), Outcome::Unknown { .. }));
    }

    #[test]
    fn refusal_keeps_code_message_and_detail() {
        let failure = |body: &[u8]| match classify(StatusCode::CONFLICT, None, body) {
            Outcome::Refused { failure } => failure,
            other @ (Outcome::Done { .. } | Outcome::Retryable { .. } | Outcome::Unknown { .. }) => {
                panic!("{other:?}")
            }
        };
        let refused = failure(br#"{"code": "CARD_DECLINED", "message": "no", "limit": 5}"#);
        let detail = Some(json!({"limit": 5}));
        assert_eq!(refused, Failure { code: "CARD_DECLINED".into(), message: "no".into(), detail });
        assert_eq!(failure(b"<html>"), Failure::of("HTTP_409", "<html>"));
        assert_eq!(failure(b""), Failure::of("HTTP_409", "HTTP 409 Conflict"));
    }

    #[test]
    fn retry_after_accepts_seconds_and_dates() {
        let at = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            retry_after(&headers, NOW).map(|at| (at.0 - NOW.0) / 1_000_000)
        };
        assert_eq!(at("7"), Some(7));
        assert_eq!(at("Fri, 15 Jan 2027 08:00:30 GMT"), Some(30));
        assert_eq!(at("Wed, 15 Jan 2020 08:00:30 GMT"), Some(0));
        assert_eq!(at("99999999999"), Some(86400));
        assert_eq!(at("soon"), None);
    }
}
