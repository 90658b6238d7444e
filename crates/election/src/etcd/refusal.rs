//! Classification of etcd's error statuses by the possible reaction.

use crate::Error;
use std::error::Error as _;
use tonic::{Code, Status};

/// The possible reaction to a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// Try another member.
    Elsewhere,
    /// Authenticate again.
    TokenExpired,
    /// Give up, because all members would refuse.
    Refused,
}

pub(super) fn classify(status: &Status) -> ErrorClass {
    let message = status.message();
    match status.code() {
        Code::Unauthenticated => ErrorClass::TokenExpired,
        Code::InvalidArgument if message.contains("auth store is old") => ErrorClass::TokenExpired,
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::Unimplemented
        | Code::OutOfRange
        | Code::AlreadyExists => ErrorClass::Refused,
        // A rejected certificate is rejected by every member.
        _ if is_about_certificates(status) => ErrorClass::Refused,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => ErrorClass::Elsewhere,
    }
}

/// Converts a status to an error of the election.
pub(super) fn error(classify: ErrorClass, status: &Status, address: &str, is_plaintext: bool) -> Error {
    let message = format!("etcd at {address}: {}", full_message(status));
    if let Some(advice) = advice(status) {
        return Error::Configuration { reason: format!("{message}: {advice}") };
    }
    // A server with TLS closes a connection without TLS.
    let is_cut = is_plaintext && classify == ErrorClass::Elsewhere && is_protocol(status);
    let hint = if is_cut { "; if the server uses TLS, set election.security: tls" } else { "" };
    Error::Unavailable { reason: format!("{message}{hint}") }
}

/// The remedy for a problem of the settings, or `None` for other problems.
fn advice(status: &Status) -> Option<&'static str> {
    if is_about_certificates(status) {
        return Some(
            "check election.tls.ca_file (the trusted authority) and election.tls.certificate_file and key_file (the client)",
        );
    }
    let known =
        ADVICE.iter().find(|(code, message, _)| *code == status.code() && status.message().contains(message));
    known.map(|(_, _, advice)| *advice)
}

/// Remedies by code and part of the message.
const ADVICE: &[(Code, &str, &str)] = &[
    (
        Code::InvalidArgument,
        "user name is empty",
        "the server requires a user; set election.user and election.password",
    ),
    (Code::InvalidArgument, "authentication failed", "check election.user and election.password"),
    (
        Code::FailedPrecondition,
        "authentication is not enabled",
        "the server has no users; remove election.user and election.password, or enable authentication",
    ),
    (
        Code::PermissionDenied,
        "",
        "the user needs a role with read and write permission for all keys below /PREFIX/elections/, where PREFIX is \
         election.prefix",
    ),
    (Code::Unimplemented, "", "the server is not etcd 3.4 or later"),
];

fn is_about_certificates(status: &Status) -> bool {
    full_message(status).to_lowercase().contains("certificate")
}

fn is_protocol(status: &Status) -> bool {
    let message = full_message(status);
    ["http2", "frame", "broken pipe", "reset", "closed"]
        .iter()
        .any(|word| message.to_lowercase().contains(word))
}

/// The message of a status with its sources. The source of a broken connection comes last.
fn full_message(status: &Status) -> String {
    match status.source() {
        Some(source) => format!("{}: {}", status.message(), chain(source)),
        None => status.message().to_owned(),
    }
}

/// An error with its sources, without repetitions.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_classified_and_configuration_errors_have_remedies() {
        for (status, expected, advised) in [
            (
                Status::invalid_argument("etcdserver: user name is empty"),
                ErrorClass::Refused,
                "set election.user",
            ),
            (
                Status::invalid_argument("etcdserver: authentication failed, invalid user ID or password"),
                ErrorClass::Refused,
                "check election.user",
            ),
            (
                Status::failed_precondition("etcdserver: authentication is not enabled"),
                ErrorClass::Refused,
                "remove election.user",
            ),
            (Status::permission_denied("etcdserver: permission denied"), ErrorClass::Refused, "needs a role"),
            (Status::unavailable("invalid peer certificate: UnknownIssuer"), ErrorClass::Refused, "ca_file"),
            (Status::unavailable("etcdserver: no leader"), ErrorClass::Elsewhere, ""),
            (Status::deadline_exceeded("etcdserver: request timed out"), ErrorClass::Elsewhere, ""),
            (
                Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
                ErrorClass::Elsewhere,
                "",
            ),
            (Status::unauthenticated("etcdserver: invalid auth token"), ErrorClass::TokenExpired, ""),
            (
                Status::invalid_argument("etcdserver: revision of auth store is old"),
                ErrorClass::TokenExpired,
                "",
            ),
        ] {
            assert_eq!(classify(&status), expected, "{status}");
            let error = error(expected, &status, "127.0.0.1:2379", true);
            assert_eq!(error.is_retryable(), advised.is_empty(), "{error}");
            assert!(error.to_string().contains(advised), "{error}");
        }
    }
}
