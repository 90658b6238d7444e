//! Sign-ins to the console: with an access key, and at the issuer.

use super::issuer::CLIENT;
use super::{BOOTSTRAP, Closed};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url, header};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const CALLBACK: &str = "/api/v1/session/oidc/callback";

/// A browser without redirects, which sends the cookies that a test gives it.
struct Browser {
    http: Client,
    base: String,
}

/// A sign-in that has begun: its cookie, and what the issuer was sent.
struct Begun {
    cookie: String,
    sent: BTreeMap<String, String>,
}

impl Browser {
    fn new(closed: &Closed) -> Self {
        let http = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { http, base: closed.dev.api.base().to_owned() }
    }

    async fn get(&self, path: &str, cookie: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.base)).header(header::COOKIE, cookie);
        request.send().await.unwrap()
    }

    async fn session(&self, cookie: &str) -> Value {
        self.get("/api/v1/session", cookie).await.json().await.unwrap()
    }

    async fn begin(&self, return_to: &str) -> Begun {
        let response = self.get(&format!("/api/v1/session/oidc/start?return_to={return_to}"), "").await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        let url = Url::parse(response.headers()[header::LOCATION].to_str().unwrap()).unwrap();
        assert_eq!(url.path(), "/authorize");
        Begun {
            cookie: cookie_of(&response, "goconductor-sign-in"),
            sent: url.query_pairs().into_owned().collect(),
        }
    }
}

/// Returns a cookie that a response sets, as a browser sends it.
fn cookie_of(response: &Response, name: &str) -> String {
    let set = response.headers().get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap());
    let mut pairs = set.map(|set| set.split(';').next().unwrap());
    pairs.rfind(|pair| pair.starts_with(&format!("{name}="))).unwrap_or_default().to_owned()
}

fn location(response: &Response) -> &str {
    response.headers()[header::LOCATION].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_signs_in_at_the_issuer() {
    let closed = Closed::start().await;
    let workflow = closed.workflow().await;
    let browser = Browser::new(&closed);
    let begun = browser.begin("/ui/workflows").await;
    assert_eq!((begun.sent["client_id"].as_str(), begun.sent["scope"].as_str()), (CLIENT, "openid"));
    assert_eq!(begun.sent["redirect_uri"], format!("http://localhost:8470{CALLBACK}"));
    let claims =
        json!({"sub": "ada", "groups": ["viewers", "others"], "aud": CLIENT, "nonce": begun.sent["nonce"]});
    *closed.issuer.id_token.lock().unwrap() = closed.issuer.token(&claims);
    let callback = format!("{CALLBACK}?code=c&state={}&session_state=x", begun.sent["state"]);
    let response = browser.get(&callback, &begun.cookie).await;
    assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, "/ui/workflows"));
    assert_eq!(cookie_of(&response, "goconductor-sign-in"), "goconductor-sign-in=", "it is forgotten");
    let cookie = cookie_of(&response, "goconductor-session");
    let session = browser.session(&cookie).await;
    assert_eq!((&session["actor"], &session["roles"]), (&json!("user:ada"), &json!(["viewer"])), "{session}");
    assert_eq!(session["sign_in"], json!(["access_key", "oidc"]), "{session}");
    assert_eq!(browser.get(&format!("/api/v1{workflow}"), &cookie).await.status(), StatusCode::OK);
    let cancel = browser.http.post(format!("{}/api/v1{workflow}/cancel", browser.base));
    let cancel = cancel.header(header::COOKIE, &cookie).header("goconductor-csrf", "1").send().await.unwrap();
    assert_eq!(cancel.status(), StatusCode::FORBIDDEN, "a viewer changes nothing");
    let recorded =
        closed.admin(reqwest::Method::GET, "/audit?target_kind=session&target_name=user%3Aada", None).await;
    assert_eq!(recorded["records"][0]["actor"], "user:ada", "{recorded}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_in_that_another_page_has_begun_or_changed_is_refused() {
    let closed = Closed::start().await;
    let browser = Browser::new(&closed);
    let begun = browser.begin("/ui/").await;
    let other = browser.begin("/ui/").await;
    let state = &begun.sent["state"];
    for (name, query, cookie, nonce, error) in [
        ("no sign-in has begun", format!("code=c&state={state}"), "", &begun.sent["nonce"], "expired"),
        (
            "a changed cookie",
            format!("code=c&state={state}"),
            "goconductor-sign-in=x.y",
            &begun.sent["nonce"],
            "expired",
        ),
        ("another state", "code=c&state=x".to_owned(), &*begun.cookie, &begun.sent["nonce"], "failed"),
        ("no state", "code=c".to_owned(), &*begun.cookie, &begun.sent["nonce"], "failed"),
        (
            "the state of another browser",
            format!("code=c&state={state}"),
            &*other.cookie,
            &begun.sent["nonce"],
            "failed",
        ),
        ("no code", format!("state={state}"), &*begun.cookie, &begun.sent["nonce"], "failed"),
        ("another nonce", format!("code=c&state={state}"), &*begun.cookie, &other.sent["nonce"], "failed"),
        (
            "denied",
            format!("error=access_denied&state={state}"),
            &*begun.cookie,
            &begun.sent["nonce"],
            "denied",
        ),
        (
            "an error",
            format!("error=server_error&state={state}"),
            &*begun.cookie,
            &begun.sent["nonce"],
            "failed",
        ),
    ] {
        let claims = json!({"sub": "ops", "aud": CLIENT, "nonce": nonce});
        *closed.issuer.id_token.lock().unwrap() = closed.issuer.token(&claims);
        let response = browser.get(&format!("{CALLBACK}?{query}"), cookie).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{name}");
        assert_eq!(location(&response), format!("/ui/sign-in?error={error}"), "{name}");
        assert_eq!(cookie_of(&response, "goconductor-session"), "", "{name}");
    }
    for return_to in
        ["//evil.example", "https://evil.example/ui/", "/api/v1/workflows", "/ui/%5Cevil.example"]
    {
        let response = browser.get(&format!("/api/v1/session/oidc/start?return_to={return_to}"), "").await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{return_to}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_survives_a_restart_with_the_same_master_key_only() {
    for has_master_key in [true, false] {
        let settings = |folder: &Path| {
            if !has_master_key {
                return String::new();
            }
            let key = folder.join("master.key");
            std::fs::write(&key, "0123456789abcdef".repeat(4)).unwrap();
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
            format!("secrets: {{ master_key: \"file://{}\" }}\n", key.display())
        };
        let mut closed = Closed::start_with(settings).await;
        let browser = Browser::new(&closed);
        let begin = browser.http.post(format!("{}/api/v1/session", browser.base));
        let begin = begin.header("goconductor-csrf", "1").json(&json!({"value": BOOTSTRAP}));
        let response = begin.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let cookie = cookie_of(&response, "goconductor-session");
        assert_eq!(browser.session(&cookie).await["actor"], "key:bootstrap");
        closed.dev.kill().await.unwrap();
        closed.dev.restart().await.unwrap();
        let session = browser.session(&cookie).await;
        assert_eq!(session["signed_in"], has_master_key, "{session}");
        let response = browser.get("/api/v1/workflows", &cookie).await;
        let expected = if has_master_key { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(response.status(), expected);
    }
}
