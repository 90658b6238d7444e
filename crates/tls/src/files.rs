//! The files of the settings.

use crate::error::Error;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Maximum size of a file. A bundle of a hundred authorities is smaller.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// TLS files in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate authorities to trust, at least one. `None` means those that this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// The certificate of this process, followed by the intermediate certificates.
    pub certificate_file: Option<PathBuf>,
    /// The private key of the certificate.
    pub key_file: Option<PathBuf>,
}

/// The contents of the files. It cannot be printed, because it contains the private key.
pub(crate) struct FileContents {
    ca: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Zeroizing<Vec<u8>>>,
}

/// The certificate of a process with its intermediate certificates, and its private key.
pub(crate) type KeyPair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl TlsFiles {
    /// Returns whether no file is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the files. `section` is the path of the settings, for error messages.
    pub(crate) fn read(&self, section: &str) -> Result<FileContents, Error> {
        let optional = |setting: &str, file: Option<&PathBuf>| {
            file.map(|file| read(file).map_err(|reason| self.error(section, setting, &reason))).transpose()
        };
        Ok(FileContents {
            ca: optional("ca_file", self.ca_file.as_ref())?,
            certificate: optional("certificate_file", self.certificate_file.as_ref())?,
            key: optional("key_file", self.key_file.as_ref())?.map(Zeroizing::new),
        })
    }

    /// Returns the error of a file that cannot be used.
    pub(crate) fn error(&self, section: &str, setting: &str, reason: &str) -> Error {
        let file = match setting {
            "ca_file" => &self.ca_file,
            "key_file" => &self.key_file,
            _ => &self.certificate_file,
        };
        match file {
            Some(file) => Error::new(section, setting, format!("{}: {reason}", file.display())),
            None => Error::new(section, setting, reason),
        }
    }
}

impl FileContents {
    /// Returns a digest of all files.
    pub(crate) fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for part in [self.ca.as_deref(), self.certificate.as_deref(), self.key.as_ref().map(|key| &***key)] {
            let bytes = part.unwrap_or_default();
            // The length separates the files.
            hasher.update(&bytes.len().to_le_bytes());
            hasher.update(bytes);
        }
        hasher.finalize()
    }

    /// Returns the authorities. Returns `None` if no file is set.
    pub(crate) fn authorities(&self) -> Result<Option<Vec<CertificateDer<'static>>>, String> {
        self.ca.as_deref().map(certificates).transpose()
    }

    /// Returns the certificate and its key. Returns `None` if no files are set.
    pub(crate) fn key_pair(&self) -> Result<Option<KeyPair>, (&'static str, String)> {
        match (&self.certificate, &self.key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate).map_err(|reason| ("certificate_file", reason))?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| ("key_file", format!("no private key in PEM form: {error}")))?;
                Ok(Some((chain, key)))
            }
            (Some(_), None) => {
                Err(("key_file", "is missing: set it together with certificate_file".to_owned()))
            }
            (None, Some(_)) => {
                Err(("certificate_file", "is missing: set it together with key_file".to_owned()))
            }
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("the file is larger than {MAX_FILE_BYTES} bytes"));
    }
    std::fs::read(file).map_err(|error| error.to_string())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(all) if all.is_empty() => Err("contains no certificate in PEM form".to_owned()),
        Ok(all) => Ok(all),
        Err(error) => Err(error.to_string()),
    }
}
