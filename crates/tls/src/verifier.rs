//! Verification of the certificate of a server, by the authorities of now.

use crate::certificate::CertificateFacts;
use crate::identity::TlsIdentity;
use crate::peer::Peer;
use crate::roles::{PeerRoles, is_identity};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use std::sync::Arc;

/// How a client verifies a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expectation {
    /// The roles of which the server must have one.
    pub(crate) roles: PeerRoles,
    /// Whether the certificate must contain the name of the host.
    pub(crate) checks_name: bool,
    /// Whether a certificate without any identity is accepted: one of a public authority for the API.
    pub(crate) allows_no_identity: bool,
}

/// Why the identity of a server is not the expected one.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server has the identity {found}, but {expected} is required (GC3031)")]
pub(crate) struct WrongIdentity {
    found: String,
    expected: PeerRoles,
}

/// rustls prints the causes of a refused certificate by `Debug`.
impl std::fmt::Debug for WrongIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Verifies servers.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    pub(crate) identity: TlsIdentity,
    pub(crate) expectation: Expectation,
}

impl ServerVerifier {
    /// Verifies the chain, the name and the role of a certificate.
    pub(crate) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let snapshot = self.identity.snapshot();
        let algorithms = self.identity.provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &snapshot.roots, intermediates, now, algorithms)?;
        if self.expectation.checks_name {
            verify_server_name(&parsed, name)?;
        }
        self.verify_role(end_entity)
    }

    fn verify_role(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let Expectation { roles, allows_no_identity, .. } = self.expectation;
        let facts =
            CertificateFacts::read(certificate).map_err(|_| Error::from(CertificateError::BadEncoding))?;
        if allows_no_identity && !facts.uris.iter().any(|uri| is_identity(uri)) {
            return Ok(());
        }
        let peer = Peer::of(&facts, self.identity.trust_domain());
        if peer.roles().intersects(roles) {
            return Ok(());
        }
        let wrong = WrongIdentity { found: peer.to_string(), expected: roles };
        Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, server_name, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.identity.provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.identity.provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.identity.provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Presents the certificate of now to servers.
#[derive(Debug)]
pub(crate) struct CurrentCertificate(pub(crate) TlsIdentity);

impl ResolvesClientCert for CurrentCertificate {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.snapshot().certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.snapshot().certified.is_some()
    }
}
