//! The listener of each process: versions, suites, identities, plain HTTP and unfinished handshakes.

use super::options;
use crate::cluster::{ONE, possible};
use goconductor_harness::{Certificates, Cluster};
use reqwest::Client;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

const LISTENERS: [&str; 4] = ["gateway-1", "store-1", "executor-1", "elector-1"];
/// The options of `openssl s_client`, and whether a listener accepts the handshake. The security level of the client
/// permits everything, so that only the server refuses.
const HANDSHAKES: &[(&[&str], bool)] = &[
    (&["-tls1_3"], true),
    (&["-tls1_2"], true),
    (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], true),
    (&["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"], false),
    (&["-tls1", "-cipher", "DEFAULT:@SECLEVEL=0"], false),
    (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"], false),
    (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0"], false),
    (&["-tls1_2", "-cipher", "AES128-SHA:AES256-SHA:@SECLEVEL=0"], false),
    (&["-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"], false),
    (&["-tls1_2", "-cipher", "DHE:@SECLEVEL=0"], false),
    (&["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"], false),
];
/// A call of a process, the certificate of the caller, and the expected status of gRPC. `None` means that the method ran.
const CALLS: &[(&str, &str, Option<&str>, Option<&str>)] = &[
    ("store-1", "goconductor.internal.v1.StateStoreService/Now", Some("saga-executor"), None),
    ("store-1", "goconductor.internal.v1.StateStoreService/PutService", Some("saga-executor"), Some("7")),
    (
        "store-1",
        "goconductor.internal.v1.StateStoreService/ListDefinitions",
        Some("saga-executor"),
        Some("7"),
    ),
    ("store-1", "goconductor.internal.v1.StateStoreService/Claim", Some("api-gateway"), Some("7")),
    ("store-1", "goconductor.internal.v1.StateStoreService/Write", Some("worker"), Some("7")),
    ("store-1", "goconductor.internal.v1.StateStoreService/Write", Some("operator"), Some("7")),
    ("store-1", "goconductor.internal.v1.StateStoreService/Write", Some("leader-elector"), Some("7")),
    ("store-1", "goconductor.internal.v1.StateStoreService/Write", None, Some("16")),
    ("store-1", "goconductor.internal.v1.StateStoreService/Nothing", Some("api-gateway"), Some("7")),
    ("elector-1", "goconductor.v1.ElectionService/ListElections", Some("saga-executor"), None),
    ("elector-1", "goconductor.v1.ElectionService/StepDown", Some("saga-executor"), Some("7")),
    ("elector-1", "goconductor.v1.ElectionService/Campaign", Some("worker"), Some("7")),
    ("elector-1", "goconductor.v1.ElectionService/Campaign", None, Some("16")),
    ("executor-1", "goconductor.v1.WorkerService/Connect", Some("api-gateway"), Some("7")),
    ("executor-1", "goconductor.v1.WorkerService/Connect", Some("saga-executor"), Some("7")),
    ("executor-1", "goconductor.v1.WorkerService/Connect", None, Some("16")),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_listener_accepts_only_safe_handshakes_and_allowed_roles() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let cluster = Cluster::start_with_tls(options(1)).await.unwrap();
    let certificates = cluster.certificates().unwrap();
    let anonymous = anonymous(certificates);
    for name in LISTENERS {
        let url = cluster.address(name).unwrap();
        let address = url.strip_prefix("https://").unwrap();
        for (arguments, expected) in HANDSHAKES {
            let accepted = handshake(address, arguments).await;
            assert_eq!(accepted, *expected, "{name} {arguments:?}");
        }
        plain_http_gets_a_clear_response(address).await;
        let health = anonymous.get(format!("{url}/healthz")).send().await.unwrap();
        assert_eq!(health.status(), 200, "{name}");
        let refused = anonymous.get(format!("{url}/metrics")).send().await.unwrap();
        assert_eq!(refused.status(), 403, "{name}");
        let operator = certificates.http_client("operator").unwrap();
        let metrics = operator.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
        let expiry = "goconductor_certificate_expiry_timestamp_seconds{usage=\"certificate\"} ";
        assert!(metrics.contains(expiry), "{name}");
    }
    for (name, method, role, expected) in CALLS {
        let client = match role {
            Some(role) => certificates.http_client(role).unwrap(),
            None => anonymous.clone(),
        };
        let found = grpc_status(&client, &format!("{}/{method}", cluster.address(name).unwrap())).await;
        match expected {
            Some(expected) => assert_eq!(found.as_deref(), Some(*expected), "{method} by {role:?}"),
            None => assert!(!matches!(found.as_deref(), Some("7" | "16")), "{method} by {role:?}: {found:?}"),
        }
    }
    let unfinished = cluster.address("gateway-1").unwrap();
    unfinished_handshake_ends(unfinished.strip_prefix("https://").unwrap()).await;
    cluster.down().await.unwrap();
}

/// A client that trusts the servers and presents no certificate.
fn anonymous(certificates: &Certificates) -> Client {
    let pem = std::fs::read(certificates.file("ca.crt")).unwrap();
    let authorities = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
    Client::builder().tls_certs_only(authorities).build().unwrap()
}

/// Returns whether a server completes a handshake.
async fn handshake(address: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", address, "-brief"]).args(arguments).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    text.contains("CONNECTION ESTABLISHED")
}

async fn plain_http_gets_a_clear_response(address: &str) {
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut response = String::new();
    plain.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 400 ") && response.contains("GC3032"), "{response}");
}

/// Calls a method of gRPC with an empty message, and returns the status in the headers of the response.
async fn grpc_status(client: &Client, url: &str) -> Option<String> {
    let request = client.post(url).header("content-type", "application/grpc").header("te", "trailers");
    // Five bytes of a message without content. The peer may keep the stream open, so only the headers are read.
    let sent = tokio::time::timeout(Duration::from_secs(5), request.body(vec![0_u8; 5]).send()).await;
    let response = sent.ok()?.unwrap();
    Some(response.headers().get("grpc-status")?.to_str().unwrap().to_owned())
}

async fn unfinished_handshake_ends(address: &str) {
    let mut silent = TcpStream::connect(address).await.unwrap();
    // The begin of a record, which never continues.
    silent.write_all(&[22, 3, 1]).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(8), silent.read(&mut [0; 64])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
}
