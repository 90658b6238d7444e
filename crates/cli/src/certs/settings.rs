//! The settings that use a set of certificates.

use super::{DEV, SERVICES};
use goconductor_tls::DEFAULT_TRUST_DOMAIN;
use std::fmt::Write;
use std::path::Path;

/// Returns the settings of each process, and the variables of the command line.
pub(super) fn text(dir: &Path, trust_domain: &str) -> String {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let dir = dir.display();
    let mut text = String::new();
    let names = SERVICES.iter().map(|role| role.name()).chain([DEV]);
    for name in names {
        let process = if name == DEV { "goconductor dev" } else { name };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "# {process}\ntls:\n  ca_file: {dir}/ca.crt\n  certificate_file: {dir}/{name}.crt\n  key_file: {dir}/{name}.key"
        );
        if trust_domain != DEFAULT_TRUST_DOMAIN {
            let _ = writeln!(text, "  trust_domain: {trust_domain}");
        }
        text.push('\n');
    }
    let _ = write!(
        text,
        "# the command line, with https:// in --server\nexport GOCONDUCTOR_CA={dir}/ca.crt\nexport \
         GOCONDUCTOR_CERT={dir}/operator.crt\nexport GOCONDUCTOR_KEY={dir}/operator.key"
    );
    text
}
