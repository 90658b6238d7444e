//! The section `tls`: the certificate of a process, and the authorities that it trusts.

use super::reader::SettingReader;
use super::{tls, value};
use goconductor_tls::{DEFAULT_TRUST_DOMAIN, TlsFiles, is_trust_domain};

/// The files of the section, each of which requires the others.
const FILES: [&str; 3] = ["tls.ca_file", "tls.certificate_file", "tls.key_file"];

/// TLS between the processes of GoConductor, and of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate of the process and its key, and the authorities to trust. All of them are set.
    pub files: TlsFiles,
    /// The trust domain of the identities: `spiffe://<trust domain>/<role>`.
    pub trust_domain: String,
}

/// Reads the section. Returns `None` if it sets no file: connections are then not encrypted.
pub(super) fn read(reader: &mut SettingReader<'_>) -> Option<TlsConfig> {
    let files = tls::files(reader, "tls");
    let domain = value::text("a trust domain such as prod.example.com, in lower case", is_trust_domain);
    let trust_domain = reader.get("tls.trust_domain", &domain, DEFAULT_TRUST_DOMAIN.to_owned());
    let set = FILES.iter().find(|path| reader.is_set(path))?;
    let origin = reader.origin(set);
    for path in FILES {
        if !reader.is_set(path) {
            reader.problem(path, origin.clone(), format!("is missing: {set} requires it"));
        }
    }
    let tls::Files { ca_file, certificate_file, key_file } = files;
    Some(TlsConfig { files: TlsFiles { ca_file, certificate_file, key_file }, trust_domain })
}

/// Checks that the URLs of other processes agree with the section.
pub(super) fn check_urls(reader: &mut SettingReader<'_>, is_enabled: bool, path: &str, urls: &[String]) {
    let is_secure = |url: &String| url.starts_with("https://");
    let message = match urls.iter().find(|url| is_secure(url) != is_enabled) {
        None => return,
        Some(url) if is_enabled => {
            format!("{url} is not encrypted, but tls.certificate_file is set: write https://")
        }
        Some(url) => format!("{url} requires tls.ca_file, tls.certificate_file and tls.key_file"),
    };
    reader.problem(path, reader.origin(path), message);
}
