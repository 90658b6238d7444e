//! What etcd's refusals mean, by what can be done about them.

use crate::Error;
use std::error::Error as _;
use tonic::{Code, Status};

/// What can be done about a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Another member may answer.
    Elsewhere,
    /// The password has to be shown again.
    TokenExpired,
    /// All members would say the same.
    Refused,
}

pub(super) fn fate(status: &Status) -> Fate {
    let said = status.message();
    match status.code() {
        Code::Unauthenticated => Fate::TokenExpired,
        Code::InvalidArgument if said.contains("auth store is old") => Fate::TokenExpired,
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::Unimplemented
        | Code::OutOfRange
        | Code::AlreadyExists => Fate::Refused,
        // A certificate that is refused is so everywhere.
        _ if is_about_certificates(status) => Fate::Refused,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Fate::Elsewhere,
    }
}

/// What is told to the caller.
pub(super) fn error(fate: Fate, status: &Status, address: &str, is_plaintext: bool) -> Error {
    let said = format!("etcd at {address}: {}", told(status));
    if let Some(advice) = advice(status) {
        return Error::Configuration { reason: format!("{said}: {advice}") };
    }
    // One that speaks TLS closes a connection that does not.
    let is_cut = is_plaintext && fate == Fate::Elsewhere && is_protocol(status);
    let hint = if is_cut { " (if it speaks TLS, say election.security: tls)" } else { "" };
    Error::Unavailable { reason: format!("{said}{hint}") }
}

/// What to do about settings that can't work; none: it is not the settings.
fn advice(status: &Status) -> Option<&'static str> {
    if is_about_certificates(status) {
        return Some(
            "see election.tls.ca_file, whom to trust, and election.tls.certificate_file and key_file, what is shown",
        );
    }
    let known =
        ADVICE.iter().find(|(code, said, _)| *code == status.code() && status.message().contains(said));
    known.map(|(_, _, advice)| *advice)
}

/// By code, and a part of what is said.
const ADVICE: &[(Code, &str, &str)] = &[
    (
        Code::InvalidArgument,
        "user name is empty",
        "it asks who connects: set election.user and election.password",
    ),
    (Code::InvalidArgument, "authentication failed", "see election.user and election.password"),
    (
        Code::FailedPrecondition,
        "authentication is not enabled",
        "it knows no users: leave election.user and election.password out, or enable its authentication",
    ),
    (
        Code::PermissionDenied,
        "",
        "the user needs a role that may read and write all keys that begin with /PREFIX/elections/, where PREFIX is \
         election.prefix",
    ),
    (Code::Unimplemented, "", "this is no etcd of version 3.4 or later"),
];

fn is_about_certificates(status: &Status) -> bool {
    told(status).to_lowercase().contains("certificate")
}

fn is_protocol(status: &Status) -> bool {
    let told = told(status);
    ["http2", "frame", "broken pipe", "reset", "closed"].iter().any(|word| told.to_lowercase().contains(word))
}

/// A status with what lies behind it: what a connection broke by stands at the end.
fn told(status: &Status) -> String {
    match status.source() {
        Some(source) => format!("{}: {}", status.message(), chain(source)),
        None => status.message().to_owned(),
    }
}

/// An error with what lies behind it, each thing once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_t_work_is_told_from_what_can_t_be_reached() {
        for (status, expected, advised) in [
            (Status::invalid_argument("etcdserver: user name is empty"), Fate::Refused, "set election.user"),
            (
                Status::invalid_argument("etcdserver: authentication failed, invalid user ID or password"),
                Fate::Refused,
                "see election.user",
            ),
            (
                Status::failed_precondition("etcdserver: authentication is not enabled"),
                Fate::Refused,
                "leave election.user",
            ),
            (Status::permission_denied("etcdserver: permission denied"), Fate::Refused, "needs a role"),
            (Status::unavailable("invalid peer certificate: UnknownIssuer"), Fate::Refused, "ca_file"),
            (Status::unavailable("etcdserver: no leader"), Fate::Elsewhere, ""),
            (Status::deadline_exceeded("etcdserver: request timed out"), Fate::Elsewhere, ""),
            (Status::resource_exhausted("etcdserver: mvcc: database space exceeded"), Fate::Elsewhere, ""),
            (Status::unauthenticated("etcdserver: invalid auth token"), Fate::TokenExpired, ""),
            (Status::invalid_argument("etcdserver: revision of auth store is old"), Fate::TokenExpired, ""),
        ] {
            assert_eq!(fate(&status), expected, "{status}");
            let error = error(expected, &status, "127.0.0.1:2379", true);
            assert_eq!(error.retryable(), advised.is_empty(), "{error}");
            assert!(error.to_string().contains(advised), "{error}");
        }
    }
}
