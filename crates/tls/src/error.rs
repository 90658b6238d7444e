//! Errors of files that cannot be used, and of handshakes that the other side refused.

use rustls::AlertDescription;
use std::io;

/// A file of the settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {reason} (GC3030)")]
pub struct Error {
    /// The path of the setting, such as `tls.ca_file`.
    pub setting: String,
    /// The reason, with the path of the file.
    pub reason: String,
}

impl Error {
    pub(crate) fn new(section: &str, setting: &str, reason: impl Into<String>) -> Self {
        let setting = if section.is_empty() { setting.to_owned() } else { format!("{section}.{setting}") };
        Self { setting, reason: reason.into() }
    }
}

/// The alerts by which the other side refuses a certificate.
const REFUSALS: [AlertDescription; 10] = [
    AlertDescription::AccessDenied,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRequired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::DecryptError,
    AlertDescription::HandshakeFailure,
    AlertDescription::UnknownCA,
    AlertDescription::UnsupportedCertificate,
];

/// Returns whether the other side refused the certificate of this process, or this process that of the other side. Nothing
/// that was sent over the connection was read. In TLS 1.3, the refusal of a client arrives after its handshake has ended.
#[must_use]
pub fn is_refused_certificate(error: &io::Error) -> bool {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => REFUSALS.contains(alert),
        Some(rustls::Error::InvalidCertificate(_)) => true,
        Some(_) => false,
        // HTTP/2 keeps only the text of an error.
        None => {
            let text = error.to_string();
            let is_refusal = |alert| text == rustls::Error::AlertReceived(alert).to_string();
            REFUSALS.into_iter().any(is_refusal)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_recognised_by_its_type_and_by_its_text() {
        let received = rustls::Error::AlertReceived;
        let typed = |alert| io::Error::new(io::ErrorKind::InvalidData, received(alert));
        let text = |alert| io::Error::other(received(alert).to_string());
        for make in [&typed as &dyn Fn(AlertDescription) -> io::Error, &text] {
            assert!(is_refused_certificate(&make(AlertDescription::UnknownCA)));
            assert!(is_refused_certificate(&make(AlertDescription::CertificateExpired)));
            assert!(!is_refused_certificate(&make(AlertDescription::CloseNotify)));
        }
        assert!(!is_refused_certificate(&io::ErrorKind::ConnectionReset.into()));
    }
}
