//! Every route and every method, against callers that must not use it.

mod audit;
mod elections;
mod redaction;
mod schedules;
mod secrets;
mod sessions;
mod virtual_clock;

use super::rules::{ANY, GRPC, REST, Rule};
use crate::api::Api;
use crate::{AdmissionLimits, Dependencies, router};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::Response;
use goconductor_access::AccessControl;
use goconductor_definition::Cel;
use goconductor_election::local::LocalElection;
use goconductor_process::LiveConfig;
use goconductor_queue::memory::{Limits as QueueLimits, MemoryQueue};
use goconductor_service_kit::config::{AccessConfig, Config, RateConfig, RatePolicy, Sources};
use goconductor_service_kit::health::Readiness;
use goconductor_service_kit::permission::{Permission, Reach};
use goconductor_service_kit::telemetry::{self, Identity};
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{AccessKeyStore, ListRequest, Store};
use goconductor_transition::{Engine, Settings, clock};
use http_body_util::BodyExt;
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const ADMIN: &str = "the-bootstrap-key-of-the-tests-0123456789";
const DEFINITION: &str =
    r#"{"workflow": "order", "steps": [{"name": "pay", "run": "payments/charge", "compensate": "none"}]}"#;

/// A gateway over an empty store.
struct Fixture {
    router: Router,
    /// The router of REST alone. It names its routes.
    rest: Router,
    api: Api,
    store: Arc<dyn Store>,
}

/// The credentials that a request is sent with, and the status that it must get.
struct Caller {
    name: &'static str,
    token: Option<String>,
    code: &'static str,
}

impl Fixture {
    async fn with_access_control() -> Self {
        let config =
            AccessConfig { enabled: true, bootstrap_key: Some(ADMIN.into()), ..AccessConfig::default() };
        Self::new(Some(config)).await
    }

    async fn new(access: Option<AccessConfig>) -> Self {
        Self::with_rate(access, RateConfig::default()).await
    }

    async fn with_rate(access: Option<AccessConfig>, rate: RateConfig) -> Self {
        Self::with_redaction(access, rate, &[]).await
    }

    #[allow(clippy::unused_async, reason = "the store spawns tasks, so the caller must be inside a runtime")]
    async fn with_redaction(access: Option<AccessConfig>, rate: RateConfig, redact: &[&str]) -> Self {
        let config = Config::load(&Sources::default()).unwrap();
        let store =
            Arc::new(BatchingStore::new(Arc::new(SqliteStore::ephemeral().unwrap()), Limits::default()));
        let changes = store.changes();
        let store: Arc<dyn Store> = store;
        let queue = Arc::new(MemoryQueue::new(QueueLimits::default()));
        let keys: Arc<dyn AccessKeyStore> = store.clone();
        let dependencies = Dependencies {
            engine: Engine::new(Arc::clone(&store), queue, Arc::new(Cel::new()), Settings::default()),
            election: Some(Arc::new(LocalElection::new(1))),
            queues: None,
            config: LiveConfig::new(config.clone(), None),
            vault: None,
            redact: redact.iter().map(|path| (*path).to_owned()).collect(),
            changes,
            limits: crate::limits(&config),
            outbound: config.executor.outbound.clone().with_loopback(),
            admission: AdmissionLimits { rate, ..crate::admission(&config) },
            audit_starts: false,
            access: access.map(|access| AccessControl::start(access, keys, clock::now).unwrap()),
            readiness: Readiness::new(),
            metrics: telemetry::init(&config.telemetry, Identity { service: "test", instance: "test-1" })
                .unwrap(),
            stop: CancellationToken::new(),
        };
        let api = crate::api(dependencies.clone());
        let rest = crate::rest::router(api.clone());
        Self { router: router(dependencies), rest, api, store }
    }

    async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        namespace: &str,
        body: &str,
    ) -> (StatusCode, Value, HeaderMap) {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("goconductor-namespace", namespace);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let response = self.send(request.body(Body::from(body.to_owned())).unwrap()).await;
        let (parts, body) = response.into_parts();
        let bytes = tokio::time::timeout(Duration::from_secs(5), body.collect()).await;
        let bytes = bytes.map(|body| body.unwrap().to_bytes()).unwrap_or_default();
        (parts.status, serde_json::from_slice(&bytes).unwrap_or_default(), parts.headers)
    }

    /// Sends a call of an empty message, and returns the status of gRPC.
    async fn grpc(&self, path: &str, token: Option<&str>, namespace: &str) -> i32 {
        let mut request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header("goconductor-namespace", namespace);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = self.send(request.body(Body::from(vec![0; 5])).unwrap()).await;
        let status = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
        status(response.headers()).unwrap_or(0)
    }

    async fn key(&self, roles: &[&str], namespaces: &[&str]) -> (String, String) {
        let body = json!({"name": "test", "roles": roles, "namespaces": namespaces}).to_string();
        let (status, created, _) = self.call("POST", "/api/v1/access/keys", Some(ADMIN), "shop", &body).await;
        assert_eq!(status, StatusCode::CREATED, "{created}");
        (created["token"].as_str().unwrap().to_owned(), created["key"]["id"].as_str().unwrap().to_owned())
    }

    /// Applies a definition and starts a workflow in a namespace. Returns its id.
    async fn workflow(&self, namespace: &str) -> String {
        let path = "/api/v1/definitions/order";
        let (status, applied, _) = self.call("PUT", path, Some(ADMIN), namespace, DEFINITION).await;
        assert!(status.is_success(), "{applied}");
        let start = r#"{"definition": "order"}"#;
        let (status, started, _) =
            self.call("POST", "/api/v1/workflows", Some(ADMIN), namespace, start).await;
        assert_eq!(status, StatusCode::CREATED, "{started}");
        started["id"].as_str().unwrap().to_owned()
    }

    /// Everything that a request could have changed.
    async fn contents(&self) -> String {
        let mut text = String::new();
        for namespace in ["shop", "other", "default"] {
            let request =
                ListRequest { namespace: namespace.to_owned(), filter: None, limit: 100, before: None };
            let workflows = self.store.list(&request).await.unwrap().workflows;
            let definitions = self.store.definitions(namespace, None).await.unwrap();
            let locks = self.store.locks(namespace, None, 100).await.unwrap();
            let secrets = self.store.secrets(namespace, None, 100).await.unwrap();
            text.push_str(&format!("{workflows:?} {definitions:?} {locks:?} {secrets:?}"));
        }
        let keys = self.store.access_keys(None, 100).await.unwrap();
        text.push_str(&format!("{:?} {keys:?}", self.store.services().await.unwrap()));
        text
    }

    /// Callers that no route accepts.
    async fn strangers(&self) -> Vec<Caller> {
        let (revoked, id) = self.key(&["admin"], &["*"]).await;
        let (status, ..) =
            self.call("DELETE", &format!("/api/v1/access/keys/{id}"), Some(ADMIN), "shop", "").await;
        assert_eq!(status, StatusCode::OK);
        let expiring = json!({"name": "t", "roles": ["admin"], "namespaces": ["*"], "expires_in": "1s"});
        let (_, created, _) =
            self.call("POST", "/api/v1/access/keys", Some(ADMIN), "shop", &expiring.to_string()).await;
        let expired = created["token"].as_str().unwrap().to_owned();
        // Long enough for the expiry, and for the revocation to reach each process.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let unknown = format!("gck_0123456789abcdef_{}", "0".repeat(64));
        vec![
            Caller { name: "no token", token: None, code: "GC2061" },
            Caller { name: "nonsense", token: Some("nonsense".to_owned()), code: "GC2062" },
            Caller { name: "an unknown key", token: Some(unknown), code: "GC2062" },
            Caller { name: "a revoked key", token: Some(revoked), code: "GC2062" },
            Caller { name: "an expired key", token: Some(expired), code: "GC2062" },
        ]
    }
}

/// Replaces the parameters of a route by values that exist.
fn concrete(route: &str, id: &str) -> String {
    [("{id}", id), ("{step}", "pay"), ("{name}", "order"), ("{key}", "k"), ("{version}", "1")]
        .into_iter()
        .chain([("{code}", "GC2061"), ("{*path}", "workflows")])
        .fold(route.to_owned(), |path, (parameter, value)| path.replace(parameter, value))
}

fn checked() -> impl Iterator<Item = (&'static str, &'static str, Rule, Permission)> {
    REST.iter().filter_map(|(method, route, rule)| {
        Some((if *method == ANY { "PUT" } else { *method }, *route, *rule, rule.permission?))
    })
}

/// The paths that a router names in its debug output.
fn routes_of(router: &Router<()>) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let is_path =
        |part: &&str| part.starts_with('/') && !part.contains([' ', ',']) && !part.contains("__private");
    let quoted = text.split('"').filter(is_path);
    quoted.map(str::to_owned).collect()
}

#[tokio::test]
async fn every_rest_route_has_a_row_and_every_row_a_route() {
    let fixture = Fixture::new(None).await;
    let document = crate::rest::document();
    let mut found = BTreeSet::new();
    let routes = routes_of(&fixture.rest);
    assert!(document["paths"].as_object().unwrap().keys().all(|path| routes.contains(path)), "{routes:?}");
    for route in &routes {
        let path = concrete(route, "0190b5a8-0000-7000-8000-000000000000");
        let (status, _, headers) = fixture.call("PROPFIND", &path, None, "shop", "").await;
        if status != StatusCode::METHOD_NOT_ALLOWED {
            found.insert((ANY.to_owned(), route.clone()));
            continue;
        }
        let allowed = headers[header::ALLOW].to_str().unwrap();
        let methods = allowed.split(',').filter(|method| *method != "HEAD");
        found.extend(methods.map(|method| (method.to_owned(), route.clone())));
    }
    let rows: BTreeSet<(String, String)> =
        REST.iter().map(|(method, route, _)| ((*method).to_owned(), (*route).to_owned())).collect();
    assert_eq!(rows.len(), REST.len(), "a route has two rows");
    assert_eq!(found, rows);
}

#[test]
fn every_grpc_method_has_a_row_and_every_row_a_method() {
    let sets = [
        goconductor_wire::API_DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ];
    let mut methods = BTreeSet::new();
    for set in sets {
        for file in prost_types::FileDescriptorSet::decode(set).unwrap().file {
            for service in &file.service {
                methods.extend(
                    service
                        .method
                        .iter()
                        .map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name())),
                );
            }
        }
    }
    let rows: BTreeSet<String> = GRPC.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(rows.len(), GRPC.len(), "a method has two rows");
    // A release of a library may have further methods, which are denied like all that have no row.
    methods.retain(|method| method.starts_with("/goconductor.") || rows.contains(method));
    assert_eq!(methods, rows);
}

/// The gateway awaits the end of every other response before it sends it, see `admission::responses`.
#[test]
fn every_streaming_method_is_marked_as_a_stream() {
    let mut streams = BTreeSet::new();
    for file in prost_types::FileDescriptorSet::decode(goconductor_wire::API_DESCRIPTORS).unwrap().file {
        for service in &file.service {
            let streaming = service.method.iter().filter(|method| method.server_streaming());
            streams.extend(
                streaming.map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name())),
            );
        }
    }
    assert!(streams.contains("/goconductor.v1.ElectionService/Campaign"), "{streams:?}");
    let marked: BTreeSet<String> = GRPC
        .iter()
        .filter(|(path, rule)| rule.streams && path.starts_with("/goconductor."))
        .map(|(path, _)| (*path).to_owned())
        .collect();
    assert_eq!(streams, marked);
}

#[test]
fn only_health_version_console_and_sign_in_are_public() {
    let is_public = |rule: &Rule| rule.permission.is_none();
    let public: Vec<&str> = REST.iter().filter(|row| is_public(&row.2)).map(|row| row.1).collect();
    let sign_in = ["/api/v1/session"; 3]
        .into_iter()
        .chain(["/api/v1/session/oidc/callback", "/api/v1/session/oidc/start"]);
    let others = ["/healthz", "/readyz", "/ui", "/ui/", "/ui/{*path}", "/version"];
    let expected: Vec<&str> = ["/"].into_iter().chain(sign_in).chain(others).collect();
    assert_eq!(public, expected);
    let public: Vec<&str> = GRPC.iter().filter(|row| is_public(&row.1)).map(|row| row.0).collect();
    assert_eq!(public, ["/grpc.health.v1.Health/Check"]);
}

#[tokio::test]
async fn rest_route_refuses_callers_without_a_valid_credential() {
    let fixture = Fixture::with_access_control().await;
    let id = fixture.workflow("shop").await;
    let strangers = fixture.strangers().await;
    let before = fixture.contents().await;
    for (method, route, _, _) in checked() {
        for Caller { name, token, code } in &strangers {
            let path = concrete(route, &id);
            let (status, problem, headers) =
                fixture.call(method, &path, token.as_deref(), "shop", "{}").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} with {name}: {problem}");
            assert_eq!(problem["code"], *code, "{method} {path} with {name}: {problem}");
            let challenge = headers[header::WWW_AUTHENTICATE].to_str().unwrap();
            assert!(challenge.starts_with("Bearer"), "{challenge}");
        }
    }
    assert_eq!(fixture.contents().await, before, "nothing changed");
}

#[tokio::test]
async fn rest_route_refuses_callers_without_the_permission() {
    let fixture = Fixture::with_access_control().await;
    let id = fixture.workflow("shop").await;
    let (viewer, _) = fixture.key(&["viewer"], &["*"]).await;
    let (elsewhere, _) = fixture.key(&["admin"], &["other"]).await;
    let (worker, _) = fixture.key(&["worker"], &["shop"]).await;
    let before = fixture.contents().await;
    for (method, route, rule, permission) in checked() {
        let path = concrete(route, &id);
        for (name, token, is_allowed) in [
            (
                "a viewer",
                &viewer,
                !rule.changes
                    && !matches!(
                        permission,
                        Permission::AccessRead
                            | Permission::AuditRead
                            | Permission::ConfigRead
                            | Permission::SecretsRead
                    ),
            ),
            ("another namespace", &elsewhere, permission.reach() == Reach::Anywhere),
            ("a worker", &worker, permission == Permission::ProcessesRead),
        ] {
            let is_endless = rule.streams || rule.waits;
            if is_allowed && is_endless {
                continue;
            }
            let (status, problem, _) = fixture.call(method, &path, Some(token), "shop", "{}").await;
            if is_allowed {
                assert_ne!(status, StatusCode::FORBIDDEN, "{method} {path} by {name}: {problem}");
                continue;
            }
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} by {name}: {problem}");
            assert_eq!(problem["code"], "GC2063", "{method} {path} by {name}: {problem}");
        }
    }
    assert_eq!(fixture.contents().await, before, "nothing changed");
}

#[tokio::test]
async fn grpc_method_refuses_callers_without_a_credential_or_the_permission() {
    let fixture = Fixture::with_access_control().await;
    fixture.workflow("shop").await;
    let strangers = fixture.strangers().await;
    let (viewer, _) = fixture.key(&["viewer"], &["*"]).await;
    let (elsewhere, _) = fixture.key(&["admin"], &["other"]).await;
    let before = fixture.contents().await;
    for (path, rule) in GRPC {
        let Some(permission) = rule.permission else { continue };
        for Caller { name, token, .. } in &strangers {
            assert_eq!(fixture.grpc(path, token.as_deref(), "shop").await, 16, "{path} with {name}");
        }
        if permission.reach() != Reach::Anywhere {
            assert_eq!(fixture.grpc(path, Some(&elsewhere), "shop").await, 7, "{path} in another namespace");
        }
        if rule.changes {
            assert_eq!(fixture.grpc(path, Some(&viewer), "shop").await, 7, "{path} by a viewer");
        }
    }
    assert_eq!(fixture.contents().await, before, "nothing changed");
    for path in ["/goconductor.v1.WorkflowService/Nope", "/nope", "/grpc.health.v1.Health/Check/x"] {
        assert_eq!(fixture.grpc(path, None, "shop").await, 16, "{path}");
        assert_eq!(fixture.grpc(path, Some(ADMIN), "shop").await, 12, "{path}");
    }
    assert_eq!(fixture.grpc("/grpc.health.v1.Health/Check", None, "shop").await, 0);
}

#[tokio::test]
async fn form_of_a_path_does_not_open_a_route() {
    let fixture = Fixture::with_access_control().await;
    let id = fixture.workflow("shop").await;
    let (elsewhere, _) = fixture.key(&["viewer"], &["other"]).await;
    let before = fixture.contents().await;
    let targets =
        ["/api/v1/workflows", &format!("/api/v1/workflows/{id}/cancel"), "/metrics", "/openapi.json"];
    for target in targets {
        for path in [
            format!("/{target}"),
            format!("{target}/"),
            format!("{target}//"),
            format!("{target};x"),
            format!("{target};/healthz"),
            format!("{target}%2fhealthz"),
            format!("{target}/healthz"),
            format!("{target}/config"),
            format!("{target}/metrics"),
            format!("{target}/version"),
            format!("{target}/..%2f..%2fhealthz"),
            format!("{target}/%2e%2e/healthz"),
            format!("{target}?path=/healthz"),
            format!("{target}?/version"),
            format!("/healthz/..{target}"),
            format!("/healthz;{target}"),
            format!("/%2e{target}"),
            format!("/version/%2e%2e{target}"),
            target.replacen("/a", "/%61", 1).replacen("/m", "/%6d", 1),
            target.to_ascii_uppercase(),
        ] {
            for method in ["GET", "POST", "HEAD", "PATCH"] {
                for token in [None, Some(elsewhere.as_str())] {
                    let (status, body, _) = fixture.call(method, &path, token, "shop", "").await;
                    let is_closed = matches!(status.as_u16(), 401 | 403 | 404 | 405);
                    // Documents may be read in any namespace.
                    let route = path.split('?').next().unwrap();
                    let is_document = token.is_some() && route == "/openapi.json";
                    assert!(is_closed || is_document, "{method} {path} {token:?}: {status} {body}");
                    let is_open = token.is_none() && status != StatusCode::UNAUTHORIZED;
                    assert!(!is_open, "{method} {path}: {status} {body}");
                }
            }
        }
    }
    assert_eq!(fixture.contents().await, before, "nothing changed");
    let (status, body, _) = fixture.call("GET", "/nope", Some(ADMIN), "shop", "").await;
    assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!("GC2005")));
    for public in ["/healthz", "/readyz", "/version"] {
        assert_eq!(fixture.call("GET", public, None, "shop", "").await.0, StatusCode::OK, "{public}");
    }
}

#[tokio::test]
async fn errors_of_checks_are_shown_only_with_a_permission() {
    let fixture = Fixture::with_access_control().await;
    fixture.api.readiness.add("database", || async { Err("no response from db.internal".to_owned()) });
    let (viewer, _) = fixture.key(&["viewer"], &["*"]).await;
    let (worker, _) = fixture.key(&["worker"], &["*"]).await;
    for (token, is_shown) in
        [(None, false), (Some("nonsense"), false), (Some(&*worker), false), (Some(&*viewer), true)]
    {
        let (status, body, _) = fixture.call("GET", "/readyz", token, "shop", "").await;
        assert_eq!((status, &body["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unready")));
        assert_eq!(body["checks"][0]["name"], "database");
        assert_eq!(body["checks"][0]["detail"].is_string(), is_shown, "{token:?}: {body}");
    }
}

#[tokio::test]
async fn nothing_in_a_request_leads_to_another_namespace() {
    let fixture = Fixture::with_access_control().await;
    let (own, foreign) = (fixture.workflow("shop").await, fixture.workflow("other").await);
    let (token, _) = fixture.key(&["viewer", "operator", "developer"], &["shop"]).await;
    let before = fixture.contents().await;
    let call = async |method: &str, path: &str, namespace: &str, body: &str| {
        fixture.call(method, path, Some(&token), namespace, body).await
    };
    // The header.
    for namespace in ["other", "default"] {
        assert_eq!(call("GET", "/api/v1/workflows", namespace, "").await.0, StatusCode::FORBIDDEN);
    }
    for namespace in ["", "SHOP", "shop,other", "*", "shop/../other"] {
        let status = call("GET", "/api/v1/workflows", namespace, "").await.0;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{namespace}");
    }
    let twice = Request::get("/api/v1/workflows")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header("goconductor-namespace", "shop")
        .header("goconductor-namespace", "other");
    assert_eq!(fixture.send(twice.body(Body::empty()).unwrap()).await.status(), StatusCode::BAD_REQUEST);
    // An id.
    for (method, suffix) in
        [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/steps/pay/retry")]
    {
        let path = format!("/api/v1/workflows/{foreign}{suffix}");
        let status = call(method, &path, "shop", if method == "POST" { "{}" } else { "" }).await.0;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    // The body, a cursor, and a filter.
    let start = r#"{"definition": "order", "namespace": "other"}"#;
    assert_eq!(call("POST", "/api/v1/workflows", "shop", start).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    for query in [
        format!("page_token={foreign}"),
        "filter=namespace%20%3D%20other".to_owned(),
        format!("filter=id%20%3D%20%22{foreign}%22"),
    ] {
        let (status, list, _) = call("GET", &format!("/api/v1/workflows?{query}"), "shop", "").await;
        let leaked = list.to_string().contains(&foreign) && status.is_success();
        assert!(!leaked, "{query}: {list}");
    }
    let (_, list, _) = call("GET", "/api/v1/workflows", "shop", "").await;
    assert!(list.to_string().contains(&own) && !list.to_string().contains(&foreign), "{list}");
    assert_eq!(fixture.contents().await, before, "nothing changed");
}

#[tokio::test]
async fn batch_has_workflows_of_its_namespace_only_and_needs_both_permissions() {
    let fixture = Fixture::with_access_control().await;
    let (own, foreign) = (fixture.workflow("shop").await, fixture.workflow("other").await);
    let (operator, _) = fixture.key(&["operator"], &["shop"]).await;
    let (viewer, _) = fixture.key(&["viewer", "developer"], &["shop"]).await;
    let body = r#"{"operation": "pause", "reason": "maintenance", "expected_count": 1}"#;
    let create = async |token: &str, namespace: &str| {
        fixture.call("POST", "/api/v1/batches", Some(token), namespace, body).await
    };
    for (token, namespace) in [(&viewer, "shop"), (&operator, "other")] {
        let (status, refused, _) = create(token, namespace).await;
        assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("GC2063")), "{refused}");
    }
    let (status, batch, headers) = create(&operator, "shop").await;
    assert_eq!((status, &batch["total"]), (StatusCode::CREATED, &json!(1)), "{batch}");
    let path = headers[header::LOCATION].to_str().unwrap();
    let items = format!("{path}/items");
    let (_, items, _) = fixture.call("GET", &items, Some(&viewer), "shop", "").await;
    assert_eq!(items["items"][0]["workflow_id"], json!(own), "{items}");
    assert!(!items.to_string().contains(&foreign), "{items}");
    for (method, suffix) in [("GET", ""), ("GET", "/items"), ("POST", "/cancel")] {
        let (status, missing, _) =
            fixture.call(method, &format!("{path}{suffix}"), Some(ADMIN), "other", "").await;
        assert_eq!((status, &missing["code"]), (StatusCode::NOT_FOUND, &json!("GC2114")), "{missing}");
    }
}

#[tokio::test]
async fn stream_and_long_poll_end_with_their_credential() {
    let fixture = Fixture::with_access_control().await;
    let id = fixture.workflow("shop").await;
    let (token, key) = fixture.key(&["viewer"], &["shop"]).await;
    let request = |path: String| {
        Request::get(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::ACCEPT, "text/event-stream")
            .header("goconductor-namespace", "shop")
            .body(Body::empty())
            .unwrap()
    };
    let mut streams = tokio::task::JoinSet::new();
    for path in ["/api/v1/watch".to_owned(), format!("/api/v1/workflows/{id}/events")] {
        let response = fixture.send(request(path)).await;
        assert_eq!(response.status(), StatusCode::OK);
        streams.spawn(async move { drop(response.into_body().collect().await) });
    }
    let poll = fixture.send(request(format!("/api/v1/workflows/{id}/result?wait=60s")));
    let revoke = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let path = format!("/api/v1/access/keys/{key}");
        assert_eq!(fixture.call("DELETE", &path, Some(ADMIN), "shop", "").await.0, StatusCode::OK);
        Instant::now()
    };
    let (response, revoked_at) = tokio::join!(poll, revoke);
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    streams.join_all().await;
    assert!(revoked_at.elapsed() < Duration::from_secs(2), "{:?}", revoked_at.elapsed());
}

#[tokio::test]
async fn key_is_rotated_and_cannot_exceed_its_creator() {
    let fixture = Fixture::with_access_control().await;
    let (token, id) = fixture.key(&["viewer"], &["shop"]).await;
    let path = format!("/api/v1/access/keys/{id}/rotate");
    let (status, rotated, headers) =
        fixture.call("POST", &path, Some(ADMIN), "shop", r#"{"overlap": "1h"}"#).await;
    assert_eq!(status, StatusCode::CREATED, "{rotated}");
    assert!(headers[header::LOCATION].to_str().unwrap().ends_with(rotated["key"]["id"].as_str().unwrap()));
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    for token in [token.as_str(), rotated["token"].as_str().unwrap()] {
        assert_eq!(fixture.call("GET", "/api/v1/workflows", Some(token), "shop", "").await.0, StatusCode::OK);
    }
    let (_, shown, _) = fixture.call("GET", "/api/v1/access/keys", Some(ADMIN), "shop", "").await;
    assert!(!shown.to_string().contains(&token), "a token is shown once");
    let invalid = [
        json!({"name": "", "roles": ["viewer"]}),
        json!({"name": "a", "roles": []}),
        json!({"name": "a", "roles": ["boss"]}),
        json!({"name": "a", "roles": ["viewer"], "namespaces": ["SHOP"]}),
        json!({"name": "a", "roles": ["worker"], "services": ["*"]}),
        json!({"name": "a", "roles": ["viewer"], "expires_in": "0s"}),
    ];
    for body in invalid {
        let (status, problem, _) =
            fixture.call("POST", "/api/v1/access/keys", Some(ADMIN), "shop", &body.to_string()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {problem}");
    }
    let mut config = AccessConfig { enabled: true, ..AccessConfig::default() };
    let keys_only = [Permission::AccessWrite].into_iter().collect();
    config.roles.insert("keys".to_owned(), keys_only);
    config.bootstrap_key = Some(ADMIN.into());
    let fixture = Fixture::new(Some(config)).await;
    let (limited, _) = fixture.key(&["keys"], &["*"]).await;
    let body = json!({"name": "a", "roles": ["admin"], "namespaces": ["*"]}).to_string();
    let (status, problem, _) =
        fixture.call("POST", "/api/v1/access/keys", Some(&limited), "shop", &body).await;
    assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("GC2065")));
}

#[tokio::test]
async fn history_records_the_authenticated_caller() {
    let fixture = Fixture::with_access_control().await;
    let id = fixture.workflow("shop").await;
    let (token, key) = fixture.key(&["operator"], &["shop"]).await;
    let cancel = Request::post(format!("/api/v1/workflows/{id}/cancel"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header("goconductor-namespace", "shop")
        .header("goconductor-actor", "ada")
        .body(Body::empty());
    assert_eq!(fixture.send(cancel.unwrap()).await.status(), StatusCode::OK);
    let path = format!("/api/v1/workflows/{id}/events");
    let (_, history, _) = fixture.call("GET", &path, Some(ADMIN), "shop", "").await;
    let text = history.to_string();
    assert!(text.contains(&format!("key:{key}")) && !text.contains("\"ada\""), "{text}");
}

#[tokio::test]
async fn console_is_served_without_a_credential_and_has_no_data() {
    let fixture = Fixture::with_access_control().await;
    let id = fixture.workflow("shop").await;
    for path in ["/", "/ui", "/ui/", &format!("/ui/workflows/{id}"), "/ui/..%2fapi/v1/workflows"] {
        for method in ["GET", "HEAD"] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let response = fixture.send(request).await;
            assert_eq!(response.status(), StatusCode::OK, "{method} {path}");
            let text = response.headers()[header::CONTENT_TYPE].to_str().unwrap();
            assert!(text.starts_with("text/html"), "{method} {path}: {text}");
            assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY), "{method} {path}");
            assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{method} {path}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}");
        }
    }
    for path in ["/ui/assets/nope.js", "/ui/assets/..%2findex.html", "/ui/assets/%2e%2e/%2e%2e/Cargo.toml"] {
        let (status, body, _) = fixture.call("GET", path, None, "shop", "").await;
        assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!("GC2005")), "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let (status, ..) = fixture.call(method, "/ui/workflows", None, "shop", "").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method}");
    }
}

#[tokio::test]
async fn invalid_credentials_reach_a_limit_that_does_not_affect_known_ones() {
    let access = AccessConfig { enabled: true, bootstrap_key: Some(ADMIN.into()), ..AccessConfig::default() };
    let rate = RateConfig { caller: Some(RatePolicy { per_second: 1, burst: 2 }), namespace: None };
    let fixture = Fixture::with_rate(Some(access), rate).await;
    let list = |token: Option<&'static str>| fixture.call("GET", "/api/v1/workflows", token, "default", "");
    assert_eq!(list(Some("an-invalid-token")).await.0, StatusCode::UNAUTHORIZED);
    let mut limited = None;
    for _ in 0..50 {
        let response = list(Some("an-invalid-token")).await;
        limited = Some(response).filter(|(status, ..)| *status == StatusCode::TOO_MANY_REQUESTS);
        if limited.is_some() {
            break;
        }
    }
    let (_, body, headers) = limited.expect("the limit is reached");
    assert_eq!(body["code"], "GC2095");
    assert!(headers.contains_key("ratelimit") && headers.contains_key(header::RETRY_AFTER), "{headers:?}");
    assert_eq!(list(Some(ADMIN)).await.0, StatusCode::OK, "the credential is known");
}
