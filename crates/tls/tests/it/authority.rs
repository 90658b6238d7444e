//! An authority that signs certificates for the tests.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use std::path::{Path, PathBuf};

use goconductor_tls::{TlsFiles, TlsIdentity};

/// An authority, and the directory of its files.
pub(crate) struct TestAuthority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate to sign.
pub(crate) struct Leaf<'a> {
    pub(crate) uris: &'a [&'a str],
    pub(crate) host: &'a str,
    pub(crate) is_expired: bool,
}

impl<'a> Leaf<'a> {
    pub(crate) fn of(uris: &'a [&'a str]) -> Self {
        Self { uris, host: "localhost", is_expired: false }
    }
}

impl TestAuthority {
    pub(crate) fn create(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Returns a certificate and its key in PEM form.
    pub(crate) fn sign(&self, leaf: &Leaf<'_>) -> (String, String) {
        let mut params = CertificateParams::new(vec![leaf.host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "test");
        let uris = leaf.uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if leaf.is_expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// The files of one process.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Writes a certificate and the authorities to trust.
    pub(crate) fn write_all(&self, (certificate, key): &(String, String), authorities: &[&TestAuthority]) {
        let pems: Vec<&str> = authorities.iter().map(|authority| authority.pem.as_str()).collect();
        self.write("ca.crt", &pems.concat());
        self.write("tls.crt", certificate);
        self.write("tls.key", key);
    }

    pub(crate) fn files(&self) -> TlsFiles {
        let file = |name: &str| Some(self.path(name)).filter(|path: &PathBuf| Path::exists(path));
        TlsFiles { ca_file: file("ca.crt"), certificate_file: file("tls.crt"), key_file: file("tls.key") }
    }

    pub(crate) fn load(&self) -> TlsIdentity {
        TlsIdentity::load(self.files(), "tls", Some("shop".to_owned())).unwrap()
    }
}

/// Returns an identity with its files.
pub(crate) fn identity(authority: &TestAuthority, leaf: &Leaf<'_>) -> (TlsIdentity, Folder) {
    let folder = Folder::new();
    folder.write_all(&authority.sign(leaf), &[authority]);
    (folder.load(), folder)
}
