//! Problems: each refused request gets a stable code, and each code has a page.
//!
//! REST sends a [`Problem`] as `application/problem+json` (RFC 9457), gRPC as a status with `google.rpc` details.

mod repair;
mod session;

use crate::admission::RateFields;
use crate::audit_notes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use goconductor_saga::{JsonError, JsonErrorKind, LabelsError};
use goconductor_transition as transition;
use serde::Serialize;
use std::any::Any;
use std::time::Duration;

pub(crate) use repair::{MIGRATION, RERUN};
pub(crate) use session::{
    CSRF, EXCESSIVE_GRANT, FORBIDDEN, INVALID_CREDENTIAL, NO_ACCESS_KEY, NO_SIGN_IN, PROVIDER_UNAVAILABLE,
    SESSION_ENDED, UNAUTHENTICATED,
};

/// A kind of problem. Its title is that of the page about its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) title: &'static str,
}

const fn kind(status: StatusCode, code: &'static str, title: &'static str) -> Kind {
    Kind { status, code, title }
}

pub(crate) const MALFORMED: Kind = kind(StatusCode::BAD_REQUEST, "GC2001", "malformed request body");
pub(crate) const WRONG_SHAPE: Kind = kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2002", "invalid request body");
pub(crate) const TOO_LARGE: Kind = kind(StatusCode::PAYLOAD_TOO_LARGE, "GC2003", "request body too large");
pub(crate) const MEDIA_TYPE: Kind =
    kind(StatusCode::UNSUPPORTED_MEDIA_TYPE, "GC2004", "unsupported content type");
pub(crate) const NO_ROUTE: Kind = kind(StatusCode::NOT_FOUND, "GC2005", "unknown path");
pub(crate) const METHOD: Kind = kind(StatusCode::METHOD_NOT_ALLOWED, "GC2006", "method not allowed");
pub(crate) const PARAMETER: Kind = kind(StatusCode::BAD_REQUEST, "GC2007", "invalid parameter or header");
pub(crate) const FILTER: Kind = kind(StatusCode::BAD_REQUEST, "GC2008", "invalid filter");
pub(crate) const NO_WORKFLOW: Kind = kind(StatusCode::NOT_FOUND, "GC2010", "workflow not found");
pub(crate) const NO_DEFINITION: Kind = kind(StatusCode::NOT_FOUND, "GC2011", "definition not found");
pub(crate) const NO_SERVICE: Kind = kind(StatusCode::NOT_FOUND, "GC2012", "service not found");
pub(crate) const NO_STEP: Kind = kind(StatusCode::NOT_FOUND, "GC2013", "step not found");
pub(crate) const KEY_CONFLICT: Kind = kind(StatusCode::CONFLICT, "GC2014", "idempotency key conflict");
pub(crate) const CONFLICT: Kind =
    kind(StatusCode::CONFLICT, "GC2015", "operation not allowed in the workflow's status");
pub(crate) const INPUT: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2016", "input rejected by the definition's schema");
pub(crate) const REASON: Kind = kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2017", "missing or invalid reason");
pub(crate) const DEFINITION: Kind = kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2018", "invalid definition");
pub(crate) const UNSUPPORTED: Kind = kind(StatusCode::NOT_FOUND, "GC2019", "unsupported feature");
pub(crate) const UNAVAILABLE: Kind = kind(StatusCode::SERVICE_UNAVAILABLE, "GC2020", "database unavailable");
pub(crate) const INTERNAL: Kind = kind(StatusCode::INTERNAL_SERVER_ERROR, "GC2021", "internal error");
pub(crate) const CROSS_SITE: Kind = kind(StatusCode::FORBIDDEN, "GC2022", "cross-site request");
pub(crate) const BODY_TIMEOUT: Kind = kind(StatusCode::REQUEST_TIMEOUT, "GC2023", "request body timeout");
pub(crate) const NO_DEAD_LETTER: Kind = kind(StatusCode::NOT_FOUND, "GC2024", "dead letter not found");
pub(crate) const NO_LEADER: Kind = kind(StatusCode::NOT_FOUND, "GC2025", "election without a leader");
pub(crate) const LOCK_HELD: Kind = kind(StatusCode::CONFLICT, "GC2026", "lock held by another owner");
pub(crate) const LOCK_LOST: Kind = kind(StatusCode::CONFLICT, "GC2027", "lock no longer held");
pub(crate) const LOCK_OWNER: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2106", "reserved name of a lock owner");
pub(crate) const ELECTION: Kind = kind(StatusCode::SERVICE_UNAVAILABLE, "GC2028", "election unavailable");
pub(crate) const NO_ELECTION: Kind = kind(StatusCode::NOT_FOUND, "GC2029", "no election configured");
pub(crate) const TOO_MANY_REQUESTS: Kind =
    kind(StatusCode::TOO_MANY_REQUESTS, "GC2030", "too many concurrent requests");
pub(crate) const TOO_MANY_WAITING: Kind =
    kind(StatusCode::TOO_MANY_REQUESTS, "GC2031", "too many long polls and streams");
pub(crate) const TOO_MANY_STARTS: Kind =
    kind(StatusCode::TOO_MANY_REQUESTS, "GC2032", "too many concurrent starts");
pub(crate) const OVERLOADED: Kind = kind(StatusCode::TOO_MANY_REQUESTS, "GC2033", "service overloaded");
pub(crate) const NO_QUEUE: Kind = kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2034", "queue not found");
pub(crate) const QUEUE_CONFLICT: Kind = kind(StatusCode::CONFLICT, "GC2035", "queue switch not possible");
pub(crate) const QUEUE_UNAVAILABLE: Kind =
    kind(StatusCode::SERVICE_UNAVAILABLE, "GC2036", "queue unavailable");
pub(crate) const AUDIT_UNAVAILABLE: Kind =
    kind(StatusCode::SERVICE_UNAVAILABLE, "GC2070", "audit log not writable");
pub(crate) const AUDIT_DELAYED: Kind =
    kind(StatusCode::SERVICE_UNAVAILABLE, "GC2071", "audit record not confirmed");
pub(crate) const NO_SECRET: Kind = kind(StatusCode::NOT_FOUND, "GC2075", "secret not found");
pub(crate) const NO_MASTER_KEY: Kind = kind(StatusCode::CONFLICT, "GC2076", "no master key configured");
pub(crate) const MASTER_KEY: Kind = kind(StatusCode::CONFLICT, "GC2078", "master key not available");
pub(crate) const SECRET_CONFLICT: Kind =
    kind(StatusCode::CONFLICT, "GC2080", "secret changed at the same time");
pub(crate) const DUPLICATE_KEY: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2050", "duplicate key in JSON");
pub(crate) const INEXACT_NUMBER: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2051", "number that cannot be kept exactly");

pub(crate) const VALIDATION_BUSY: Kind =
    kind(StatusCode::TOO_MANY_REQUESTS, "GC2045", "too many concurrent validations");

pub(crate) const CONFIG_INVALID: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2085", "invalid configuration");
pub(crate) const CONFIG_FILE_ONLY: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2086", "setting that the API cannot change");
pub(crate) const CONFIG_CHANGED: Kind =
    kind(StatusCode::PRECONDITION_FAILED, "GC2087", "configuration changed by another caller");
pub(crate) const CONFIG_UNREACHABLE: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2088", "configured server not reachable");
pub(crate) const NO_CONFIG_VERSION: Kind =
    kind(StatusCode::NOT_FOUND, "GC2089", "configuration version not found");
pub(crate) const CONFIG_TOKENS: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2090", "fencing tokens would fall");
pub(crate) const RATE_LIMITED: Kind = kind(StatusCode::TOO_MANY_REQUESTS, "GC2095", "rate limit exceeded");
pub(crate) const NO_PAYLOAD: Kind = kind(StatusCode::NOT_FOUND, "GC2130", "payload not found");
pub(crate) const NO_BATCH: Kind = kind(StatusCode::NOT_FOUND, "GC2114", "batch not found");
pub(crate) const BATCH_COUNT: Kind =
    kind(StatusCode::CONFLICT, "GC2115", "unexpected number of workflows in a batch");
pub(crate) const BATCH_TOO_LARGE: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2116", "too many workflows in a batch");
pub(crate) const BATCH_STATUS: Kind =
    kind(StatusCode::CONFLICT, "GC2117", "operation not allowed in the batch's status");
pub(crate) const INVALID_BATCH: Kind = kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2118", "invalid batch");
/// Sent by the listener, before there is a request.
#[cfg(test)]
const TOO_MANY_CONNECTIONS: Kind =
    kind(StatusCode::TOO_MANY_REQUESTS, "GC2096", "too many connections from one address");
pub(crate) const TOO_MANY_HEADERS: Kind =
    kind(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "GC2097", "too many headers");

pub(crate) const SIGNAL_LIMIT: Kind = kind(StatusCode::CONFLICT, "GC2100", "too many kept signals");
pub(crate) const SIGNAL_PAYLOAD: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2101", "payload rejected by the signal's schema");
pub(crate) const NO_SCHEDULE: Kind = kind(StatusCode::NOT_FOUND, "GC2108", "schedule not found");
pub(crate) const INVALID_SCHEDULE: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2109", "invalid schedule");
pub(crate) const SCHEDULE_CHANGED: Kind =
    kind(StatusCode::PRECONDITION_FAILED, "GC2110", "schedule changed by another caller");
pub(crate) const SCHEDULE_CONFLICT: Kind =
    kind(StatusCode::CONFLICT, "GC2111", "schedule changed at the same time");
pub(crate) const TOO_MANY_SCHEDULES: Kind = kind(StatusCode::CONFLICT, "GC2112", "too many schedules");
pub(crate) const BACKFILL_CONFLICT: Kind = kind(StatusCode::CONFLICT, "GC2113", "backfill in progress");
pub(crate) const SCHEDULE_ORIGIN: Kind =
    kind(StatusCode::CONFLICT, "GC2119", "schedule that does not belong to the definition");
pub(crate) const ADDRESS_DENIED: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2120", "address that requests may not go to");

pub(crate) const NOT_COMPENSATABLE: Kind =
    kind(StatusCode::CONFLICT, "GC2103", "workflow that cannot be compensated");

pub(crate) const CONTRADICTION: Kind = kind(StatusCode::CONFLICT, "GC2037", "contradictory request");

/// Kinds that a repeat of the same request may resolve, besides all with status 429.
const RETRYABLE: [Kind; 9] = [
    UNAVAILABLE,
    ELECTION,
    LOCK_HELD,
    QUEUE_UNAVAILABLE,
    PROVIDER_UNAVAILABLE,
    AUDIT_UNAVAILABLE,
    SECRET_CONFLICT,
    SCHEDULE_CONFLICT,
    BACKFILL_CONFLICT,
];

/// The media type of refusals (RFC 9457).
pub(crate) const MEDIA_TYPE_OF_PROBLEMS: &str = "application/problem+json";

/// The scheme by which a request can be authenticated.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"goconductor\"");

/// The delay after which a request to an unavailable database, election or queue is worth a retry.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Returns a key as a token of a JSON pointer (RFC 6901, section 3).
pub(crate) fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The location of an error in the request.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct Location {
    /// JSON pointer into the request body.
    pub(crate) pointer: String,
    /// Line, from 1. Absent if the position in the text is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
    /// Column, from 1. Absent if the position in the text is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<u32>,
    /// Stable error code. Each code has a page.
    pub(crate) code: &'static str,
    /// Description of the error and of its correction.
    pub(crate) detail: String,
}

/// A refused or failed request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {detail}", .kind.title)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<Location>,
    retry_after: Option<Duration>,
    rate: Option<Box<RateFields>>,
}

/// The result of an API operation.
pub(crate) type ApiResult<T> = Result<T, Problem>;

impl Problem {
    /// Creates a problem. The detail states what is wrong and what to do.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), retry_after: None, rate: None }
    }

    /// Creates the problem of a body, or of a gRPC message, over the limit.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(TOO_LARGE, format!("the body is over the limit of {limit} bytes"))
    }

    /// Creates the problem of a JSON text that is refused. `what` names the text, and `pointer` its location in the
    /// request.
    pub(crate) fn invalid_json(what: &str, pointer: &str, error: &JsonError) -> Self {
        let (kind, verdict) = match error.kind {
            JsonErrorKind::Encoding(_) | JsonErrorKind::Syntax(_) => (MALFORMED, "is not valid JSON"),
            JsonErrorKind::DuplicateKey(_) => (DUPLICATE_KEY, "is not accepted"),
            JsonErrorKind::InexactNumber(_) => (INEXACT_NUMBER, "is not accepted"),
        };
        if error.line == 0 {
            return Self::new(kind, format!("{what} {verdict}: {error}")).at(pointer, error.to_string());
        }
        let (line, column) = (error.line, error.column);
        let detail = format!("{what} {verdict} at line {line} column {column}: {error}");
        Self::new(kind, detail).at_line(pointer, (line, column), error.to_string())
    }

    /// Creates the problem of a handler that panicked, which is a bug, and logs the panic. Other requests are not
    /// affected.
    pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Self {
        let message = goconductor_supervisor::panic_message(panic);
        tracing::error!(message, "request handler panicked");
        Self::new(INTERNAL, "the server has a bug: report it with this trace id and the server's log")
    }

    /// Sets the delay after which a retry may succeed.
    pub(crate) fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Adds the limits of the rate.
    pub(crate) fn with_rate(mut self, rate: RateFields) -> Self {
        self.rate = Some(Box::new(rate));
        self
    }

    /// Replaces the locations.
    pub(crate) fn with_errors(mut self, errors: Vec<Location>) -> Self {
        self.errors = errors;
        self
    }

    /// Adds a location with the code of the problem.
    pub(crate) fn at(self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.located(pointer.into(), None, detail.into())
    }

    /// Adds a location, with a position in its text and the code of the problem.
    pub(crate) fn at_line(
        self,
        pointer: impl Into<String>,
        (line, column): (usize, usize),
        detail: impl Into<String>,
    ) -> Self {
        self.located(pointer.into(), Some((line, column)), detail.into())
    }

    fn located(mut self, pointer: String, position: Option<(usize, usize)>, detail: String) -> Self {
        let number = |number: usize| u32::try_from(number).ok();
        let (line, column) = (position.and_then(|at| number(at.0)), position.and_then(|at| number(at.1)));
        self.errors.push(Location { pointer, line, column, code: self.kind.code, detail });
        self
    }

    /// Whether the problem is of this kind.
    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.kind == kind
    }

    /// The error code.
    pub(crate) fn code(&self) -> &'static str {
        self.kind.code
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind.status
    }

    /// The value of `Retry-After`: whole seconds, rounded up.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        let delay = self.retry_after?;
        Some((delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1))
    }

    /// Assigns a trace id and returns the body. A server error is logged with the trace id.
    pub(crate) fn into_body(self) -> ProblemBody {
        let Kind { status, code, title } = self.kind;
        let current = goconductor_telemetry::trace::current();
        let trace_id = current.map(|span| span.trace_id().to_owned());
        let trace_id = trace_id.unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
        audit_notes::code(code, &trace_id);
        if status.is_server_error() {
            tracing::error!(%trace_id, code, detail = self.detail, "request failed");
        }
        ProblemBody {
            page: format!("/errors/{code}"),
            title,
            status: status.as_u16(),
            detail: self.detail,
            code,
            errors: self.errors,
            retryable: RETRYABLE.contains(&self.kind) || status == StatusCode::TOO_MANY_REQUESTS,
            trace_id,
        }
    }
}

/// An error response.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ProblemBody {
    /// Path of the page about the code.
    #[serde(rename = "type")]
    pub(crate) page: String,
    /// Summary of the kind of problem.
    pub(crate) title: &'static str,
    /// HTTP status.
    pub(crate) status: u16,
    /// Description of the failure: what failed, which value caused it and what to do.
    pub(crate) detail: String,
    /// Stable error code. Each code has a page.
    pub(crate) code: &'static str,
    /// Locations of the errors in the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Location>,
    /// Whether the same request may succeed later.
    pub(crate) retryable: bool,
    /// Identifier of this response in the server's log.
    pub(crate) trace_id: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE_OF_PROBLEMS));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(rate) = &self.rate {
            rate.write(&mut headers);
        }
        (self.status(), headers, axum::Json(self.into_body())).into_response()
    }
}

impl From<transition::Error> for Problem {
    fn from(error: transition::Error) -> Self {
        let kind = match &error {
            transition::Error::NoSuchWorkflow => NO_WORKFLOW,
            transition::Error::NoSuchDefinition => NO_DEFINITION,
            transition::Error::Refused(goconductor_saga::Refusal::UnknownStep) => NO_STEP,
            transition::Error::Refused(goconductor_saga::Refusal::SignalLimit(_)) => SIGNAL_LIMIT,
            transition::Error::Refused(goconductor_saga::Refusal::Rerun { cause, .. }) => {
                repair::of_rerun(*cause)
            }
            transition::Error::Refused(goconductor_saga::Refusal::Migration(_)) => MIGRATION,
            transition::Error::Refused(_) => CONFLICT,
            transition::Error::KeyConflict(_) => KEY_CONFLICT,
            error if error.is_retryable() => UNAVAILABLE,
            transition::Error::Contention(_)
            | transition::Error::Store(_)
            | transition::Error::InvalidDefinition { .. }
            | transition::Error::Internal(_) => INTERNAL,
        };
        let problem = Self::new(kind, error.to_string());
        if kind == UNAVAILABLE { problem.retry_after(RETRY_AFTER) } else { problem }
    }
}

impl From<goconductor_saga::NameError> for Problem {
    fn from(error: goconductor_saga::NameError) -> Self {
        Self::new(PARAMETER, error.to_string())
    }
}

impl From<LabelsError> for Problem {
    fn from(error: LabelsError) -> Self {
        let detail = error.to_string();
        let pointer =
            error.name.map_or_else(|| "/labels".to_owned(), |name| format!("/labels/{}", token(&name)));
        Self::new(WRONG_SHAPE, detail.clone()).at(pointer, detail)
    }
}

impl From<goconductor_store::Error> for Problem {
    fn from(error: goconductor_store::Error) -> Self {
        transition::Error::from(error).into()
    }
}

impl From<goconductor_election::Error> for Problem {
    fn from(error: goconductor_election::Error) -> Self {
        Self::new(ELECTION, error.to_string()).retry_after(RETRY_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::PAGES;

    const KINDS: &[Kind] = &[
        MALFORMED,
        WRONG_SHAPE,
        TOO_LARGE,
        MEDIA_TYPE,
        NO_ROUTE,
        METHOD,
        PARAMETER,
        FILTER,
        NO_WORKFLOW,
        NO_DEFINITION,
        NO_SERVICE,
        NO_STEP,
        KEY_CONFLICT,
        CONFLICT,
        INPUT,
        REASON,
        DEFINITION,
        UNSUPPORTED,
        UNAVAILABLE,
        INTERNAL,
        CROSS_SITE,
        BODY_TIMEOUT,
        NO_DEAD_LETTER,
        NO_LEADER,
        LOCK_HELD,
        LOCK_LOST,
        LOCK_OWNER,
        ELECTION,
        NO_ELECTION,
        TOO_MANY_REQUESTS,
        TOO_MANY_WAITING,
        TOO_MANY_STARTS,
        OVERLOADED,
        RATE_LIMITED,
        TOO_MANY_CONNECTIONS,
        TOO_MANY_HEADERS,
        ADDRESS_DENIED,
        NO_QUEUE,
        QUEUE_CONFLICT,
        NO_SECRET,
        NO_MASTER_KEY,
        MASTER_KEY,
        SECRET_CONFLICT,
        QUEUE_UNAVAILABLE,
        CONTRADICTION,
        DUPLICATE_KEY,
        INEXACT_NUMBER,
        VALIDATION_BUSY,
        AUDIT_UNAVAILABLE,
        AUDIT_DELAYED,
        CONFIG_INVALID,
        CONFIG_FILE_ONLY,
        CONFIG_CHANGED,
        CONFIG_UNREACHABLE,
        NO_CONFIG_VERSION,
        CONFIG_TOKENS,
        SIGNAL_LIMIT,
        SIGNAL_PAYLOAD,
        NO_PAYLOAD,
        NO_SCHEDULE,
        INVALID_SCHEDULE,
        SCHEDULE_CHANGED,
        SCHEDULE_CONFLICT,
        TOO_MANY_SCHEDULES,
        BACKFILL_CONFLICT,
        SCHEDULE_ORIGIN,
        NOT_COMPENSATABLE,
    ];

    #[test]
    fn title_is_that_of_the_page() {
        for kind in KINDS.iter().chain(repair::KINDS).chain(session::KINDS) {
            let page = PAGES.iter().find(|page| page.code == kind.code);
            assert_eq!(page.map(|page| page.title), Some(kind.title), "{}", kind.code);
        }
    }
}
