//! Problems of callers: their credentials, their permissions, their sign-ins and their sessions.

use super::{Kind, kind};
use axum::http::StatusCode;

pub(crate) const UNAUTHENTICATED: Kind = kind(StatusCode::UNAUTHORIZED, "GC2061", "authentication required");
pub(crate) const INVALID_CREDENTIAL: Kind = kind(StatusCode::UNAUTHORIZED, "GC2062", "invalid credential");
pub(crate) const FORBIDDEN: Kind = kind(StatusCode::FORBIDDEN, "GC2063", "permission denied");
pub(crate) const NO_ACCESS_KEY: Kind = kind(StatusCode::NOT_FOUND, "GC2064", "access key not found");
pub(crate) const EXCESSIVE_GRANT: Kind =
    kind(StatusCode::FORBIDDEN, "GC2065", "access key with more rights than its creator");
pub(crate) const PROVIDER_UNAVAILABLE: Kind =
    kind(StatusCode::SERVICE_UNAVAILABLE, "GC2066", "identity provider unavailable");
pub(crate) const CSRF: Kind = kind(StatusCode::FORBIDDEN, "GC2142", "session without proof of its page");
pub(crate) const SESSION_ENDED: Kind = kind(StatusCode::UNAUTHORIZED, "GC2143", "session not valid");
pub(crate) const NO_SIGN_IN: Kind = kind(StatusCode::CONFLICT, "GC2144", "sign-in not available");

#[cfg(test)]
pub(super) const KINDS: &[Kind] = &[
    UNAUTHENTICATED,
    INVALID_CREDENTIAL,
    FORBIDDEN,
    NO_ACCESS_KEY,
    EXCESSIVE_GRANT,
    PROVIDER_UNAVAILABLE,
    CSRF,
    SESSION_ENDED,
    NO_SIGN_IN,
];
