//! TLS of PostgreSQL, as parameters of its URL. The drivers read the files at each connection, so that they can be replaced
//! while a process runs.

use super::reader::SettingReader;
use super::secret_url::SecretUrl;
use super::tls;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::path::Path;

/// The parameters of a URL that state how the connection is protected.
const OWN_PARAMETERS: [&str; 4] = ["sslmode", "ssl-mode", "sslrootcert", "ssl-root-cert"];

/// Adds the files of `{section}.tls` to a URL. The certificate of the server must then be of one of the authorities, and
/// contain the host name of the URL.
pub(super) fn with_tls(
    reader: &mut SettingReader<'_>,
    section: &str,
    url: Option<SecretUrl>,
    files: tls::Files,
) -> Option<SecretUrl> {
    let (path, origin) = (format!("{section}.tls"), reader.origin(&format!("{section}.tls")));
    if files == tls::Files::default() {
        return url;
    }
    let mut refuse = |setting: &str, message: &str| reader.problem(setting, origin.clone(), message);
    let Some(ca_file) = &files.ca_file else {
        refuse(&format!("{path}.ca_file"), "is missing: the other files of the section require it");
        return url;
    };
    if files.certificate_file.is_some() != files.key_file.is_some() {
        refuse(&path, "must have certificate_file and key_file, or neither");
        return url;
    }
    let Some(plain) = url.as_ref().map(SecretUrl::expose).filter(|url| url.starts_with("postgres")) else {
        refuse(&path, &format!("has no effect unless {section}.url is that of PostgreSQL"));
        return url;
    };
    let query = plain.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let names: Vec<&str> = query.split('&').filter_map(|pair| pair.split('=').next()).collect();
    if let Some(own) = OWN_PARAMETERS.iter().find(|own| names.contains(own)) {
        refuse(&path, &format!("contradicts {own} in {section}.url: remove one of them"));
        return url;
    }
    let separator = if plain.contains('?') { '&' } else { '?' };
    let mut text = format!("{plain}{separator}sslmode=verify-full&sslrootcert={}", encoded(ca_file));
    if let (Some(certificate), Some(key)) = (&files.certificate_file, &files.key_file) {
        text.push_str(&format!("&sslcert={}&sslkey={}", encoded(certificate), encoded(key)));
    }
    Some(SecretUrl::new(text))
}

fn encoded(path: &Path) -> String {
    utf8_percent_encode(&path.to_string_lossy(), NON_ALPHANUMERIC).to_string()
}
