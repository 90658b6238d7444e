//! `goconductor certs`: the files of a set, and their replacement.

use crate::command::{UNREACHABLE, run_args};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const ROLES: [&str; 7] =
    ["api-gateway", "state-store", "saga-executor", "leader-elector", "worker", "operator", "dev"];

fn files(dir: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    entries.map(|entry| (entry.file_name().into_string().unwrap(), text(&entry.path()))).collect()
}

fn certificates(text: &str) -> usize {
    text.matches("BEGIN CERTIFICATE").count()
}

#[test]
fn set_has_a_certificate_and_a_private_key_for_each_role() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("certs");
    let dir_text = dir.display().to_string();
    let create =
        ["certs", "create", "--dir", &dir_text, "--trust-domain", "shop", "--host", "gateway.example"];
    let created = run_args(UNREACHABLE, &create);
    assert_eq!(created.code, 0, "{created:?}");
    for role in ROLES {
        let setting = format!("certificate_file: {dir_text}/{role}.crt");
        let is_service = !["worker", "operator"].contains(&role);
        assert_eq!(created.stdout.contains(&setting), is_service, "{}", created.stdout);
        let key = std::fs::metadata(dir.join(format!("{role}.key"))).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600, "{role}");
    }
    assert!(created.stdout.contains("trust_domain: shop"), "{}", created.stdout);
    assert!(
        created.stdout.contains(&format!("GOCONDUCTOR_CERT={dir_text}/operator.crt")),
        "{}",
        created.stdout
    );

    let before = files(&dir);
    let again = run_args(UNREACHABLE, &create);
    assert_eq!(again.code, 4, "{again:?}");
    assert!(again.stderr.contains("already contains certificates"), "{again:?}");
    let kept = run_args(UNREACHABLE, &[&create[..], &["--if-missing"]].concat());
    assert_eq!(kept.code, 0, "{kept:?}");
    assert_eq!(files(&dir), before);
}

#[test]
fn renewal_replaces_certificates_and_the_authority_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let call = |arguments: &[&str]| {
        let called =
            run_args(UNREACHABLE, &[&["certs"], arguments, &["--dir", dir.to_str().unwrap()]].concat());
        assert_eq!(called.code, 0, "{called:?}");
        files(dir)
    };
    let created = call(&["create"]);
    let renewed = call(&["renew"]);
    assert_eq!(renewed["ca.crt"], created["ca.crt"]);
    assert_eq!(renewed["authority.key"], created["authority.key"]);
    for role in ROLES {
        assert_ne!(renewed[&format!("{role}.crt")], created[&format!("{role}.crt")]);
        assert_ne!(renewed[&format!("{role}.key")], created[&format!("{role}.key")]);
    }
    let added = call(&["renew", "--authority", "add"]);
    assert_eq!(certificates(&added["ca.crt"]), 2);
    assert!(added["ca.crt"].starts_with(&created["ca.crt"]));
    assert_eq!(added["worker.crt"], renewed["worker.crt"], "certificates change with the next renewal");
    call(&["renew"]);
    let dropped = call(&["renew", "--authority", "drop"]);
    assert_eq!(certificates(&dropped["ca.crt"]), 1);
    assert_eq!(dropped["ca.crt"], dropped["authority.crt"]);
    assert_ne!(dropped["ca.crt"], created["ca.crt"]);
}

#[test]
fn renewal_of_nothing_says_how_to_create_a_set() {
    let folder = tempfile::tempdir().unwrap();
    let missing = run_args(UNREACHABLE, &["certs", "renew", "--dir", folder.path().to_str().unwrap()]);
    assert_eq!(missing.code, 3, "{missing:?}");
    assert!(missing.stderr.contains("goconductor certs create"), "{missing:?}");
    let domain = run_args(UNREACHABLE, &["certs", "create", "--trust-domain", "A/B"]);
    assert_eq!(domain.code, 2, "{domain:?}");
}
