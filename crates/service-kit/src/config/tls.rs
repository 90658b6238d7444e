//! TLS settings, which several sections have in the same form.

use super::reader::SettingReader;
use super::value;
use std::path::PathBuf;

/// The files of a section `tls`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) ca_file: Option<PathBuf>,
    pub(super) certificate_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
}

const SECURITIES: &[(&str, bool)] = &[("plaintext", false), ("tls", true)];

/// Reads the files of a section `tls`, which is named by its path.
pub(super) fn files(reader: &mut SettingReader<'_>, section: &str) -> Files {
    let mut file = |name: &str| reader.optional(&format!("{section}.{name}"), &value::path());
    Files { ca_file: file("ca_file"), certificate_file: file("certificate_file"), key_file: file("key_file") }
}

/// Reads `{section}.security`, and returns whether it is `tls`.
pub(super) fn is_enabled(reader: &mut SettingReader<'_>, section: &str) -> bool {
    reader.get(&format!("{section}.security"), &value::choice(SECURITIES), false)
}

/// Reads `{section}.security` and `{section}.tls`. Returns `None` if connections are not encrypted. Reports files
/// without `security: tls`, because files alone do not enable TLS.
pub(super) fn optional(reader: &mut SettingReader<'_>, section: &str) -> Option<Files> {
    let is_enabled = is_enabled(reader, section);
    let files = files(reader, &format!("{section}.tls"));
    if files.certificate_file.is_some() != files.key_file.is_some() {
        let (set, missing) = if files.key_file.is_some() {
            ("key_file", "certificate_file")
        } else {
            ("certificate_file", "key_file")
        };
        let origin = reader.origin(&format!("{section}.tls.{set}"));
        let message = format!("is missing: {set} requires it");
        reader.problem(&format!("{section}.tls.{missing}"), origin, message);
    }
    if files != Files::default() && !is_enabled {
        let origin = reader.origin(&format!("{section}.tls"));
        reader.problem(&format!("{section}.security"), origin, "must be tls, because TLS files are set");
    }
    is_enabled.then_some(files)
}
