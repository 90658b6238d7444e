//! Refusals: `application/problem+json` (RFC 9457), each with a stable code that has a page.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use goconductor_transition as transition;
use serde::Serialize;
use std::time::Duration;

/// A kind of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) title: &'static str,
}

const fn kind(status: StatusCode, code: &'static str, title: &'static str) -> Kind {
    Kind { status, code, title }
}

pub(crate) const MALFORMED: Kind = kind(StatusCode::BAD_REQUEST, "GC2001", "the body can't be read");
pub(crate) const WRONG_SHAPE: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2002", "the body is not what is asked for");
pub(crate) const TOO_LARGE: Kind =
    kind(StatusCode::PAYLOAD_TOO_LARGE, "GC2003", "the body is over the limit");
pub(crate) const MEDIA_TYPE: Kind =
    kind(StatusCode::UNSUPPORTED_MEDIA_TYPE, "GC2004", "the content type is not known");
pub(crate) const NO_ROUTE: Kind = kind(StatusCode::NOT_FOUND, "GC2005", "nothing is at this path");
pub(crate) const METHOD: Kind =
    kind(StatusCode::METHOD_NOT_ALLOWED, "GC2006", "the path does not know the method");
pub(crate) const PARAMETER: Kind =
    kind(StatusCode::BAD_REQUEST, "GC2007", "a parameter or header can't be read");
pub(crate) const FILTER: Kind = kind(StatusCode::BAD_REQUEST, "GC2008", "the filter can't be read");
pub(crate) const NO_WORKFLOW: Kind = kind(StatusCode::NOT_FOUND, "GC2010", "no such workflow");
pub(crate) const NO_DEFINITION: Kind = kind(StatusCode::NOT_FOUND, "GC2011", "no such definition");
pub(crate) const NO_SERVICE: Kind = kind(StatusCode::NOT_FOUND, "GC2012", "no such service");
pub(crate) const NO_STEP: Kind = kind(StatusCode::NOT_FOUND, "GC2013", "no such step");
pub(crate) const NO_DEAD_LETTER: Kind = kind(StatusCode::NOT_FOUND, "GC2024", "no such dead letter");
pub(crate) const NO_LEADER: Kind = kind(StatusCode::NOT_FOUND, "GC2025", "nobody leads the election");
pub(crate) const LOCK_HELD: Kind = kind(StatusCode::CONFLICT, "GC2026", "another holds the lock");
pub(crate) const LOCK_LOST: Kind = kind(StatusCode::CONFLICT, "GC2027", "the lock is not held any more");
pub(crate) const ELECTION: Kind =
    kind(StatusCode::SERVICE_UNAVAILABLE, "GC2028", "the election does not answer");
pub(crate) const NO_ELECTION: Kind = kind(StatusCode::NOT_FOUND, "GC2029", "there is no election here");
pub(crate) const KEY_CONFLICT: Kind =
    kind(StatusCode::CONFLICT, "GC2014", "the idempotency key belongs to another start");
pub(crate) const CONFLICT: Kind =
    kind(StatusCode::CONFLICT, "GC2015", "the workflow's status does not allow it");
pub(crate) const INPUT: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2016", "the input does not fit the definition's schema");
pub(crate) const REASON: Kind = kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2017", "a reason is needed");
pub(crate) const DEFINITION: Kind =
    kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2018", "the definition has problems");
pub(crate) const LATER: Kind = kind(StatusCode::NOT_FOUND, "GC2019", "not supported yet");
pub(crate) const CROSS_SITE: Kind =
    kind(StatusCode::FORBIDDEN, "GC2022", "a page of another site may not do this");
pub(crate) const TOO_SLOW: Kind =
    kind(StatusCode::REQUEST_TIMEOUT, "GC2023", "the body did not arrive in time");
pub(crate) const TOO_MANY_CALLS: Kind =
    kind(StatusCode::TOO_MANY_REQUESTS, "GC2030", "too many calls are carried out");
pub(crate) const TOO_MANY_WAIT: Kind = kind(StatusCode::TOO_MANY_REQUESTS, "GC2031", "too many callers wait");
pub(crate) const STARTS: Kind =
    kind(StatusCode::TOO_MANY_REQUESTS, "GC2032", "the namespace starts too much at once");
pub(crate) const BEHIND: Kind =
    kind(StatusCode::TOO_MANY_REQUESTS, "GC2033", "a service that it needs is behind");
pub(crate) const NO_QUEUE: Kind = kind(StatusCode::UNPROCESSABLE_ENTITY, "GC2034", "no such queue");
pub(crate) const QUEUE_BUSY: Kind = kind(StatusCode::CONFLICT, "GC2035", "the queue can't be changed now");
pub(crate) const QUEUE_DOWN: Kind =
    kind(StatusCode::SERVICE_UNAVAILABLE, "GC2036", "the queue can't be used now");
pub(crate) const UNAVAILABLE: Kind =
    kind(StatusCode::SERVICE_UNAVAILABLE, "GC2020", "the database does not answer");
pub(crate) const INTERNAL: Kind =
    kind(StatusCode::INTERNAL_SERVER_ERROR, "GC2021", "something is broken in the server");

/// One place where something is wrong.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct Place {
    /// JSON pointer into what was sent.
    pub(crate) pointer: String,
    /// From 1; where the text's place is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
    /// From 1; where the text's place is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<u32>,
    /// Stable; each has a page.
    pub(crate) code: &'static str,
    /// What is wrong, and what to do.
    pub(crate) detail: String,
}

/// When a database or an election that does not answer is worth asking again.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// A refusal.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<Place>,
    after: Option<Duration>,
}

/// What a handler gives.
pub(crate) type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A refusal with what is wrong and what to do.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), after: None }
    }

    /// With when to come back.
    pub(crate) fn after(mut self, after: Duration) -> Self {
        self.after = Some(after);
        self
    }

    /// With every place.
    pub(crate) fn with_errors(mut self, errors: Vec<Place>) -> Self {
        self.errors = errors;
        self
    }

    /// With one place, of the kind's own code.
    pub(crate) fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let (code, pointer, detail) = (self.kind.code, pointer.into(), detail.into());
        self.errors.push(Place { pointer, line: None, column: None, code, detail });
        self
    }

    /// With one place of a text, of the kind's own code.
    pub(crate) fn at_line(mut self, line: usize, column: usize, detail: impl Into<String>) -> Self {
        let number = |number: usize| u32::try_from(number).ok();
        self.errors.push(Place {
            pointer: String::new(),
            line: number(line),
            column: number(column),
            code: self.kind.code,
            detail: detail.into(),
        });
        self
    }
}

/// What goes over the wire.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ProblemBody {
    /// The page of the code.
    #[serde(rename = "type")]
    pub(crate) page: String,
    pub(crate) title: &'static str,
    pub(crate) status: u16,
    pub(crate) detail: String,
    /// Stable; each has a page.
    pub(crate) code: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Place>,
    /// Whether the same call may succeed later.
    pub(crate) retryable: bool,
    /// The same in the server's log.
    pub(crate) trace_id: String,
}

impl Problem {
    /// As it goes over the wire.
    pub(crate) fn told(self) -> (StatusCode, HeaderMap, ProblemBody) {
        let Kind { status, code, title } = self.kind;
        let trace_id = uuid::Uuid::now_v7().simple().to_string();
        if status.is_server_error() {
            tracing::error!(%trace_id, code, detail = self.detail, "a call failed");
        }
        let body = ProblemBody {
            page: format!("/errors/{code}"),
            title,
            status: status.as_u16(),
            detail: self.detail,
            code,
            errors: self.errors,
            retryable: [UNAVAILABLE, ELECTION, LOCK_HELD, QUEUE_DOWN].contains(&self.kind)
                || status == StatusCode::TOO_MANY_REQUESTS,
            trace_id,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.after {
            // Whole seconds, and never too soon.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        (status, headers, body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, headers, body) = self.told();
        (status, headers, axum::Json(body)).into_response()
    }
}

impl From<transition::Error> for Problem {
    fn from(error: transition::Error) -> Self {
        let kind = match &error {
            transition::Error::NoSuchWorkflow => NO_WORKFLOW,
            transition::Error::NoSuchDefinition => NO_DEFINITION,
            transition::Error::Refused(goconductor_saga::Refusal::UnknownStep) => NO_STEP,
            transition::Error::Refused(_) => CONFLICT,
            transition::Error::KeyConflict(_) => KEY_CONFLICT,
            transition::Error::Unavailable(_) | transition::Error::Contention(_) => UNAVAILABLE,
            transition::Error::Internal(_) => INTERNAL,
        };
        let problem = Self::new(kind, error.to_string());
        if kind == UNAVAILABLE { problem.after(SOON) } else { problem }
    }
}

impl From<goconductor_store::Error> for Problem {
    fn from(error: goconductor_store::Error) -> Self {
        transition::Error::from(error).into()
    }
}
