//! Every route of REST and every method of gRPC with the credentials of strangers.

use super::issuer::{self, Signer};
use super::{BOOTSTRAP, Closed, refusals_are_recorded};
use prost::Message;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const UNAUTHENTICATED: &str = "16";
const PERMISSION_DENIED: &str = "7";
const NAMES: [&str; 5] = ["get", "put", "post", "patch", "delete"];

/// An operation that a stranger attempts.
#[derive(Debug)]
enum Operation {
    Rest(Method, String),
    Grpc(String),
}

/// A caller, and whether it is known.
struct Caller {
    name: &'static str,
    token: Option<String>,
    is_known: bool,
}

/// Clients of a server: REST accepts both versions of HTTP, and gRPC requires version 2.
struct Clients {
    rest: Client,
    grpc: Client,
    base: String,
}

impl Clients {
    fn new(closed: &Closed) -> Self {
        let grpc = Client::builder().http2_prior_knowledge().build().unwrap();
        Self { rest: Client::new(), grpc, base: closed.dev.api.base().to_owned() }
    }

    async fn send(&self, operation: &Operation, token: Option<&str>) -> Response {
        let request = match operation {
            Operation::Rest(method, path) => {
                let request = self.rest.request(method.clone(), format!("{}{path}", self.base));
                if *method == Method::GET { request } else { request.json(&json!({})) }
            }
            Operation::Grpc(path) => self
                .grpc
                .post(format!("{}{path}", self.base))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                // A message without fields.
                .body(vec![0_u8; 5]),
        };
        let request = request.header("goconductor-namespace", "default");
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.unwrap()
    }
}

/// Returns the operations that require a credential: those of the OpenAPI document, the documents and metrics, and all
/// methods of gRPC.
async fn operations(closed: &Closed, workflow: &str) -> Vec<Operation> {
    let document = Operation::Rest(Method::GET, "/openapi.json".to_owned());
    let document: Value = Clients::new(closed).send(&document, Some(BOOTSTRAP)).await.json().await.unwrap();
    let id = workflow.rsplit('/').next().unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/api/v1/") || path.starts_with("/api/v1/session") {
            continue;
        }
        let parts = path.split('/').map(|part| match part {
            "{id}" => id,
            "{step}" => "wrap",
            part if part.starts_with('{') => "waiting",
            part => part,
        });
        let path = parts.collect::<Vec<_>>().join("/");
        let methods = NAMES.into_iter().filter(|name| methods.get(name).is_some());
        let method = |name: &str| Method::from_bytes(name.to_ascii_uppercase().as_bytes()).unwrap();
        operations.extend(methods.map(|name| Operation::Rest(method(name), path.clone())));
    }
    assert!(operations.len() > 80, "{operations:?}");
    let others = ["/metrics", "/openapi.json", "/errors/GC2061", "/schema/v1/workflow.json"];
    operations.extend(others.map(|path| Operation::Rest(Method::GET, path.to_owned())));
    operations.extend(methods().into_iter().map(Operation::Grpc));
    operations
}

/// Returns the paths of the methods of gRPC.
fn methods() -> Vec<String> {
    let mut methods = vec![
        "/grpc.health.v1.Health/Watch".to_owned(),
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned(),
    ];
    let files = prost_types::FileDescriptorSet::decode(goconductor_wire::API_DESCRIPTORS).unwrap().file;
    let files = files.iter().filter(|file| file.package() == "goconductor.v1");
    for service in files.flat_map(|file| &file.service) {
        let path = |method: &str| format!("/goconductor.v1.{}/{method}", service.name());
        methods.extend(service.method.iter().map(|method| path(method.name())));
    }
    assert!(methods.len() > 70, "{methods:?}");
    methods
}

fn callers(closed: &Closed) -> Vec<Caller> {
    let issuer = &closed.issuer;
    let (now, hour) = (issuer::now(), 3600);
    let with = |changes: Value| Some(issuer.token(&changes));
    let ops = json!({"sub": "ops"});
    let unknown_key = format!("gck_0123456789abcdef_{}", "0".repeat(64));
    let stranger = |name, token| Caller { name, token, is_known: false };
    vec![
        stranger("no token", None),
        stranger("nonsense", Some("nonsense".to_owned())),
        stranger("an unknown key", Some(unknown_key)),
        stranger("an expired token", with(json!({"sub": "ops", "exp": now - hour}))),
        stranger("a token that is not yet valid", with(json!({"sub": "ops", "nbf": now + hour}))),
        stranger("a wrong audience", with(json!({"sub": "ops", "aud": "other"}))),
        stranger("a wrong issuer", with(json!({"sub": "ops", "iss": "https://login.example"}))),
        stranger("no signature", Some(issuer.unsigned(&ops))),
        stranger("the public key as a secret", Some(issuer.confused(&ops))),
        stranger("another algorithm", Some(issuer.mislabelled(&ops))),
        stranger("the key of a stranger", Some(issuer.signed_by(&Signer::es256(), "es", &ops))),
        Caller { name: "a user without a role", token: with(json!({"sub": "eve"})), is_known: true },
    ]
}

/// Returns the names of what an administrator can see, and the progress of the workflow. The other fields of the lists can
/// change by themselves.
async fn contents(closed: &Closed, workflow: &str) -> BTreeMap<String, Vec<Value>> {
    let mut contents = BTreeMap::new();
    let lists = [
        "definitions",
        "services",
        "schedules",
        "batches",
        "locks",
        "access/keys",
        "config/history",
        "workflows",
    ];
    for path in lists {
        let list = closed.admin(Method::GET, &format!("/{path}"), None).await;
        let items = list.as_object().unwrap().values().find_map(Value::as_array).unwrap();
        let name = |item: &Value| json!([item["name"], item["id"], item["key"], item["version"]]);
        contents.insert(path.to_owned(), items.iter().map(name).collect());
    }
    let view = closed.admin(Method::GET, workflow, None).await;
    contents.insert(workflow.to_owned(), vec![view["status"].clone(), view["seq"].clone()]);
    contents
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_and_method_refuses_the_credentials_of_strangers() {
    let closed = Closed::start().await;
    let workflow = closed.workflow().await;
    let before = contents(&closed, &workflow).await;
    let clients = Clients::new(&closed);
    let operations = operations(&closed, &workflow).await;
    for Caller { name, token, is_known } in callers(&closed) {
        for operation in &operations {
            let response = clients.send(operation, token.as_deref()).await;
            let found = match operation {
                Operation::Rest(..) => response.status().as_str().to_owned(),
                Operation::Grpc(_) => {
                    let status = response.headers().get("grpc-status");
                    status.map_or("none", |status| status.to_str().unwrap()).to_owned()
                }
            };
            let expected = match (operation, is_known) {
                (Operation::Rest(..), false) => "401",
                (Operation::Rest(..), true) => "403",
                (Operation::Grpc(_), false) => UNAUTHENTICATED,
                (Operation::Grpc(_), true) => PERMISSION_DENIED,
            };
            assert_eq!(found, expected, "{operation:?} with {name}: {response:?}");
        }
    }
    assert_eq!(contents(&closed, &workflow).await, before, "nothing changed");
    refusals_are_recorded(&closed, &["GC2061", "GC2062", "GC2063"]).await;
}
