//! Generated reference pages.
//!
//! `UPDATE_DOCS=1 cargo test -p goconductor-cli --test it docs` writes them.

use std::path::Path;

/// Compares a page in `docs/` with its generated text, or writes it if `UPDATE_DOCS` is set.
fn check(page: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
        return;
    }
    let actual = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "docs/{page} is not current; run `UPDATE_DOCS=1 cargo test -p goconductor-cli --test it docs`"
    );
}

#[test]
fn cli_reference_is_current() {
    check("reference/cli.md", &goconductor_cli::reference());
}

#[test]
fn configuration_reference_is_current() {
    check("reference/configuration.md", &goconductor_cli::configuration_reference().unwrap());
}
