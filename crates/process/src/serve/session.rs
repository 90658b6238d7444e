//! The end of connections whose certificates are no longer those of now.

use goconductor_tls::{Peer, SessionStatus, TlsSession};
use std::time::Duration;
use tokio::time::Instant;

/// Time in which a connection may end by itself after the certificate of its peer is no longer trusted. Then it is cut off,
/// with its requests in flight.
const GRACE: Duration = Duration::from_secs(10);

/// The treatment of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionAction {
    /// Nothing.
    Keep,
    /// Lets the requests in flight complete, and takes no further ones, so that the client connects again.
    Renew,
    /// Closes it at once.
    CutOff,
}

/// Compares the session of a connection with the files of now.
#[derive(Debug)]
pub(super) struct SessionCheck {
    session: Option<TlsSession>,
    refused_at: Option<Instant>,
}

impl SessionCheck {
    pub(super) fn new(session: Option<TlsSession>) -> Self {
        Self { session, refused_at: None }
    }

    /// Returns the identity of the peer.
    pub(super) fn peer(&self) -> Option<&Peer> {
        self.session.as_ref()?.peer()
    }

    /// Returns whether the peer negotiated HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.session.as_ref().is_some_and(TlsSession::is_http2)
    }

    /// Returns what to do with the connection.
    pub(super) fn action(&mut self, now: Instant) -> SessionAction {
        let status = self.session.as_ref().map_or(SessionStatus::Current, TlsSession::status);
        self.action_of(status, now)
    }

    fn action_of(&mut self, status: SessionStatus, now: Instant) -> SessionAction {
        match status {
            SessionStatus::Current => SessionAction::Keep,
            SessionStatus::Outdated => {
                self.refused_at = None;
                SessionAction::Renew
            }
            SessionStatus::Refused => {
                let since = *self.refused_at.get_or_insert(now);
                if now.duration_since(since) >= GRACE { SessionAction::CutOff } else { SessionAction::Renew }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_session_is_cut_off_after_its_grace() {
        let mut check = SessionCheck::new(None);
        let start = Instant::now();
        assert_eq!(check.action(start), SessionAction::Keep, "a connection without TLS");
        assert_eq!(check.action_of(SessionStatus::Outdated, start), SessionAction::Renew);
        assert_eq!(check.action_of(SessionStatus::Outdated, start + GRACE * 9), SessionAction::Renew);
        let later = start + GRACE * 10;
        assert_eq!(check.action_of(SessionStatus::Refused, later), SessionAction::Renew);
        assert_eq!(check.action_of(SessionStatus::Refused, later + GRACE / 2), SessionAction::Renew);
        assert_eq!(check.action_of(SessionStatus::Refused, later + GRACE), SessionAction::CutOff);
    }
}
