//! The request, the refusal and the start of a rollback.

use super::pause;
use crate::state::{Phase, State};
use crate::{RollbackCause, Timestamp};

/// Records that a rollback is due, and ends a pause.
pub(super) fn request(state: &mut State, cause: RollbackCause, at: Timestamp) {
    state.cause = Some(cause);
    state.rollback_pending = true;
    pause::end(state, at);
}

/// Withdraws the request of a rollback.
pub(super) fn refuse(state: &mut State) {
    state.cause = None;
    state.rollback_pending = false;
}

/// Begins the rollback.
pub(super) fn begin(state: &mut State, cause: RollbackCause) {
    state.phase = Phase::RollingBack;
    state.cause = Some(cause);
    state.rollback_pending = false;
    // A completed workflow that rolls back has neither ended nor an output. Otherwise both are already absent.
    state.ended_at = None;
    state.output = None;
}
