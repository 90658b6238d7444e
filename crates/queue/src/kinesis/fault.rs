//! What Kinesis says when it does not do what it was asked to, by what can be done about it.

use crate::Error;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use std::error::Error as StdError;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

/// Why a call was not answered as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// The call, and what was said.
    pub(super) said: String,
}

/// What can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Too much at once: certainly not done, and to be asked later.
    Throttled,
    /// Nothing was sent: to be asked again.
    NotSent,
    /// The stream, or the shard, is not there.
    Missing,
    /// The stream is being made, changed or removed.
    InUse,
    /// An iterator is too old, or is none: another one is needed.
    Iterator,
    /// Whoever asks may not, or is not known: a person has to do something.
    Refused,
    /// Nobody knows whether it was done.
    Unknown,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            Kind::Refused => Self::Configuration { reason: fault.said },
            Kind::Throttled
            | Kind::NotSent
            | Kind::Missing
            | Kind::InUse
            | Kind::Iterator
            | Kind::Unknown => Self::Unavailable { reason: fault.said },
        }
    }
}

impl Fault {
    pub(super) fn new(kind: Kind, said: impl Into<String>) -> Self {
        Self { kind, said: said.into() }
    }

    /// What a call came to.
    pub(super) fn of<E, R>(call: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        R: fmt::Debug + Send + Sync + 'static,
    {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        let kind = match code {
            Some(code) => kind_of(code),
            None if lacks_credentials(error) => Kind::Refused,
            None if was_heard_by_nobody(error) => Kind::NotSent,
            None => Kind::Unknown,
        };
        let text =
            match error.as_service_error().and_then(|service| Some((service.code()?, service.message()))) {
                Some((code, message)) => format!("{code}: {}", message.unwrap_or("without a word")),
                None => DisplayErrorContext(error).to_string(),
            };
        let hint = if kind == Kind::Refused { hint(call, code) } else { String::new() };
        if kind == Kind::Throttled {
            count_throttled(call);
        }
        Self::new(kind, format!("{call}: {text}{hint}"))
    }
}

/// A call was too much at once, in whole or in part.
pub(super) fn count_throttled(call: &'static str) {
    metrics::counter!("goconductor_queue_throttled_total", "call" => call).increment(1);
}

fn kind_of(code: &str) -> Kind {
    match code {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded" => Kind::Throttled,
        "ResourceNotFoundException" => Kind::Missing,
        "ResourceInUseException" => Kind::InUse,
        "ExpiredIteratorException" | "InvalidArgumentException" => Kind::Iterator,
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
        | "KMSOptInRequired" => Kind::Refused,
        // Among them credentials that ran out a moment ago, and are renewed.
        _ => Kind::Unknown,
    }
}

/// What a person has to do.
fn hint(call: &str, code: Option<&str>) -> String {
    match code {
        Some("AccessDeniedException" | "NotAuthorized") => {
            format!("; the role needs the right kinesis:{call} on this stream: see docs/how-to/kinesis.md")
        }
        Some(code) if code.starts_with("KMS") => "; the role needs the stream's key".to_owned(),
        Some(_) => "; look at queue.kinesis.credentials and at this machine's clock".to_owned(),
        None => {
            "; name an access key by queue.kinesis.credentials, or give this process a role, a profile or \
                 AWS' own variables"
                .to_owned()
        }
    }
}

/// Whether nobody listened: then nothing was sent. Nor was it where who asks could not be found out in time.
fn was_heard_by_nobody(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        cause.is::<CredentialsError>() || io.is_some_and(|io| io.kind() == ErrorKind::ConnectionRefused)
    })
}

/// Whether nobody has said who asks, in any of the places where that is looked for.
fn lacks_credentials(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        matches!(
            cause.downcast_ref(),
            Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_))
        )
    })
}

/// An error and what is below it.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Pauses between tries: each twice as long as the one before, up to a limit, and spread by who waits.
#[derive(Debug, Clone)]
pub(super) struct Pauses {
    next: Duration,
    longest: Duration,
    spread: u32,
}

impl Pauses {
    /// From `first` to `longest`; those of another `name` are a little different.
    pub(super) fn new(name: &str, first: Duration, longest: Duration) -> Self {
        let spread = u32::try_from(super::names::digest(name.as_bytes()) % 64).unwrap_or(0);
        Self { next: first, longest, spread }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause + pause * self.spread / 128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that failed by its credentials.
    #[derive(Debug, thiserror::Error)]
    #[error("dispatch failure")]
    struct Around(#[source] CredentialsError);

    #[test]
    fn what_is_said_has_its_kind() {
        for (code, kind) in [
            ("ProvisionedThroughputExceededException", Kind::Throttled),
            ("LimitExceededException", Kind::Throttled),
            ("ExpiredIteratorException", Kind::Iterator),
            ("ResourceInUseException", Kind::InUse),
            ("ResourceNotFoundException", Kind::Missing),
            ("AccessDeniedException", Kind::Refused),
            ("ExpiredTokenException", Kind::Unknown),
            ("InternalFailure", Kind::Unknown),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }

    #[test]
    fn a_person_is_told_what_to_do() {
        let denied = hint("PutRecords", Some("AccessDeniedException"));
        assert!(denied.contains("kinesis:PutRecords"), "{denied}");
        let error = Error::from(Fault::new(Kind::Refused, denied));
        assert!(!error.retryable() && Error::from(Fault::new(Kind::Throttled, "")).retryable());
    }

    #[test]
    fn one_who_is_nobody_is_told_how_to_be_somebody() {
        let nobody = Around(CredentialsError::not_loaded("no role, no profile"));
        assert!(lacks_credentials(&nobody));
        let late = Around(CredentialsError::provider_timed_out(Duration::from_secs(1)));
        assert!(!lacks_credentials(&late) && was_heard_by_nobody(&late));
        assert!(hint("PutRecords", None).contains("queue.kinesis.credentials"));
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_millis(400));
        let mut pauses = Pauses::new("shard", first, longest);
        let all: Vec<Duration> = (0..4).map(|_| pauses.next()).collect();
        assert!(all.is_sorted() && all[0] >= first && all[3] < longest * 3 / 2, "{all:?}");
    }
}
