//! Which handshakes succeed.

use crate::authority::{Folder, Leaf, TestAuthority, identity};
use goconductor_tls::{ClientTls, ConnectFailure, PeerRole, SecureConnector, TlsIdentity, TlsSession};
use std::error::Error as _;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

pub(crate) const GATEWAY: &str = "spiffe://shop/api-gateway";
pub(crate) const STORE: &str = "spiffe://shop/state-store";

/// A connection as both sides see it. The first byte of the client has arrived, so TLS 1.3 has completed.
pub(crate) struct Connected {
    pub(crate) session: Result<TlsSession, io::Error>,
    pub(crate) client: Result<(), ConnectFailure>,
}

/// Connects a client to a server by the name `host`.
pub(crate) async fn connect(server: &TlsIdentity, client: &ClientTls, host: &str) -> Connected {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut connector = SecureConnector::new(client).unwrap().with_address(address);
    let uri = format!("https://{host}:{}", address.port()).parse().unwrap();
    let accepting = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let (mut stream, session) = server.accept(tcp).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        // Until the client has closed the connection.
        drop(stream.read(&mut [0]).await);
        Ok(session)
    };
    let connecting = async {
        let stream = connector.call(uri).await?;
        let mut stream = stream.into_inner();
        let read = stream.read_exact(&mut [0]).await;
        read.map(drop).map_err(|source| ConnectFailure::Handshake { address: host.to_owned(), source })
    };
    let (session, client) = tokio::join!(accepting, connecting);
    Connected { session, client }
}

fn text(failure: &ConnectFailure) -> String {
    let cause = failure.source().map(ToString::to_string).unwrap_or_default();
    format!("{failure}: {cause}")
}

#[tokio::test]
async fn peers_with_the_expected_roles_know_each_other() {
    let authority = TestAuthority::create("one");
    let (server, _files) = identity(&authority, &Leaf::of(&[STORE]));
    let (client, _files) = identity(&authority, &Leaf::of(&[GATEWAY]));
    let connected = connect(&server, &client.client(PeerRole::StateStore), "localhost").await;
    connected.client.unwrap();
    let session = connected.session.unwrap();
    assert!(session.is_http2());
    let peer = session.peer().unwrap();
    assert_eq!((&*peer.uris, peer.common_name.as_deref()), (&[GATEWAY.to_owned()][..], Some("test")));
    assert!(peer.roles().contains(PeerRole::ApiGateway) && !peer.roles().contains(PeerRole::StateStore));
}

#[tokio::test]
async fn server_is_refused_for_its_role_name_authority_and_age() {
    let authority = TestAuthority::create("one");
    let other = TestAuthority::create("one");
    let (client, _files) = identity(&authority, &Leaf::of(&[GATEWAY]));
    let named = client.client(PeerRole::StateStore);
    let by_identity = named.clone().by_identity();
    let executor = ["spiffe://shop/saga-executor"];
    let foreign = ["spiffe://other/state-store"];
    let elsewhere = Leaf { host: "elsewhere", ..Leaf::of(&[STORE]) };
    let cases = [
        ("the role", &authority, Leaf::of(&executor), &named, Some("GC3031")),
        ("no role", &authority, Leaf::of(&[]), &named, Some("GC3031")),
        ("another trust domain", &authority, Leaf::of(&foreign), &named, Some("GC3031")),
        ("the role without a name", &authority, Leaf::of(&executor), &by_identity, Some("GC3031")),
        ("the name", &authority, elsewhere, &named, Some("not valid for name")),
        ("another authority", &other, Leaf::of(&[STORE]), &named, Some("certificate")),
        ("another authority without a name", &other, Leaf::of(&[STORE]), &by_identity, Some("certificate")),
    ];
    for (case, signer, leaf, tls, expected) in cases {
        let (server, _files) = identity(signer, &leaf);
        let connected = connect(&server, tls, "localhost").await;
        let refused = connected.client.map_err(|failure| text(&failure));
        assert!(connected.session.is_err(), "{case}");
        match (refused, expected) {
            (Err(refused), Some(expected)) => assert!(refused.contains(expected), "{case}: {refused}"),
            (found, expected) => panic!("{case}: {found:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn server_known_by_its_role_may_have_any_name() {
    let authority = TestAuthority::create("one");
    let (client, _files) = identity(&authority, &Leaf::of(&["spiffe://shop/worker"]));
    let (server, _files) = identity(&authority, &Leaf { host: "elsewhere", ..Leaf::of(&[STORE]) });
    let connected = connect(&server, &client.client(PeerRole::StateStore).by_identity(), "localhost").await;
    connected.client.unwrap();
}

#[tokio::test]
async fn public_certificate_of_an_api_is_accepted_by_its_name_alone() {
    let authority = TestAuthority::create("one");
    let (client, _files) = identity(&authority, &Leaf::of(&[]));
    let api = client.client(PeerRole::ApiGateway).or_by_name();
    let (public, _files) = identity(&authority, &Leaf::of(&[]));
    connect(&public, &api, "localhost").await.client.unwrap();
    let refused = connect(&public, &api, "elsewhere").await.client.unwrap_err();
    assert!(text(&refused).contains("not valid for name"), "{}", text(&refused));
    let (executor, _files) = identity(&authority, &Leaf::of(&["spiffe://shop/saga-executor"]));
    let refused = connect(&executor, &api, "localhost").await.client.unwrap_err();
    assert!(text(&refused).contains("GC3031"), "{}", text(&refused));
}

#[tokio::test]
async fn client_with_a_certificate_of_another_authority_is_refused() {
    let (authority, other) = (TestAuthority::create("one"), TestAuthority::create("two"));
    let (server, _files) = identity(&authority, &Leaf::of(&[STORE]));
    let folder = Folder::new();
    folder.write_all(&other.sign(&Leaf::of(&[GATEWAY])), &[&authority]);
    let connected = connect(&server, &folder.load().client(PeerRole::StateStore), "localhost").await;
    assert!(connected.session.is_err() && connected.client.is_err());
}

#[tokio::test]
async fn client_without_a_certificate_has_no_identity() {
    let authority = TestAuthority::create("one");
    let (server, _files) = identity(&authority, &Leaf::of(&[STORE]));
    let folder = Folder::new();
    folder.write("ca.crt", &authority.pem);
    let client = folder.load();
    assert!(!client.has_certificate());
    let connected = connect(&server, &client.client(PeerRole::StateStore), "localhost").await;
    connected.client.unwrap();
    assert!(connected.session.unwrap().peer().is_none());
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_with_the_setting() {
    let (authority, other) = (TestAuthority::create("one"), TestAuthority::create("two"));
    let (certificate, key) = authority.sign(&Leaf::of(&[STORE]));
    let (_, other_key) = other.sign(&Leaf::of(&[STORE]));
    let (expired, expired_key) = authority.sign(&Leaf { is_expired: true, ..Leaf::of(&[STORE]) });
    let cases = [
        ("", &*certificate, &*key, "tls.ca_file: ", "contains no certificate in PEM form (GC3030)"),
        (&*authority.pem, "", &*key, "tls.certificate_file: ", "contains no certificate"),
        (&*authority.pem, &*certificate, "", "tls.key_file: ", "no private key"),
        (
            &*authority.pem,
            &*certificate,
            &*other_key,
            "tls.certificate_file: ",
            "does not belong to key_file",
        ),
        (&*authority.pem, &*expired, &*expired_key, "tls.certificate_file: ", "the certificate expired"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &*certificate,
            &*key,
            "tls.ca_file: ",
            "malformed",
        ),
    ];
    for (ca, certificate, key, setting, reason) in cases {
        let folder = Folder::new();
        folder.write("ca.crt", ca);
        folder.write("tls.crt", certificate);
        folder.write("tls.key", key);
        let error = TlsIdentity::load(folder.files(), "tls", None).unwrap_err().to_string();
        assert!(error.starts_with(setting) && error.contains(reason), "{error}");
        assert!(error.contains(&*folder.path("").to_string_lossy()), "{error}");
        assert!(!error.contains("PRIVATE"), "{error}");
    }
}

#[tokio::test]
async fn plain_text_ends_the_handshake() {
    let authority = TestAuthority::create("one");
    let (server, _files) = identity(&authority, &Leaf::of(&[STORE]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    assert!(server.accept(tcp).await.is_err());
}
