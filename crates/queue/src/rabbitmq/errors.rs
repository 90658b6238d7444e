//! The errors of the driver and of the broker, by what can be done about them.

use crate::Error;
use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

/// Converts the error of an operation. An error that a person has to correct says how.
pub(super) fn failed(operation: &str, error: lapin::Error) -> Error {
    let ErrorKind::ProtocolError(protocol) = error.kind() else { return unavailable(operation, error) };
    let advice = match protocol.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
            "the broker has to know queue.rabbitmq.user and queue.rabbitmq.password, with permissions to configure, \
                 write and read all names that begin with queue.prefix"
        }
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
            "it exists with other arguments: remove it so that it is created again, or set another queue.prefix"
        }
        AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
            "queue.rabbitmq.vhost has to exist, and queue.rabbitmq.user needs access to it"
        }
        AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => return unavailable(operation, error),
    };
    Error::configuration(format!("{operation}; {advice}")).with_source(error)
}

fn unavailable(operation: &str, error: lapin::Error) -> Error {
    Error::unavailable(operation).with_source(error)
}

/// Returns whether an operation failed because the queue does not exist.
pub(super) fn is_missing(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(protocol) = error.kind() else { return false };
    matches!(protocol.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}
