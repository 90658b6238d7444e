//! Conversion between the errors of the store and gRPC statuses. A caller gets the same error from a local and from a remote
//! store.
//!
//! An error of the connection is mapped by its consequence. If the request was not sent, nothing was done. If the
//! connection broke after the request was sent, the outcome is unknown.

use crate::internal::{self as wire, store_error::Reason};
use crate::store::Malformed;
use goconductor_store::Error;
use prost::Message;
use tonic::{Code, Status};

/// The trailer that contains the encoded error. `grpc-status-details-bin` is not used, because its format is fixed.
const STORE_ERROR: &str = "goconductor-store-error-bin";

/// Converts an error of the store to a status.
#[must_use]
pub fn of_store(error: &Error) -> Status {
    let (code, reason) = match error {
        Error::Unavailable { reason, .. } => (Code::Unavailable, Reason::Unavailable(reason.clone())),
        Error::OutcomeUnknown { reason, .. } => (Code::Unknown, Reason::OutcomeUnknown(reason.clone())),
        Error::Fenced { name, token, newest } => {
            let fenced = wire::Fenced { name: name.clone(), token: *token, newest: *newest };
            (Code::Aborted, Reason::Fenced(fenced))
        }
        Error::Schema { reason } => (Code::FailedPrecondition, Reason::Schema(reason.clone())),
        Error::Corrupt { what, reason, .. } => {
            let corrupt = wire::Corrupt { what: what.clone(), reason: reason.clone() };
            (Code::DataLoss, Reason::Corrupt(corrupt))
        }
        Error::Configuration { reason, .. } => {
            (Code::FailedPrecondition, Reason::Configuration(reason.clone()))
        }
    };
    let mut status = Status::new(code, error.to_string());
    let detail = wire::StoreError { reason: Some(reason) }.encode_to_vec();
    let value = tonic::metadata::MetadataValue::from_bytes(&detail);
    status.metadata_mut().insert_bin(STORE_ERROR, value);
    status
}

/// Returns whether the status is a response of the remote store itself.
#[must_use]
pub fn is_of_store(status: &Status) -> bool {
    status.metadata().contains_key(STORE_ERROR)
}

/// Converts a status to an error of the store. A status that the remote store did not create is an error of the connection.
#[must_use]
pub fn to_store(status: &Status) -> Error {
    let detail = status.metadata().get_bin(STORE_ERROR).and_then(|value| value.to_bytes().ok());
    let reason = detail.and_then(|bytes| wire::StoreError::decode(bytes).ok()).and_then(|error| error.reason);
    match reason {
        Some(Reason::Unavailable(reason)) => Error::unavailable(reason),
        Some(Reason::OutcomeUnknown(reason)) => Error::outcome_unknown(reason),
        Some(Reason::Fenced(wire::Fenced { name, token, newest })) => Error::Fenced { name, token, newest },
        Some(Reason::Schema(reason)) => Error::Schema { reason },
        Some(Reason::Corrupt(wire::Corrupt { what, reason })) => Error::corrupt(what, reason),
        Some(Reason::Configuration(reason)) => Error::configuration(reason),
        None => connection_error(status),
    }
}

fn connection_error(status: &Status) -> Error {
    let reason = format!("the state store: {}", status.message());
    match status.code() {
        // The server rejected the request without executing it.
        Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange => {
            Error::corrupt("a request to the state store", reason).caused_by(status.clone())
        }
        Code::ResourceExhausted | Code::PermissionDenied | Code::Unauthenticated => {
            Error::unavailable(reason).caused_by(status.clone())
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Error::outcome_unknown(reason).caused_by(status.clone()),
    }
}

impl From<Malformed> for Status {
    fn from(error: Malformed) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// Converts a malformed response to an error of the store.
#[must_use]
pub fn malformed(error: &Malformed) -> Error {
    Error::corrupt("a response of the state store", error.to_string()).caused_by(error.clone())
}
