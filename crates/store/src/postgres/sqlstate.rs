//! Error codes of PostgreSQL.

use crate::Error;

/// A code from PostgreSQL's appendix "Error Codes".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SqlState([u8; 5]);

impl SqlState {
    /// A row with this key exists.
    pub(super) const UNIQUE_VIOLATION: Self = Self(*b"23505");
    /// A row violates a constraint. When a partition is created: the default partition holds rows of its range.
    pub(super) const CHECK_VIOLATION: Self = Self(*b"23514");
    /// The server aborted the transaction to resolve a serialization conflict.
    pub(super) const SERIALIZATION_FAILURE: Self = Self(*b"40001");
    /// The server aborted the transaction to resolve a deadlock.
    pub(super) const DEADLOCK_DETECTED: Self = Self(*b"40P01");
    /// A lock was not granted within `lock_timeout`.
    pub(super) const LOCK_NOT_AVAILABLE: Self = Self(*b"55P03");
}

/// Returns the code with which the server refused a statement. `None` if the statement may have been executed, or if the
/// error does not come from the server.
///
/// The code is used, and not the message, because the message depends on the server's locale.
pub(super) fn sqlstate(error: &Error) -> Option<SqlState> {
    let Error::Unavailable { source: Some(cause), .. } = error else { return None };
    let code = cause.downcast_ref::<sqlx::Error>()?.as_database_error()?.code()?;
    code.as_bytes().try_into().ok().map(SqlState)
}

/// Returns whether the server aborted a transaction to resolve a conflict. The same transaction can be retried.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(sqlstate(error), Some(SqlState::SERIALIZATION_FAILURE | SqlState::DEADLOCK_DETECTED))
}

/// Returns whether the server refused a row because its key exists.
pub(super) fn is_duplicate(error: &Error) -> bool {
    sqlstate(error) == Some(SqlState::UNIQUE_VIOLATION)
}
