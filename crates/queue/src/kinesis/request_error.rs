//! The errors of requests to Kinesis, by what can be done about them.

use crate::{Error, ErrorSource, metrics};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use std::error::Error as StdError;
use std::fmt;
use std::io::ErrorKind;

/// The error of a request.
#[derive(Debug, Clone)]
pub(super) struct RequestError {
    pub(super) kind: RequestErrorKind,
    /// The request, the error code and message of Kinesis, and advice.
    text: String,
    /// The error of the driver, if Kinesis did not respond.
    source: Option<ErrorSource>,
}

/// The class of an error, by the possible reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestErrorKind {
    /// The rate limit was exceeded. The request certainly had no effect and can be repeated later.
    Throttled,
    /// The request was not sent and can be repeated.
    NotSent,
    /// The stream or the shard does not exist.
    Missing,
    /// The stream is being created, changed or deleted.
    InUse,
    /// The iterator has expired or is invalid, and has to be replaced.
    InvalidIterator,
    /// The request was not authenticated or not authorized. A person has to correct it.
    Denied,
    /// The outcome is unknown.
    OutcomeUnknown,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for RequestError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<RequestError> for Error {
    fn from(RequestError { kind, text: reason, source }: RequestError) -> Self {
        match kind {
            RequestErrorKind::Denied => Self::Configuration { reason, source },
            RequestErrorKind::Throttled
            | RequestErrorKind::NotSent
            | RequestErrorKind::Missing
            | RequestErrorKind::InUse
            | RequestErrorKind::InvalidIterator
            | RequestErrorKind::OutcomeUnknown => Self::Unavailable { reason, source },
        }
    }
}

impl RequestError {
    pub(super) fn new(kind: RequestErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), source: None }
    }

    /// Creates the error of a request that could not be built, and was therefore not sent.
    pub(super) fn not_built(request: &'static str, error: aws_sdk_kinesis::error::BuildError) -> Self {
        let source = Some(ErrorSource::new(error));
        Self { kind: RequestErrorKind::NotSent, text: format!("{request} could not be built"), source }
    }

    /// Converts the error of the driver.
    pub(super) fn of<E, R>(request: &'static str, error: SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        R: fmt::Debug + Send + Sync + 'static,
    {
        let service_error = error.as_service_error().and_then(|error| Some((error.code()?, error.message())));
        let kind = match service_error {
            Some((code, _)) => kind_of(code),
            None if lacks_credentials(&error) => RequestErrorKind::Denied,
            None if was_not_sent(&error) => RequestErrorKind::NotSent,
            None => RequestErrorKind::OutcomeUnknown,
        };
        if kind == RequestErrorKind::Throttled {
            count_throttled(request);
        }
        let mut text = match service_error {
            Some((code, message)) => {
                format!("{request} failed with {code}: {}", message.unwrap_or("no message"))
            }
            None => format!("{request} failed"),
        };
        if kind == RequestErrorKind::Denied {
            text.push_str("; ");
            text.push_str(&advice(request, service_error.map(|(code, _)| code)));
        }
        let source = service_error.is_none().then(|| ErrorSource::new(error));
        Self { kind, text, source }
    }
}

/// Counts a request that was throttled, in whole or in part.
pub(super) fn count_throttled(request: &'static str) {
    metrics::THROTTLED.with([request.into()]).increment(1);
}

fn kind_of(code: &str) -> RequestErrorKind {
    match code {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded" => RequestErrorKind::Throttled,
        "ResourceNotFoundException" => RequestErrorKind::Missing,
        "ResourceInUseException" => RequestErrorKind::InUse,
        "ExpiredIteratorException" | "InvalidArgumentException" => RequestErrorKind::InvalidIterator,
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "ValidationException"
        | "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "KMSOptInRequired" => RequestErrorKind::Denied,
        // Includes expired credentials, which the driver renews.
        _ => RequestErrorKind::OutcomeUnknown,
    }
}

/// Returns what a person has to do.
fn advice(request: &str, code: Option<&str>) -> String {
    match code {
        Some("AccessDeniedException" | "NotAuthorized") => {
            format!(
                "the role needs the permission kinesis:{request} for this stream; see docs/how-to/kinesis.md"
            )
        }
        Some(code) if code.starts_with("KMS") => "the role needs access to the key of the stream".to_owned(),
        Some(_) => "check queue.kinesis.credentials and the clock of this machine".to_owned(),
        None => {
            "no credentials were found: set queue.kinesis.credentials, or provide a role, a profile or the \
                 environment variables of AWS"
                .to_owned()
        }
    }
}

/// Returns whether a request was certainly not sent: the connection was refused, or the credentials were not available
/// in time.
fn was_not_sent(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        cause.is::<CredentialsError>() || io.is_some_and(|io| io.kind() == ErrorKind::ConnectionRefused)
    })
}

/// Returns whether no source of credentials provided any.
fn lacks_credentials(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|cause| {
        matches!(
            cause.downcast_ref(),
            Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_))
        )
    })
}

/// Returns an error and its sources.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A request that failed because of its credentials.
    #[derive(Debug, thiserror::Error)]
    #[error("dispatch failure")]
    struct DispatchFailure(#[source] CredentialsError);

    #[test]
    fn error_codes_map_to_kinds() {
        for (code, kind) in [
            ("ProvisionedThroughputExceededException", RequestErrorKind::Throttled),
            ("LimitExceededException", RequestErrorKind::Throttled),
            ("ExpiredIteratorException", RequestErrorKind::InvalidIterator),
            ("ResourceInUseException", RequestErrorKind::InUse),
            ("ResourceNotFoundException", RequestErrorKind::Missing),
            ("AccessDeniedException", RequestErrorKind::Denied),
            ("ExpiredTokenException", RequestErrorKind::OutcomeUnknown),
            ("InternalFailure", RequestErrorKind::OutcomeUnknown),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }

    #[test]
    fn denied_request_names_the_missing_permission_and_is_not_retryable() {
        let denied = advice("PutRecords", Some("AccessDeniedException"));
        assert!(denied.contains("kinesis:PutRecords"), "{denied}");
        let error = Error::from(RequestError::new(RequestErrorKind::Denied, denied));
        assert!(!error.is_retryable());
        assert!(Error::from(RequestError::new(RequestErrorKind::Throttled, "")).is_retryable());
    }

    #[test]
    fn missing_credentials_error_says_how_to_configure_them() {
        let missing = DispatchFailure(CredentialsError::not_loaded("no role, no profile"));
        assert!(lacks_credentials(&missing));
        let late = DispatchFailure(CredentialsError::provider_timed_out(Duration::from_secs(1)));
        assert!(!lacks_credentials(&late) && was_not_sent(&late));
        assert!(advice("PutRecords", None).contains("queue.kinesis.credentials"));
    }
}
