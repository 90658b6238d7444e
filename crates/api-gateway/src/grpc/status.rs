//! Problems as gRPC statuses, with the same code and the same locations.

use crate::error::{CONTRADICTION, KEY_CONFLICT, Location, Problem, UNSUPPORTED};
use goconductor_saga::shortened;
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// The domain of the codes in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "goconductor";
/// The maximum length of a message in characters. A message can contain a text of the request, and is sent in headers, of
/// which clients accept 16 KiB by default.
const MAX_MESSAGE_CHARS: usize = 700;
/// The maximum length of the description of one violation in characters, and of all together in bytes.
const MAX_VIOLATION_CHARS: usize = 400;
const MAX_VIOLATIONS_BYTES: usize = 3 << 10;

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let code = code(&problem);
        let retry_delay = problem.retry_after_seconds().map(Duration::from_secs);
        let body = problem.into_body();
        let mut details = ErrorDetails::new();
        let metadata = HashMap::from([
            ("retryable".to_owned(), body.retryable.to_string()),
            ("page".to_owned(), body.page),
            ("title".to_owned(), body.title.to_owned()),
        ]);
        details.set_error_info(body.code, DOMAIN, metadata);
        details.set_request_info(body.trace_id, "");
        if let Some(delay) = retry_delay {
            details.set_retry_info(Some(delay));
        }
        if !body.errors.is_empty() {
            details.set_bad_request(violations(body.errors));
        }
        Self::with_error_details(code, shortened(&body.detail, MAX_MESSAGE_CHARS), details)
    }
}

/// Returns the first violations, as far as a client accepts them in headers.
fn violations(locations: Vec<Location>) -> Vec<FieldViolation> {
    let mut bytes = 0;
    let mut violations = Vec::new();
    for violation in locations.into_iter().map(violation) {
        bytes += violation.field.len() + violation.description.len();
        if bytes > MAX_VIOLATIONS_BYTES && !violations.is_empty() {
            break;
        }
        violations.push(violation);
    }
    violations
}

fn violation(location: Location) -> FieldViolation {
    let Location { pointer, line, column, code, detail } = location;
    let position = match (line, column) {
        (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
        (Some(line), None) => format!(" (line {line})"),
        (None, _) => String::new(),
    };
    let description = format!("{code}: {}{position}", shortened(&detail, MAX_VIOLATION_CHARS));
    FieldViolation::new(shortened(&pointer, MAX_VIOLATION_CHARS), description)
}

/// Returns the canonical code for the HTTP status of a problem.
fn code(problem: &Problem) -> Code {
    match problem.status().as_u16() {
        404 if problem.is(UNSUPPORTED) => Code::Unimplemented,
        404 => Code::NotFound,
        409 if problem.is(KEY_CONFLICT) => Code::AlreadyExists,
        409 if problem.is(CONTRADICTION) => Code::InvalidArgument,
        409 => Code::FailedPrecondition,
        401 => Code::Unauthenticated,
        412 => Code::Aborted,
        403 => Code::PermissionDenied,
        408 => Code::DeadlineExceeded,
        413 | 429 | 431 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        400..=499 => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{
        LOCK_HELD, MALFORMED, NO_WORKFLOW, RATE_LIMITED, TOO_LARGE, TOO_MANY_HEADERS, TOO_MANY_STARTS,
        UNAVAILABLE,
    };

    #[test]
    fn problem_becomes_status_with_its_code_locations_and_delay() {
        let problem = Problem::new(MALFORMED, "input_json is not valid JSON")
            .at_line("input_json", (1, 2), "EOF")
            .retry_after(Duration::from_millis(1500));
        let status = Status::from(problem);
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, "input_json is not valid JSON")
        );
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("GC2001", DOMAIN));
        assert_eq!(info.metadata["page"], "/errors/GC2001");
        assert_eq!(info.metadata["retryable"], "false");
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "input_json");
        assert_eq!(violation.description, "GC2001: EOF (line 1, column 2)");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));
    }

    #[test]
    fn long_texts_are_cut_to_the_size_of_headers() {
        let long = "ä".repeat(2000);
        let problem =
            (0..1000).fold(Problem::new(MALFORMED, long.clone()), |problem, _| problem.at(&long, &long));
        let status = Status::from(problem);
        assert_eq!(status.message().chars().count(), MAX_MESSAGE_CHARS + 1);
        assert!(status.details().len() < 8 << 10, "{}", status.details().len());
        assert!(!status.get_error_details().bad_request().unwrap().field_violations.is_empty());
    }

    #[test]
    fn kind_determines_the_canonical_code() {
        for (kind, expected) in [
            (NO_WORKFLOW, Code::NotFound),
            (UNSUPPORTED, Code::Unimplemented),
            (KEY_CONFLICT, Code::AlreadyExists),
            (LOCK_HELD, Code::FailedPrecondition),
            (CONTRADICTION, Code::InvalidArgument),
            (TOO_LARGE, Code::ResourceExhausted),
            (TOO_MANY_STARTS, Code::ResourceExhausted),
            (RATE_LIMITED, Code::ResourceExhausted),
            (TOO_MANY_HEADERS, Code::ResourceExhausted),
            (UNAVAILABLE, Code::Unavailable),
        ] {
            assert_eq!(code(&Problem::new(kind, "")), expected, "{}", kind.code);
        }
    }
}
