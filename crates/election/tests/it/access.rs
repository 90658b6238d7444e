//! Servers with TLS and users: accepted clients, and the errors of refused ones.

use crate::backends::{ETCD, ETCD3, LEASE, ZOOKEEPER, address, lead};
use crate::servers::TestServers;
use goconductor_election::{
    Credentials, Election, ElectionTls, Error, EtcdElection, ZooKeeperElection, etcd, zookeeper,
};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Requires TLS with a client certificate.
const WITH_TLS: [(&str, &str); 1] = [("GOCONDUCTOR_SERVICES_TLS", "1")];

fn list(addresses: &str) -> Vec<String> {
    addresses.split(',').map(str::to_owned).collect()
}

fn etcd_at(addresses: &str) -> etcd::Settings {
    etcd::Settings { lease: LEASE, ..etcd::Settings::new(list(addresses)) }
}

fn zookeeper_at(addresses: &str) -> zookeeper::Settings {
    zookeeper::Settings { lease: LEASE, ..zookeeper::Settings::new(list(addresses)) }
}

fn certificates(folder: &str) -> ElectionTls {
    let file = |name: &str| Some(Path::new(folder).join(name));
    ElectionTls {
        ca_file: file("ca.pem"),
        certificate_file: file("client.pem"),
        key_file: file("client.key"),
    }
}

fn user(name: &str, password: &str) -> Option<Credentials> {
    Some(Credentials { user: name.to_owned(), password: password.into() })
}

/// Expects a configuration error with a remedy, at once or, if the servers refuse the session late, on the next call.
async fn is_refused(opened: Result<impl Election, Error>, expected: &str) {
    let mut error = opened.as_ref().err().cloned();
    for _ in 0..60 {
        match &error {
            Some(Error::Configuration { reason }) => return assert!(reason.contains(expected), "{reason}"),
            Some(error) => assert!(error.is_retryable(), "{error}"),
            None => {}
        }
        let Ok(election) = &opened else { break };
        error = Some(election.observe("relay").await.expect_err("the call is refused"));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{error:?} does not contain {expected:?}");
}

/// Expects a retryable error that names a possible cause.
async fn expect_unavailable(election: impl Election, expected: &str) {
    let error = election.observe("relay").await.expect_err("no server answers");
    assert!(error.is_retryable() && error.to_string().contains(expected), "{error}");
}

async fn leads(election: impl Election) {
    let term = lead(&election, "relay", "a").await;
    assert_eq!(election.observe("relay").await.unwrap().as_ref(), Some(term.leader()));
    assert!(term.is_valid());
    term.resign().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_with_tls_accepts_only_clients_with_a_certificate() {
    let (_, variable) = ETCD;
    if address(variable).is_none() {
        return;
    }
    let own = TestServers::start("etcd.sh", &["up"], &WITH_TLS).await;
    let (at, folder) = (etcd_at(&own.exported("ETCD_ENDPOINTS")), own.exported("ETCD_CERTIFICATES"));
    let tls = certificates(&folder);
    let with = |tls: ElectionTls| EtcdElection::connect(etcd::Settings { tls: Some(tls), ..at.clone() });
    leads(with(tls.clone()).await.unwrap()).await;
    is_refused(
        with(ElectionTls { certificate_file: None, key_file: None, ..tls.clone() }).await,
        "certificate_file",
    )
    .await;
    is_refused(with(ElectionTls { key_file: None, ..tls.clone() }).await, "or neither").await;
    is_refused(with(ElectionTls { ca_file: None, ..tls.clone() }).await, "ca_file").await;
    is_refused(
        with(ElectionTls { ca_file: Some("/nowhere/ca.pem".into()), ..tls.clone() }).await,
        "failed to read /nowhere/ca.pem",
    )
    .await;
    is_refused(
        with(ElectionTls { certificate_file: tls.key_file.clone(), ..tls.clone() }).await,
        "election.tls",
    )
    .await;
    expect_unavailable(EtcdElection::connect(at.clone()).await.unwrap(), "election.security: tls").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_with_tls_accepts_only_clients_with_a_certificate() {
    let (_, variable) = ZOOKEEPER;
    if address(variable).is_none() {
        return;
    }
    let own = TestServers::start("zookeeper.sh", &["up"], &WITH_TLS).await;
    let (at, folder) =
        (zookeeper_at(&own.exported("ZOOKEEPER_SERVERS")), own.exported("ZOOKEEPER_CERTIFICATES"));
    let tls = certificates(&folder);
    let with =
        |tls: ElectionTls| ZooKeeperElection::connect(zookeeper::Settings { tls: Some(tls), ..at.clone() });
    leads(with(tls.clone()).await.unwrap()).await;
    // The client library does not report the cause of a TLS failure.
    expect_unavailable(
        with(ElectionTls { certificate_file: None, key_file: None, ..tls.clone() }).await.unwrap(),
        "certificate_file",
    )
    .await;
    is_refused(with(ElectionTls { ca_file: None, ..tls.clone() }).await, "election.tls.ca_file is missing")
        .await;
    is_refused(
        with(ElectionTls { ca_file: tls.key_file.clone(), ..tls.clone() }).await,
        "election.tls.ca_file",
    )
    .await;
    is_refused(with(ElectionTls { key_file: None, ..tls.clone() }).await, "or neither").await;
    let plain: PathBuf = [folder.as_str(), "1", "data", "myid"].iter().collect();
    is_refused(
        with(ElectionTls { key_file: Some(plain), ..tls.clone() }).await,
        "certificate_file with key_file",
    )
    .await;
    expect_unavailable(ZooKeeperElection::connect(at.clone()).await.unwrap(), "election.security: tls").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_with_users_accepts_only_users_with_a_role() {
    let (_, variable) = ETCD3;
    if address(variable).is_none() {
        return;
    }
    let own = TestServers::start("etcd.sh", &["up", "3"], &[]).await;
    let at = etcd_at(&own.exported("ETCD_ENDPOINTS"));
    let as_user = |name: &str, password: &str| {
        EtcdElection::connect(etcd::Settings { credentials: user(name, password), ..at.clone() })
    };
    is_refused(as_user("elector", "secret").await, "remove election.user and election.password").await;
    let one = at.endpoints.first().unwrap();
    let key = |text: &str| base64(text.as_bytes());
    let (from, to) = (key("/goconductor/elections/"), key("/goconductor/elections0"));
    for (path, body) in [
        ("user/add", r#"{"name":"root","password":"secret"}"#.to_owned()),
        ("user/add", r#"{"name":"elector","password":"secret"}"#.to_owned()),
        ("user/add", r#"{"name":"guest","password":"secret"}"#.to_owned()),
        ("role/add", r#"{"name":"root"}"#.to_owned()),
        ("role/add", r#"{"name":"elections"}"#.to_owned()),
        (
            "role/grant",
            format!(
                r#"{{"name":"elections","perm":{{"permType":"READWRITE","key":"{from}","range_end":"{to}"}}}}"#
            ),
        ),
        ("user/grant", r#"{"user":"root","role":"root"}"#.to_owned()),
        ("user/grant", r#"{"user":"elector","role":"elections"}"#.to_owned()),
        ("enable", "{}".to_owned()),
    ] {
        post(one, &format!("/v3/auth/{path}"), &body);
    }
    leads(as_user("elector", "secret").await.unwrap()).await;
    is_refused(as_user("elector", "wrong").await, "check election.user and election.password").await;
    is_refused(as_user("guest", "secret").await, "needs a role").await;
    is_refused(EtcdElection::connect(at.clone()).await, "set election.user and election.password").await;
    let other =
        etcd::Settings { prefix: "other".to_owned(), credentials: user("elector", "secret"), ..at.clone() };
    is_refused(EtcdElection::connect(other).await, "election.prefix").await;
    // The token of a password expires, and the leader authenticates again.
    let election = as_user("elector", "secret").await.unwrap();
    let term = lead(&election, "relay", "a").await;
    post_as_root(one, "/v3/auth/role/add", r#"{"name":"later"}"#);
    tokio::time::sleep(LEASE * 2).await;
    assert!(term.is_valid());
    assert_eq!(election.observe("relay").await.unwrap().as_ref(), Some(term.leader()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_with_users_accepts_only_the_owner() {
    let (_, variable) = ZOOKEEPER;
    let Some(address) = address(variable) else { return };
    let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
    let at = zookeeper::Settings { prefix, ..zookeeper_at(&address) };
    let as_user = |name: &str, password: &str| {
        ZooKeeperElection::connect(zookeeper::Settings { credentials: user(name, password), ..at.clone() })
    };
    leads(as_user("elector", "secret").await.unwrap()).await;
    is_refused(as_user("elector", "wrong").await, "check election.user and election.password").await;
    is_refused(ZooKeeperElection::connect(at.clone()).await, "check election.user and election.password")
        .await;
    leads(as_user("elector", "secret").await.unwrap()).await;
}

#[tokio::test]
async fn invalid_address_is_refused() {
    is_refused(EtcdElection::connect(etcd_at("no address")).await, "127.0.0.1:2379").await;
    is_refused(EtcdElection::connect(etcd::Settings::new(Vec::new())).await, "election.endpoints is empty")
        .await;
    is_refused(ZooKeeperElection::connect(zookeeper_at("127.0.0.1:port")).await, "election.endpoints").await;
    // An unreachable server may become reachable.
    expect_unavailable(
        EtcdElection::connect(etcd_at("127.0.0.1:1,127.0.0.1:2")).await.unwrap(),
        "127.0.0.1:",
    )
    .await;
    expect_unavailable(ZooKeeperElection::connect(zookeeper_at("127.0.0.1:1")).await.unwrap(), "127.0.0.1:1")
        .await;
}

#[test]
fn passwords_are_not_printed() {
    let settings = etcd::Settings { credentials: user("elector", "hunter2"), ..etcd_at("127.0.0.1:1") };
    let printed = format!("{settings:?}");
    assert!(printed.contains("elector") && !printed.contains("hunter2"), "{printed}");
}

/// A call of etcd's HTTP API, which manages users.
fn post(address: &str, path: &str, body: &str) -> String {
    send(address, path, body, "")
}

fn post_as_root(address: &str, path: &str, body: &str) -> String {
    let told = post(address, "/v3/auth/authenticate", r#"{"name":"root","password":"secret"}"#);
    let token = told.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    send(address, path, body, &format!("Authorization: {token}\r\n"))
}

fn send(address: &str, path: &str, body: &str, header: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {header}Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    answer
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| usize::from(chunk.get(place).copied().unwrap_or(0));
        let number = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let known = DIGITS.get(number >> (18 - 6 * digit) & 63).filter(|_| digit <= chunk.len());
            text.push(known.map_or('=', |digit| char::from(*digit)));
        }
    }
    text
}
