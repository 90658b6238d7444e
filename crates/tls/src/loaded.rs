//! The state that one version of the files leads to. It is built and checked as a whole.

use crate::certificate::CertificateFacts;
use crate::error::Error;
use crate::files::{FileContents, TlsFiles};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;

/// The protocols that a listener speaks, best first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificates and authorities of one version of the files.
#[derive(Debug)]
pub(crate) struct LoadedFiles {
    /// The number of the version, from 0.
    pub(crate) generation: u64,
    /// The digest of the files.
    pub(crate) digest: blake3::Hash,
    pub(crate) roots: Arc<RootCertStore>,
    /// The certificate of the process. `None` if the settings name none.
    pub(crate) certified: Option<Arc<CertifiedKey>>,
    /// The side of listeners. `None` without a certificate.
    pub(crate) server: Option<ServerSide>,
    /// The first expiry in the chain of the certificate, in seconds since 1970.
    pub(crate) certificate_expiry: Option<i64>,
    /// The last expiry of the authorities. `None` if they are those of the machine.
    pub(crate) authority_expiry: Option<i64>,
}

/// The configuration of listeners.
#[derive(Debug)]
pub(crate) struct ServerSide {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) clients: Arc<dyn ClientCertVerifier>,
}

impl LoadedFiles {
    /// Builds the state of the files.
    ///
    /// # Errors
    /// Returns [`Error`] if a file contains no certificate or key, if they do not belong together, or if all
    /// certificates of a file have expired.
    pub(crate) fn build(
        files: &TlsFiles,
        contents: &FileContents,
        section: &str,
        provider: &Arc<CryptoProvider>,
        now: UnixTime,
    ) -> Result<Self, Error> {
        let invalid = |setting: &str, reason: &str| files.error(section, setting, reason);
        let authorities = contents.authorities().map_err(|reason| invalid("ca_file", &reason))?;
        let authority_expiry = match &authorities {
            Some(authorities) => {
                let expiries = expiries(authorities).map_err(|reason| invalid("ca_file", &reason))?;
                Some(
                    unexpired(expiries.into_iter().max(), now)
                        .map_err(|reason| invalid("ca_file", &reason))?,
                )
            }
            None => None,
        };
        let roots = Arc::new(roots(authorities).map_err(|reason| invalid("ca_file", &reason))?);
        let pair = contents.key_pair().map_err(|(setting, reason)| invalid(setting, &reason))?;
        let (certified, certificate_expiry) = match pair {
            Some((chain, key)) => {
                let refused = |reason: String| invalid("certificate_file", &reason);
                let expiry = expiries(&chain).map_err(refused)?.into_iter().min();
                let expiry = unexpired(expiry, now).map_err(refused)?;
                let certified = CertifiedKey::from_der(chain, key, provider)
                    .map_err(|error| refused(format!("does not belong to key_file: {error}")))?;
                (Some(Arc::new(certified)), Some(expiry))
            }
            None => (None, None),
        };
        let server = match &certified {
            Some(certified) => {
                let side = server_side(&roots, certified, provider);
                Some(side.map_err(|reason| invalid("ca_file", &reason))?)
            }
            None => None,
        };
        let digest = contents.digest();
        Ok(Self { generation: 0, digest, roots, certified, server, certificate_expiry, authority_expiry })
    }
}

/// Returns the authorities as trust anchors. `None` means those that the machine trusts.
fn roots(authorities: Option<Vec<CertificateDer<'static>>>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(authorities) => {
            for authority in authorities {
                roots.add(authority).map_err(|error| error.to_string())?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

/// Returns the side of listeners. A client without a certificate is accepted here: it may call what needs no role, such as
/// `/healthz`.
fn server_side(
    roots: &Arc<RootCertStore>,
    certified: &Arc<CertifiedKey>,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerSide, String> {
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| error.to_string())?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(Arc::clone(&clients))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(certified))));
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    // A resumed session would not check the certificate of the client again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(ServerSide { config: Arc::new(config), clients })
}

fn expiries(certificates: &[CertificateDer<'_>]) -> Result<Vec<i64>, String> {
    certificates.iter().map(|each| CertificateFacts::read(each).map(|facts| facts.not_after)).collect()
}

fn unexpired(expiry: Option<i64>, now: UnixTime) -> Result<i64, String> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match expiry {
        Some(expiry) if expiry >= now => Ok(expiry),
        Some(expiry) => Err(format!("the certificate expired {} seconds ago", now.saturating_sub(expiry))),
        None => Err("contains no certificate".to_owned()),
    }
}
