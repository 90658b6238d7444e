//! The system closed to unauthenticated callers: the order saga with TLS and access control, and the tokens of a real issuer.

mod issuer;
mod matrix;
mod sign_in;
mod workers;

use crate::cluster::{Load, ONE, all_end_right, orders, possible, serve_order};
use goconductor_harness::{Broker, Cluster, ClusterOptions, Dev, DevOptions};
use issuer::{AUDIENCE, CLIENT, Issuer, Signer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Access control for the certificates of a cluster: the operator is an administrator, and the worker a worker.
const ACCESS: &str = "
access:
  enabled: true
  bindings:
    administrators: { subjects: [\"cert:spiffe://goconductor/operator\"], roles: [admin], namespaces: [\"*\"] }
    workers: { subjects: [\"cert:spiffe://goconductor/worker\"], roles: [worker], namespaces: [\"*\"] }
";
const BOOTSTRAP: &str = "the-bootstrap-key-of-the-issuer-test-0123456789";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_end_right_with_tls_and_access_control_despite_faults() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let options = ClusterOptions {
        services: ["stock", "payments"].map(str::to_owned).to_vec(),
        proxied: true,
        settings: ACCESS.to_owned(),
        ..ClusterOptions::new(Broker::Kafka(1), 2)
    };
    let mut cluster = Cluster::start_with_tls(options).await.unwrap();
    let participants = serve_order(&cluster.gateways[0]).await;
    unauthenticated_callers_are_refused(&cluster).await;
    let load = Load::begin(&cluster);
    for name in ["gateway-1", "store-1", "elector-1", "executor-stock-1", "executor-payments-2"] {
        cluster.kill(name).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.restart(name).await.unwrap();
    }
    for name in ["gateway-2", "store-2", "elector-2", "executor-stock-2", "executor-payments-1"] {
        cluster.pause(name).await.unwrap();
        tokio::time::sleep(Duration::from_secs(8)).await;
        cluster.resume(name).await.unwrap();
    }
    for _ in 0..5 {
        cluster.cut_database(Duration::from_millis(200)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let starts = load.end(orders()).await;
    let coverage = all_end_right(&cluster, &participants, starts, Duration::from_secs(180)).await;
    println!("{coverage:#?}");
    cluster.down().await.unwrap();
}

/// Checks that a client without a certificate and one with the certificate of a worker can change nothing.
async fn unauthenticated_callers_are_refused(cluster: &Cluster) {
    let certificates = cluster.certificates().unwrap();
    let authorities = std::fs::read(certificates.file("ca.crt")).unwrap();
    let authorities = reqwest::Certificate::from_pem_bundle(&authorities).unwrap();
    let nameless = reqwest::Client::builder().tls_certs_only(authorities).build().unwrap();
    let worker = certificates.http_client("worker").unwrap();
    let start = json!({"definition": "order", "input": {}});
    for (client, expected) in [(nameless, 401), (worker, 403)] {
        for gateway in &cluster.gateways {
            let request = client.post(format!("{}/api/v1/workflows", gateway.base())).json(&start);
            assert_eq!(request.send().await.unwrap().status().as_u16(), expected);
        }
    }
    let listed = cluster.gateways[0].get("/workflows").await.unwrap();
    assert_eq!(listed["workflows"], json!([]), "nothing was started");
}

/// A server whose users come from an issuer.
struct Closed {
    dev: Dev,
    issuer: Issuer,
    _folder: tempfile::TempDir,
}

/// A request of some caller.
struct Attempt<'a> {
    method: Method,
    path: &'a str,
    namespace: &'a str,
    token: Option<&'a str>,
}

impl Closed {
    async fn start() -> Self {
        Self::start_with(|_| String::new()).await
    }

    /// Starts a server with further settings, which may refer to files of its folder.
    async fn start_with(settings: impl FnOnce(&Path) -> String) -> Self {
        let issuer = Issuer::start().await;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("goconductor.yaml");
        let text = format!(
            "access:\n  enabled: true\n  bootstrap_key: {BOOTSTRAP}\n  oidc: {{ issuer: \"{}\", audience: [{AUDIENCE}], client_id: \
             {CLIENT} }}\n  session: {{ public_url: \"http://localhost:8470\" }}\n\
             \x20 bindings:\n    viewers: {{ subjects: [\"group:viewers\"], roles: [viewer], namespaces: [default] }}\n    \
             operators: {{ subjects: [\"user:ops\"], roles: [operator], namespaces: [default] }}\n{}",
            issuer.url,
            settings(folder.path())
        );
        std::fs::write(&config, text).unwrap();
        let args = vec!["--config".to_owned(), config.display().to_string()];
        let dev = Dev::start(&folder.path().join("dev"), DevOptions { args }).await.unwrap();
        Self { dev, issuer, _folder: folder }
    }

    async fn send(&self, attempt: &Attempt<'_>, body: Option<Value>) -> (StatusCode, Value) {
        let url = format!("{}/api/v1{}", self.dev.api.base(), attempt.path);
        let mut request = reqwest::Client::new()
            .request(attempt.method.clone(), url)
            .header("goconductor-namespace", attempt.namespace);
        if let Some(token) = attempt.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }

    /// Sends a request of the administrator, which must succeed.
    async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let attempt = Attempt { method, path, namespace: "default", token: Some(BOOTSTRAP) };
        let (status, body) = self.send(&attempt, body).await;
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    /// Starts a workflow of a service without workers, so that it does not end. Returns its path.
    async fn workflow(&self) -> String {
        let definition = json!({
            "workflow": "waiting",
            "steps": [{"name": "wrap", "run": "gifts/wrap", "compensate": "none"}],
        });
        self.admin(Method::PUT, "/definitions/waiting", Some(definition)).await;
        let started = self.admin(Method::POST, "/workflows", Some(json!({"definition": "waiting"}))).await;
        format!("/workflows/{}", started["id"].as_str().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_valid_tokens_of_the_issuer_are_accepted() {
    let closed = Closed::start().await;
    let workflow = closed.workflow().await;
    let cancel = format!("{workflow}/cancel");
    let issuer = &closed.issuer;
    let before = closed.admin(Method::GET, &workflow, None).await;
    let viewer = issuer.token(&json!({"sub": "ada", "groups": ["viewers"]}));
    let operator = issuer.token(&json!({"sub": "ops"}));
    let with = |changes: Value| issuer.token(&changes);
    let hour = 3600;
    let now = issuer::now();
    let refused = [
        ("no token", None, "default", 401, "GC2061"),
        ("nonsense", Some("nonsense".to_owned()), "default", 401, "GC2062"),
        ("two dots", Some("a.b.c".to_owned()), "default", 401, "GC2062"),
        ("expired", Some(with(json!({"sub": "ops", "exp": now - hour}))), "default", 401, "GC2062"),
        ("not yet valid", Some(with(json!({"sub": "ops", "nbf": now + hour}))), "default", 401, "GC2062"),
        ("wrong audience", Some(with(json!({"sub": "ops", "aud": "other"}))), "default", 401, "GC2062"),
        ("wrong issuer", Some(with(json!({"sub": "ops", "iss": "https://x"}))), "default", 401, "GC2062"),
        ("alg none", Some(issuer.unsigned(&json!({"sub": "ops"}))), "default", 401, "GC2062"),
        ("public key as secret", Some(issuer.confused(&json!({"sub": "ops"}))), "default", 401, "GC2062"),
        ("other algorithm", Some(issuer.mislabelled(&json!({"sub": "ops"}))), "default", 401, "GC2062"),
        (
            "key of another issuer",
            Some(issuer.signed_by(&Signer::es256(), "es", &json!({"sub": "ops"}))),
            "default",
            401,
            "GC2062",
        ),
        ("viewer who cancels", Some(viewer.clone()), "default", 403, "GC2063"),
        ("other namespace", Some(operator.clone()), "other", 403, "GC2063"),
    ];
    for (name, token, namespace, status, code) in &refused {
        let attempt = Attempt { method: Method::POST, path: &cancel, namespace, token: token.as_deref() };
        let (found, body) = closed.send(&attempt, Some(json!({}))).await;
        assert_eq!((found.as_u16(), body["code"].as_str()), (*status, Some(*code)), "{name}: {body}");
    }
    let after = closed.admin(Method::GET, &workflow, None).await;
    assert_eq!((&after["status"], &after["seq"]), (&before["status"], &before["seq"]), "nothing changed");
    for (token, namespace) in [(&viewer, "default"), (&operator, "default")] {
        let attempt = Attempt { method: Method::GET, path: &workflow, namespace, token: Some(token) };
        assert_eq!(closed.send(&attempt, None).await.0, 200, "{token}");
    }
    let es = issuer.signed_by(&issuer.es256, "es", &json!({"sub": "ops"}));
    let attempt = Attempt { method: Method::POST, path: &cancel, namespace: "default", token: Some(&es) };
    assert_eq!(closed.send(&attempt, Some(json!({}))).await.0, 200, "an operator cancels");
    refusals_are_recorded(&closed, &refused.map(|(.., code)| code)).await;
}

/// Waits until the log contains a refusal with each code, as many as there were.
async fn refusals_are_recorded(closed: &Closed, codes: &[&str]) {
    let counted = async || {
        let path = "/audit?outcome=REFUSED&action=workflows.cancel&page_size=1000";
        let page = closed.admin(Method::GET, path, None).await;
        let records = page["records"].as_array().unwrap().clone();
        let count = |code: &str| {
            let of_code = records.iter().filter(|record| record["code"] == code);
            of_code.map(|record| record["count"].as_u64().unwrap_or(1)).sum::<u64>()
        };
        ["GC2061", "GC2062", "GC2063"].map(count)
    };
    // Equal refusals are counted, and recorded after a minute. The first of each kind is recorded at once.
    let expected = ["GC2061", "GC2062", "GC2063"].map(|code| codes.contains(&code));
    for _ in 0..500 {
        if counted().await.map(|count| count > 0) == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("refusals are not recorded: {:?}", counted().await);
}
