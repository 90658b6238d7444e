//! An issuer on this machine.

use crate::signer::Signer;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use goconductor_oidc::{Settings, Verifier};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;

/// The audience of the tests.
pub(crate) const AUDIENCE: &str = "goconductor";
/// The time at which tokens are checked, in seconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000;

/// How the issuer answers.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    Healthy,
    Status(StatusCode),
    /// A redirect of each request.
    Redirect(String),
    /// A body without end.
    Endless,
    /// No response.
    Silent,
    /// The discovery document of another issuer.
    OtherIssuer,
    /// A key set at this URL.
    KeysAt(String),
}

/// A server with a discovery document and a key set.
#[derive(Debug, Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    state: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    url: String,
    mode: Mutex<Mode>,
    keys: Mutex<Vec<Value>>,
    discoveries: AtomicUsize,
    /// The response of the token endpoint.
    exchange: Mutex<(StatusCode, Value)>,
    /// The requests to it: credentials and form.
    exchanges: Mutex<Vec<(Option<String>, String)>>,
}

impl Issuer {
    pub(crate) async fn start(keys: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/realms/shop", listener.local_addr().unwrap());
        let state = Arc::new(Shared {
            url: url.clone(),
            mode: Mutex::new(Mode::Healthy),
            keys: Mutex::new(keys),
            discoveries: AtomicUsize::new(0),
            exchange: Mutex::new((StatusCode::OK, json!({}))),
            exchanges: Mutex::default(),
        });
        let routes = Router::new()
            .route("/realms/shop/.well-known/openid-configuration", get(discovery))
            .route("/realms/shop/keys", get(keys_document))
            .route("/realms/shop/token", post(exchange))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, state }
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
    }

    pub(crate) fn set_keys(&self, keys: Vec<Value>) {
        *self.state.keys.lock().unwrap() = keys;
    }

    pub(crate) fn set_exchange(&self, status: StatusCode, body: Value) {
        *self.state.exchange.lock().unwrap() = (status, body);
    }

    /// The requests to the token endpoint: credentials and form.
    pub(crate) fn exchanges(&self) -> Vec<(Option<String>, String)> {
        self.state.exchanges.lock().unwrap().clone()
    }

    /// The number of fetches.
    pub(crate) fn fetches(&self) -> usize {
        self.state.discoveries.load(Ordering::SeqCst)
    }

    /// Settings with short times, so that a test does not wait.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            refresh_interval: Duration::from_secs(3600),
            min_fetch_interval: Duration::from_millis(1),
            keys_max_age: Duration::from_secs(7200),
            fetch_timeout: Duration::from_secs(2),
            ..Settings::new(&self.url, vec![AUDIENCE.to_owned()])
        }
    }

    pub(crate) fn verifier(&self) -> Verifier {
        Verifier::new(self.settings()).unwrap()
    }

    /// The claims of a valid token.
    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": self.url,
            "sub": "user-1",
            "aud": AUDIENCE,
            "iat": NOW - 10,
            "exp": NOW + 600,
            "groups": ["operators", "shop"],
        })
    }

    /// A valid token.
    pub(crate) fn token(&self, signer: &Signer, algorithm: &str, key_id: &str) -> String {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": key_id});
        signer.sign(&header.to_string(), &self.claims().to_string())
    }
}

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

async fn discovery(State(state): State<Arc<Shared>>) -> Response {
    state.discoveries.fetch_add(1, Ordering::SeqCst);
    let mode = state.mode.lock().unwrap().clone();
    let keys = format!("{}/keys", state.url);
    match mode {
        Mode::OtherIssuer => document(json!({"issuer": "https://other.example", "jwks_uri": keys})),
        Mode::KeysAt(url) => document(json!({"issuer": state.url, "jwks_uri": url})),
        Mode::Healthy | Mode::Status(_) | Mode::Redirect(_) | Mode::Endless | Mode::Silent => {
            let endpoint = |name: &str| format!("{}/{name}", state.url);
            let healthy = || {
                document(json!({
                    "issuer": state.url,
                    "jwks_uri": keys,
                    "authorization_endpoint": endpoint("authorize"),
                    "token_endpoint": endpoint("token"),
                }))
            };
            failure(mode).await.unwrap_or_else(healthy)
        }
    }
}

async fn keys_document(State(state): State<Arc<Shared>>) -> Response {
    let mode = state.mode.lock().unwrap().clone();
    let keys = state.keys.lock().unwrap().clone();
    failure(mode).await.unwrap_or_else(|| document(json!({ "keys": keys })))
}

async fn exchange(State(state): State<Arc<Shared>>, headers: HeaderMap, form: String) -> Response {
    let credentials = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    state.exchanges.lock().unwrap().push((credentials, form));
    let (status, body) = state.exchange.lock().unwrap().clone();
    (status, document(body)).into_response()
}

async fn failure(mode: Mode) -> Option<Response> {
    match mode {
        Mode::Healthy | Mode::OtherIssuer | Mode::KeysAt(_) => None,
        Mode::Status(status) => Some(status.into_response()),
        Mode::Redirect(url) => Some((StatusCode::FOUND, [(header::LOCATION, url)]).into_response()),
        Mode::Endless => {
            let body = "{\"issuer\": \"".to_owned() + &"x".repeat(1 << 20);
            Some(Body::from(body).into_response())
        }
        Mode::Silent => std::future::pending().await,
    }
}

fn document(value: Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
