//! TLS to a broker: whom to trust, and what to show.

use crate::Error;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files in PEM form.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Whom to trust; none: whom this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

impl Tls {
    /// What a client of TLS needs. `section` is where the settings stand, for whoever has to put them right.
    pub(crate) fn client(&self, section: &str) -> Result<ClientConfig, Error> {
        let wrong = |setting: &str, why: String| Error::Configuration {
            reason: format!("{section}.tls.{setting}: {why}"),
        };
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(file) => {
                for each in certificates(file).map_err(|why| wrong("ca_file", why))? {
                    let added = roots.add(each);
                    added.map_err(|error| wrong("ca_file", format!("{}: {error}", file.display())))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            let why =
                "this machine trusts nobody: name the authority that has signed the servers' certificates";
            return Err(wrong("ca_file", why.to_owned()));
        }
        // Named, so that it does not depend on what else is built in.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("ca_file", error.to_string()))?
            .with_root_certificates(roots);
        match (&self.certificate_file, &self.key_file) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate).map_err(|why| wrong("certificate_file", why))?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| wrong("key_file", format!("{}: {error}", key.display())))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| wrong("certificate_file", error.to_string()))
            }
            (Some(_), None) => Err(wrong("key_file", "is missing: a certificate has a key".to_owned())),
            (None, Some(_)) => {
                Err(wrong("certificate_file", "is missing: a key has a certificate".to_owned()))
            }
        }
    }
}

/// All certificates in a file; at least one.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(all) if all.is_empty() => Err(format!("{} holds no certificate in PEM form", file.display())),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_setting() {
        let missing = Some(PathBuf::from("/nowhere/ca.pem"));
        let empty = Some(PathBuf::from("/dev/null"));
        for (tls, said) in [
            (Tls { ca_file: missing.clone(), ..Tls::default() }, "queue.nats.tls.ca_file: /nowhere/ca.pem: "),
            (
                Tls { ca_file: empty, ..Tls::default() },
                "queue.nats.tls.ca_file: /dev/null holds no certificate",
            ),
        ] {
            let error = tls.client("queue.nats").unwrap_err();
            assert!(!error.retryable());
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
