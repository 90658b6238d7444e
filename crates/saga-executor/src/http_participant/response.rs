//! The outcome of a response. The meaning of each response is part of the contract with participants.

mod probe;

use crate::failure::{self, FieldScan};
use crate::stated_outcome::{StatedOutcome, retry_at, stated};
use goconductor_saga::{Failure, Json, Outcome, RulesVersion, Timestamp, parse_json, without_utf8_mark};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;
use std::time::Duration;

/// The maximum size of an output in plain text, in bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// The maximum number of bytes that are read to find the code of a failure. A participant could otherwise keep a
/// connection busy without end.
const MAX_FAILURE_BYTES: u64 = 64 << 20;
/// Characters of an unreadable body that a failure keeps.
const MAX_EXCERPT_CHARS: usize = 200;

/// The head of a response: everything but its body.
#[derive(Debug)]
pub(super) struct ResponseHead {
    status: StatusCode,
    stated_outcome: StatedOutcome,
    /// Whether the participant stated the outcome itself.
    is_stated: bool,
    not_before: Option<Timestamp>,
    content_type: String,
    location: Option<String>,
    /// Whether an output in plain text is accepted.
    accepts_text: bool,
}

/// The body of a response, as far as it was read.
#[derive(Debug)]
pub(super) struct ResponseBody {
    /// The beginning of the body, at most `limit` bytes.
    bytes: Vec<u8>,
    limit: usize,
    /// The number of bytes that were read.
    read: u64,
    /// Whether the body is an output, which is not read beyond the limit.
    is_output: bool,
    /// The fields of a failure that is larger than the limit.
    fields: Option<FieldScan>,
    /// The code and the reason of a body that ended early.
    broken: Option<(&'static str, String)>,
}

impl ResponseBody {
    pub(super) fn new(limit: usize, is_output: bool) -> Self {
        Self { bytes: Vec::new(), limit, read: 0, is_output, fields: None, broken: None }
    }

    /// Adds bytes. Returns whether more are needed.
    pub(super) fn push(&mut self, data: &[u8]) -> bool {
        self.read = self.read.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        let free = self.limit - self.bytes.len();
        let (kept, rest) = data.split_at(free.min(data.len()));
        self.bytes.extend_from_slice(kept);
        if rest.is_empty() {
            return true;
        }
        let first = self.fields.is_none();
        let fields = self.fields.get_or_insert_default();
        if self.is_output {
            return false;
        }
        if first {
            fields.push(&self.bytes);
        }
        fields.push(rest);
        self.read < MAX_FAILURE_BYTES
    }

    /// Records that the body cannot be read to its end.
    pub(super) fn break_off(&mut self, code: &'static str, reason: String) {
        self.broken = Some((code, reason));
    }
}

impl ResponseHead {
    pub(super) fn new(rules: RulesVersion, status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            status,
            stated_outcome: stated_outcome(rules, status, headers),
            is_stated: rules.has_outcome_header() && stated(headers).is_some(),
            not_before: retry_after(headers, now),
            content_type: text(header::CONTENT_TYPE).unwrap_or_default().to_owned(),
            location: text(header::LOCATION).map(str::to_owned),
            accepts_text: rules.has_outcome_header(),
        }
    }

    /// Returns whether the body is the output of the action.
    pub(super) fn has_output(&self) -> bool {
        self.stated_outcome == StatedOutcome::Done
    }

    /// Returns the outcome if the body does not end before the deadline of the attempt.
    pub(super) fn without_body(&self, timeout: Duration) -> Outcome {
        let mut body = ResponseBody::new(0, self.has_output());
        body.break_off("TIMED_OUT", format!("no end within {timeout:?}"));
        self.outcome(body)
    }

    /// Returns the outcome of the response.
    pub(super) fn outcome(&self, body: ResponseBody) -> Outcome {
        let not_before = self.not_before;
        match self.stated_outcome {
            StatedOutcome::Done => match self.output(body) {
                Ok(output) => Outcome::Done { output },
                Err(failure) => Outcome::Unknown { failure, not_before, answered: true },
            },
            StatedOutcome::Retry => Outcome::Retryable { failure: self.failure(body), not_before },
            StatedOutcome::Refused => Outcome::Refused { failure: self.failure(body) },
            StatedOutcome::Unknown { answered } => {
                Outcome::Unknown { failure: self.failure(body), not_before, answered }
            }
        }
    }

    fn output(&self, body: ResponseBody) -> Result<Json, Failure> {
        let ResponseBody { bytes, limit, fields, broken, .. } = body;
        if fields.is_some() {
            let message = format!("the response body exceeds {limit} bytes");
            return Err(Failure::of("OUTPUT_TOO_LARGE", message));
        }
        if let Some((code, reason)) = broken {
            let message = format!("HTTP {}, but the body was truncated: {reason}", self.status);
            return Err(failure::limited(code, &message, None));
        }
        let bytes = without_utf8_mark(&bytes);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Json::Null);
        }
        if self.accepts_text && self.media_type().eq_ignore_ascii_case("text/plain") {
            return self.text(bytes);
        }
        match parse_json(bytes) {
            Ok(output) => Ok(output),
            Err(error) => Err(match error.kind.failure_code() {
                Some(code) => {
                    let message = format!("HTTP {} with a body that cannot be kept: {error}", self.status);
                    failure::limited(code, &message, None)
                }
                None => self.bad_response(bytes, &format!("the body is not valid JSON: {error}")),
            }),
        }
    }

    /// Returns a body in plain text as output.
    fn text(&self, bytes: &[u8]) -> Result<Json, Failure> {
        if bytes.len() > MAX_TEXT_BYTES {
            let message = format!("the plain text has {} bytes; the limit is {MAX_TEXT_BYTES}", bytes.len());
            return Err(Failure::of("OUTPUT_TOO_LARGE", message));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Json::String(text.to_owned())),
            Err(error) => Err(self.bad_response(bytes, &format!("the plain text is not UTF-8: {error}"))),
        }
    }

    fn bad_response(&self, bytes: &[u8], reason: &str) -> Failure {
        let begins = failure::cut(&String::from_utf8_lossy(bytes), MAX_EXCERPT_CHARS);
        let content_type = if self.content_type.is_empty() { "none" } else { &self.content_type };
        let status = self.status;
        let message =
            format!("HTTP {status}, content type {content_type}: {reason}; the body begins with {begins:?}");
        let detail = json!({
            "status": self.status.as_u16(),
            "content_type": self.content_type,
            "body": begins,
        });
        failure::limited("BAD_RESPONSE", &message, Some(detail))
    }

    fn media_type(&self) -> &str {
        self.content_type.split(';').next().unwrap_or_default().trim()
    }

    /// Returns the failure in a body, or one that states the status.
    fn failure(&self, body: ResponseBody) -> Failure {
        let code = format!("HTTP_{}", self.status.as_u16());
        let message = match &self.location {
            Some(location) if self.status.is_redirection() => {
                format!("HTTP {} to {location}; redirects are not followed", self.status)
            }
            Some(_) | None => format!("HTTP {}", self.status),
        };
        let status = (code.as_str(), message.as_str());
        match body.fields {
            Some(fields) => {
                let why = format!("the response body has {} bytes", body.read);
                failure::in_part_of_body(status, fields, &body.bytes, &why)
            }
            None if body.broken.is_some() && !body.bytes.is_empty() => {
                let mut fields = FieldScan::default();
                fields.push(&body.bytes);
                failure::in_part_of_body(status, fields, &body.bytes, "the response body was truncated")
            }
            None => failure::in_body(status, &body.bytes),
        }
    }
}

fn stated_outcome(rules: RulesVersion, status: StatusCode, headers: &HeaderMap) -> StatedOutcome {
    let current = rules.has_outcome_header();
    if current && let Some(stated) = stated(headers) {
        return stated;
    }
    if status.is_success() {
        return StatedOutcome::Done;
    }
    // A proxy without a connection to its upstream does not say when to retry.
    let says_when = headers.contains_key(header::RETRY_AFTER) || !current;
    match status.as_u16() {
        408 | 425 | 429 => StatedOutcome::Retry,
        503 if says_when => StatedOutcome::Retry,
        400..=499 => StatedOutcome::Refused,
        300..=399 | 500 | 501 => StatedOutcome::Unknown { answered: true },
        _ => StatedOutcome::Unknown { answered: false },
    }
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
    Some(retry_at(now, delay))
}

#[cfg(test)]
mod tests {
    use super::{ResponseBody, ResponseHead, retry_after};
    use goconductor_saga::{Failure, Json, Outcome, RulesVersion, Timestamp};
    use http::{HeaderMap, HeaderName, StatusCode};
    use serde_json::json;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    /// Names and values of headers.
    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn headers(pairs: Pairs<'_>) -> HeaderMap {
        let pair =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    fn head(rules: RulesVersion, status: u16, pairs: Pairs<'_>) -> ResponseHead {
        ResponseHead::new(rules, StatusCode::from_u16(status).unwrap(), &headers(pairs), NOW)
    }

    /// Returns the outcome of a response with this body, in chunks.
    fn outcome(status: u16, pairs: Pairs<'_>, body: &[u8]) -> Outcome {
        let head = head(RulesVersion::CURRENT, status, pairs);
        let mut read = ResponseBody::new(512 << 10, head.has_output());
        for chunk in body.chunks(1 << 16) {
            if !read.push(chunk) {
                break;
            }
        }
        head.outcome(read)
    }

    fn name(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Done { .. } => "done",
            Outcome::Retryable { .. } => "retry",
            Outcome::Refused { .. } => "refused",
            Outcome::Unknown { answered: true, .. } => "answered",
            Outcome::Unknown { answered: false, .. } => "unknown",
            Outcome::OutputRejected { .. } | Outcome::NotSent { .. } => "none of a response",
        }
    }

    fn failure(outcome: Outcome) -> Failure {
        match outcome {
            Outcome::Retryable { failure, .. }
            | Outcome::Refused { failure }
            | Outcome::Unknown { failure, .. } => failure,
            other @ (Outcome::Done { .. } | Outcome::OutputRejected { .. } | Outcome::NotSent { .. }) => {
                panic!("{other:?}")
            }
        }
    }

    #[test]
    fn each_status_has_one_outcome() {
        let current = [
            ("200 201 202 204 299", "done"),
            ("408 425 429", "retry"),
            ("400 401 403 404 409 410 422 451 499", "refused"),
            ("300 301 302 304 307 308 500 501", "answered"),
            ("502 503 504 505 507 511 520 599", "unknown"),
        ];
        let first = [
            ("200 204 299", "done"),
            ("408 425 429 503", "retry"),
            ("400 409 499", "refused"),
            ("301 304 500 501", "answered"),
            ("502 504 599", "unknown"),
        ];
        for (rules, cases) in [(RulesVersion::CURRENT, current), (RulesVersion::FIRST, first)] {
            for (statuses, expected) in cases {
                for status in statuses.split(' ') {
                    let head = head(rules, status.parse().unwrap(), &[]);
                    let outcome = head.outcome(ResponseBody::new(9, head.has_output()));
                    assert_eq!(name(&outcome), expected, "{status}");
                }
            }
        }
    }

    #[test]
    fn service_that_says_when_to_retry_did_nothing() {
        for (value, expected) in [("7", Some(NOW.0 + 7_000_000)), ("soon", None)] {
            let outcome = outcome(503, &[("retry-after", value)], b"");
            let Outcome::Retryable { not_before, .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!(not_before.map(|at| at.0), expected);
        }
        let outcome = outcome(504, &[("retry-after", "7")], b"");
        assert!(
            matches!(outcome, Outcome::Unknown { not_before: Some(_), answered: false, .. }),
            "{outcome:?}"
        );
    }

    #[test]
    fn stated_outcome_takes_precedence_over_the_status() {
        let cases = [("done", "done"), ("retry", "retry"), ("REFUSED", "refused"), ("unknown", "answered")];
        for (value, expected) in cases {
            for status in [200, 302, 409, 429, 500, 502, 503] {
                let outcome = outcome(status, &[("GoConductor-Outcome", value)], b"{}");
                assert_eq!(name(&outcome), expected, "{status} {value}");
            }
        }
        assert_eq!(name(&outcome(409, &[("goconductor-outcome", "maybe")], b"")), "refused");
        let output = outcome(500, &[("goconductor-outcome", "done")], b"{\"id\": 7}");
        assert_eq!(output, Outcome::Done { output: json!({"id": 7}) });
        let old = head(RulesVersion::FIRST, 409, &[("goconductor-outcome", "done")]);
        assert_eq!(name(&old.outcome(ResponseBody::new(9, false))), "refused", "the rules it started with");
    }

    #[test]
    fn body_of_a_success_is_json_or_plain_text() {
        let text = [("content-type", "text/plain; charset=utf-8")];
        let html = [("content-type", "text/html")];
        let cases: [(Pairs<'_>, &[u8], Option<Json>); 15] = [
            (&[], b"", Some(Json::Null)),
            (&[], b" \n", Some(Json::Null)),
            (&[], b"{\"a\": 1}", Some(json!({"a": 1}))),
            (&html, b"[1]", Some(json!([1]))),
            (&[], b"\xef\xbb\xbf7", Some(json!(7))),
            (&[], b"\xef\xbb\xbf", Some(Json::Null)),
            (&text, b"", Some(Json::Null)),
            (&text, b"OK\n", Some(json!("OK\n"))),
            (&text, b"\xef\xbb\xbfOK", Some(json!("OK"))),
            (&text, b"007", Some(json!("007"))),
            (&text, b"42", Some(json!("42"))),
            (&text, b"{\"a\": 1}", Some(json!("{\"a\": 1}"))),
            (&text, b"\xff", None),
            (&html, b"<html>", None),
            (&[], b"{\"a\":", None),
        ];
        for (pairs, body, expected) in cases {
            let outcome = outcome(200, pairs, body);
            match expected {
                Some(output) => assert_eq!(outcome, Outcome::Done { output }, "{body:?}"),
                None => {
                    assert_eq!(name(&outcome), "answered", "{body:?}");
                    assert_eq!(failure(outcome).code, "BAD_RESPONSE", "{body:?}");
                }
            }
        }
        for (body, code) in [
            (&b"{\"a\": 1, \"a\": 2}"[..], "DUPLICATE_KEY"),
            (b"[12345678901234567890.25]", "NUMBER_NOT_REPRESENTABLE"),
        ] {
            let outcome = outcome(200, &[], body);
            assert_eq!((name(&outcome), failure(outcome).code.as_str()), ("answered", code));
        }
        let old = head(RulesVersion::FIRST, 200, &text);
        let mut body = ResponseBody::new(9, true);
        assert!(body.push(b"OK"));
        assert_eq!(name(&old.outcome(body)), "answered", "the rules it started with");
    }

    #[test]
    fn unreadable_success_says_what_was_received() {
        let found = failure(outcome(200, &[("content-type", "text/html")], b"<html>busy</html>"));
        let message = &found.message;
        assert!(message.starts_with("HTTP 200 OK, content type text/html: "), "{message}");
        assert!(message.ends_with("the body begins with \"<html>busy</html>\""), "{message}");
        let detail = json!({"status": 200, "content_type": "text/html", "body": "<html>busy</html>"});
        assert_eq!(found.detail, Some(detail));
        for (pairs, size) in
            [(&[][..], (512 << 10) + 1), (&[("content-type", "text/plain")][..], (64 << 10) + 1)]
        {
            let body = vec![b'x'; size];
            let large = outcome(200, pairs, &body);
            assert_eq!((name(&large), failure(large).code.as_str()), ("answered", "OUTPUT_TOO_LARGE"));
        }
    }

    #[test]
    fn refusal_with_a_large_body_keeps_code_and_message() {
        let large = "x".repeat(600 << 10);
        let status = "HTTP 422 Unprocessable Entity";
        for (body, code, begins) in [
            (json!({"code": "NO", "message": large}), "NO", "xxx"),
            (json!({"aaa": large, "code": "NO", "message": "sold out"}), "NO", "sold out…"),
            (json!({"zzz": [large], "code": 7, "message": {"a": 1}}), "7", "{\"a\":1}…"),
            (json!({"detail": large}), "HTTP_422", "{\"detail\":\"xxx"),
            (json!({"detail": large, "code": "NO"}), "NO", status),
            (json!(large), "HTTP_422", "\"xxx"),
        ] {
            let bytes = body.to_string().into_bytes();
            let refused = outcome(422, &[], &bytes);
            assert_eq!(name(&refused), "refused");
            let found = failure(refused);
            assert_eq!(found.code, code);
            assert!(found.message.starts_with(begins), "{}", found.message.get(..40).unwrap_or_default());
            let mark = format!("… [cut: the response body has {} bytes]", bytes.len());
            assert!(found.message.ends_with(&mark) && found.message.chars().count() < 2100);
        }
    }

    #[test]
    fn head_decides_over_a_body_that_breaks_off() {
        for (status, pairs, expected) in [
            (200, &[][..], "answered"),
            (409, &[][..], "refused"),
            (429, &[][..], "retry"),
            (503, &[("retry-after", "1")][..], "retry"),
            (503, &[][..], "unknown"),
            (500, &[][..], "answered"),
        ] {
            let head = head(RulesVersion::CURRENT, status, pairs);
            let mut body = ResponseBody::new(100, head.has_output());
            assert!(body.push(b"{\"code\": \"NO\", \"mess"));
            body.break_off("CONNECTION_BROKEN", "reset".to_owned());
            let outcome = head.outcome(body);
            assert_eq!(name(&outcome), expected, "{status}");
            let code = if status == 200 { "CONNECTION_BROKEN" } else { "NO" };
            assert_eq!(failure(outcome).code, code, "{status}");
            assert_eq!(name(&head.without_body(Duration::from_secs(1))), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_accepts_seconds_and_dates() {
        let at = |value: &str| {
            retry_after(&headers(&[("retry-after", value)]), NOW).map(|at| (at.0 - NOW.0) / 1_000_000)
        };
        assert_eq!(at("7"), Some(7));
        assert_eq!(at("Fri, 15 Jan 2027 08:00:30 GMT"), Some(30));
        assert_eq!(at("Wed, 15 Jan 2020 08:00:30 GMT"), Some(0));
        assert_eq!(at("99999999999"), Some(86400));
        assert_eq!(at("soon"), None);
    }
}
