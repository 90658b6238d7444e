//! Sessions of the console, and the tricks against them.

use super::*;
use goconductor_service_kit::config::SessionConfig;

const SESSION: &str = "/api/v1/session";

/// A request by a session.
struct BySession<'a> {
    method: &'a str,
    path: &'a str,
    cookie: &'a str,
    headers: &'a [(&'a str, &'a str)],
}

impl Fixture {
    async fn by_session(&self, request: BySession<'_>) -> (StatusCode, Value, HeaderMap) {
        let BySession { method, path, cookie, headers } = request;
        let mut request = Request::builder().method(method).uri(path).header("goconductor-namespace", "shop");
        if !cookie.is_empty() {
            request = request.header(header::COOKIE, cookie);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(Body::empty()).unwrap()).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status, serde_json::from_slice(&bytes).unwrap_or_default(), parts.headers)
    }

    async fn get(&self, path: &str, cookie: &str) -> (StatusCode, Value, HeaderMap) {
        self.by_session(BySession { method: "GET", path, cookie, headers: &[] }).await
    }

    async fn sign_in(&self, key: &str, csrf: bool) -> (StatusCode, Value, HeaderMap) {
        let mut request = Request::post(SESSION).header(header::CONTENT_TYPE, "application/json");
        if csrf {
            request = request.header("goconductor-csrf", "1");
        }
        let body = json!({"value": key}).to_string();
        let response = self.send(request.body(Body::from(body)).unwrap()).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status, serde_json::from_slice(&bytes).unwrap_or_default(), parts.headers)
    }

    /// Signs in, and returns the cookie as a browser sends it.
    async fn session(&self, key: &str) -> String {
        let (status, body, headers) = self.sign_in(key, true).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let set = headers[header::SET_COOKIE].to_str().unwrap();
        set.split(';').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn session_has_the_rights_of_its_key() {
    let fixture = Fixture::with_access_control().await;
    let id = fixture.workflow("shop").await;
    let (operator, key_id) = fixture.key(&["operator"], &["shop"]).await;
    let (status, view, headers) = fixture.sign_in(&operator, true).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    let set = headers[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(set.starts_with("goconductor-session=") && set.contains("; Max-Age=28800; Path=/"), "{set}");
    assert!(set.ends_with("; HttpOnly; SameSite=Strict"), "{set}");
    assert!(!set.contains(&operator) && !set.contains(&key_id), "the cookie is opaque");
    let cookie = set.split(';').next().unwrap();
    let (_, view, _) = fixture.get(SESSION, cookie).await;
    assert_eq!((&view["signed_in"], &view["by_session"]), (&json!(true), &json!(true)), "{view}");
    assert_eq!(view["actor"], format!("key:{key_id}"), "{view}");
    assert_eq!((&view["roles"], &view["namespace"]), (&json!(["operator"]), &json!("shop")), "{view}");
    let permissions = view["permissions"].as_array().unwrap();
    assert!(permissions.contains(&json!("workflows.operate")), "{view}");
    assert!(!permissions.contains(&json!("access.write")), "{view}");
    assert_eq!(view["grants"][0]["namespaces"], json!(["shop"]), "{view}");
    assert!(view["expires_at"].is_string(), "{view}");
    assert_eq!(fixture.get("/api/v1/workflows", cookie).await.0, StatusCode::OK);
    assert_eq!(fixture.get("/api/v1/access/keys", cookie).await.0, StatusCode::FORBIDDEN);
    let path = format!("/api/v1/workflows/{id}/cancel");
    let cancel = BySession { method: "POST", path: &path, cookie, headers: &[("goconductor-csrf", "1")] };
    let (status, body, _) = fixture.by_session(cancel).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let (_, history, _) = fixture.get(&format!("/api/v1/workflows/{id}/events"), cookie).await;
    assert!(history.to_string().contains(&format!("key:{key_id}")), "{history}");
}

#[tokio::test]
async fn request_that_another_page_makes_a_browser_send_is_refused() {
    let fixture = Fixture::with_access_control().await;
    let id = fixture.workflow("shop").await;
    let cookie = fixture.session(ADMIN).await;
    let before = fixture.contents().await;
    let cancel = format!("/api/v1/workflows/{id}/cancel");
    let csrf = ("goconductor-csrf", "1");
    for (method, path, headers, code) in [
        ("POST", &*cancel, vec![], "GC2142"),
        ("POST", &*cancel, vec![("goconductor-csrf", "")], "GC2142"),
        ("POST", &*cancel, vec![csrf, ("sec-fetch-site", "cross-site")], "GC2022"),
        ("POST", &*cancel, vec![csrf, ("sec-fetch-site", "same-site")], "GC2022"),
        (
            "POST",
            &*cancel,
            vec![csrf, ("origin", "https://evil.example"), ("host", "shop.example")],
            "GC2022",
        ),
        ("POST", &*cancel, vec![csrf, ("origin", "null"), ("host", "shop.example")], "GC2022"),
        ("DELETE", "/api/v1/definitions/order", vec![], "GC2142"),
        ("GET", "/api/v1/workflows", vec![("sec-fetch-site", "cross-site")], "GC2022"),
        ("GET", "/api/v1/workflows", vec![("sec-fetch-site", "same-site")], "GC2022"),
        ("DELETE", SESSION, vec![], "GC2142"),
    ] {
        let request = BySession { method, path, cookie: &cookie, headers: &headers };
        let (status, body, _) = fixture.by_session(request).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} {headers:?}: {body}");
        assert_eq!(body["code"], code, "{method} {path} {headers:?}: {body}");
    }
    assert_eq!(fixture.contents().await, before, "nothing changed");
    let (status, body, headers) = fixture.sign_in(ADMIN, false).await;
    assert_eq!((status, &body["code"]), (StatusCode::FORBIDDEN, &json!("GC2142")));
    assert!(!headers.contains_key(header::SET_COOKIE));
    // A page of another site must not sign its visitor in as another user.
    let request = Request::post(SESSION)
        .header(header::CONTENT_TYPE, "application/json")
        .header("goconductor-csrf", "1")
        .header("sec-fetch-site", "cross-site")
        .body(Body::from(json!({"value": ADMIN}).to_string()));
    let response = fixture.send(request.unwrap()).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(!response.headers().contains_key(header::SET_COOKIE));
}

#[tokio::test]
async fn cookie_that_was_not_issued_is_refused() {
    let fixture = Fixture::with_access_control().await;
    fixture.workflow("shop").await;
    let cookie = fixture.session(ADMIN).await;
    let other = Fixture::with_access_control().await.session(ADMIN).await;
    let (name, value) = cookie.split_once('=').unwrap();
    let middle = format!("{name}={}", value.replacen(&value[20..24], "AAAA", 1));
    for forged in [
        other.as_str(),
        &middle,
        &cookie[..cookie.len() - 2],
        &format!("{cookie}A"),
        &format!("{cookie}; {cookie}"),
        &format!("{name}="),
        &format!("{name}={ADMIN}"),
    ] {
        let (status, body, _) = fixture.get("/api/v1/workflows", forged).await;
        assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("GC2143")), "{forged}");
        let (status, view, headers) = fixture.get(SESSION, forged).await;
        assert_eq!((status, &view["signed_in"]), (StatusCode::OK, &json!(false)), "{forged}");
        assert!(headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"), "{forged}");
    }
    for unknown in [format!("__Host-{cookie}"), cookie.to_ascii_uppercase()] {
        let (status, body, _) = fixture.get("/api/v1/workflows", &unknown).await;
        assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("GC2061")), "{unknown}");
    }
    let request = Request::post("/goconductor.v1.WorkflowService/ListWorkflows")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::COOKIE, &cookie)
        .body(Body::from(vec![0; 5]));
    let response = fixture.send(request.unwrap()).await;
    assert_eq!(response.headers()["grpc-status"], "16", "gRPC has no sessions");
    let (viewer, _) = fixture.key(&["viewer"], &["other"]).await;
    let bearer = format!("Bearer {viewer}");
    let both = BySession {
        method: "GET",
        path: "/api/v1/workflows",
        cookie: &cookie,
        headers: &[("authorization", &bearer)],
    };
    assert_eq!(fixture.by_session(both).await.0, StatusCode::FORBIDDEN, "the header counts, not the cookie");
}

#[tokio::test]
async fn session_that_has_expired_is_refused() {
    let session = SessionConfig { lifetime: Duration::ZERO, public_url: None };
    let access =
        AccessConfig { enabled: true, bootstrap_key: Some(ADMIN.into()), session, ..AccessConfig::default() };
    let fixture = Fixture::new(Some(access)).await;
    let cookie = fixture.session(ADMIN).await;
    let (status, body, _) = fixture.get("/api/v1/workflows", &cookie).await;
    assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("GC2143")));
}

#[tokio::test]
async fn session_and_its_streams_end_with_the_key() {
    let fixture = Fixture::with_access_control().await;
    fixture.workflow("shop").await;
    let (viewer, key_id) = fixture.key(&["viewer"], &["shop"]).await;
    let cookie = fixture.session(&viewer).await;
    let watch = Request::get("/api/v1/watch")
        .header("goconductor-namespace", "shop")
        .header(header::COOKIE, &cookie)
        .body(Body::empty());
    let stream = fixture.send(watch.unwrap()).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let path = format!("/api/v1/access/keys/{key_id}");
    assert_eq!(fixture.call("DELETE", &path, Some(ADMIN), "shop", "").await.0, StatusCode::OK);
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.into_body().collect()).await;
    assert!(ended.is_ok(), "the stream ends with the session");
    let (status, body, _) = fixture.get("/api/v1/workflows", &cookie).await;
    assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("GC2143")));
    let (_, view, headers) = fixture.get(SESSION, &cookie).await;
    assert_eq!(view["signed_in"], false);
    assert!(headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn wrong_key_begins_no_session_and_counts_for_the_rate() {
    let access = AccessConfig { enabled: true, bootstrap_key: Some(ADMIN.into()), ..AccessConfig::default() };
    let rate = RateConfig { caller: Some(RatePolicy { per_second: 1, burst: 4 }), namespace: None };
    let fixture = Fixture::with_rate(Some(access), rate).await;
    let mut statuses = BTreeSet::new();
    for _ in 0..20 {
        let (status, body, headers) = fixture.sign_in("gck_wrong", true).await;
        assert!(!headers.contains_key(header::SET_COOKIE), "{body}");
        assert!(!body.to_string().contains("gck_wrong"), "{body}");
        statuses.insert(status.as_u16());
    }
    assert_eq!(statuses, BTreeSet::from([401, 429]));
}

#[tokio::test]
async fn sign_out_deletes_the_cookie() {
    let fixture = Fixture::with_access_control().await;
    let cookie = fixture.session(ADMIN).await;
    for cookie in [cookie.as_str(), "goconductor-session=nonsense", ""] {
        let request =
            BySession { method: "DELETE", path: SESSION, cookie, headers: &[("goconductor-csrf", "1")] };
        let (status, body, headers) = fixture.by_session(request).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
        assert!(headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"), "{headers:?}");
    }
}

#[tokio::test]
async fn server_without_access_control_has_no_sign_in() {
    let fixture = Fixture::new(None).await;
    let (status, view, _) = fixture.get(SESSION, "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&view["access_control"], &view["sign_in"]), (&json!(false), &json!([])), "{view}");
    assert_eq!(view["permissions"].as_array().unwrap().len(), Permission::ALL.len());
    let (status, body, _) = fixture.sign_in(ADMIN, true).await;
    assert_eq!((status, &body["code"]), (StatusCode::CONFLICT, &json!("GC2144")));
    let (status, body, _) = fixture.sign_in(ADMIN, false).await;
    assert_eq!((status, &body["code"]), (StatusCode::FORBIDDEN, &json!("GC2142")));
    for path in ["/api/v1/session/oidc/start", "/api/v1/session/oidc/callback?code=a&state=b&iss=c"] {
        let (status, body, _) = fixture.get(path, "").await;
        assert_eq!((status, &body["code"]), (StatusCode::CONFLICT, &json!("GC2144")), "{path}");
    }
}

#[tokio::test]
async fn overview_leaves_out_what_the_caller_may_not_read() {
    let fixture = Fixture::with_access_control().await;
    fixture.workflow("shop").await;
    let service = r#"{"http": {"url": "http://127.0.0.1:9"}}"#;
    let (status, body, _) =
        fixture.call("PUT", "/api/v1/services/payments", Some(ADMIN), "shop", service).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let (viewer, _) = fixture.key(&["viewer"], &["shop"]).await;
    let overview = async |token: &str| fixture.call("GET", "/api/v1/overview", Some(token), "shop", "").await;
    let (status, body, _) = overview(ADMIN).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["dead_letters"]["count"], 0, "{body}");
    assert_eq!(body["recent"]["sampled"], 1, "{body}");
    let (status, body, _) = overview(&viewer).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body["dead_letters"].is_null() && body["elections"].is_null(), "{body}");
    assert_eq!(body["services"][0]["service"], "payments", "{body}");
    assert_eq!(body["services"][0]["is_served"], false, "{body}");
}
