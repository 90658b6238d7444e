//! `goconductor dev` and the command line with TLS. This needs no other server.

use goconductor::{Conductor, Context, Service, Start, Status, TlsFiles};
use goconductor_harness::{Certificates, free_port, goconductor};
use serde_json::{Value, json};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Child;

/// A running `goconductor dev` with TLS.
struct SecureDev {
    certificates: Certificates,
    url: String,
    _child: Child,
    _folder: tempfile::TempDir,
}

impl SecureDev {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts with further settings, in the form `path=value`.
    async fn start_with(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::create(folder.path().join("certificates")).await.unwrap();
        let listen = format!("127.0.0.1:{}", free_port().unwrap());
        let mut command = goconductor().unwrap();
        command.args(["dev", "--ephemeral", "--listen", &listen]).args(certificates.arguments("dev"));
        command.args(settings.iter().flat_map(|setting| ["--set", *setting]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().unwrap();
        let this = Self { certificates, url: format!("https://{listen}"), _child: child, _folder: folder };
        for _ in 0..600 {
            if this.call("operator", &["health"]).await.status.success() {
                return this;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("goconductor dev did not become ready");
    }

    /// Runs the command line with the certificate of a role.
    async fn call(&self, role: &str, arguments: &[&str]) -> Output {
        let mut command = goconductor().unwrap();
        command.args(["--server", &self.url]).args(arguments).stdin(Stdio::null());
        let files = self.files(role);
        command.env("GOCONDUCTOR_CA", files.ca_file.unwrap());
        command.env("GOCONDUCTOR_CERT", files.certificate_file.unwrap());
        command.env("GOCONDUCTOR_KEY", files.key_file.unwrap()).output().await.unwrap()
    }

    fn files(&self, role: &str) -> TlsFiles {
        let file = |name: String| Some(self.certificates.file(&name));
        TlsFiles {
            ca_file: file("ca.crt".to_owned()),
            certificate_file: file(format!("{role}.crt")),
            key_file: file(format!("{role}.key")),
        }
    }

    fn conductor(&self, role: &str) -> Conductor {
        Conductor::connect_with_tls(&self.url, "default", self.files(role)).unwrap()
    }
}

fn error(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_line_and_workers_use_certificates() {
    let dev = SecureDev::start().await;
    let listed = dev.call("operator", &["process", "list"]).await;
    assert!(listed.status.success(), "{:?}", error(&listed));

    let conductor = dev.conductor("operator");
    let yaml = "workflow: gift\nsteps:\n  - { name: wrap, run: gifts/wrap, compensate: none }\n";
    conductor.apply("gift", yaml).await.unwrap();
    let gifts = || {
        Service::new("gifts")
            .action("wrap", |_: Context, gift: Value| async move { Ok(json!({"wrapped": gift})) })
    };
    // An operator is no worker.
    let refused = conductor.serve(gifts()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), refused.connected()).await.is_err());
    drop(refused);
    let worker = dev.conductor("worker");
    let serving = worker.serve(gifts()).await.unwrap();
    serving.connected().await.unwrap();
    let handle = conductor.start(Start::of("gift").input(json!({"n": 1})).unwrap()).await.unwrap();
    let result = handle.result().await.unwrap();
    assert_eq!(result.status, Status::Completed);
    serving.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_line_refuses_a_server_that_it_cannot_verify() {
    let dev = SecureDev::start().await;
    let mut plain = goconductor().unwrap();
    let without = plain.args(["--server", &dev.url, "process", "list"]).stdin(Stdio::null()).output().await;
    let (code, text) = error(&without.unwrap());
    assert!(code == Some(6) && text.contains("certificate"), "{code:?} {text}");

    let other = tempfile::tempdir().unwrap();
    let foreign = Certificates::create(other.path().join("certificates")).await.unwrap();
    let ca = foreign.file("ca.crt").display().to_string();
    let mut command = goconductor().unwrap();
    let distrusted = command.args(["--server", &dev.url, "--ca", &ca, "process", "list"]);
    let (code, text) = error(&distrusted.stdin(Stdio::null()).output().await.unwrap());
    assert!(code == Some(6) && text.contains("certificate"), "{code:?} {text}");

    let http = dev.url.replace("https://", "http://");
    let mut command = goconductor().unwrap();
    let output = command.args(["--server", &http, "process", "list"]).stdin(Stdio::null()).output().await;
    let (code, text) = error(&output.unwrap());
    assert!(code == Some(8) && text.contains("this port speaks TLS only"), "{code:?} {text}");
    let mut command = goconductor().unwrap();
    let output = command.args(["--server", &http, "--ca", &ca, "health"]).stdin(Stdio::null()).output().await;
    let (code, text) = error(&output.unwrap());
    assert!(code == Some(2) && text.contains("require a server with https://"), "{code:?} {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_is_a_credential_of_access_control() {
    let dev = SecureDev::start_with(&[
        "access.enabled=true",
        "access.bindings.operators.subjects=cert:spiffe://goconductor/operator",
        "access.bindings.operators.roles=viewer",
        "access.bindings.operators.namespaces=*",
        "access.bindings.workers.subjects=cert:spiffe://goconductor/worker",
        "access.bindings.workers.roles=worker",
        "access.bindings.workers.namespaces=default",
        "access.bindings.workers.services=gifts",
    ])
    .await;
    let listed = dev.call("operator", &["process", "list"]).await;
    assert!(listed.status.success(), "{:?}", error(&listed));
    let set = dev.call("operator", &["service", "set", "shop", "--url", "http://127.0.0.1:9"]).await;
    let (code, text) = error(&set);
    assert!(code != Some(0) && text.contains("services.write"), "a viewer sets a service: {code:?} {text}");
    let (code, text) = error(&dev.call("worker", &["workflow", "list"]).await);
    assert!(code != Some(0) && text.contains("workflows.read"), "a worker reads: {code:?} {text}");
    let (code, text) = error(&dev.call("api-gateway", &["workflow", "list"]).await);
    assert!(code != Some(0) && text.contains("workflows.read"), "no binding names it: {code:?} {text}");
    let mut command = goconductor().unwrap();
    command.args(["--server", &dev.url, "process", "list"]).stdin(Stdio::null());
    command.env("GOCONDUCTOR_CA", dev.certificates.file("ca.crt"));
    let (code, text) = error(&command.output().await.unwrap());
    assert!(code != Some(0) && text.contains("no credential"), "without a certificate: {code:?} {text}");

    let serve = async |name: &str| {
        let service = Service::new(name).action("wrap", |_: Context, gift: Value| async move { Ok(gift) });
        dev.conductor("worker").serve(service).await.unwrap()
    };
    let (allowed, refused) = (serve("gifts").await, serve("stock").await);
    allowed.connected().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(2), refused.connected()).await.is_err());
    allowed.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusable_certificate_ends_the_start_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(folder.path().join("certificates")).await.unwrap();
    std::fs::write(certificates.file("dev.key"), "nothing").unwrap();
    let mut command = goconductor().unwrap();
    command.args(["dev", "--ephemeral", "--listen", "127.0.0.1:0"]).args(certificates.arguments("dev"));
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    let (code, text) = error(&output);
    assert!(text.contains("tls.key_file: ") && text.contains("GC3030"), "{code:?} {text}");
    assert_ne!(code, Some(0));
}
