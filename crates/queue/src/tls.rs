//! The TLS configuration of a client.

use crate::Error;
use crate::settings::Tls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

impl Tls {
    /// Returns the configuration of a TLS client. `section` is the path of the settings, for error messages.
    pub(crate) fn client(&self, section: &str) -> Result<ClientConfig, Error> {
        let invalid = |setting: &str, reason: String| {
            Error::configuration(format!("{section}.tls.{setting}: {reason}"))
        };
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(file) => {
                for each in certificates(file).map_err(|reason| invalid("ca_file", reason))? {
                    let added = roots.add(each);
                    added.map_err(|error| invalid("ca_file", format!("{}: {error}", file.display())))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            let reason = "this machine trusts no certificate authority: name the one that signed the certificates \
                          of the servers";
            return Err(invalid("ca_file", reason.to_owned()));
        }
        // An explicit provider, so that the choice does not depend on the features of other crates.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("ca_file", error.to_string()))?
            .with_root_certificates(roots);
        match (&self.certificate_file, &self.key_file) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(certificate), Some(key)) => {
                let chain =
                    certificates(certificate).map_err(|reason| invalid("certificate_file", reason))?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| invalid("key_file", format!("{}: {error}", key.display())))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| invalid("certificate_file", error.to_string()))
            }
            (Some(_), None) => {
                Err(invalid("key_file", "is missing: set it together with certificate_file".to_owned()))
            }
            (None, Some(_)) => {
                Err(invalid("certificate_file", "is missing: set it together with key_file".to_owned()))
            }
        }
    }
}

/// Reads all certificates in a file. Returns an error if there are none.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(all) if all.is_empty() => Err(format!("{} contains no certificate in PEM form", file.display())),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn error_of_unreadable_file_names_the_setting() {
        let missing = Some(PathBuf::from("/nowhere/ca.pem"));
        let empty = Some(PathBuf::from("/dev/null"));
        for (tls, expected) in [
            (Tls { ca_file: missing.clone(), ..Tls::default() }, "queue.nats.tls.ca_file: /nowhere/ca.pem: "),
            (
                Tls { ca_file: empty, ..Tls::default() },
                "queue.nats.tls.ca_file: /dev/null contains no certificate",
            ),
        ] {
            let error = tls.client("queue.nats").unwrap_err();
            assert!(!error.is_retryable());
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
