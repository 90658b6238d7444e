//! Facts about a certificate.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Facts about a certificate that a handshake does not report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    pub(crate) uris: Vec<String>,
    pub(crate) common_name: Option<String>,
    /// The last second of its validity, in seconds since 1970.
    pub(crate) not_after: i64,
}

impl CertificateFacts {
    /// Reads a certificate. Returns the reason if it is malformed.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| format!("malformed certificate: {error}"))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|error| format!("malformed alternative names: {error}"))?;
        let uri = |name: &GeneralName<'_>| {
            if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None }
        };
        let uris = names.map(|names| names.value.general_names.iter().filter_map(uri).collect());
        let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(Self {
            uris: uris.unwrap_or_default(),
            common_name: common_name.map(str::to_owned),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }
}
