//! The outcome of a gRPC status. The meaning of each status is part of the contract with servers that are called.

use crate::failure;
use crate::stated_outcome::{StatedOutcome, retry_at, stated};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use goconductor_saga::{Failure, Outcome, Timestamp};
use http::HeaderMap;
use percent_encoding::percent_decode;
use serde_json::json;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Base64 with or without padding, as senders of gRPC write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The status of a response.
#[derive(Debug)]
pub(super) struct CallStatus {
    code: Code,
    message: String,
    /// The reason of the details, which is the code of the failure.
    reason: Option<String>,
    not_before: Option<Timestamp>,
    stated_outcome: StatedOutcome,
}

impl CallStatus {
    /// Reads the status of a response from its trailers, or from its headers if it has no message. Returns `None` if
    /// there is none.
    pub(super) fn read(headers: &HeaderMap, trailers: Option<&HeaderMap>, now: Timestamp) -> Option<Self> {
        let found = trailers.filter(|trailers| trailers.contains_key("grpc-status")).unwrap_or(headers);
        let text = |name: &str| found.get(name).and_then(|value| value.to_str().ok());
        let code = Code::from_i32(text("grpc-status")?.trim().parse().unwrap_or(Code::Unknown as i32));
        let message = text("grpc-message").unwrap_or_default();
        let message = percent_decode(message.as_bytes()).decode_utf8_lossy().into_owned();
        let details = text("grpc-status-details-bin").and_then(|text| BASE64.decode(text.trim()).ok());
        let details = Status::with_details(code, "", details.unwrap_or_default().into()).get_error_details();
        let pushback = text("grpc-retry-pushback-ms").and_then(|text| text.trim().parse().ok());
        let delay = details.retry_info().and_then(|retry| retry.retry_delay);
        let delay = delay.or(pushback.map(Duration::from_millis));
        let stated = trailers.and_then(stated).or_else(|| stated(headers));
        Some(Self {
            code,
            message,
            reason: details.error_info().map(|info| info.reason.clone()).filter(|reason| !reason.is_empty()),
            not_before: delay.map(|delay| retry_at(now, delay)),
            stated_outcome: stated.unwrap_or_else(|| stated_outcome(code, delay.is_some())),
        })
    }

    pub(super) fn stated_outcome(&self) -> StatedOutcome {
        self.stated_outcome
    }

    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// Returns the outcome, with the output of a response that is done.
    pub(super) fn outcome(&self, output: goconductor_saga::Json) -> Outcome {
        let (failure, not_before) = (self.failure(), self.not_before);
        match self.stated_outcome {
            StatedOutcome::Done => Outcome::Done { output },
            StatedOutcome::Retry => Outcome::Retryable { failure, not_before },
            StatedOutcome::Refused => Outcome::Refused { failure },
            StatedOutcome::Unknown { answered } => Outcome::Unknown { failure, not_before, answered },
        }
    }

    /// Returns the failure that the status describes.
    pub(super) fn failure(&self) -> Failure {
        let name = name(self.code);
        let code = self.reason.clone().unwrap_or_else(|| format!("GRPC_{name}"));
        let message =
            if self.message.is_empty() { format!("gRPC status {name}") } else { self.message.clone() };
        failure::limited(&code, &message, Some(json!({"grpc_status": name})))
    }
}

/// Returns what a status says about the outcome. `says_when` is whether it says when to retry.
fn stated_outcome(code: Code, says_when: bool) -> StatedOutcome {
    match code {
        Code::Ok => StatedOutcome::Done,
        // The server, or a limit before it, did not begin, or has undone what it began.
        Code::ResourceExhausted | Code::Aborted => StatedOutcome::Retry,
        Code::Unavailable if says_when => StatedOutcome::Retry,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => StatedOutcome::Refused,
        Code::Unknown | Code::Internal | Code::DataLoss => StatedOutcome::Unknown { answered: true },
        // Proxies answer so when a connection broke after the request was sent.
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => {
            StatedOutcome::Unknown { answered: false }
        }
    }
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stated_outcome::OUTCOME;
    use goconductor_saga::Json;
    use std::collections::HashMap;
    use tonic_types::ErrorDetails;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    fn metadata(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn outcome(pairs: &[(&'static str, &str)]) -> Outcome {
        CallStatus::read(&HeaderMap::new(), Some(&metadata(pairs)), NOW).unwrap().outcome(Json::Null)
    }

    #[test]
    fn each_status_has_one_outcome() {
        for (number, expected) in [
            (0, "done"),
            (1, "unknown"),
            (2, "answered"),
            (3, "refused"),
            (4, "unknown"),
            (5, "refused"),
            (6, "refused"),
            (7, "refused"),
            (8, "retry"),
            (9, "refused"),
            (10, "retry"),
            (11, "refused"),
            (12, "refused"),
            (13, "answered"),
            (14, "unknown"),
            (15, "answered"),
            (16, "refused"),
            (99, "answered"),
        ] {
            let found = match outcome(&[("grpc-status", &number.to_string())]) {
                Outcome::Done { .. } => "done",
                Outcome::Retryable { .. } => "retry",
                Outcome::Refused { .. } => "refused",
                Outcome::Unknown { answered: true, .. } => "answered",
                Outcome::Unknown { answered: false, .. } => "unknown",
                Outcome::NotSent { .. } => "not sent",
                Outcome::OutputRejected { .. } => "rejected",
            };
            assert_eq!(found, expected, "{number}");
        }
    }

    #[test]
    fn stated_outcome_takes_precedence() {
        for (stated, expected) in [("retry", "Retryable"), ("REFUSED", "Refused"), ("unknown", "Unknown")] {
            let found = outcome(&[("grpc-status", "0"), (OUTCOME, stated)]);
            assert!(format!("{found:?}").starts_with(expected), "{stated}: {found:?}");
        }
        assert!(matches!(outcome(&[("grpc-status", "5"), (OUTCOME, "done")]), Outcome::Done { .. }));
        assert!(matches!(outcome(&[("grpc-status", "5"), (OUTCOME, "maybe")]), Outcome::Refused { .. }));
    }

    #[test]
    fn details_have_the_code_and_the_delay() {
        let mut details = ErrorDetails::new();
        details.set_error_info("NO_FUNDS", "payments.example", HashMap::new());
        details.set_retry_info(Some(Duration::from_secs(3)));
        let status = Status::with_error_details(Code::Unavailable, "later", details);
        let text = BASE64.encode(status.details());
        let pairs = [
            ("grpc-status", "14"),
            ("grpc-message", "no%20funds"),
            ("grpc-status-details-bin", text.trim_end_matches('=')),
        ];
        let Outcome::Retryable { failure, not_before } = outcome(&pairs) else { panic!() };
        assert_eq!((failure.code.as_str(), failure.message.as_str()), ("NO_FUNDS", "no funds"));
        assert_eq!(not_before, Some(NOW.after(Duration::from_secs(3))));
    }

    #[test]
    fn malformed_status_is_unknown() {
        let found = outcome(&[("grpc-status", "x"), ("grpc-status-details-bin", "%%%")]);
        let Outcome::Unknown { failure, answered: true, .. } = found else { panic!("{found:?}") };
        assert_eq!(failure.code, "GRPC_UNKNOWN");
        assert!(CallStatus::read(&HeaderMap::new(), None, NOW).is_none());
    }
}
