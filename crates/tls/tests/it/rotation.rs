//! Replacement of files while a process runs.

use crate::authority::{Folder, Leaf, TestAuthority, identity};
use crate::handshake::{GATEWAY, STORE, connect};
use goconductor_tls::{PeerRole, SessionStatus};

#[tokio::test]
async fn new_authority_is_trusted_beside_the_old_one_and_then_alone() {
    let (old, new) = (TestAuthority::create("old"), TestAuthority::create("new"));
    let (server, server_files) = identity(&old, &Leaf::of(&[STORE]));
    let (client, client_files) = identity(&old, &Leaf::of(&[GATEWAY]));
    let expected = client.client(PeerRole::StateStore);
    let first = connect(&server, &expected, "localhost").await;
    let first = first.session.unwrap();
    assert_eq!(first.status(), SessionStatus::Current);

    let bundle = format!("{}{}", old.pem, new.pem);
    server_files.write("ca.crt", &bundle);
    assert!(server.reload());
    assert!(!server.reload(), "unchanged files are not loaded again");
    assert_eq!(first.status(), SessionStatus::Outdated);
    connect(&server, &expected, "localhost").await.client.unwrap();

    client_files.write_all(&new.sign(&Leaf::of(&[GATEWAY])), &[&old, &new]);
    assert!(client.reload());
    let second = connect(&server, &expected, "localhost").await;
    second.client.unwrap();

    server_files.write_all(&new.sign(&Leaf::of(&[STORE])), &[&new]);
    assert!(server.reload());
    assert_eq!(first.status(), SessionStatus::Refused, "its authority is no longer trusted");
    assert_eq!(second.session.unwrap().status(), SessionStatus::Outdated);
    connect(&server, &expected, "localhost").await.client.unwrap();

    let (stale, _files) = identity(&old, &Leaf::of(&[GATEWAY]));
    let refused = connect(&server, &stale.client(PeerRole::StateStore), "localhost").await;
    assert!(refused.client.is_err() && refused.session.is_err());
}

#[tokio::test]
async fn files_that_cannot_be_used_keep_the_previous_ones() {
    let (authority, other) = (TestAuthority::create("one"), TestAuthority::create("two"));
    let (server, files) = identity(&authority, &Leaf::of(&[STORE]));
    let (client, _files) = identity(&authority, &Leaf::of(&[GATEWAY]));
    let expected = client.client(PeerRole::StateStore);
    let replacements = [
        ("tls.key", other.sign(&Leaf::of(&[STORE])).1),
        ("tls.key", String::new()),
        ("tls.crt", "-----BEGIN CERTIFICATE-----".to_owned()),
        ("ca.crt", String::new()),
    ];
    for (name, text) in replacements {
        let before = std::fs::read_to_string(files.path(name)).unwrap();
        files.write(name, &text);
        assert!(!server.reload() && !server.reload(), "{name}");
        connect(&server, &expected, "localhost").await.client.unwrap();
        files.write(name, &before);
        assert!(!server.reload(), "the files are the loaded ones again");
    }
    std::fs::remove_file(files.path("tls.crt")).unwrap();
    assert!(!server.reload());
    let session = connect(&server, &expected, "localhost").await.session.unwrap();
    assert_eq!(session.status(), SessionStatus::Current);
}

#[tokio::test]
async fn changed_files_are_followed() {
    let authority = TestAuthority::create("one");
    let (server, files) = identity(&authority, &Leaf::of(&[STORE]));
    let (client, _files) = identity(&authority, &Leaf::of(&[GATEWAY]));
    let session = connect(&server, &client.client(PeerRole::StateStore), "localhost").await.session.unwrap();
    let following = tokio::spawn(server.clone().follow());
    files.write_all(&authority.sign(&Leaf::of(&[STORE])), &[&authority]);
    while session.status() == SessionStatus::Current {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    following.abort();
}

#[tokio::test]
async fn expired_certificate_of_a_client_is_refused() {
    let authority = TestAuthority::create("one");
    let (server, _files) = identity(&authority, &Leaf::of(&[STORE]));
    // A process does not load an expired certificate, so the client is a plain one.
    let folder = Folder::new();
    let expired = authority.sign(&Leaf { is_expired: true, ..Leaf::of(&[GATEWAY]) });
    folder.write_all(&expired, &[&authority]);
    let refused = goconductor_tls::TlsIdentity::load(folder.files(), "tls", None).unwrap_err();
    assert!(refused.reason.contains("expired"), "{refused}");
    let connected = plain_client(&server, &folder).await;
    assert!(connected.is_err());
}

/// Connects a client of rustls that presents the files of a folder without a check.
async fn plain_client(server: &goconductor_tls::TlsIdentity, folder: &Folder) -> Result<(), std::io::Error> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use std::sync::Arc;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.path("ca.crt")).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(folder.path("tls.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.path("tls.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = async {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        drop(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await);
    };
    let accepting = async {
        let (tcp, _) = listener.accept().await.unwrap();
        server.accept(tcp).await.map(drop)
    };
    tokio::join!(connecting, accepting).1
}
