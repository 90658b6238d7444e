//! Problems as statuses: the same code, the same places.

use crate::error::Problem;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// Whose codes they are.
const DOMAIN: &str = "goconductor";

/// A problem of the REST API as a status; with when to come back, if it says so.
pub(super) fn status(status: StatusCode, headers: &HeaderMap, problem: &Value) -> Status {
    let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let code = text("code");
    let retryable = problem.get("retryable").and_then(Value::as_bool).unwrap_or(false);
    let mut details = ErrorDetails::new();
    let metadata = HashMap::from([
        ("retryable".to_owned(), retryable.to_string()),
        ("page".to_owned(), text("type")),
        ("title".to_owned(), text("title")),
    ]);
    details.set_error_info(code.clone(), DOMAIN, metadata);
    details.set_request_info(text("trace_id"), "");
    let after = headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
    if let Some(seconds) = after {
        details.set_retry_info(Some(Duration::from_secs(seconds)));
    }
    let places: Vec<FieldViolation> =
        problem.get("errors").and_then(Value::as_array).into_iter().flatten().map(place).collect();
    if !places.is_empty() {
        details.set_bad_request(places);
    }
    Status::with_error_details(canonical(status, &code), text("detail"), details)
}

/// A problem as a status.
pub(super) fn of(problem: Problem) -> Status {
    let (code, headers, body) = problem.told();
    status(code, &headers, &serde_json::to_value(body).unwrap_or_default())
}

/// The code of a status that was a problem.
pub(super) fn code(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

fn place(place: &Value) -> FieldViolation {
    let text = |name: &str| place.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| place.get(name).and_then(Value::as_u64);
    let at = match (number("line"), number("column")) {
        (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
        (Some(line), None) => format!(" (line {line})"),
        (None, _) => String::new(),
    };
    FieldViolation::new(text("pointer"), format!("{}: {}{at}", text("code"), text("detail")))
}

/// JSON of a message that can't be read: as a body of REST that can't.
pub(super) fn malformed(field: &str, error: &serde_json::Error) -> Status {
    let detail = format!("{field} is no JSON: {error}");
    let mut details = ErrorDetails::new();
    let metadata = HashMap::from([("retryable".to_owned(), "false".to_owned())]);
    details.set_error_info("GC2001", DOMAIN, metadata);
    details.set_bad_request(vec![FieldViolation::new(field, detail.clone())]);
    Status::with_error_details(Code::InvalidArgument, detail, details)
}

fn canonical(status: StatusCode, code: &str) -> Code {
    match (status.as_u16(), code) {
        (404, "GC2019") => Code::Unimplemented,
        (404, _) => Code::NotFound,
        (409, "GC2014") => Code::AlreadyExists,
        (409, _) => Code::FailedPrecondition,
        (403, _) => Code::PermissionDenied,
        (408, _) => Code::DeadlineExceeded,
        (413 | 429, _) => Code::ResourceExhausted,
        (503, _) => Code::Unavailable,
        (400..=499, _) => Code::InvalidArgument,
        (_, _) => Code::Internal,
    }
}
