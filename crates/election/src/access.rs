//! How servers are reached that don't let everybody in.

use crate::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// Files in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whom to trust; none: whom this machine trusts, where the backend can do with that.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

impl Tls {
    /// The texts of certificate and key, if there are any.
    pub(crate) fn identity(&self) -> Result<Option<(String, String)>, Error> {
        match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => Ok(Some((read(certificate)?, read(key)?))),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => {
                let reason = "election.tls.certificate_file and election.tls.key_file belong together";
                Err(Error::Configuration { reason: reason.to_owned() })
            }
        }
    }
}

/// The text of a file.
pub(crate) fn read(file: &Path) -> Result<String, Error> {
    std::fs::read_to_string(file).map_err(|error| Error::Configuration {
        reason: format!("{} can't be read: {error}", file.display()),
    })
}

/// A user, and a password that is not printed.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}
