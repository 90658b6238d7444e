//! The side of listeners.

use crate::certificate::CertificateFacts;
use crate::identity::TlsIdentity;
use crate::metrics;
use crate::peer::Peer;
use rustls::ProtocolVersion;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// An accepted session.
#[derive(Debug)]
pub struct TlsSession {
    identity: TlsIdentity,
    generation: u64,
    certificate: Option<PeerCertificate>,
    is_http2: bool,
    version: Option<ProtocolVersion>,
}

#[derive(Debug)]
struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    not_after: i64,
    peer: Peer,
}

/// Whether a session still complies with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStatus {
    /// The session is as a new one would be.
    Current,
    /// The files changed since the handshake. The certificate of the peer, if it has one, is still trusted.
    Outdated,
    /// The certificate of the peer has expired, or its authority is no longer trusted.
    Refused,
}

impl TlsIdentity {
    /// Accepts a connection by the files of now. The caller limits the time of the handshake.
    ///
    /// # Errors
    /// Returns the error of the handshake: the client has no version or suite in common with this build, its certificate
    /// was refused, or the connection broke.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, TlsSession)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let snapshot = self.snapshot();
        let Some(side) = &snapshot.server else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the process has no certificate"));
        };
        let accepted = TlsAcceptor::from(std::sync::Arc::clone(&side.config)).accept(stream).await;
        let stream = accepted.inspect_err(|error| HandshakeFailure::of(error).count())?;
        let connection = stream.get_ref().1;
        let certificate = match connection.peer_certificates() {
            Some(chain) => Some(self.peer_certificate(chain)?),
            None => None,
        };
        let session = TlsSession {
            identity: self.clone(),
            generation: snapshot.generation,
            certificate,
            is_http2: connection.alpn_protocol() == Some(b"h2"),
            version: connection.protocol_version(),
        };
        Ok((stream, session))
    }

    fn peer_certificate(&self, chain: &[CertificateDer<'_>]) -> io::Result<PeerCertificate> {
        let malformed = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let end_entity =
            chain.first().ok_or_else(|| malformed("the chain of the client is empty".to_owned()))?;
        let facts = CertificateFacts::read(end_entity).map_err(malformed)?;
        let peer = Peer::of(&facts, self.trust_domain());
        let chain = chain.iter().map(|each| each.clone().into_owned()).collect();
        Ok(PeerCertificate { chain, not_after: facts.not_after, peer })
    }
}

impl TlsSession {
    /// Returns the identity of the client. Returns `None` if it presented no certificate.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.certificate.as_ref().map(|certificate| &certificate.peer)
    }

    /// Returns whether the client negotiated HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// Returns the version of TLS.
    #[must_use]
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// Compares the session with the files of now.
    #[must_use]
    pub fn status(&self) -> SessionStatus {
        self.status_at(UnixTime::now())
    }

    pub(crate) fn status_at(&self, now: UnixTime) -> SessionStatus {
        let is_current = self.identity.generation() == self.generation;
        let Some(certificate) = &self.certificate else {
            return if is_current { SessionStatus::Current } else { SessionStatus::Outdated };
        };
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if certificate.not_after < seconds {
            return SessionStatus::Refused;
        }
        if is_current {
            return SessionStatus::Current;
        }
        let snapshot = self.identity.snapshot();
        let verified = match (&snapshot.server, certificate.chain.split_first()) {
            (Some(side), Some((first, others))) => {
                side.clients.verify_client_cert(first, others, now).is_ok()
            }
            (None, _) | (_, None) => false,
        };
        if verified { SessionStatus::Outdated } else { SessionStatus::Refused }
    }
}

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client sent something else than TLS.
    PlainText,
    /// The handshake did not complete in time.
    Timeout,
    /// The certificate of the client was refused.
    Certificate,
    /// The client has no version or suite in common with this build, or the connection broke.
    Protocol,
}

impl HandshakeFailure {
    /// Counts a failed handshake. Failures of [`TlsIdentity::accept`] are counted there.
    pub fn count(self) {
        let reason = match self {
            Self::PlainText => "plaintext",
            Self::Timeout => "timeout",
            Self::Certificate => "certificate",
            Self::Protocol => "protocol",
        };
        metrics::HANDSHAKE_FAILURES.with([reason.into()]).increment(1);
    }

    fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => Self::Certificate,
            Some(_) | None => Self::Protocol,
        }
    }
}
