//! The files that the settings name.

use crate::Error;
use crate::settings::ElectionTls;
use std::path::Path;

impl ElectionTls {
    /// Reads the client certificate and its private key. Returns `None` if the settings name neither.
    pub(crate) fn identity(&self) -> Result<Option<(String, String)>, Error> {
        match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => Ok(Some((read(certificate)?, read(key)?))),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => {
                let reason =
                    "set election.tls.certificate_file and election.tls.key_file together, or neither";
                Err(Error::Configuration { reason: reason.to_owned() })
            }
        }
    }
}

/// Reads a text file.
pub(crate) fn read(file: &Path) -> Result<String, Error> {
    std::fs::read_to_string(file).map_err(|error| Error::Configuration {
        reason: format!("failed to read {}: {error}", file.display()),
    })
}
